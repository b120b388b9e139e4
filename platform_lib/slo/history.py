"""What would have paged? Counts over time, labelled incidents from the record, and the back-test of the rules.

Everything works from frames alone, so a back-test runs on another machine, without the platform.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from platform_lib.errors import InvalidInput, NoData
from platform_lib.model import Platform, _Table
from platform_lib.rules.backtest import Episode, Incident, Replay, Score, episodes, replay, score, wilson
from platform_lib.rules.slo import Objective, budget_burned, duration, rules_of
from platform_lib.slo.spec import WINDOW
from platform_lib.wire import prometheus

if TYPE_CHECKING:
    import pandas as pd

_OPENING = {"incident": ("opened",), "drill": ("injected", "fault")}
_CLOSING = {"incident": ("mitigated", "resolved"), "drill": ("recovered", "undone", "verified")}
"""An incident is over for its users when it is mitigated; what comes after is work of the people on duty."""


def history(
    platform: Platform, objective: Objective, *, start: datetime, end: datetime, step_s: float | None = None
) -> pd.DataFrame:
    """Return bad and all events per step.

    Args:
        platform: Where.
        objective: Its queries are asked with the step as their window.
        start: First point, aware.
        end: Last point.
        step_s: Default a fifth of the shortest window, at least 5 s: a rate needs a few scrapes.

    Returns:
        UTC index ``time``, float columns ``bad`` and ``total``; 0 where there was none. ``attrs`` hold
        ``objective`` and ``step_s``.

    Raises:
        NoData: There was no event at all.
    """
    import pandas as pd

    step_s = step_s or max(5.0, rules_of(objective)[0].short_s / 5)
    with prometheus.connect(platform) as client:
        total = _counted(client, objective.total_query, start, end, step_s)
        try:
            bad = _counted(client, objective.error_query, start, end, step_s)
        except NoData:
            bad = 0 * total
    frame = pd.DataFrame({"bad": bad.reindex(total.index), "total": total}).fillna(0.0).clip(lower=0.0)
    frame.attrs = {"objective": objective.uid, "step_s": step_s}
    return frame


def _counted(client: prometheus.Client, query: str, start: datetime, end: datetime, step_s: float) -> pd.Series[float]:
    """Return events per step."""
    promql = f"sum({query.replace(WINDOW, duration(step_s))}) * {step_s:g}"
    return client.range(promql, start=start, end=end, step_s=step_s).iloc[:, 0]


def incidents(record: pd.DataFrame, service: str = "") -> list[Incident]:
    """Return the labelled incidents of a record.

    Args:
        record: Frame of ``journal.frame``: incidents (``opened`` to ``mitigated`` or ``resolved``) and drills
            (``fault`` or ``injected`` to ``recovered``); a drill that is also an incident counts once.
        service: Only of this application; empty takes all.

    Returns:
        In order of time; one without an end lasts until the end of the data.
    """
    begun: dict[str, Incident] = {}
    for row in record.sort_values("utc", kind="stable").to_dict("records"):
        source, data = row["source"], row["data"] if isinstance(row["data"], Mapping) else {}
        if source not in _OPENING or not _concerns(service, row["subject"], data):
            continue
        name = str(data.get("incident") or row["cause"] or row["run_id"] or row["subject"])
        moment, known = row["utc"].timestamp(), begun.get(name)
        if row["kind"] in _OPENING[source] and known is None:
            begun[name] = Incident(name, moment, None)
        elif row["kind"] in _CLOSING[source] and known is not None and known.end_s is None:
            begun[name] = known._replace(end_s=moment)
    return sorted(begun.values(), key=lambda incident: incident.start_s)


def _concerns(service: str, subject: str, data: Mapping[str, Any]) -> bool:
    """Tell whether a record is about the service."""
    named = data.get("service") or data.get("app")
    return not service or service in (subject, named)


@dataclass(frozen=True, slots=True)
class Backtest(_Table):
    """What the rules would have done with a history.

    Attributes:
        objective: Whose rules.
        start_s, end_s: Unix seconds of the first and last count.
        bad, total: Events of the history.
        replays: Per rule: when it fired, when only the guard for low traffic kept it silent.
        times_s: Unix seconds of the counts.
        pages: The page rules together against the incidents.
        alerts: All four rules together against the incidents.
    """

    objective: Objective
    start_s: float
    end_s: float
    bad: float
    total: float
    replays: tuple[Replay, ...]
    times_s: Any
    pages: Score
    alerts: Score

    def rows(self) -> list[tuple[str, str]]:
        """Return the history, each rule, and how well pages and all alerts fit the incidents."""
        burned = budget_burned(self.bad, self.total, self.objective.objective)
        rows = [
            ("objective", f"{self.objective.uid}: {self.objective.percent:g} %"),
            ("history", f"{_clock(self.start_s)} to {_clock(self.end_s)} UTC ({_length(self.end_s - self.start_s)})"),
            ("events", f"{self.bad:.0f} bad of {self.total:.0f}; {burned:.1%} of their budget"),
        ]
        rows += [(one.rule.name, self._said(one)) for one in self.replays]
        for name, found in (("pages", self.pages), ("pages and tickets", self.alerts)):
            rows += [(f"{name}: {label}", text) for label, text in _scored(found)]
        return rows

    def facts(self) -> dict[str, Any]:
        """Return the result as plain JSON values; what could not be measured is null."""
        scores = {"pages": self.pages, "alerts": self.alerts}
        return {
            "objective": self.objective.uid,
            "start_s": self.start_s,
            "end_s": self.end_s,
            "bad": self.bad,
            "total": self.total,
            "rules": {one.rule.name: [*map(tuple, episodes(self.times_s, one.firing))] for one in self.replays},
            **{name: _facts(found) for name, found in scores.items()},
        }

    def _said(self, one: Replay) -> str:
        """Return when a rule would have fired, and what kept it silent."""
        found = episodes(self.times_s, one.firing)
        quiet = len(episodes(self.times_s, one.silenced))
        text = "; ".join(_span(episode) for episode in found[:4]) or "would not have fired"
        text += f"; {len(found) - 4} more" if len(found) > 4 else ""
        text += f"; silenced {quiet} times below {self.objective.min_bad_events:g} bad events" if quiet else ""
        return text if one.complete else f"{text} (history shorter than its {duration(one.rule.long_s)})"

    def frame(self) -> pd.DataFrame:
        """Return one row per incident: ``incident``, ``start``, ``end``, ``page_s``, ``alert_s``, ``reset_s``."""
        import pandas as pd

        rows = [
            {
                "incident": page.incident.name,
                "start": pd.Timestamp(page.incident.start_s, unit="s", tz="UTC"),
                "end": pd.Timestamp(page.incident.end_s, unit="s", tz="UTC") if page.incident.end_s else pd.NaT,
                "page_s": page.detect_s,
                "alert_s": alert.detect_s,
                "reset_s": page.reset_s,
            }
            for page, alert in zip(self.pages.matches, self.alerts.matches, strict=True)
        ]
        return pd.DataFrame(rows, columns=["incident", "start", "end", "page_s", "alert_s", "reset_s"])


def backtest(
    counts: pd.DataFrame | Platform,
    objective: Objective,
    incidents: Iterable[Incident] = (),
    *,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Backtest:
    """Replay the four rules of an objective over a history and hold the result against labelled incidents.

    Args:
        counts: Frame of ``history`` (UTC index, columns ``bad`` and ``total``), or a platform to ask.
        objective: Whose rules.
        incidents: Labelled trouble, see ``incidents``; those outside the history are left out.
        start: First moment; needed with a platform.
        end: Last moment; needed with a platform.

    Raises:
        InvalidInput: The frame has other columns, or its steps are longer than the shortest window.
        NoData: The history is shorter than the long window of the fastest rule: nothing could be said.
    """
    frame = _history_of(counts, objective, start, end)
    four = rules_of(objective)
    times = frame.index.as_unit("ns").asi8 / 1e9  # type: ignore[attr-defined]
    _enough(frame, times, objective)
    bad, total = frame["bad"].to_numpy(float), frame["total"].to_numpy(float)
    done = replay(times, bad, total, four, budget=objective.budget, min_bad=objective.min_bad_events)
    labelled = _within(incidents, float(times[0]), float(times[-1]))
    return Backtest(
        objective,
        float(times[0]),
        float(times[-1]),
        float(frame["bad"].sum()),
        float(frame["total"].sum()),
        tuple(done),
        times,
        _score(times, [one for one in done if one.rule.severity == "page"], labelled, four[0].short_s),
        _score(times, done, labelled, four[0].short_s),
    )


def _history_of(
    counts: pd.DataFrame | Platform, objective: Objective, start: datetime | None, end: datetime | None
) -> pd.DataFrame:
    """Return the counts to replay, in order of time."""
    if isinstance(counts, Platform):
        if start is None or end is None:
            raise InvalidInput("back-test - a platform needs start and end, both expected", hint="pass both times")
        return history(counts, objective, start=start, end=end)
    if not {"bad", "total"} <= set(counts.columns):
        raise InvalidInput(
            f"back-test - columns {', '.join(map(str, counts.columns))}, bad and total are needed",
            hint="export the frame of slo.history",
        )
    chosen = counts.sort_index()
    return chosen.loc[start or chosen.index.min() : end or chosen.index.max()] if len(chosen) else chosen  # type: ignore[misc]


def _enough(frame: pd.DataFrame, times: Any, objective: Objective) -> None:
    """Refuse a history that cannot carry a statement."""
    import numpy as np

    fastest = rules_of(objective)[0]
    span = float(times[-1] - times[0]) if len(times) else 0.0
    if span < fastest.long_s or not frame["total"].sum() > 0:
        raise NoData(
            f"back-test of {objective.uid} - history of {_length(span)} with {frame['total'].sum():.0f} events, "
            f"at least {duration(fastest.long_s)} with events are needed for {fastest.name}",
            hint="take a longer window, or wait",
        )
    step = float(np.median(np.diff(times)))
    if step > fastest.short_s:
        raise InvalidInput(
            f"back-test - steps of {step:g} s, at most {fastest.short_s:g} s show the shortest window",
            hint="export with a smaller step_s",
        )


def _within(found: Iterable[Incident], first: float, last: float) -> list[Incident]:
    """Return the incidents that the history could show."""
    return [one for one in found if one.start_s <= last and (one.end_s is None or one.end_s >= first)]


def _score(times: Any, done: Sequence[Replay], labelled: Sequence[Incident], grace_s: float) -> Score:
    """Score rules that are heard together: one stretch of any of them firing is one alert."""
    import numpy as np

    return score(episodes(times, np.any([one.firing for one in done], axis=0)), labelled, grace_s=grace_s)


def _facts(found: Score) -> dict[str, Any]:
    """Return a score as plain JSON values."""
    return {
        "episodes": [tuple(one) for one in found.episodes],
        "false": len(found.false),
        "precision": found.precision,
        "recall": found.recall,
        "incidents": [
            {"name": match.incident.name, "detect_s": match.detect_s, "reset_s": match.reset_s}
            for match in found.matches
        ],
    }


def _scored(found: Score) -> list[tuple[str, str]]:
    """Return precision, recall and times in words; nothing is claimed of nothing."""
    said = f"{len(found.episodes)}, {len(found.false)} of them outside any incident"
    right, noticed = len(found.episodes) - len(found.false), len(found.detected)
    detect = sorted(match.detect_s for match in found.detected if match.detect_s is not None)
    reset = sorted(match.reset_s for match in found.matches if match.reset_s is not None)
    missed = [match.incident.name for match in found.matches if match.detect_s is None]
    rows = [
        ("alerts", said),
        ("precision", _share(right, len(found.episodes), "no alert: nothing to be right about")),
        ("recall", _share(noticed, len(found.matches), "no labelled incident: not measurable")),
    ]
    rows += [("missed", ", ".join(missed))] if missed else []
    rows += [("detected after", _times(detect))] if detect else []
    rows += [("over after the end", _times(reset))] if reset else []
    return rows


def _share(part: int, whole: int, none: str) -> str:
    """Return a share with its 95 % interval."""
    if not whole:
        return none
    low, high = wilson(part, whole)
    return f"{part} of {whole} ({part / whole:.0%}, 95 % interval {low:.0%} to {high:.0%})"


def _times(seconds: Sequence[float]) -> str:
    """Return median and worst of some times."""
    return f"median {_length(seconds[len(seconds) // 2])}, worst {_length(seconds[-1])}"


def _span(episode: Episode) -> str:
    """Return begin and length of an episode."""
    if episode.end_s is None:
        return f"{_clock(episode.start_s)} until the end"
    return f"{_clock(episode.start_s)} for {_length(episode.end_s - episode.start_s)}"


def _length(seconds: float) -> str:
    """Return a length of time in whole seconds."""
    return duration(round(seconds))


def _clock(moment_s: float) -> str:
    """Return a moment as date and time."""
    from datetime import UTC

    return datetime.fromtimestamp(moment_s, UTC).strftime("%m-%d %H:%M:%S")
