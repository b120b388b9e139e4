from __future__ import annotations

import multiprocessing
from datetime import UTC
from pathlib import Path

from platform_lib import journal
from platform_lib.journal import Journal
from platform_lib.model import Check


def test_records_have_one_schema_and_read_back(tmp_path: Path) -> None:
    book = Journal(tmp_path / "run" / "journal.jsonl", run_id="r1")
    book.append(
        "git", "commit", "sample-app", cause="deploy 1.1.0", commit="abc", check=Check("a", "pass", "1", "r", "")
    )
    book.append("drill", "fault", "Pod/x")
    frame = book.frame()
    assert list(frame.columns) == list(journal.FIELDS)
    assert frame["utc"].is_monotonic_increasing and frame["utc"].iloc[0].tzinfo is not None
    assert frame["data"].iloc[0] == {
        "commit": "abc",
        "check": {"name": "a", "status": "pass", "value": "1", "rule": "r", "reason": ""},
    }
    assert set(frame["run_id"]) == {"r1"}
    assert str(frame["utc"].dt.tz) == str(UTC)


def test_secrets_do_not_get_in(tmp_path: Path) -> None:
    book = Journal(tmp_path / "j")
    book.append("x", "y", "z", api_token="canary", nested={"password": "canary", "Authorization": "canary"})
    assert "canary" not in (tmp_path / "j").read_text()


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    book = Journal(tmp_path / "j")
    book.append("x", "y", "z")
    with (tmp_path / "j").open("a") as file:
        file.write('{"utc": "2026-')
    assert len(book.frame()) == 1


def test_an_absent_journal_is_empty_and_typed(tmp_path: Path) -> None:
    frame = journal.read(tmp_path / "none")
    assert frame.empty and str(frame["utc"].dtype).startswith("datetime64")
    assert Journal(None).frame().empty


def _write(path: Path, name: str) -> None:
    book = Journal(path)
    for number in range(200):
        book.append("test", "line", name, number=number, filler="x" * 200)


def test_two_processes_append_whole_lines(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(tmp_path / "j", name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert journal.read(tmp_path / "j").groupby("subject").size().to_dict() == {"a": 200, "b": 200}


def test_the_journal_in_use_is_the_current_one(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("APQX_JOURNAL", raising=False)
    with journal.use(Journal(tmp_path / "j")) as book:
        assert journal.current() is book
    assert journal.current() is not book
