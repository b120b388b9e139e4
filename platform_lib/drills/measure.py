"""What do a drill's figures mean? Computed from the probe's samples and the drill's moments; no I/O.

Every span is above 0 or None: what could not be told apart is said to be unknown, never 0.

Source: Hauer et al., "Meaningful Availability", NSDI 2020 (windows); the Apdex specification 1.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np

from platform_lib.rules import downtime, slo
from platform_lib.rules.downtime import Samples

GOOD_IN_A_ROW = 10
"""Answers in a row that make a service count as back: one lucky answer is no recovery."""
APDEX_T_S = 0.1
OBJECTIVE = 0.999
PERIOD_DAYS = 30
WINDOWS_S = (1, 10, 60)
SLOW_IN_A_ROW = 5
RESOLUTION_S = 0.005
"""Moments closer than this come from one look: nobody can tell their order."""
_DAY_S = 86400

SPANS = ("detect_s", "decide_s", "restore_s", "verify_s")


@dataclass(frozen=True, slots=True)
class Objective:
    """What the service owes its users, for the budget that a drill burns."""

    ratio: float = OBJECTIVE
    period_days: float = PERIOD_DAYS


def figures(
    samples: Samples,
    marks: Mapping[str, datetime],
    *,
    rate_rps: float,
    objective: Objective | None = None,
    apdex_t_s: float = APDEX_T_S,
) -> dict[str, Any]:
    """Derive the figures of a drill.

    Args:
        samples: All requests of the probe, also those before the fault.
        marks: Moments ``fault``, ``detected``, ``decided``, ``recovered``, ``verified``, as far as they came.
        rate_rps: Probe rate, requests per second.
        objective: For the budget; default 99.9 % over 30 days.
        apdex_t_s: Answers within T satisfy, within 4 T are tolerated, failures frustrate.

    Returns:
        Counts and ratios are of the requests from the fault on. ``availability_ratio`` is good of all requests,
        ``time_ratio`` the share of whole seconds that met the objective, ``worst_1s_ratio`` (``10s``, ``60s``) the
        lowest availability of any such window, absent where the drill was shorter. ``outage_lower_s`` and
        ``outage_upper_s`` bound the summed length of the stretches of failures; the upper one is at least one
        probe interval, which is what a probe without a failure cannot rule out. ``rto_s`` is the sum of
        ``detect_s``, ``decide_s``, ``restore_s`` and ``verify_s``; None where the drill did not get there, and a
        part is None where the looks could not tell it from the next one.
    """
    wanted = objective or Objective()
    fault = marks["fault"].timestamp()
    part = samples.between(fault)
    seen = downtime.summarise(part, url="", rate_rps=rate_rps)
    lower_s, upper_s = seen.outage_s
    return {
        **split(marks),
        **_service(samples, fault, rate_rps),
        "requests_sent": seen.sent,
        "requests_lost": seen.failed,
        "availability_ratio": seen.availability,
        "loss_upper_bound_ratio": seen.failure_upper_bound,
        "time_ratio": time_ratio(part, wanted.ratio),
        **{f"worst_{size}s_ratio": worst for size in WINDOWS_S if (worst := _worst(part, size)) is not None},
        "outages": len(seen.outages),
        "outage_lower_s": round(lower_s, 3),
        "outage_upper_s": round(max(upper_s, 1.0 / rate_rps), 3),
        "budget_burned_ratio": _burned(seen.failed, seen.sent, rate_rps, wanted),
        "apdex": apdex(part, apdex_t_s),
        "apdex_t_s": apdex_t_s,
        "latency_p99_ms": seen.p99_ms,
        "probe_rps": rate_rps,
        "probe_lag_p99_ms": downtime.summarise(samples, url="", rate_rps=rate_rps).lag_p99_ms or 0.0,
    }


def split(marks: Mapping[str, datetime]) -> dict[str, float | None]:
    """Split the time from fault to verified steady state at the moments that came, in their proper order.

    Returns:
        ``rto_s`` and its parts in seconds. Parts add up to ``rto_s``. A moment that is missing, or cannot be told
        from the one before it, leaves its part None: its time belongs to the next part.
    """
    names = dict(zip(("detected", "decided", "recovered", "verified"), SPANS, strict=True))
    found: dict[str, float | None] = {"rto_s": None, **dict.fromkeys(SPANS)}
    if "recovered" not in marks or "verified" not in marks:
        names = {"detected": "detect_s", "decided": "decide_s"}
    kept = ["fault"]
    for name in names:
        if name in marks and _apart(marks[kept[-1]], marks[name]) and _before_the_end(marks, name):
            kept.append(name)
    for before, after in pairwise(kept):
        found[names[after]] = _seconds(marks[before], marks[after])
    if "verified" in kept:
        found["rto_s"] = round(sum(found[name] or 0.0 for name in SPANS), 6)
    return found


def time_ratio(samples: Samples, wanted: float, window_s: float = 1.0) -> float | None:
    """Return the share of whole windows whose availability was at least ``wanted``; None without one."""
    if len(samples.intended) == 0:
        return None
    slot = ((samples.intended - samples.intended[0]) // window_s).astype(int)
    sent, good = np.bincount(slot), np.bincount(slot, weights=samples.good)
    whole = slice(0, len(sent) - 1 or 1)
    used = sent[whole] > 0
    return float((good[whole][used] / sent[whole][used] >= wanted).mean()) if used.any() else None


def apdex(samples: Samples, t_s: float) -> float | None:
    """Return (satisfied + tolerated / 2) / all for threshold T; None when nothing was sent."""
    if len(samples.intended) == 0:
        return None
    good, latency_s = samples.good, samples.latency_ms / 1000
    satisfied = int((good & (latency_s <= t_s)).sum())
    tolerated = int((good & (latency_s > t_s) & (latency_s <= 4 * t_s)).sum())
    return (satisfied + tolerated / 2) / len(good)


def client_noticed(samples: Samples, fault: datetime) -> tuple[datetime, str] | None:
    """Return when a client first noticed the fault: a lost request, or five in a row far slower than before.

    Far slower is above both 100 ms and five times the p99 before the fault.
    """
    after, before = samples.between(fault.timestamp()), samples.between(until=fault.timestamp())
    found = []
    lost = np.flatnonzero(~after.good)
    if len(lost):
        found.append((downtime.utc(float(after.intended[lost[0]])), "a request was lost"))
    usual = downtime.summarise(before, url="", rate_rps=1.0).p99_ms or 0.0
    limit_ms = max(5 * usual, 100.0)
    slow = _first_run(after.good & (after.latency_ms > limit_ms), SLOW_IN_A_ROW)
    if slow is not None:
        found.append(
            (downtime.utc(float(after.intended[slow])), f"requests slower than {max(5 * usual, 100.0):.0f} ms")
        )
    return min(found, default=None)


def bins(samples: Samples, fault: datetime, count: int = 60) -> list[dict[str, float]]:
    """Reduce the requests to ``count`` equal stretches for a small picture.

    Returns:
        ``t_s`` (start, relative to the fault), ``sent``, ``lost`` and ``p99_ms`` per stretch that has requests.
    """
    times = samples.intended
    if len(times) == 0:
        return []
    edges = np.linspace(times[0], np.nextafter(times[-1], np.inf), count + 1)
    slot = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, count - 1)
    return [
        {
            "t_s": round(float(edges[index]) - fault.timestamp(), 3),
            "sent": int((slot == index).sum()),
            "lost": int(((slot == index) & ~samples.good).sum()),
            "p99_ms": round(float(np.percentile(samples.latency_ms[slot == index], 99)), 3),
        }
        for index in np.unique(slot)
    ]


def spread(values: list[float]) -> tuple[float, float, float]:
    """Return median, smallest and largest of at least one value."""
    return float(np.median(values)), min(values), max(values)


def _service(samples: Samples, fault: float, rate_rps: float) -> dict[str, Any]:
    """When the service was back for clients; the upper end of what the probe can tell, at least one interval."""
    part = samples.between(fault)
    if part.good.all():
        return {"service_rto_s": round(1.0 / rate_rps, 6)}
    back = downtime.recovered_at(samples, fault, good_in_a_row=GOOD_IN_A_ROW)
    last = float(part.intended[~part.good][-1]) + 1.0 / rate_rps
    return {"service_rto_s": None if back is None else round(max(last, back) - fault, 3)}


def _worst(samples: Samples, window_s: int) -> float | None:
    """Lowest availability of any whole window of that length."""
    return downtime.worst_window(samples, float(window_s))


def _burned(lost: int, sent: int, rate_rps: float, objective: Objective) -> float:
    """Share of the period's budget that these losses would use up at the probe's own rate."""
    period = rate_rps * objective.period_days * _DAY_S
    return slo.budget_burned(lost, sent, objective.ratio, period)


def _apart(first: datetime, second: datetime) -> bool:
    """Whether two moments can be told apart, the second being the later one."""
    return (second - first).total_seconds() >= RESOLUTION_S


def _before_the_end(marks: Mapping[str, datetime], name: str) -> bool:
    """Whether a moment lies before the recovery, where there was one."""
    return name in ("recovered", "verified") or "recovered" not in marks or marks[name] < marks["recovered"]


def _seconds(start: datetime, end: datetime) -> float:
    """Length of a span to the microsecond; 0 cannot occur because the moments are in order."""
    return round((end - start).total_seconds(), 6)


def _first_run(flags: Any, length: int) -> int | None:
    """Index of the first of ``length`` true values in a row."""
    if len(flags) < length:
        return None
    runs = np.convolve(flags.astype(int), np.ones(length, dtype=int), mode="valid")
    hits = np.flatnonzero(runs == length)
    return int(hits[0]) if len(hits) else None
