"""A picture of a rollout: labels never touch, every version has a look of its own, the verdict is in words."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_lib import plots
from platform_lib.model import Verdict
from platform_lib.plots import panels

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def record(status: str, *, failing: str = "2", marks: tuple[tuple[str, float], ...]) -> Any:
    count = 600
    version = np.where((np.arange(count) > 200) & (np.arange(count) % 2 == 0), "2", "1").astype(object)
    bad = (version == "2") & (np.arange(count) % 10 == 0)
    version[bad] = failing
    frame = pd.DataFrame(
        {
            "intended_at": pd.to_datetime(START) + pd.to_timedelta(np.arange(count) * 0.02, unit="s"),
            "latency_ms": np.linspace(2, 40, count),
            "version": version,
            "ok": ~bad,
        }
    )
    columns = ["pod", "version", "created_at", "deleted_at", "ready_spans"]
    rows = [("web-aaaaa", "1", at(-9), None, [(at(-8), None)]), ("web-bbbbb", "2", at(3), at(9), [(at(4), at(8))])]
    lanes = pd.DataFrame(rows, columns=columns)
    return SimpleNamespace(
        samples=frame, pods=lanes, verdict=Verdict(status, "errors of new: 10.0% failed " * 12), old_version="1",
        new_version="2", marks=tuple((name, at(second)) for name, second in marks), detection=None,
        scenario=SimpleNamespace(title="Pod loss"),
    )  # fmt: skip


FAILED = (("change", 3.0), ("detected", 4.0), ("recovered", 7.0), ("proven", 9.0), ("end", 9.1))
PASSED = (("change", 3.0), ("rolled_out", 5.0), ("judged", 11.0), ("end", 11.0))


def words(figure: Any) -> str:
    from matplotlib.text import Text

    figure.savefig(io.BytesIO(), format="png")
    return " | ".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize(
    ("status", "marks", "said"),
    [
        ("fail", FAILED, ("FAIL", "RECOVERED", "detected")),
        ("pass", PASSED, ("PASS", "before", "rolled out")),
        ("not_enough_data", PASSED, ("NOT ENOUGH DATA",)),
        ("fail", (*FAILED[:3], ("not_proven", 9.0)), ("NOT PROVEN",)),
    ],
)
def test_the_verdict_is_in_words_and_units_are_named(status: str, marks: Any, said: tuple[str, ...]) -> None:
    shown = words(plots.rollout(record(status, marks=marks)))
    for text in (*said, "(ms)", "(%)", "per second", "seconds since the probe started"):
        assert text in shown


def test_failures_are_counted_by_the_version_that_gave_them_or_by_nobody() -> None:
    shown = words(plots.rollout(record("fail", marks=FAILED)))
    assert "39 of 600 failed (2: 39)" in shown and "no answer" not in shown
    shown = words(plots.rollout(record("fail", failing="", marks=FAILED)))
    assert "(no answer: 39)" in shown


def test_a_drill_needs_no_pods() -> None:
    shown = words(plots.drill(record("pass", marks=(("fault", 3.0), ("detected", 4.0), ("recovered", 6.0)))))
    assert "Pod loss" in shown and "Pods" not in shown


def test_versions_differ_without_colour() -> None:
    found = panels.looks(["1", "2", "3"])
    assert len({(look.hatch, look.line, look.marker) for look in found.values()}) == 4


@given(st.lists(st.tuples(st.text("abc def", min_size=1, max_size=18), st.floats(0, 60)), max_size=12))
def test_no_two_labels_touch(marks: list[tuple[str, float]]) -> None:
    letter_s = 0.6
    boxes: dict[int, list[tuple[float, float]]] = {}
    for text, second, row, leftwards in panels.rows_of(marks, 60.0, letter_s=letter_s):
        width_s = (len(text) + 3) * letter_s
        boxes.setdefault(row, []).append((second - width_s, second) if leftwards else (second, second + width_s))
    for spans in boxes.values():
        ordered = sorted(spans)
        assert all(first[1] < second[0] for first, second in pairwise(ordered))
