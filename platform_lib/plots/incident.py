"""How does an incident look in one picture? Requests and failures over time, onset, stamps, changes and alerts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from platform_lib.plots.timeline import COLOURS, FAILED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STAMP_STYLE = {"started": "-", "detected": "--", "mitigated": "-.", "resolved": ":"}
_INK, _ONSET, _GOOD = "#222222", "#F0C36D", COLOURS[0]
_LANES = {"change": (COLOURS[2], "D"), "alert": (FAILED, "^"), "event": ("#6E6E6E", "o")}
_MAX_WORDS = 46


def incident(found: Any) -> Figure:
    """Draw a post-mortem.

    Args:
        found: What ``postmortem.build`` returned: ``signal``, ``stamps``, ``changes``, ``alerts``.

    Returns:
        A figure of two panels over UTC: requests per second (good below, failed on top, in another colour and
        hatched), with the onset interval as a band and the four stamps as lines; below it changes and alerts.
    """
    from matplotlib.dates import ConciseDateFormatter
    from matplotlib.figure import Figure

    marks = _marks(found)
    lanes = max(1, len(marks))
    figure = Figure(figsize=(10, 3.6 + 0.26 * lanes), layout="constrained", facecolor="white")
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3.0, 0.3 + 0.26 * lanes]})
    _requests(upper, found.signal)
    for axis in (upper, lower):
        _onset(axis, found.stamps["started"])
        _stamps(axis, found.stamps)
        axis.spines[["top", "right"]].set_visible(False)
    _lanes(lower, marks)
    lower.xaxis.set_major_formatter(ConciseDateFormatter(lower.xaxis.get_major_locator(), tz="UTC"))
    lower.set_xlabel("time, UTC")
    upper.set_xlim(*_span(found))
    upper.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)
    upper.set_title(found.title, loc="left", fontsize=11, color=_INK)
    return figure


def _span(found: Any) -> tuple[datetime, datetime]:
    """Return what the picture shows: where requests were seen."""
    import pandas as pd

    times = found.signal.table["time"]
    return times.iloc[0], times.iloc[-1] + pd.Timedelta(seconds=found.signal.bin_s)


def _requests(axis: Axes, signal: Any) -> None:
    """Good and failed requests per second; hatching tells them apart without colour."""
    table, width_s = signal.table, signal.bin_s
    good, bad = (table["total"] - table["bad"]) / width_s, table["bad"] / width_s
    axis.fill_between(table["time"], 0, good, step="post", color=_GOOD, alpha=0.75, linewidth=0, label="answered")
    axis.fill_between(
        table["time"], good, good + bad, step="post", facecolor=FAILED, hatch="///", edgecolor="white", linewidth=0,
        label="failed",
    )  # fmt: skip
    axis.set_ylabel("requests per second", fontsize=9)
    axis.set_ylim(bottom=0)


def _onset(axis: Axes, started: Any) -> None:
    """The interval of the onset as a band."""
    if started.low is not None and started.high is not None and started.width_s > 0:
        axis.axvspan(started.low, started.high, color=_ONSET, alpha=0.7, linewidth=0, zorder=0.5, label="onset, 5-95 %")


def _stamps(axis: Axes, stamps: Any) -> None:
    """The four moments as lines of different dashes."""
    for name, stamp in stamps.items():
        if stamp.at is not None:
            label = f"{name} {stamp.at:%H:%M:%S}"
            axis.axvline(stamp.at, color=_INK, linestyle=_STAMP_STYLE[name], linewidth=1.4, label=label)


def _marks(found: Any) -> list[tuple[str, str, datetime, datetime | None]]:
    """Return (kind, words, begin, end) of changes and alerts inside the picture, oldest first."""
    first, last = _span(found)
    rows = [("change", change.what, change.first_at, change.at) for change in found.changes]
    rows += [("alert", f"alert {alert.name}", alert.fired_at, alert.resolved_at or last) for alert in found.alerts]
    inside = [row for row in rows if row[2] <= last and (row[3] or row[2]) >= first]
    return sorted(inside, key=lambda row: row[2])[:12]


def _lanes(axis: Axes, marks: Sequence[tuple[str, str, Any, Any]]) -> None:
    """One lane per change or alert: a mark where it begins, a line as long as it lasts, words beside the panel."""
    for lane, (kind, _words, begin, end) in enumerate(marks):
        colour, shape = _LANES[kind]
        axis.plot([begin, end or begin], [lane, lane], color=colour, linewidth=3, solid_capstyle="butt")
        axis.plot([begin], [lane], color=colour, marker=shape, markersize=7, clip_on=False)
    axis.set_yticks([])
    axis.set_ylim(len(marks) - 0.4, -0.6)
    for lane, (_kind, words, _begin, _end) in enumerate(marks):
        short = words if len(words) <= _MAX_WORDS else words[: _MAX_WORDS - 1] + "…"
        axis.annotate(
            short, (1.01, lane), xycoords=("axes fraction", "data"), va="center", fontsize=7.5, color=_INK,
            annotation_clip=False,
        )  # fmt: skip
    if not marks:
        axis.text(0.01, 0, "no change and no alert in the record", fontsize=8, transform=axis.transAxes, va="bottom")
