"""How well does the platform take a beating, and is it getting better? A score across drills, and its trend.

Every drill leaves one file in ``home/drills/results``; the score is the weighted share of passed drills, over the
newest result of each scenario. Skipped drills are named and left out: what was not tried is no success.

Source: the resilience score of LitmusChaos, sum of weight times pass ratio over sum of weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from platform_lib.drills.measure import spread
from platform_lib.model import to_json

Status = Literal["pass", "fail", "inconclusive", "not_enough_data", "aborted", "interrupted", "undo_failed", "skipped"]
KEEP = 2000
"""Result files that are read; older ones stay on disk."""


@dataclass(frozen=True, slots=True)
class Result:
    """One drill, as it is kept.

    Attributes:
        id: UTC time and scenario; also its folder's name.
        batch: Drills that belong together (``--repeat``, ``drill all``).
        scenario, title, why, expected, weight: From the scenario file.
        status: The verdict, or how the drill ended without one.
        reason: One sentence.
        proved: What is known now that was not before.
        started_at, finished_at: UTC, ISO 8601.
        figures: Measures.
        checks: Name, status, value, rule and reason of each check.
        marks: Named moments in seconds from the fault.
        bins: Requests in equal stretches, for the small picture.
        platform: Name of the platform.
    """

    id: str
    batch: str
    scenario: str
    title: str
    why: str
    expected: str
    weight: int
    status: Status
    reason: str
    proved: str
    started_at: str
    finished_at: str
    figures: dict[str, Any] = field(default_factory=dict)
    checks: list[dict[str, str]] = field(default_factory=list)
    marks: list[tuple[str, float]] = field(default_factory=list)
    bins: list[dict[str, float]] = field(default_factory=list)
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One scenario's part of the score."""

    scenario: str
    weight: int
    passed: int
    tried: int
    skipped: str
    newest: Result

    @property
    def ratio(self) -> float | None:
        """Share of passed drills; None when it was skipped."""
        return self.passed / self.tried if self.tried else None


@dataclass(frozen=True, slots=True)
class Score:
    """The weighted share of passed drills, 0 to 1; None when nothing was tried."""

    value: float | None
    lines: tuple[Line, ...]
    finished_at: str = ""

    @property
    def tried(self) -> int:
        """Scenarios that were tried."""
        return sum(line.tried > 0 for line in self.lines)

    def words(self) -> str:
        """Say the score in one sentence."""
        skipped = len(self.lines) - self.tried
        share = "no drill yet" if self.value is None else f"score {self.value:.0%} over {self.tried} scenarios"
        return share + (f", {skipped} skipped" if skipped else "")


def folder(home: Path) -> Path:
    """Return where the results are."""
    return home / "drills" / "results"


def keep(result: Result, home: Path) -> Path:
    """Write a result; an existing one of that id is replaced at once and whole."""
    place = folder(home)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = place / f"{result.id}.json"
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(to_json(asdict(result)), indent=1, default=str))
    fresh.replace(path)
    return path


def results(home: Path) -> list[Result]:
    """Return the results, oldest first; a file that cannot be read is left out."""
    found = [_read(path) for path in sorted(folder(home).glob("*.json"))[-KEEP:]]
    return [result for result in found if result is not None]


def score(found: Sequence[Result]) -> Score:
    """Return the score over the newest batch of each scenario.

    Args:
        found: Results, oldest first.

    Returns:
        Sum of weight times pass ratio over sum of weights; only ``pass`` counts as passed. Scenarios whose newest
        result is ``skipped`` are listed and weigh nothing.
    """
    newest = {result.scenario: result.batch for result in found}
    lines = tuple(
        _line([r for r in found if (r.scenario, r.batch) == (scenario, batch)])
        for scenario, batch in sorted(newest.items())
    )
    weights = sum(line.weight for line in lines if line.tried)
    gained = sum(line.weight * (line.ratio or 0.0) for line in lines)
    return Score(gained / weights if weights else None, lines, found[-1].finished_at if found else "")


def trend(found: Sequence[Result]) -> list[Score]:
    """Return the score after each batch, oldest first."""
    ends = [index for index, one in enumerate(found) if index + 1 == len(found) or found[index + 1].batch != one.batch]
    return [score(found[: end + 1]) for end in ends]


def spreads(found: Iterable[Result]) -> dict[str, tuple[float, float, float]]:
    """Return median, smallest and largest of every measure that all of these drills have.

    Raises:
        ValueError: No result was given.
    """
    tried = [one.figures for one in found if one.figures]
    names = [name for name in tried[0] if all(_number(figures.get(name)) for figures in tried)] if tried else []
    return {name: spread([float(figures[name]) for figures in tried]) for name in names}


def proof(drill_expected: str, status: str, reason: str, figures: dict[str, Any]) -> str:
    """Say what a drill proved, in one sentence that claims no more than it saw."""
    if status == "pass":
        sent = figures.get("requests_sent", 0)
        return f"{drill_expected} Seen by {sent} requests."
    if status == "fail":
        return f"The platform did not do what was expected: {reason}."
    return f"Nothing: {reason}."


def _line(group: list[Result]) -> Line:
    """Sum one scenario's newest batch up."""
    tried = [one for one in group if one.status != "skipped"]
    passed = sum(one.status == "pass" for one in tried)
    last = group[-1]
    return Line(last.scenario, last.weight, passed, len(tried), "" if tried else last.reason, last)


def _number(value: Any) -> bool:
    """Whether a measure is a number; flags are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read(path: Path) -> Result | None:
    """Read one result; None for a file that is none."""
    try:
        return Result(**json.loads(path.read_text()))
    except (ValueError, TypeError):
        return None
