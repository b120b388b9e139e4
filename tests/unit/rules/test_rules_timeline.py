"""The merged timeline: one order, no fact twice, repeats counted, doubts said."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_lib.rules import timeline
from platform_lib.rules.wording import _WORDS, sentence

T0 = datetime(2026, 1, 5, 12, tzinfo=UTC)


def record(seconds: float, source: str = "kubernetes", kind: str = "event", subject: str = "Pod/a", **more) -> dict:
    utc = T0 + timedelta(seconds=seconds)
    seen = utc + timedelta(seconds=more.pop("late_s", 0))
    fixed = {"run_id": "", "cause": more.pop("cause", ""), "uid": more.pop("uid", "")}
    return {"utc": utc, "seen_utc": seen, "source": source, "kind": kind, "subject": subject, **fixed, "data": more}


RECORDS = st.lists(
    st.builds(
        lambda s, source, subject, reason, uid, late: record(
            s, source, subject=subject, reason=reason, uid=uid, late_s=late
        ),
        st.integers(0, 300),
        st.sampled_from(["kubernetes", "argocd", "git", "custom"]),
        st.sampled_from(["Pod/a", "Pod/b"]),
        st.sampled_from(["BackOff", "Pulled"]),
        st.sampled_from(["", "", "u1", "u2"]),
        st.sampled_from([0, 0, 5, -5]),
    ),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(RECORDS, st.randoms())
def test_the_order_does_not_depend_on_the_input(records: list[dict], dice: random.Random) -> None:
    shuffled = list(records)
    dice.shuffle(shuffled)
    assert timeline.merge(shuffled) == timeline.merge(records)


@settings(max_examples=100, deadline=None)
@given(RECORDS)
def test_folding_twice_is_folding_once_and_loses_nothing(records: list[dict]) -> None:
    merged = timeline.merge(records)
    assert timeline.fold(merged) == merged
    assert timeline.merge(records + records) == merged
    assert [entry.utc for entry in merged] == sorted(entry.utc for entry in merged)
    facts = {
        (r["source"], r["uid"]) if r["uid"] else (r["source"], str(r["utc"]), str(r["data"]), r["subject"])
        for r in records
    }
    assert sum(entry.records for entry in merged) == len(facts)


def test_a_fact_told_twice_by_its_source_appears_once_as_seen_first() -> None:
    first, again = record(0, uid="x", reason="Killing"), record(0, uid="x", reason="Killing", late_s=90)
    (entry,) = timeline.merge([again, first])
    assert (entry.count, entry.doubt) == (1, "")


def test_of_two_reports_of_one_fact_the_fuller_one_is_kept() -> None:
    short, full = (
        record(0, "git", "commit", uid="x", commit="x"),
        record(0, "git", "commit", uid="x", commit="x", author="Ann"),
    )
    assert timeline.merge([short, full]) == timeline.merge([full, short])
    assert timeline.merge([short, full])[0].text == "commit x by Ann"


def test_repeats_become_one_entry_with_a_count() -> None:
    merged = timeline.merge([record(i * 10, reason="BackOff", message="no") for i in range(17)])
    assert [entry.line for entry in merged] == ["Pod/a: BackOff: no (×17)"]
    assert (merged[0].last_utc - merged[0].utc).total_seconds() == 160


def test_the_count_of_the_source_is_kept() -> None:
    (entry,) = timeline.merge([record(0, reason="BackOff", count=9)])
    assert entry.line.endswith("(×9)")


def test_a_pause_starts_a_new_entry() -> None:
    merged = timeline.merge([record(0, reason="BackOff"), record(61, reason="BackOff")])
    assert [entry.count for entry in merged] == [1, 1]


def test_at_the_same_moment_the_cause_comes_first() -> None:
    merged = timeline.merge([record(0, "probe", "window"), record(0, "argocd", "health"), record(0, "git", "commit")])
    assert [entry.source for entry in merged] == ["git", "argocd", "probe"]


@pytest.mark.parametrize(
    ("late_s", "word"), [(0, ""), (2, ""), (-2, ""), (30, "learned 30.0 s after"), (-3, "ahead of our clock")]
)
def test_clock_doubts_are_marked(late_s: float, word: str) -> None:
    (entry,) = timeline.merge([record(0, late_s=late_s)])
    assert word in entry.doubt and bool(entry.doubt) == bool(word)
    assert entry.line.endswith("(?)") == bool(word)


@pytest.mark.parametrize(("seconds", "doubted"), [(-5, True), (-1, False), (3, False)])
def test_an_effect_before_its_cause_is_doubted(seconds: float, doubted: bool) -> None:
    merged = timeline.merge(
        [record(0, "git", "commit", "sample-app", commit="abc"), record(seconds, "argocd", "operation", revision="abc")]
    )
    assert [bool(entry.doubt) for entry in merged if entry.source == "argocd"] == [doubted]


def test_every_kind_reads_as_one_plain_line() -> None:
    for source, kind in _WORDS:
        text = sentence(record(0, source.replace("*", "deploy"), kind, "sample-app"))
        assert text and "\n" not in text and "{" not in text and "None" not in text, text


@pytest.mark.parametrize(
    ("given_", "text"),
    [
        (
            record(0, "argocd", "operation", "web", phase="Failed", revision="0123456789", message="no such image"),
            "Argo CD sync of web to 0123456 Failed: no such image",
        ),
        (record(0, "prometheus", "alert", alertname="Errors", state="firing"), "alert Errors fired"),
        (record(0, "git", "commit", commit="0123456789", author="Ann", message="a\nb"), "commit 0123456 by Ann: a"),
        (record(0, "probe", "window", "web", sent=9, failed=3), "probe of web: 3 of 9 requests failed"),
        (record(0, "new", "thing", "web", size=3, text="x" * 90), "new: thing web: size 3"),
    ],
)  # fmt: skip
def test_the_words_say_what_the_record_says(given_: dict, text: str) -> None:
    assert sentence(given_) == text
