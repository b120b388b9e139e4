"""What do a drill's figures mean? Computed from the probe's samples and the drill's moments; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from platform_lib.model import ProbeResult

if TYPE_CHECKING:
    import pandas as pd


def figures(
    samples: pd.DataFrame, probe: ProbeResult, marks: Mapping[str, datetime], *, rate_rps: float
) -> dict[str, Any]:
    """Derive the figures of a drill.

    Args:
        samples: One row per request; ``intended_at`` (UTC) and ``ok`` (bool).
        probe: Summary of the same requests.
        marks: Moments ``fault``, ``detected`` (when the platform itself reported trouble), ``recovered`` (when it
            reported the steady state again) and ``verified``.
        rate_rps: Probe rate, requests per second.

    Returns:
        ``rto_s``: from the fault until both clients and the platform saw the steady state again; never 0, at
        least one probe interval. ``service_rto_s``: until the last failed request plus one interval; the upper end
        of what the probe can tell. ``detect_s``: until the platform reported it, or a client
        lost its first request where no platform was left to report. ``outage_lower_s`` and
        ``outage_upper_s``: summed length of the stretches of failures. ``requests_lost``, ``requests_sent``,
        ``availability_ratio``, ``worst_second_ratio``, ``probe_lag_p99_ms``.
    """
    interval_s = 1.0 / rate_rps
    fault_at = marks["fault"]
    service_s = _service_rto_s(samples, fault_at) + interval_s
    platform_s = _since(fault_at, marks.get("recovered")) or interval_s
    lower_s, upper_s = probe.outage_s
    return {
        "rto_s": round(max(service_s, platform_s, interval_s), 3),
        "service_rto_s": round(service_s, 3),
        "platform_rto_s": round(platform_s, 3),
        "detect_s": _since(fault_at, marks.get("detected") or _first_failure(samples, fault_at)),
        "verify_s": _since(marks.get("recovered"), marks.get("verified")),
        "requests_sent": probe.sent,
        "requests_lost": probe.failed,
        "outage_lower_s": round(lower_s, 3),
        "outage_upper_s": round(upper_s, 3),
        "availability_ratio": probe.availability,
        "worst_second_ratio": probe.worst_window_availability,
        "probe_lag_p99_ms": probe.lag_p99_ms or 0.0,
    }


def _service_rto_s(samples: pd.DataFrame, fault_at: datetime) -> float:
    """Seconds from the fault to the last failed request; 0 when none failed after it."""
    failed = samples.loc[~samples["ok"] & (samples["intended_at"] >= fault_at), "intended_at"]
    return float((failed.max() - fault_at).total_seconds()) if len(failed) else 0.0


def _first_failure(samples: pd.DataFrame, fault_at: datetime) -> datetime | None:
    """When a client first lost a request after the fault; None when none did."""
    failed = samples.loc[~samples["ok"] & (samples["intended_at"] >= fault_at), "intended_at"]
    return failed.min().to_pydatetime(warn=False) if len(failed) else None


def _since(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds between two moments, or None when one of them never came."""
    return None if start is None or end is None else round((end - start).total_seconds(), 3)
