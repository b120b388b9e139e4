"""A build inside ``apqx up`` ends with the deadline of ``up``, not with the longer limit of a build alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform_lib.errors import WaitTimeout
from platform_lib.providers.k3d import images
from platform_lib.settings import settings
from platform_lib.wait import Deadline, monotonic

DOCKER = """#!/bin/sh
case "$1" in
version) echo "28.2.2 28.2.2" ;;
build) echo begun; exec sleep 60 ;;
esac
"""


def test_a_build_ends_with_the_deadline_it_is_part_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    began = monotonic()
    with pytest.raises(WaitTimeout, match="build with docker: not done after 1 s, last line seen: begun") as late:
        images.build(settings(), target="app", version="1.0.0", deadline=Deadline(0.5))
    assert "--timeout-s" in late.value.hint and monotonic() - began < 30
