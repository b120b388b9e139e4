"""How well does a service deliver? The five DORA metrics from commits and deployments, each with its interval.

Pure: frames in, estimates out. Figures are for one service; there is no rank and no badge, because what is good
depends on the service. Where too little was seen, that is said in place of a figure.

Source: dora.dev, "DORA's software delivery performance metrics" (five since 2024); Wilson (1927) for the rates;
Garwood (1936) for counts; Davidovic, "Incident Metrics in SRE" (2021) for the refusal to draw a trend.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from platform_lib.model import Check, Status, Verdict, _Table

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE = 0.95
SEED = 20
RESAMPLES = 5000
ENOUGH_FOR_INTERVAL = 5
ENOUGH_FOR_TREND = 100
"""Incidents per period. With 100 a true cut of 20 % still looks worse in 18 % of cases, with 10 in 37 %."""

CHANGE_COLUMNS = (
    "utc", "commit", "subject", "kind", "commits", "failed", "recovered_utc", "recovered_by", "recovery_s",
)  # fmt: skip
LEAD_COLUMNS = ("commit", "committed_utc", "deployed_utc", "lead_s")
_REVERTS = re.compile(r"^This reverts commit ([0-9a-f]{7,40})", re.MULTILINE)
_ROLLBACK = re.compile(r"^(Revert\b|Roll ?back\b)", re.IGNORECASE)
_HOTFIX = re.compile(r"\bhot-?fix\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Estimate:
    """One figure with its interval.

    Attributes:
        name: Which metric.
        value: The figure; None where nothing was seen.
        low, high: Interval of 95 %; None where there is too little for one.
        unit: ``s``, ``ratio`` or a count per hour, day or week.
        n: How many observations it rests on.
        how: The rule: what was counted, and how the interval came about.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    n: int
    how: str

    def line(self) -> str:
        """Return value, interval and count in words."""
        if self.value is None:
            return f"no data ({self.how})"
        between = "too few for an interval"
        if self.low is not None and self.high is not None:
            between = f"{_shown(self.low, self.unit)} to {_shown(self.high, self.unit)}"
        return f"{_shown(self.value, self.unit)} ({between}; n = {self.n})"


@dataclass(frozen=True, slots=True)
class Delivery(_Table):
    """The five metrics of one service over one window.

    ``notes`` says what was left out and why; ``trend`` is the verdict on recovery times.
    """

    app: str
    started_at: datetime
    ended_at: datetime
    estimates: tuple[Estimate, ...]
    trend: Verdict
    notes: tuple[str, ...] = ()

    def rows(self) -> list[tuple[str, str]]:
        """Return the window, one row per metric, the trend or its refusal, and the notes."""
        window = f"{self.started_at:%Y-%m-%d %H:%M:%S} to {self.ended_at:%Y-%m-%d %H:%M:%S} UTC"
        rows = [("service", self.app), ("window", window)]
        rows += [(estimate.name, estimate.line()) for estimate in self.estimates]
        rows += [("trend of recovery time", f"{self.trend.status}: {self.trend.reason}")]
        return rows + [("note", note) for note in self.notes]

    def estimate(self, name: str) -> Estimate:
        """Return one metric by its name."""
        return next(estimate for estimate in self.estimates if estimate.name == name)


def _shown(value: float, unit: str) -> str:
    """Show a figure with its unit, durations in the unit a person thinks in."""
    if unit == "ratio":
        return f"{value:.1%}"
    if unit != "s":
        return f"{value:.3g} {unit}"
    for limit, divisor, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h"), (math.inf, 86400, "days")):
        if value < limit:
            return f"{value / divisor:.3g} {name}"
    return f"{value:g} s"


def kind_of(message: str) -> str:
    """Return what a commit message says of its change: ``rollback``, ``hotfix`` or ``change``.

    git revert and a rollback here write "This reverts commit"; a fix out of turn has ``hotfix`` in its first line.

    Example:
        >>> kind_of("Deploy web 1.4.1-hotfix")
        'hotfix'
    """
    subject = message.strip().partition("\n")[0]
    if _REVERTS.search(message) or _ROLLBACK.match(subject):
        return "rollback"
    return "hotfix" if _HOTFIX.search(subject) else "change"


def in_force(commits: pd.DataFrame, deployments: pd.DataFrame) -> list[tuple[Any, str, Any]]:
    """Return (deployed, commit, ready) each time another commit of the application came into force.

    A revision that does not touch the application stands for the newest commit before it that does; the same
    commit deployed again (self-heal, retry) is no deployment.
    """
    known = commits.sort_values("utc", kind="stable")
    names = set(known["commit"])
    ready = deployments["ready_utc"] if "ready_utc" in deployments else [None] * len(deployments)
    rows = sorted(zip(deployments["utc"], deployments["commit"], ready, strict=True), key=lambda row: row[0])
    found: list[tuple[Any, str, Any]] = []
    for utc, commit, seen in rows:
        earlier = known.loc[known["utc"] <= utc, "commit"]
        name = commit if commit in names else (earlier.iloc[-1] if len(earlier) else "")
        if name and (not found or found[-1][1] != name):
            found.append((utc, name, seen))
        elif name and found[-1][2] != found[-1][2]:  # NaT: an earlier row of the same deployment did not know
            found[-1] = (found[-1][0], name, seen)
    return found


def changes(commits: pd.DataFrame, deployments: pd.DataFrame) -> pd.DataFrame:
    """Join commits and deployments into one row per deployment of a service.

    Args:
        commits: Columns ``utc``, ``commit``, ``message``: commits that touched the application.
        deployments: Columns ``utc`` (when Argo CD had deployed it), ``commit`` and, where known, ``ready_utc``
            (when it was seen to run on every pod).

    Returns:
        Columns ``CHANGE_COLUMNS``, oldest first. ``kind`` is change, hotfix or rollback; ``failed`` tells that
        the next deployment was a rollback or a hotfix; ``recovery_s`` counts from the bad deployment until that
        one ran (NaN for what did not fail). ``commits`` is how many commits came with it.
    """
    import pandas as pd

    order = list(commits.sort_values("utc", kind="stable")["commit"])
    messages = dict(zip(commits["commit"], commits["message"], strict=True))
    force = in_force(commits, deployments)
    place = [order.index(commit) for _, commit, _ in force]
    rows: list[dict[str, Any]] = []
    for index, (utc, commit, _) in enumerate(force):
        before = place[index - 1] if index else place[index] - 1
        kind = "rollback" if place[index] < before else kind_of(messages[commit])
        subject = str(messages[commit]).partition("\n")[0]
        rows.append({"utc": utc, "commit": commit, "subject": subject, "kind": kind,
                     "commits": max(place[index] - before, 0), "failed": False, "recovered_utc": pd.NaT,
                     "recovered_by": "", "recovery_s": math.nan})  # fmt: skip
    for bad, (row, (utc, commit, ready)) in zip(rows, zip(rows[1:], force[1:], strict=True), strict=False):
        if row["kind"] == "change" or bad["kind"] == "rollback":
            continue
        recovered = utc if pd.isna(ready) else max(utc, ready)
        bad |= {"failed": True, "recovered_utc": recovered, "recovered_by": commit,
                "recovery_s": (recovered - bad["utc"]).total_seconds()}  # fmt: skip
    frame = pd.DataFrame(rows, columns=list(CHANGE_COLUMNS))
    for column in ("utc", "recovered_utc"):
        frame[column] = pd.to_datetime(frame[column], utc=True).astype("datetime64[ns, UTC]")
    return frame


def lead_times(commits: pd.DataFrame, deployments: pd.DataFrame) -> pd.DataFrame:
    """Return how long each change waited from its commit until it was deployed.

    Returns:
        One row per commit that is no rollback and was deployed, alone or with later ones; columns
        ``LEAD_COLUMNS``, ``lead_s`` in seconds.
    """
    import pandas as pd

    ordered = commits.sort_values("utc", kind="stable").reset_index(drop=True)
    place = {commit: index for index, commit in enumerate(ordered["commit"])}
    rows, done = [], -1
    for position, (utc, commit, _) in enumerate(in_force(ordered, deployments)):
        last = place[commit]
        first = last if position == 0 else done + 1
        for index in range(first, last + 1):
            one = ordered.iloc[index]
            if kind_of(one["message"]) != "rollback":
                rows.append((one["commit"], one["utc"], utc, max((utc - one["utc"]).total_seconds(), 0.0)))
        done = max(done, last)
    return pd.DataFrame(rows, columns=list(LEAD_COLUMNS))


def ratio(name: str, hits: int, total: int, how: str) -> Estimate:
    """Estimate a rate with its Wilson interval.

    Source: Wilson (1927), by scipy.stats.binomtest.
    """
    if not total:
        return Estimate(name, None, None, None, "ratio", 0, how)
    from scipy.stats import binomtest

    interval = binomtest(hits, total).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    low, high = float(interval.low), float(interval.high)
    return Estimate(name, hits / total, low, high, "ratio", total, f"{hits} of {total}: {how}; Wilson interval")


def duration(name: str, values_s: Sequence[float], quantile: float, how: str) -> Estimate:
    """Estimate a quantile of durations with its bootstrap interval (percentile, seeded, so it is repeatable)."""
    import numpy as np

    seen = np.asarray([value for value in values_s if not math.isnan(value)], dtype=float)
    if not len(seen):
        return Estimate(name, None, None, None, "s", 0, how)
    value = float(np.quantile(seen, quantile))
    if len(seen) < ENOUGH_FOR_INTERVAL:
        return Estimate(name, value, None, None, "s", len(seen), f"{how}; an interval needs {ENOUGH_FOR_INTERVAL}")
    drawn = np.random.default_rng(SEED).choice(seen, size=(RESAMPLES, len(seen)))
    low, high = np.quantile(np.quantile(drawn, quantile, axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    how = f"{how}; bootstrap interval, {RESAMPLES} resamples"
    return Estimate(name, value, float(low), float(high), "s", len(seen), how)


def frequency(name: str, count: int, window_s: float, how: str) -> Estimate:
    """Estimate events per hour, day or week (by the length of the window) with the exact Poisson interval."""
    from scipy.stats import chi2

    unit_s, unit = next(
        (size, text)
        for limit, size, text in (
            (2 * 86400, 3600, "per hour"), (60 * 86400, 86400, "per day"), (math.inf, 7 * 86400, "per week")
        )
        if window_s <= limit
    )  # fmt: skip
    if window_s <= 0:
        return Estimate(name, None, None, None, unit, count, f"{how}; the window is empty")
    tail, per = (1 - CONFIDENCE) / 2, unit_s / window_s
    low = float(chi2.ppf(tail, 2 * count)) / 2 if count else 0.0
    high = float(chi2.ppf(1 - tail, 2 * count + 2)) / 2
    return Estimate(name, count * per, low * per, high * per, unit, count, f"{how}; exact Poisson interval")


def trend(recovery_s: Sequence[float]) -> Verdict:
    """Judge whether recovery got faster from the first to the second half of the failures, or refuse to.

    Returns:
        ``not_enough_data`` under 100 failures per half, with the reason; otherwise ``pass`` (faster), ``fail``
        (slower) or ``inconclusive``, by the bootstrap interval of the ratio of the two medians.
    """
    import numpy as np

    seen = np.asarray([value for value in recovery_s if not math.isnan(value)], dtype=float)
    half = len(seen) // 2
    rule = f"at least {ENOUGH_FOR_TREND} failures in each half of the window"
    if half < ENOUGH_FOR_TREND:
        reason = (
            f"{len(seen)} failures, a trend needs {2 * ENOUGH_FOR_TREND}: recovery times scatter so much that with 10"
            " in a period a true cut of 20 % still looks worse in 37 of 100 cases; read the list of failures instead"
        )
        check = Check("failures", "not_enough_data", str(len(seen)), rule, reason)
        return Verdict("not_enough_data", reason, (check,))
    draw = np.random.default_rng(SEED)
    first, second = (
        np.median(draw.choice(part, (RESAMPLES, len(part))), axis=1) for part in (seen[:half], seen[half:])
    )
    low, high = (float(edge) for edge in np.quantile(second / np.maximum(first, 1e-9), [0.025, 0.975]))
    status: Status = "pass" if high < 1 else "fail" if low > 1 else "inconclusive"
    word = {"pass": "shorter", "fail": "longer", "inconclusive": "not told apart"}[status]
    reason = f"the second half's median is {low:.2f} to {high:.2f} times the first half's: {word}"
    check = Check("ratio of medians", status, f"{low:.2f} to {high:.2f}", "all of the interval below 1", word)
    return Verdict(status, reason, (check,))


def delivery(
    app: str,
    commits: pd.DataFrame,
    deployments: pd.DataFrame,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Delivery:
    """Compute the five metrics of one service.

    Args:
        app: Name of the service.
        commits: See ``changes``.
        deployments: See ``changes``; a history that forgets (Argo CD keeps ten rows) gives a short window.
        start: Begin of the window by the time of deployment; None, or a time before the first deployment that
            is known, means that one: a frequency over days nobody recorded would be too low.
        end: End of the window; None for the last deployment.

    Returns:
        Lead time, frequency, recovery time, fail rate and rework rate, with what was left out in ``notes``.
    """
    every, leads = changes(commits, deployments), lead_times(commits, deployments)
    first, last = _window(every, start, end)
    rows = every[(every["utc"] >= first) & (every["utc"] <= last)]
    lead_s = list(leads.loc[leads["deployed_utc"].between(first, last), "lead_s"])
    planned = rows[rows["kind"] != "rollback"]
    failures = list(rows.loc[rows["failed"], "recovery_s"])
    rework = int((rows["kind"] != "change").sum())
    window_s = (last - first).total_seconds()
    waited = "from the commit in the GitOps repository until Argo CD had deployed it"
    healed = "from a failed deployment until the rollback or hotfix ran"
    estimates = (
        duration("change lead time, median", lead_s, 0.5, waited),
        duration("change lead time, p90", lead_s, 0.9, waited),
        frequency("deployment frequency", len(planned), window_s, "deployments without rollbacks"),
        duration("failed deployment recovery time, median", failures, 0.5, healed),
        ratio("change fail rate", len(failures), len(planned), "deployments that a rollback or hotfix followed"),
        ratio("deployment rework rate", rework, len(rows), "deployments that are a rollback or a hotfix"),
    )
    return Delivery(app, first, last, estimates, trend(failures), _notes(commits, every, rows, start))


def _window(every: pd.DataFrame, start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    """Return the window: what was asked for as far as something is known of it, else all deployments."""
    nothing = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    known = every["utc"].iloc[0].to_pydatetime() if len(every) else start or end or nothing
    first = max(start or known, known)
    return first, end or (every["utc"].iloc[-1].to_pydatetime() if len(every) else first)


def _notes(commits: pd.DataFrame, every: pd.DataFrame, rows: pd.DataFrame, start: datetime | None) -> tuple[str, ...]:
    """Say what the figures leave out."""
    notes = ["lead time starts at the commit that names the image; review and build before it are not in it"]
    if len(every):
        if start and start < every["utc"].iloc[0]:
            notes.append(
                f"nothing is known before {every['utc'].iloc[0]:%Y-%m-%d %H:%M:%S}, so the window begins there"
            )
        since = commits[commits["utc"] >= every["utc"].iloc[0]]
        skipped = sorted(set(since["commit"]) - set(every["commit"]))
        if skipped:
            notes.append(f"{len(skipped)} commits never came into force alone: overtaken, or refused by the cluster")
    open_ones = len(rows) and not rows["failed"].iloc[-1] and rows["kind"].iloc[-1] != "rollback"
    if open_ones:
        notes.append("the last deployment may still turn out to have failed")
    return tuple(notes)


def table(found: Delivery) -> Mapping[str, list[Any]]:
    """Return the metrics as columns: metric, value, low, high, unit, n, how."""
    columns = ("value", "low", "high", "unit", "n", "how")
    made: dict[str, list[Any]] = {"metric": [estimate.name for estimate in found.estimates]}
    return made | {column: [getattr(estimate, column) for estimate in found.estimates] for column in columns}
