"""A run that was killed goes on where it stopped, or says why it must not; small books, no platform."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from platform_lib import runbook
from platform_lib.errors import GuardRefused, InvalidInput, Locked
from platform_lib.evidence import verify_manifest
from platform_lib.runbook import folder as folders
from platform_lib.wait import until

CANARY = "canary/4f1d+7c0e9ab35286"
RECORD = (
    "from platform_lib import notebook\nfrom platform_lib.model import Outcome\nfrom platform_lib.wait import now\n"
    "notebook.record(Outcome('test', True, now(), now()), key_figure='ok')"
)
STEPS = (
    "from pathlib import Path\nfrom platform_lib import steps\nfrom platform_lib.wait import pause",
    "def note(name):\n    with Path('done').open('a') as file:\n        file.write(name)\n    return name",
    "print('first', steps.once('first', inputs={}, act=lambda: note('1')))",
    "second = lambda: (note('2'), pause(0 if Path('go').exists() else 60))",
    "print('second', steps.once('second', inputs={}, act=second))",
)
START = "import sys\nfrom platform_lib import runbook\nsys.exit(runbook.run('06', {}).exit_code)"


def kill_at(project: Path, seen: str) -> Path:
    """Start a run, kill runner and kernel once the book wrote ``seen``; return its folder."""
    runner = subprocess.Popen([sys.executable, "-c", START])
    marks = project / "done"
    until(
        lambda: (True if marks.exists() and seen in marks.read_text() else None, "not there yet"),
        timeout_s=60,
        wanted="the second step",
    )
    family = [psutil.Process(runner.pid), *psutil.Process(runner.pid).children(recursive=True)]
    for process in family:
        os.kill(process.pid, signal.SIGKILL)
    runner.wait()
    psutil.wait_procs(family[1:], timeout=15)
    (folder,) = (project / "runs").glob("*-06-teardown-*")
    return folder


@pytest.fixture
def killed(shelf, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was killed in its second step; it would get through now."""
    monkeypatch.setenv("MY_TOKEN", CANARY)
    project = shelf(*STEPS, f"print({CANARY!r})", RECORD)
    folder = kill_at(project, "12")
    (project / "go").touch()
    return folder


def test_a_killed_run_is_resumed_and_its_finished_step_is_not_done_again(killed: Path) -> None:
    assert runbook.runs()[0]["status"] == "lost"
    assert CANARY not in (killed / "output.ipynb").read_text(), "not even while it ran"
    told: list[str] = []
    result = runbook.resume(killed.name, progress=told.append)
    assert result.ok and result.folder == killed and result.key_figure == "ok"
    assert (killed.parents[1] / "done").read_text() == "122", "the first step was done once"
    assert [(s["step"], s["event"]) for s in result.steps] == [
        ("first", "finished"), ("second", "cut off"), ("first", "skipped"), ("second", "finished")
    ]  # fmt: skip
    assert "with the same inputs, and its check passes again" in result.steps[2]["why"]
    assert "cut off" in result.steps[3]["why"]
    assert len(result.attempts) == 2 and {"output.1.ipynb", "output.ipynb"} <= {p.name for p in killed.iterdir()}
    journal = [json.loads(line) for line in (killed / "journal.jsonl").read_text().splitlines()]
    assert [(r["source"], r["kind"]) for r in journal] == [("run", "started"), ("run", "started"), ("run", "finished")]
    assert verify_manifest(killed) == [] and not (killed / "steps").exists()
    assert leaking(killed) == []
    with pytest.raises(InvalidInput, match="has passed"):
        runbook.resume(killed.name)


def leaking(folder: Path) -> list[str]:
    """Files in which the canary can be found in any spelling."""
    raw = CANARY.encode()
    inside = [base64.b64encode(bytes(n) + raw)[(n * 4 + 2) // 3 : (n + len(raw)) * 4 // 3] for n in range(3)]
    spellings = [raw, quote(CANARY, safe="").encode(), *inside]
    files = [p for p in folder.rglob("*") if p.is_file()]
    return [p.name for p in files if any(text in p.read_bytes() for text in spellings)]


def test_a_run_that_may_not_be_resumed_is_refused_and_left_as_it_was(killed: Path) -> None:
    before = {p: p.read_bytes() for p in killed.rglob("*") if p.is_file()}
    shelf = killed.parents[1] / "runbooks" / "06-teardown.ipynb"
    book = shelf.read_text()
    with pytest.raises(InvalidInput, match=r"other parameters: confirm='x' \(the run has ''\)"):
        runbook.resume(killed.name, {"confirm": "x"})
    shelf.write_text(book.replace("first", "another"))
    with pytest.raises(GuardRefused, match="the book 06-teardown changed since it began"):
        runbook.resume(killed.name)
    shelf.write_text(book)
    (killed / "input.ipynb").write_text(book.replace("first", "another"))
    with pytest.raises(GuardRefused, match=r"was altered: input\.ipynb"):
        runbook.resume(killed.name)
    (killed / "input.ipynb").write_bytes(before[killed / "input.ipynb"])
    with folders.working(killed), pytest.raises(Locked, match="still goes on"):
        runbook.resume(killed.name)
    with pytest.raises(InvalidInput, match="none in"):
        runbook.resume("20200101T000000Z-no-such-run")
    assert {p: p.read_bytes() for p in killed.rglob("*") if p.is_file()} == before


def test_a_failed_run_whose_evidence_was_altered_is_not_gone_on_with(shelf) -> None:
    project = shelf("from pathlib import Path\nassert Path('go').exists(), 'not yet'", RECORD)
    result = runbook.run("06")
    assert result.status == "failed"
    journal = result.folder / "journal.jsonl"
    text = journal.read_text()
    journal.write_text(text + "{}\n")
    with pytest.raises(GuardRefused, match=r"was altered: journal\.jsonl: content changed"):
        runbook.resume(result.run_id)
    journal.write_text(text)
    (project / "go").touch()
    again = runbook.resume(result.run_id)
    assert again.ok and (result.folder / "result.1.json").is_file() and verify_manifest(result.folder) == []


def test_a_dry_run_that_tries_to_change_something_is_stopped(shelf) -> None:
    project = shelf("from platform_lib import cluster\ncluster.up()", RECORD)
    result = runbook.run("06")
    assert result.exit_code == 3 and result.error is not None and "read-only" in result.error["message"]
    assert not (project / "home" / "cluster").exists()


PRINTS = (
    "import base64, sys, urllib.parse\nfrom platform_lib import journal, notebook, settings\n"
    "secret = settings.variable('MY_TOKEN')",
    "sys.stdout.write(secret[:7])\nsys.stdout.flush()\nsys.stderr.write('x')\nsys.stderr.flush()\n"
    "sys.stdout.write(secret[7:])\nsys.stdout.flush()",
    "print(base64.b64encode(b'user:' + secret.encode()).decode(), urllib.parse.quote(secret, safe=''))",
    "journal.current().append('drill', 'fault', secret, note=secret)",
    "from matplotlib.figure import Figure\nfigure = Figure()\nfigure.suptitle(secret)\n"
    "figure.savefig(notebook.settings().run_dir / 'figures' / 'f.svg', metadata={'Title': secret})\nsecret",
    RECORD,
    "raise ValueError(secret)",
)


def test_a_secret_that_a_book_prints_is_in_no_file_and_on_no_line_of_the_terminal(shelf, monkeypatch) -> None:
    monkeypatch.setenv("MY_TOKEN", CANARY)
    shelf(*PRINTS)
    lines: list[str] = []
    result = runbook.run("06", progress=lines.append)
    assert result.status == "failed" and result.error is not None
    assert leaking(result.folder.parents[1] / "home") == []
    assert leaking(result.folder) == [] and CANARY not in "".join(lines) + str(result)
    for name in ("output.ipynb", "journal.jsonl", "report.html", "result.json", "figures/f.svg"):
        assert "(redacted)" in (result.folder / name).read_text(), name
    assert verify_manifest(result.folder) == []
