"""The runner with real papermill and real kernels, on small books."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from platform_lib import runbook
from platform_lib.errors import InvalidInput, Locked
from platform_lib.evidence import verify_manifest
from platform_lib.lock import exclusive

RECORD = (
    "from platform_lib import notebook\nfrom platform_lib.model import Outcome\nfrom platform_lib.wait import now\n"
    "notebook.record(Outcome('test', True, now(), now(), {'answer_s': 1.5}), key_figure='1.5 s')"
)
WHOLE = {"input.ipynb", "output.ipynb", "params.json", "journal.jsonl", "result.json", "report.html", "manifest.sha256"}


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_passing_book_leaves_a_whole_folder(shelf) -> None:
    shelf(RECORD)
    result = runbook.run("06", {"confirm": "x"})
    assert result.ok and result.exit_code == 0
    assert files(result.folder) >= WHOLE | {"record.json", "figures"}
    saved = json.loads((result.folder / "result.json").read_text())
    assert saved["status"] == "passed" and saved["figures"]["answer_s"] == 1.5 and saved["key_figure"] == "1.5 s"
    assert saved["parameters"] == {"dry_run": True, "confirm": "x", "purge": False}
    assert verify_manifest(result.folder) == []
    assert "1.5" in (result.folder / "report.html").read_text()
    assert result.run_id in (result.folder.parent / "index.html").read_text()


def test_a_changed_file_is_found_by_the_manifest(shelf) -> None:
    shelf(RECORD)
    folder = runbook.run("06").folder
    (folder / "params.json").write_text("{}")
    (folder / "record.json").unlink()
    (folder / "new.txt").write_text("x")
    assert verify_manifest(folder) == [
        "params.json: content changed",
        "record.json: missing",
        "new.txt: not in the manifest",
    ]


def test_a_failing_book_says_which_cell_and_keeps_what_ran(shelf) -> None:
    shelf("print('before')", "raise ValueError('broken on purpose')", RECORD)
    result = runbook.run("06")
    assert result.status == "failed" and result.exit_code == 1
    assert result.error is not None and result.error["type"] == "ValueError"
    assert "broken on purpose" in result.error["message"]
    assert files(result.folder) >= WHOLE
    saved = json.loads((result.folder / "output.ipynb").read_text())
    assert any("before" in "".join(out.get("text", "")) for cell in saved["cells"] for out in cell.get("outputs", []))
    assert "broken on purpose" in (result.folder / "report.html").read_text()


@pytest.mark.parametrize(("error", "code"), [("GuardRefused", 3), ("UndoFailed", 4), ("InvalidInput", 2)])
def test_the_error_of_a_book_becomes_the_exit_code(shelf, error: str, code: int) -> None:
    shelf(f"from platform_lib.errors import {error}\nraise {error}('said so')")
    assert runbook.run("06").exit_code == code


def test_a_kernel_that_dies_fails_the_run_and_keeps_the_folder(shelf) -> None:
    shelf("import os\nos.kill(os.getpid(), 9)")
    result = runbook.run("06")
    assert result.status == "failed" and files(result.folder) >= WHOLE - {"output.ipynb"}


@pytest.mark.parametrize(
    ("values", "named"),
    [({"confrim": "x"}, "confrim"), ({"confirm": 3}, "confirm"), ({"dry_run": "yes"}, "dry_run")],
)
def test_wrong_parameters_are_refused_before_anything_starts(shelf, values: dict, named: str) -> None:
    project = shelf(RECORD)
    with pytest.raises(InvalidInput, match=named):
        runbook.run("06", values)
    assert not (project / "runs").exists()


def test_an_unknown_runbook_is_refused_with_the_list(shelf) -> None:
    shelf(RECORD)
    with pytest.raises(InvalidInput, match="02-deploy"):
        runbook.run("99-nothing")


def test_a_second_changing_run_is_refused_and_told_who_holds_the_lock(shelf) -> None:
    project = shelf(RECORD)
    with exclusive(project / "home", purpose="a test"), pytest.raises(Locked, match=rf"pid {os.getpid()} for a test"):
        runbook.run("06", {"dry_run": False})
    assert runbook.run("06", {"dry_run": False}).ok


def test_a_dry_run_needs_no_lock(shelf) -> None:
    project = shelf(RECORD)
    with exclusive(project / "home", purpose="a test"):
        assert runbook.run("06").ok


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_cell_clean_up_and_keeps_the_folder(shelf, tmp_path: Path, number: int) -> None:
    shelf(
        "import pathlib, time\ntry:\n    pathlib.Path('started').touch()\n    time.sleep(60)\n"
        "finally:\n    pathlib.Path('undone').touch()",
        "pathlib.Path('went-on').touch()",
    )
    code = "import sys\nfrom platform_lib import runbook\nsys.exit(runbook.run('06').exit_code)"
    runner = subprocess.Popen([sys.executable, "-c", code])
    give_up = time.monotonic() + 30
    while not (tmp_path / "started").exists() and time.monotonic() < give_up:
        time.sleep(0.02)
    children = psutil.Process(runner.pid).children(recursive=True)
    runner.send_signal(number)
    assert runner.wait(20) == 1
    assert (tmp_path / "undone").exists() and not (tmp_path / "went-on").exists()
    assert not psutil.wait_procs(children, timeout=10)[1], "the kernel outlived its run"
    (folder,) = (tmp_path / "runs").glob("*-06-teardown-*")
    assert json.loads((folder / "result.json").read_text())["status"] == "interrupted"
    assert files(folder) >= WHOLE


def test_a_killed_runner_is_listed_as_lost(shelf, tmp_path: Path) -> None:
    shelf("import pathlib, time\npathlib.Path('started').touch()\ntime.sleep(60)")
    runner = subprocess.Popen([sys.executable, "-c", "from platform_lib import runbook\nrunbook.run('06')"])
    give_up = time.monotonic() + 30
    while not (tmp_path / "started").exists() and time.monotonic() < give_up:
        time.sleep(0.02)
    children = psutil.Process(runner.pid).children(recursive=True)
    runner.kill()
    runner.wait()
    assert runbook.runs()[0]["status"] == "lost"
    assert not psutil.wait_procs(children, timeout=15)[1], "the kernel outlived its run"


def test_runs_that_go_on_side_by_side_do_not_disturb_each_other(shelf) -> None:
    shelf(RECORD)
    code = "import sys\nfrom platform_lib import runbook\nsys.exit(runbook.run('06').exit_code)"
    runners = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [runner.wait(60) for runner in runners] == [0, 0, 0, 0]
    assert [run["status"] for run in runbook.runs()] == ["passed"] * 4
