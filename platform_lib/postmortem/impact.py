"""What did it cost the users? Requests lost, outage as an interval, worst windows, budget burned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from platform_lib.archive import Archive
from platform_lib.model import joined
from platform_lib.postmortem.signal import Signal
from platform_lib.rules import downtime, slo

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

OBJECTIVE, PERIOD_DAYS = 0.999, 30.0
"""Used where the application has no objective of its own."""
WINDOWS_S = (1.0, 10.0, 60.0)


@dataclass(frozen=True, slots=True)
class Impact:
    """What users lost between onset and end of the symptoms.

    Attributes:
        sent, failed: Requests seen and lost in the window of the post-mortem.
        failed_before: Of the lost ones, those before the onset; they are not part of the incident.
        ratio: Lost share while the symptoms lasted; None when nothing was asked.
        outage_s: Lower and upper bound of the time in which every request failed.
        longest_outage_s: Bounds of its longest stretch.
        worst: Window length in seconds to the lowest availability of any such window; None where the record is too
            short or too coarse.
        budget_burned: Share of the period's error budget; None when it cannot be said.
        objective, period_days: What the budget follows from.
        clients: Clients touched, or why that is not known.
        by_kind, by_version: Lost requests by kind of failure and by the version that answered.
        origin: Where the numbers come from.
    """

    sent: int
    failed: int
    failed_before: int
    ratio: float | None
    outage_s: tuple[float, float]
    longest_outage_s: tuple[float, float]
    worst: Mapping[float, float | None]
    budget_burned: float | None
    objective: float
    period_days: float
    clients: str
    by_kind: Mapping[str, int] = field(default_factory=dict)
    by_version: Mapping[str, int] = field(default_factory=dict)
    origin: str = ""


def measure(
    archive: Archive,
    signal: Signal | None,
    *,
    started: datetime | None,
    ended: datetime | None,
    objective: float = OBJECTIVE,
    period_days: float = PERIOD_DAYS,
) -> Impact | None:
    """Measure what was lost.

    Args:
        archive: The evidence.
        signal: What ``signal.choose`` returned; None gives None.
        started: Earliest onset; None is the edge of the window.
        ended: Latest end of the symptoms, likewise.
        objective: Wanted share of good requests.
        period_days: Period of the budget.
    """
    if signal is None or signal.table.empty:
        return None
    times, good = _requests(archive, signal)
    first = started.timestamp() if started else times[0]
    last = ended.timestamp() if ended else times[-1] + signal.bin_s
    during = (times >= first) & (times < last)
    period_s = _period_s(times, signal)
    stretches = downtime.outages(times, good, period_s)
    longest = max(stretches, key=lambda outage: outage.upper_s, default=None)
    total, bad = _totals(signal, good)
    span_s = float(times[-1] - times[0]) + period_s
    return Impact(
        sent=total,
        failed=bad,
        failed_before=int(signal.table.loc[signal.table["time"] < _stamp(first), "bad"].sum()) if started else 0,
        ratio=float((~good[during]).mean()) if during.any() else None,
        outage_s=(sum(o.lower_s for o in stretches), sum(o.upper_s for o in stretches)),
        longest_outage_s=(longest.lower_s, longest.upper_s) if longest else (0.0, 0.0),
        worst={size: _worst(archive, size, signal) for size in WINDOWS_S},
        budget_burned=slo.budget_burned(bad, total, objective, total / span_s * period_days * 86400) if total else None,
        objective=objective,
        period_days=period_days,
        clients=_clients(archive),
        **_split(archive),
        origin=signal.origin,
    )


def _stamp(seconds: float) -> Any:
    """Return Unix seconds as a pandas time stamp."""
    import pandas as pd

    return pd.Timestamp(seconds, unit="s", tz="UTC")


def _requests(archive: Archive, signal: Signal) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return send times and success: of each request where known, else of each interval as a whole."""
    import numpy as np

    if len(archive.samples):
        moments, good = archive.samples["intended_at"], np.asarray(archive.samples["ok"], dtype=bool)
    else:
        moments = signal.table["time"]
        good = np.asarray((signal.table["bad"] < signal.table["total"]) | (signal.table["total"] == 0), dtype=bool)
    return _seconds(moments), good


def _seconds(moments: Any) -> npt.NDArray[np.float64]:
    """Return time stamps as Unix seconds."""
    import numpy as np
    import pandas as pd

    return np.asarray((moments - pd.Timestamp(0, tz="UTC")).dt.total_seconds(), dtype=np.float64)


def _period_s(times: npt.NDArray[np.float64], signal: Signal) -> float:
    """Time between two requests (the probe sends by the clock), or the length of an interval."""
    import numpy as np

    return float(np.median(np.diff(times))) if len(times) > 1 else signal.bin_s


def _totals(signal: Signal, good: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Requests and failures: counted one by one where the signal comes from samples."""
    if "probe requests" in signal.origin:
        return len(good), int((~good).sum())
    return round(float(signal.table["total"].sum())), round(float(signal.table["bad"].sum()))


def _worst(archive: Archive, window_s: float, signal: Signal) -> float | None:
    """Lowest availability of any window of that length."""
    if len(archive.samples):
        return downtime.worst_window(_columns(archive), window_s)
    if signal.bin_s > window_s:
        return None
    size = max(1, round(window_s / signal.bin_s))
    if len(signal.table) < size:
        return None
    sums = signal.table[["total", "bad"]].rolling(size).sum().dropna()
    sums = sums[sums["total"] > 0]
    return float(1.0 - (sums["bad"] / sums["total"]).max()) if len(sums) else None


def _columns(archive: Archive) -> downtime.Samples:
    """Return the samples as columns."""
    import numpy as np

    table = archive.samples
    text = {name: table[name].to_numpy(dtype=str) for name in ("error", "version", "pod")}
    return downtime.Samples(
        _seconds(table["intended_at"]), table["lag_ms"].to_numpy(np.float32), table["latency_ms"].to_numpy(np.float32),
        table["status"].to_numpy(np.uint16), text["error"], text["version"], text["pod"],
    )  # fmt: skip


def _clients(archive: Archive) -> str:
    """Say how many clients were touched, where the record has them."""
    known = {str(c) for data in archive.records["data"] for c in _listed(data.get("clients"))}
    if known:
        return f"{len(known)}: {joined(sorted(known))}"
    return "not known: nothing in the record tells one client from another"


def _listed(value: Any) -> list[Any]:
    """Return a list as it is, anything else as no list."""
    return value if isinstance(value, list) else []


def _split(archive: Archive) -> dict[str, dict[str, int]]:
    """Count lost requests by kind of failure and by version."""
    lost = archive.samples[~archive.samples["ok"].astype(bool)] if len(archive.samples) else archive.samples
    if lost.empty:
        return {"by_kind": {}, "by_version": {}}
    kinds = lost["error"].where(lost["error"] != "", lost["status"].astype(str)).value_counts()
    versions = lost["version"].replace("", "no answer").value_counts()
    return {
        "by_kind": {str(k): int(v) for k, v in kinds.items()},
        "by_version": {str(k): int(v) for k, v in versions.items()},
    }
