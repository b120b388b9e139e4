"""One book over many targets: side by side, in turns on one platform, one summary whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from platform_lib import fanout
from platform_lib.errors import InvalidInput
from platform_lib.fanout import Target

# Leaves its times; fails where it is told to; the state folder is the run's own.
BOOK = """
import json, os, pathlib, threading, time
begun = time.monotonic()
threading.Event().wait(0.6)
if confirm == "fail":
    raise ValueError("told to fail")
if confirm == "hang":
    pathlib.Path(os.environ["APQX_HOME"], "hangs").touch()
    threading.Event().wait(300)
mark = pathlib.Path(os.environ["APQX_HOME"]) / f"{confirm}.json"
mark.write_text(json.dumps([begun, time.monotonic()]))
"""


@pytest.fixture
def book(shelf: Any) -> Path:
    return shelf(BOOK)


def span(folder: Path, home: str, name: str) -> tuple[float, float]:
    begun, ended = json.loads((folder / home / f"{name}.json").read_text())
    return begun, ended


def targets(folder: Path, *wanted: tuple[str, str], dry_run: bool = False) -> list[Target]:
    for _, home in wanted:
        (folder / home).mkdir(exist_ok=True)
    values: dict[str, str | int | float | bool] = {"dry_run": dry_run}
    return [Target(name=n, home=folder / h, parameters={"confirm": n, **values}) for n, h in wanted]


def test_platforms_run_side_by_side_and_one_platform_takes_turns(book: Path) -> None:
    lines: list[str] = []
    found = fanout.run(
        "06", targets(book, ("a", "one"), ("b", "two"), ("c", "one")), at_once=4, progress=lines.append
    )  # fmt: skip
    assert found.ok, found
    a, b, c = span(book, "one", "a"), span(book, "two", "b"), span(book, "one", "c")
    assert max(a[0], c[0]) >= min(a[1], c[1]), "two runs changed one platform at the same time"
    assert b[0] < max(a[1], c[1]), "another platform waited for no reason"
    assert len(lines) == 3 and all("passed in" in line for line in lines)


def test_one_failure_is_a_row_and_stops_nothing(book: Path) -> None:
    found = fanout.run("06", targets(book, ("good", "one"), ("fail", "two"), ("fine", "three")), at_once=1)
    assert [row.status for row in found.results] == ["passed", "failed", "passed"] and not found.ok
    assert "told to fail" in found.results[1].message
    assert all(Path(row.evidence, "report.html").is_file() for row in found.results)
    kept = json.loads(found.path.read_text())
    assert [row["target"] for row in kept["results"]] == ["good", "fail", "fine"]
    assert "2 of 3 passed" in str(found)


def test_a_run_that_is_refused_says_why(book: Path) -> None:
    (two,) = targets(book, ("locked", "one"))
    from platform_lib.lock import exclusive

    with exclusive(book / "one", purpose="something else"):
        found = fanout.run("06", [two])
    assert found.results[0].status == "refused" and "something else" in found.results[0].message
    assert found.results[0].exit_code == 3


def test_ctrl_c_ends_every_run_and_the_summary_is_still_written(book: Path, tmp_path: Path) -> None:
    file = tmp_path / "targets.toml"
    entry = '[[target]]\nname = "{0}"\nhome = "{1}"\nparameters = {{ confirm = "hang", dry_run = false }}\n'
    file.write_text("".join(entry.format(name, book / name) for name in ("x", "y", "z")))
    apqx = str(Path(sys.executable).with_name("apqx"))
    process = subprocess.Popen(
        [apqx, "fan-out", "06", "--over", str(file), "--at-once", "2", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ), cwd=tmp_path,
    )  # fmt: skip
    for _ in range(1200):
        if sum((book / name / "hangs").exists() for name in "xyz") == 2:
            break
        threading.Event().wait(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    said = json.loads(out)
    assert process.returncode == 1, err
    assert [row["status"] for row in said["results"]] == ["interrupted", "interrupted", "not started"]
    assert Path(said["path"]).is_file()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected [[target]] entries"),
        ("x = 1", "expected [[target]] entries"),
        ("[[target]]\nname = 'a'\ncolour = 'red'", "target colour"),
        ("[[target]]\nname = '-'", "target name"),
        ("[[target", "not readable as TOML"),
    ],
)
def test_a_file_of_targets_that_is_wrong_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "targets.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as refused:
        fanout.read(path)
    assert words in str(refused.value)


def test_what_does_not_fit_the_book_is_refused_before_anything_starts(book: Path) -> None:
    with pytest.raises(InvalidInput, match="target b - 06-teardown parameters"):
        fanout.run("06", [Target(name="a"), Target(name="b", parameters={"colour": "red"})])
    with pytest.raises(InvalidInput, match="a - named more than once"):
        fanout.run("06", [Target(name="a"), Target(name="a")])
    with pytest.raises(InvalidInput, match="over 0 targets"):
        fanout.run("06", [])
    assert not (book / "runs").exists()
