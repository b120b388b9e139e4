"""May a sync run at this moment? The rules of ``rules.syncwindows``, under the names the controller uses."""

from platform_lib.rules.syncwindows import about, duration_s, is_active, sync_allowed

__all__ = ["about", "duration_s", "is_active", "sync_allowed"]
