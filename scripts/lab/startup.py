"""Run by every kernel that `make lab` starts: errors are explained from the first cell on."""

from platform_lib import frontend as _frontend

_frontend.show_errors()
