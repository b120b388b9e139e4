"""What do probe samples prove? Availability, outages as intervals and worst window: pure arithmetic.

Source: wrk2 (latency from the intended send time), Hauer et al., "Meaningful Availability", NSDI 2020;
the rule of three for zero failures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from platform_lib.model import Outage, ProbeResult

_Z95 = 1.6449
"""Upper one-sided 95 % point of the normal distribution."""


class Samples(NamedTuple):
    """Probe samples as columns in the order of intended send time."""

    intended: npt.NDArray[np.float64]
    lag_ms: npt.NDArray[np.float32]
    latency_ms: npt.NDArray[np.float32]
    status: npt.NDArray[np.uint16]
    error: npt.NDArray[np.str_]
    version: npt.NDArray[np.str_]
    pod: npt.NDArray[np.str_]

    @property
    def good(self) -> npt.NDArray[np.bool_]:
        """Tell which requests were answered with 200 to 399: the probe asks for a page that must exist."""
        return (self.status >= 200) & (self.status < 400)

    def between(self, since: float = -np.inf, until: float = np.inf) -> Samples:
        """Keep samples whose intended time (Unix seconds) lies in [since, until)."""
        keep = (self.intended >= since) & (self.intended < until)
        return Samples._make(column[keep] for column in self)


def failure_upper_bound(failed: int, sent: int) -> float | None:
    """Return the upper 95 % bound of the failure ratio.

    Zero failures in n probes prove no more than 3/n; otherwise the bound of Wilson's score interval.
    None when nothing was sent.
    """
    if sent == 0:
        return None
    if failed == 0:
        return min(1.0, 3.0 / sent)
    ratio, z2 = failed / sent, _Z95**2
    middle = ratio + z2 / (2 * sent)
    spread = _Z95 * sqrt(ratio * (1 - ratio) / sent + z2 / (4 * sent * sent))
    return min(1.0, (middle + spread) / (1 + z2 / sent))


def outages(intended: Sequence[float] | npt.NDArray[Any], good: Any, period_s: float) -> tuple[Outage, ...]:
    """Return stretches of consecutive failures, each as an interval.

    Args:
        intended: Send times in Unix seconds, ascending.
        good: Whether each request succeeded.
        period_s: Time d between two probes.

    Returns:
        k failures in a row put the true outage in ((k-1)d, (k+1)d).
    """
    bad = ~np.asarray(good, dtype=bool)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], bad.astype(np.int8), [0]))))
    found = []
    for first, after in zip(edges[::2], edges[1::2], strict=True):
        count = int(after - first)
        found.append(
            Outage(
                started_at=utc(float(intended[first])),
                ended_at=utc(float(intended[after - 1]) + period_s),
                failed=count,
                lower_s=(count - 1) * period_s,
                upper_s=(count + 1) * period_s,
            )
        )
    return tuple(found)


def worst_window(samples: Samples, window_s: float = 1.0) -> float | None:
    """Return the lowest availability of any window of ``window_s``; None when there is no full one."""
    times = samples.intended
    if len(times) == 0:
        return None
    good = np.concatenate(([0], np.cumsum(samples.good)))
    first = np.searchsorted(times, times - window_s, side="right")
    last = np.arange(1, len(times) + 1)
    full = times - times[0] >= window_s - 1e-3
    ratios = (good[last] - good[first]) / (last - first)
    return float(ratios[full].min()) if full.any() else None


def summarise(samples: Samples, *, url: str, rate_rps: float) -> ProbeResult:
    """Reduce samples to a result; percentiles are of successful requests, None when there was none."""
    sent, good = len(samples.intended), samples.good
    failed = int(sent - good.sum())
    latency = samples.latency_ms[good]
    span_s = float(samples.intended[-1] - samples.intended[0]) + 1.0 / rate_rps if sent else 0.0
    kinds = np.where(samples.error != "", samples.error, samples.status.astype(str))[~good]
    return ProbeResult(
        url=url,
        rate_rps=rate_rps,
        started_at=utc(float(samples.intended[0])) if sent else datetime.fromtimestamp(0, UTC),
        duration_s=span_s,
        sent=sent,
        failed=failed,
        availability=1.0 - failed / sent if sent else None,
        failure_upper_bound=failure_upper_bound(failed, sent),
        p50_ms=_percentile(latency, 50),
        p95_ms=_percentile(latency, 95),
        p99_ms=_percentile(latency, 99),
        lag_p99_ms=_percentile(samples.lag_ms, 99),
        worst_window_availability=worst_window(samples),
        outages=outages(samples.intended, good, 1.0 / rate_rps),
        errors=dict(sorted(Counter(str(kind) for kind in kinds).items())),
    )


def cut(samples: Samples, length_s: float) -> Iterator[Samples]:
    """Cut samples in order of time into stretches of at most ``length_s`` seconds; empty ones are left out."""
    slots = ((samples.intended - samples.intended[:1]) // length_s).astype(np.int64)
    edges = np.flatnonzero(np.diff(slots)) + 1
    for begin, end in pairwise([0, *edges.tolist(), len(slots)]):
        if end > begin:
            yield Samples._make(column[begin:end] for column in samples)


def _percentile(values: npt.NDArray[Any], rank: float) -> float | None:
    """Return a percentile, None for no values."""
    return float(np.percentile(values, rank)) if len(values) else None


def utc(seconds: float) -> datetime:
    """Turn Unix seconds into an aware time."""
    return datetime.fromtimestamp(seconds, UTC)


def recovered_at(samples: Samples, since: float, *, good_in_a_row: int) -> float | None:
    """Return when service was back: the first of K good probes in a row after the first failure since then.

    Args:
        samples: Ordered samples.
        since: Unix seconds of the fault.
        good_in_a_row: K; a single lucky answer is no recovery.

    Returns:
        Intended send time in Unix seconds; None when nothing failed since, or service is not back.
    """
    part = samples.between(since)
    bad = np.flatnonzero(~part.good)
    if len(bad) == 0:
        return None
    run = 0
    for index in range(int(bad[0]) + 1, len(part.intended)):
        run = run + 1 if part.good[index] else 0
        if run >= good_in_a_row:
            return float(part.intended[index - good_in_a_row + 1])
    return None
