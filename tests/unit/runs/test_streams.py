"""A reader that goes away silences a command and does not stop it; SIGTERM lets its clean-up run."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from platform_lib.operation import patient
from platform_lib.wait import until

LONG = """
import pathlib, sys
from platform_lib.cli import streams
from platform_lib.cli.output import steps
streams.prepare()
with steps() as progress:
    for number in range(3000):
        progress(f"stage {number} " + "x" * 200)
        print("y" * 200)
pathlib.Path(sys.argv[1]).touch()
sys.exit(7)
"""
WAITING = """
import pathlib, sys
from platform_lib.cli import streams
from platform_lib.wait import pause
streams.prepare()
try:
    print("ready", flush=True)
    pause(60)
finally:
    pathlib.Path(sys.argv[1]).touch()
"""


def test_a_command_whose_reader_went_away_does_all_its_work_and_keeps_its_exit_code(tmp_path: Path) -> None:
    done = tmp_path / "done"
    command = [sys.executable, "-c", LONG, str(done)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 7
    assert done.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_that_is_told_to_end_cleans_up(tmp_path: Path, number: int) -> None:
    done = tmp_path / "done"
    command = [sys.executable, "-c", WAITING, str(done)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(30) != 0
    assert done.exists()


def test_progress_goes_quiet_and_other_errors_are_not_hidden() -> None:
    calls: list[str] = []

    def closed(line: str) -> None:
        calls.append(line)
        raise BrokenPipeError

    say = patient(closed)
    say("one")
    say("two")
    assert calls == ["one"]


def test_progress_that_fails_for_another_reason_is_heard() -> None:
    def wrong(_line: str) -> None:
        raise AssertionError

    with pytest.raises(AssertionError):
        patient(wrong)("x")


def test_a_test_run_that_is_told_to_end_takes_down_what_its_fixtures_brought_up(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((Path(__file__).parents[2] / "conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(
        "import pathlib, time\nimport pytest\n"
        "@pytest.fixture(scope='session')\ndef live():\n    yield\n    pathlib.Path('down').touch()\n"
        "def test_it(live):\n    pathlib.Path('started').touch()\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:nbval", "-p", "no:nbmake", "-p", "no:cacheprovider", "."]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        started = tmp_path / "started"
        until(lambda: (started.exists() or None, "not started"), timeout_s=60, wanted="the test")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) != 0
    assert (tmp_path / "down").exists()
