from __future__ import annotations

import multiprocessing
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_lib import journal
from platform_lib.errors import InvalidInput
from platform_lib.journal import Journal, record
from platform_lib.model import App, Platform

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def write(folder: Path, *moments: datetime, source: str = "git", kind: str = "commit") -> None:
    book = Journal(None, record=folder)
    for number, at in enumerate(moments):
        book.append(source, kind, App().name, at=at, number=number)


def numbers(frame) -> list[int]:
    return [data["number"] for data in frame["data"]]


def test_each_day_has_its_file_and_a_window_opens_only_its_own(folder: Path, monkeypatch) -> None:
    write(folder, *(NOON + timedelta(days=day) for day in range(5)))
    assert [day.isoformat() for day in journal.days(folder)] == [f"2026-03-0{day}" for day in range(1, 6)]
    opened = []
    monkeypatch.setattr(record, "_lines", lambda path, real=record._lines: opened.append(path.name) or real(path))
    window = journal.frame(folder, start=NOON + timedelta(days=1), end=NOON + timedelta(days=2, seconds=1))
    assert numbers(window) == [1, 2] and opened == ["2026-03-02.jsonl", "2026-03-03.jsonl"]


def test_a_window_takes_its_start_and_leaves_its_end(folder: Path) -> None:
    write(folder, NOON, NOON + timedelta(seconds=1), NOON + timedelta(seconds=2))
    assert numbers(journal.frame(folder, start=NOON, end=NOON + timedelta(seconds=2))) == [0, 1]


def test_filters_hold_before_and_after_compaction(folder: Path) -> None:
    write(folder, NOON, NOON + timedelta(hours=1))
    write(folder, NOON + timedelta(minutes=1), source="drill", kind="fault")
    asked = {"source": ["drill", "git"], "kind": "fault", "subject": "sample-app", "run_id": ""}
    before, everything = journal.frame(folder, **asked), journal.frame(folder)
    assert len(before) == 1 and len(everything) == 3
    journal.compact(folder, before=date(2026, 3, 2))
    assert not list(folder.glob("*.jsonl"))
    assert journal.frame(folder).to_dict("records") == everything.to_dict("records")
    assert journal.frame(folder, **asked).to_dict("records") == before.to_dict("records")


def test_an_open_day_is_not_compacted(folder: Path) -> None:
    Journal(None, record=folder).append("git", "commit", "sample-app")
    assert journal.compact(folder) == [] and len(list(folder.glob("*.jsonl"))) == 1


def test_a_late_record_of_a_compacted_day_is_read_and_joined(folder: Path) -> None:
    write(folder, NOON, NOON + timedelta(hours=2))
    journal.compact(folder, before=date(2026, 3, 2))
    Journal(None, record=folder).append("argocd", "operation", "sample-app", at=NOON + timedelta(hours=1), number=9)
    assert numbers(journal.frame(folder)) == [0, 9, 1]
    journal.compact(folder, before=date(2026, 3, 2))
    assert numbers(journal.frame(folder)) == [0, 9, 1] and not list(folder.glob("*.jsonl"))


@pytest.mark.parametrize("crash_at", ["_write_parquet", "unlink"])
def test_a_crash_while_compacting_neither_loses_nor_doubles(folder: Path, monkeypatch, crash_at: str) -> None:
    write(folder, NOON, NOON + timedelta(hours=2))

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*((record, crash_at, crash) if crash_at != "unlink" else (Path, "unlink", crash)))
        with pytest.raises(KeyboardInterrupt):
            journal.compact(folder, before=date(2026, 3, 2))
    assert numbers(journal.frame(folder)) == [0, 1]
    write(folder, NOON + timedelta(hours=1))
    assert sorted(numbers(journal.frame(folder))) == [0, 0, 1]
    journal.compact(folder, before=date(2026, 3, 2))
    journal.compact(folder, before=date(2026, 3, 2))
    assert sorted(numbers(journal.frame(folder))) == [0, 0, 1]
    assert {path.suffix for path in folder.iterdir()} == {".parquet"}


def _append(folder: Path, name: str, count: int) -> None:
    book = Journal(None, record=folder)
    for number in range(count):
        book.append("test", "line", name, at=NOON + timedelta(seconds=number), number=number)


def test_nothing_is_lost_when_others_write_while_a_day_is_compacted(folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append, args=(folder, name, 300)) for name in "ab"]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        journal.compact(folder, before=date(2026, 3, 2))
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    found = journal.frame(folder)
    assert found.groupby("subject").size().to_dict() == {"a": 300, "b": 300} and found["uid"].is_unique


def test_a_torn_line_does_not_spoil_the_next(folder: Path) -> None:
    write(folder, NOON)
    with (folder / "2026-03-01.jsonl").open("a") as file:
        file.write('{"utc":"2026-03-01T12:00:01')
    write(folder, NOON + timedelta(seconds=2))
    assert len(journal.frame(folder)) == 2


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4 * 86_400), max_size=40), st.integers(0, 4), st.integers(0, 3), st.integers(0, 10_000))
def test_any_window_of_any_layout_gives_what_was_written(tmp_path_factory, seconds, first, length, seed) -> None:
    folder = tmp_path_factory.mktemp("days") / "journal"
    moments = [NOON + timedelta(seconds=second) for second in seconds]
    write(folder, *moments)
    if random.Random(seed).random() < 0.5:
        journal.compact(folder, before=date(2026, 3, 1) + timedelta(days=first))
    start, end = NOON + timedelta(days=first), NOON + timedelta(days=first + length)
    wanted = [number for number, at in enumerate(moments) if start <= at < end]
    assert numbers(journal.frame(folder, start=start, end=end)) == sorted(wanted, key=lambda n: moments[n])


def test_a_commit_is_one_fact_whoever_reports_it(folder: Path) -> None:
    book = Journal(None, record=folder)
    book.append("git", "commit", App().name, commit="abc123", message="Deploy sample-app 1.1.0", author="apqx")
    book.append("git", "commit", App().name, cause="deploy 1.1.0", commit="abc123")
    book.append("git", "commit", App().name, commit="def456")
    found = journal.frame(folder)
    assert list(found["uid"]) == ["abc123", "def456"] and list(found["cause"]) == ["deploy 1.1.0", ""]
    assert found["data"][0]["message"] == "Deploy sample-app 1.1.0"


def test_a_run_writes_into_its_own_journal_and_into_the_record(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("APQX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("APQX_JOURNAL", str(tmp_path / "20260301-run" / "journal.jsonl"))
    (tmp_path / "home").mkdir()
    journal.current().append("drill", "fault", "pod-loss")
    own = journal.read(tmp_path / "20260301-run" / "journal.jsonl").to_dict("records")
    assert own == journal.frame(tmp_path / "home").to_dict("records") and own[0]["run_id"] == "20260301-run"


def test_without_a_platform_nothing_is_kept(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("APQX_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("APQX_JOURNAL", raising=False)
    journal.current().append("drill", "fault", "pod-loss")
    assert not (tmp_path / "none").exists()


def test_a_record_that_is_not_there_or_a_window_that_means_nothing_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="has no days"):
        journal.frame(tmp_path / "elsewhere")
    write(folder, NOON)
    with pytest.raises(InvalidInput, match="expected to end later"):
        journal.frame(folder, start=NOON, end=NOON - timedelta(seconds=1))
    with pytest.raises(InvalidInput, match="has no time zone"):
        journal.frame(folder, start=datetime(2026, 3, 1))


def test_a_platform_is_a_place_of_a_record(tmp_path: Path) -> None:
    write(tmp_path / "journal", NOON)
    urls = ("http://p", "http://i", "repo")
    platform = Platform("apqx", "embedded", tmp_path / "k", "apqx", *urls, home=tmp_path)
    assert numbers(journal.frame(platform)) == [0]
