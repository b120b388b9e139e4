"""Which series shows the trouble best? Good and bad requests per interval, from the sharpest source there is.

Probe samples date an incident to a fraction of a second, probe windows to some seconds, Prometheus to its look-back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from platform_lib.archive import Archive
from platform_lib.metrics import RATE_WINDOW_S
from platform_lib.rules import changepoint
from platform_lib.rules.incident import Moment, unknown

if TYPE_CHECKING:
    import pandas as pd

_BINS_S = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0)
_BINS = 240
"""Intervals a window is cut into, at most: what the change-point was tried with."""


@dataclass(frozen=True)
class Signal:
    """Requests per interval.

    Attributes:
        table: One row per interval: ``time`` (its begin), ``total``, ``bad``, ``latency_ms`` (90th percentile of good
            requests, NaN where unknown).
        bin_s: Length of an interval.
        origin: Where the numbers come from.
        early_s: By how much the source may show a fault too late or too early, beside the interval itself.
    """

    table: pd.DataFrame
    bin_s: float
    origin: str
    early_s: float = 0.0


@dataclass(frozen=True)
class Symptom:
    """When the symptoms began and ended, as the signal shows it."""

    started: Moment
    mitigated: Moment
    what: str
    onset: changepoint.Onset


def choose(archive: Archive) -> Signal | None:
    """Return the sharpest signal that covers enough of the window; None when nothing was recorded."""
    candidates = (_from_samples, _from_windows, _from_signals)
    found = [signal for make in candidates if (signal := make(archive)) is not None]
    able = [signal for signal in found if len(signal.table) >= changepoint.MIN_POINTS]
    return next(iter(able or found), None)


def symptom(signal: Signal | None) -> Symptom:
    """Date the onset and the end of the symptoms: failures first, else latency."""
    if signal is None:
        return _none("no probe and no metric in the record covers the window", changepoint.onset([]))
    failures = changepoint.onset(signal.table["bad"].to_numpy(dtype=float))
    if failures.index is not None:
        return _dated(signal, failures, "failed requests")
    latency = signal.table["latency_ms"].ffill().bfill()
    slow = changepoint.onset(latency.to_numpy(dtype=float), kind="latency")
    if slow.index is not None and (slow.after or 0) > 1.5 * (slow.before or 0):
        return _dated(signal, slow, "slow requests")
    return _none(failures.reason, failures)


def _none(why: str, onset: changepoint.Onset) -> Symptom:
    """Return a symptom that could not be dated."""
    return Symptom(unknown("started", why), unknown("mitigated", "the start is not known"), "", onset)


def _dated(signal: Signal, onset: changepoint.Onset, what: str) -> Symptom:
    """Turn sample numbers into moments; an interval begins where its first sample does and ends where its last does."""
    times = [moment.to_pydatetime() for moment in signal.table["time"]]
    if onset.index is None or onset.low is None or onset.high is None:
        return _none(onset.reason, onset)
    bin_ = timedelta(seconds=signal.bin_s)
    low = times[onset.low] - timedelta(seconds=signal.early_s)
    per_s = f"{_per_s(onset.before, signal)} to {_per_s(onset.after, signal)}" if what == "failed requests" else ""
    how = f"change-point of {what} in {signal.origin}{', ' + per_s + ' per second' if per_s else ''}"
    at = _first_bad(signal, onset.index) if what == "failed requests" else times[onset.index]
    started = Moment("started", at, min(low, at), max(times[onset.high] + bin_, at), how)
    return Symptom(started, _ended(signal, onset, times, what), what, onset)


def _first_bad(signal: Signal, index: int) -> datetime:
    """Begin of the interval of the onset."""
    moment: datetime = signal.table["time"].iloc[index].to_pydatetime()
    return moment


def _per_s(level: float | None, signal: Signal) -> str:
    """Return a level as a rate."""
    return f"{(level or 0.0) / signal.bin_s:.3g}"


def _ended(signal: Signal, onset: changepoint.Onset, times: Sequence[datetime], what: str) -> Moment:
    """Return the end of the symptoms."""
    if onset.ended is None:
        return unknown("mitigated", f"{what} had not gone back to their level from before at the end of the record")
    at = times[onset.ended]
    low = at - timedelta(seconds=signal.bin_s + signal.early_s)
    how = f"{what} back near their level from before, change-point in {signal.origin}"
    return Moment("mitigated", at, low, at + timedelta(seconds=signal.bin_s), how)


def _from_samples(archive: Archive) -> Signal | None:
    """Count probe samples per interval; intervals in which the probe did not run are left out."""
    samples = archive.samples
    if samples.empty:
        return None
    import pandas as pd

    span_s = (samples["intended_at"].max() - samples["intended_at"].min()).total_seconds()
    bin_s = next((size for size in _BINS_S if span_s / size <= _BINS), _BINS_S[-1])
    floor = samples["intended_at"].dt.floor(pd.Timedelta(seconds=bin_s))
    ok = samples["ok"].astype(bool)
    groups = samples.assign(time=floor, failed=~ok).groupby("time")
    table = pd.DataFrame({"total": groups.size(), "bad": groups["failed"].sum()})
    table["latency_ms"] = samples.assign(time=floor)[ok].groupby("time")["latency_ms"].quantile(0.9)
    # The last interval was cut off, and a short one shows fewer failures than there were.
    whole = table[table["total"] >= 0.5 * table["total"].median()].reset_index()
    return Signal(whole, bin_s, f"{len(samples)} probe requests in steps of {bin_s:g} s")


def _from_windows(archive: Archive) -> Signal | None:
    """Take the probe's windows from the record."""
    import pandas as pd

    records = archive.records
    rows = [
        _window(record) for record in records[(records["source"] == "probe") & (records["kind"] == "window")]["data"]
    ]
    rows = [row for row in rows if row is not None]
    if not rows:
        return None
    table = pd.DataFrame(rows).sort_values("time").reset_index(drop=True)
    length_s = float(table.pop("length_s").median())
    return Signal(table, length_s, f"{len(table)} probe windows of {length_s:.3g} s")


def _window(data: Any) -> dict[str, Any] | None:
    """Return one probe window as a row; whole results of more than 15 s say nothing about when."""
    import pandas as pd

    if not {"started_at", "ended_at", "sent", "failed"} <= set(data):
        return None
    first, last = pd.to_datetime(data["started_at"], utc=True), pd.to_datetime(data["ended_at"], utc=True)
    length_s = (last - first).total_seconds()
    if not 0 < length_s <= 15:
        return None
    latency = data.get("p99_ms")
    return {
        "time": first,
        "total": data["sent"],
        "bad": data["failed"],
        "latency_ms": float("nan") if latency is None else float(latency),
        "length_s": length_s,
    }


def _from_signals(archive: Archive) -> Signal | None:
    """Turn the ingress's rate by status code into counts."""
    rate = archive.signals.get("ingress_rate")
    if rate is None or rate.empty:
        return None
    import pandas as pd

    step_s = float(rate.attrs.get("step_s") or rate.index.to_series().diff().dt.total_seconds().median())
    filled = rate.fillna(0.0)
    bad = [name for name in filled.columns if str(name).startswith(("5", "code=5", '{code="5'))]
    latency = archive.signals.get("latency_p99")
    table = pd.DataFrame(
        {
            "time": filled.index,
            "total": (filled.sum(axis=1) * step_s).to_numpy(),
            "bad": (filled[bad].sum(axis=1) * step_s).to_numpy(),
            "latency_ms": _widest(latency, filled.index),
        }
    )
    return Signal(table, step_s, f"rates of the ingress in Prometheus every {step_s:g} s", early_s=RATE_WINDOW_S)


def _widest(latency: pd.DataFrame | None, index: Any) -> Any:
    """Return the worst p99 of any version in milliseconds, NaN where unknown."""
    import numpy as np

    if latency is None or latency.empty:
        return np.full(len(index), np.nan)
    return (latency.max(axis=1) * 1000.0).reindex(index).to_numpy()


def between(signal: Signal, start: datetime, end: datetime) -> Signal:
    """Cut a signal to a window."""
    inside = (signal.table["time"] >= start) & (signal.table["time"] < end)
    return replace(signal, table=signal.table[inside].reset_index(drop=True))
