"""Which alerts should have fired? The objectives' own rules, replayed over the archived counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from platform_lib.archive import Archive
from platform_lib.rules import backtest
from platform_lib.rules.downtime import utc
from platform_lib.rules.slo import Objective, Rule, duration, rules_of

if TYPE_CHECKING:
    import pandas as pd

NOT_ASSESSED = "not assessed: no service level objective of the application was counted in the window"
_NOTE = "from the rules of the objectives, replayed over the archived counts; what was silent says why."


@dataclass(frozen=True, slots=True)
class Expected:
    """What a rule of an objective would have done.

    Attributes:
        name: Objective and rule.
        severity: ``page`` or ``ticket``.
        fires_at: When it would have fired; None when it would have stayed silent.
        why: The value and the rule.
    """

    name: str
    severity: str
    fires_at: datetime | None
    why: str


def promised(archive: Archive) -> Objective | None:
    """Return the availability objective of the application at its true scale, None where it has none."""
    found = [one for one in archive.objectives if one.kind == "availability" and one.time_scale == 1.0]
    return found[0] if found else None


def assess(archive: Archive, started: datetime | None) -> tuple[tuple[Expected, ...], str]:
    """Replay the objectives of the application.

    Args:
        archive: The evidence.
        started: Onset; firing before it does not count. None takes the whole window.

    Returns:
        One entry per page rule and per ticket rule that fires, and where they come from or why none was assessed.
    """
    since = started or archive.start
    counted = [(one, archive.counts[one.uid]) for one in archive.objectives if one.uid in archive.counts]
    found = [entry for one, counts in counted for entry in _replayed(one, counts, since)]
    return (tuple(found), _NOTE) if found else ((), NOT_ASSESSED)


def _replayed(objective: Objective, counts: pd.DataFrame, since: datetime) -> list[Expected]:
    """Replay the four rules of one objective."""
    import numpy as np

    times = counts.index.as_unit("ns").asi8 / 1e9  # type: ignore[attr-defined]
    bad, total = counts["bad"].to_numpy(float), counts["total"].to_numpy(float)
    done = backtest.replay(
        times, bad, total, rules_of(objective), budget=objective.budget, min_bad=objective.min_bad_events
    )
    after = times >= since.timestamp()
    found = []
    for one in done:
        hits = np.flatnonzero(one.firing & after)
        if len(hits) or one.rule.severity == "page":
            at = utc(float(times[hits[0]])) if len(hits) else None
            why = _fired(one.rule) if len(hits) else _silent(one, after, bad, objective)
            found.append(Expected(f"{objective.uid}, {one.rule.name}", one.rule.severity, at, why))
    return found


def _fired(rule: Rule) -> str:
    """Say what made a rule fire."""
    spans = f"{duration(rule.long_s)} and {duration(rule.short_s)}"
    return f"burned more than {rule.factor:g} times the allowed rate over {spans}"


def _silent(one: backtest.Replay, after: object, bad: object, objective: Objective) -> str:
    """Say why a rule stayed silent."""
    import numpy as np

    window = np.asarray(after, dtype=bool)
    if (one.silenced & window).any():
        return f"fewer than {objective.min_bad_events:g} bad events: silenced by the guard for low traffic"
    seen = float(np.asarray(bad, dtype=float)[window].sum())
    spans = f"{duration(one.rule.long_s)} and {duration(one.rule.short_s)}"
    return f"{seen:.0f} bad events did not burn {one.rule.factor:g} times the allowed rate over {spans}"
