"""A pending drill is on disk, names its process, and is refused or undone by others accordingly."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from platform_lib.drills import faults, undo
from platform_lib.errors import InvalidInput, Locked, UndoFailed
from platform_lib.model import App, Platform
from platform_lib.rules.manifests import Obj


def entry(home: Path, *, pid: int = 0, born: float = 0.0) -> undo.Pending:
    place = {"name": "apqx", "provider": "embedded", "kubeconfig": str(home / "k"), "context": "apqx",
             "prometheus_url": "", "ingress_url": "", "gitops_repo": "", "home": str(home)}  # fmt: skip
    app: Obj = {"name": "sample-app", "namespace": "sample-app", "host": "h", "path": "p"}
    return undo.Pending("id-1", "pod-loss", "fake", {}, {"node": "n1"}, place, app, pid, born, "2026-01-01T00:00:00Z")


def test_what_is_registered_is_read_back_and_is_private(tmp_path: Path) -> None:
    path = undo.register(entry(tmp_path), tmp_path)
    assert undo.pending(tmp_path) == [entry(tmp_path)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    undo.clear(entry(tmp_path), tmp_path)
    assert undo.pending(tmp_path) == []


def test_a_process_that_is_gone_or_another_one_with_its_number_does_not_run_the_drill(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    born = undo._born(child.pid)
    assert entry(tmp_path, pid=child.pid, born=born).running
    assert not entry(tmp_path, pid=child.pid, born=born - 100).running
    child.kill()
    child.wait()
    assert not entry(tmp_path, pid=child.pid, born=born).running


def test_a_running_drill_is_not_undone_from_outside(tmp_path: Path) -> None:
    undo.register(entry(tmp_path, pid=os.getpid(), born=undo._born(os.getpid())), tmp_path)
    with pytest.raises(Locked, match="runs it"):
        undo.undo(tmp_path)
    assert len(undo.pending(tmp_path)) == 1


def test_the_fault_is_made_again_of_what_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Fault:
        @classmethod
        def from_target(cls, platform: Platform, app: App, target: dict) -> "Fault":
            seen.append((platform.name, platform.home, app.name, target))
            return cls()

        def undo(self) -> None:
            seen.append("undone")

    monkeypatch.setitem(faults.ACTIONS, "fake", Fault)
    undo.register(entry(tmp_path), tmp_path)
    undo.undo(tmp_path, "id-1")
    assert seen == [("apqx", tmp_path, "sample-app", {"node": "n1"}), "undone"] and undo.pending(tmp_path) == []


def test_an_unknown_id_and_a_damaged_file_are_named(tmp_path: Path) -> None:
    undo.register(entry(tmp_path), tmp_path)
    with pytest.raises(InvalidInput, match=r"id-9.*id-1"):
        undo.undo(tmp_path, "id-9")
    (undo.folder(tmp_path) / "id-1.json").write_text(json.dumps({"id": "id-1"}))
    with pytest.raises(UndoFailed, match=r"id-1\.json") as raised:
        undo.pending(tmp_path)
    assert raised.value.exit_code == 4
