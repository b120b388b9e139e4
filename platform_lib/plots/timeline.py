"""How do people see a rollout or a drill at a glance? matplotlib figures from records; no data is fetched here.

Colours are the Okabe-Ito set, which colour-blind readers can tell apart, and never carry a meaning alone. The
ground is white so that a figure reads the same in a report and in a dark notebook; the page is narrow and the type
large, so that it can still be read on a phone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from platform_lib.plots import panels
from platform_lib.plots.panels import COLOURS, FAILED, NOBODY

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "FAILED", "VERDICT", "drill", "rollout", "series"]
VERDICT = {"pass": "#009E73", "fail": "#D55E00", "not_enough_data": "#BDBDBD", "inconclusive": "#F0E442"}
_HATCH = {"pass": "", "fail": "xx", "not_enough_data": "..", "inconclusive": "//"}
_WIDTH_IN = 7.6
_PLAIN = "#E4E4E4"
_BESIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "fontsize": 7, "frameon": False}
"""Legends stand beside the panel: nothing of the data is covered."""
Marks = Sequence[tuple[str, datetime]]


def rollout(record: Any) -> Figure:
    """Draw a rollout: verdict over time, events, pods, share of requests, errors and latency by version.

    Args:
        record: What ``rollout.observe``, ``gate.deploy`` or ``gate.rehearse`` returned: ``samples``, ``pods``,
            ``marks``, ``verdict``.

    Returns:
        A figure of six panels over seconds since the probe started.
    """
    return _timeline(record, title=f"{record.old_version or 'nothing'} to {record.new_version}", pods=record.pods)


def drill(record: Any) -> Figure:
    """Draw a drill: its moments and verdict, share of requests, errors and latency by pod version.

    Args:
        record: What ``drills.run_drill`` returned: ``samples``, ``marks``, ``verdict``, ``scenario``.

    Returns:
        A figure of five panels over seconds since the probe started.
    """
    return _timeline(record, title=record.scenario.title, pods=None)


def series(frame: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw a signal over time, one line per column.

    Args:
        frame: What ``metrics.frame`` returned: UTC index, a unit in ``attrs``.
        title: Words above the panel; default is the help text of the query.

    Returns:
        A figure of one panel; gaps in the data are gaps in the line.
    """
    from matplotlib.dates import ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained", facecolor="white")
    axis = figure.subplots()
    for name, look in list(panels.looks([str(name) for name in frame.columns]).items())[: len(frame.columns)]:
        column = frame[next(key for key in frame.columns if str(key) == name)]
        axis.plot(frame.index, column, color=look.colour, linestyle=look.line, label=name)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(axis.xaxis.get_major_locator(), tz="UTC"))
    axis.set_ylabel(str(frame.attrs.get("unit") or "value"))
    axis.set_ylim(bottom=min(0.0, float(frame.min().min())))
    axis.set_title(title or str(frame.attrs.get("help", "")), fontsize=10, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(**_BESIDE)
    return figure


def _timeline(record: Any, *, title: str, pods: pd.DataFrame | None) -> Figure:
    """Lay the panels out and fill them."""
    from matplotlib.figure import Figure

    binned, start, end_s, bin_s = _binned(record.samples)
    shown = panels.looks([*binned["series"], *(pods["version"] if pods is not None else ())])
    marks = [(name.replace("_", " "), (moment - start).total_seconds()) for name, moment in record.marks]
    letter_s = end_s / (_WIDTH_IN * 11.5)
    rows = max((row for *_, row, _ in panels.rows_of(marks, end_s, letter_s=letter_s)), default=0) + 1
    lanes = len(pods) if pods is not None else 0
    heights = [0.26, 0.21 * rows + 0.08, *([0.24 * lanes + 0.1] if lanes else []), 0.85, 0.75, 1.25]
    figure = Figure(figsize=(_WIDTH_IN, 1.5 + sum(heights) + 0.3 * len(heights)), layout="constrained",
                    facecolor="white")  # fmt: skip
    axes = list(figure.subplots(len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights}))
    panels.band(axes[0], _spans(record, dict(record.marks), start, end_s), end_s)
    panels.events(axes[1], marks, end_s, letter_s=letter_s)
    if lanes and pods is not None:
        panels.pods(axes[2], pods, start, end_s, shown)
    panels.share(axes[-3], binned, shown)
    panels.errors(axes[-2], binned, bin_s, shown)
    panels.latency(axes[-1], binned, shown)
    for axis in axes[2:]:
        for _, second in marks:
            axis.axvline(second, color=panels.SOFT, linewidth=0.8, linestyle=(0, (3, 2)), zorder=0.5)
    for axis in axes:
        axis.set_xlim(0, end_s)
    axes[-1].set_xlabel("seconds since the probe started", fontsize=panels.TEXT_PT)
    named = {name: look for name, look in shown.items() if name != NOBODY or NOBODY in set(binned["series"])}
    _head(figure, record, title, named)
    return figure


def _binned(samples: pd.DataFrame) -> tuple[pd.DataFrame, datetime, float, float]:
    """Return the requests with their bin and version, the start, the end in seconds and the width of a bin."""
    start = samples["intended_at"].min()
    end_s = max(float((samples["intended_at"].max() - start).total_seconds()), 0.1)
    bin_s = 0.25 if end_s <= 60 else 1.0
    binned = samples.assign(
        second=((samples["intended_at"] - start).dt.total_seconds() // bin_s) * bin_s,
        series=samples["version"].replace("", NOBODY).fillna(NOBODY),
    )
    return binned, start, end_s, bin_s


def _spans(
    record: Any, marks: dict[str, datetime], start: datetime, end_s: float
) -> list[tuple[float, float, str, str, str]]:
    """Return the phases of the verdict band; what is not marked is not drawn."""

    def at(*names: str) -> float | None:
        found = next((marks[name] for name in names if name in marks), None)
        return None if found is None else max((found - start).total_seconds(), 0.0)

    status = record.verdict.status
    found = getattr(getattr(record, "detection", None), "verdict", None)
    judged = "fail" if "detected" in marks else (found.status if found is not None else status)
    colour, hatch = VERDICT.get(judged, _PLAIN), _HATCH.get(judged, "")
    begin, decided = at("change", "fault"), at("detected", "judged", "not_detected")
    back, proven = at("recovered", "not_recovered"), at("proven", "not_proven")
    if decided is not None and decided > 0.92 * end_s:
        decided = begin  # judged until the end: the whole stretch carries the verdict
    cuts = [(0.0, "before", _PLAIN, "")]
    cuts += [(begin, "judging", "#F7F7F7", "..")] if begin is not None else []
    cuts += [(decided, judged.upper().replace("_", " "), colour, hatch)] if decided is not None else []
    if decided is None:
        end = at("rolled_out", "recovered", "end") or end_s
        cuts.append((end, status.upper().replace("_", " "), VERDICT.get(status, _PLAIN), _HATCH.get(status, "")))
    elif back is not None:
        cuts.append((back, "back, proving" if "recovered" in marks else "NOT BACK", "#A6CEE3", "//"))
        cuts += [(proven, "RECOVERED", VERDICT["pass"], "")] if proven is not None and "proven" in marks else []
        cuts += [(proven, "NOT PROVEN", VERDICT["fail"], "xx")] if proven is not None and "proven" not in marks else []
    ends = [cut[0] for cut in cuts[1:]] + [end_s]
    return [(left, right, *rest) for (left, *rest), right in zip(cuts, ends, strict=True) if right > left]  # type: ignore[misc]


def _head(figure: Figure, record: Any, title: str, shown: dict[str, Any]) -> None:
    """Say verdict, what was done and why in words, then name the versions."""
    from textwrap import wrap

    status = record.verdict.status
    reason = wrap(f"{title}: {record.verdict.reason}", 92)
    lines = reason[:3] if len(reason) <= 3 else [*reason[:2], reason[2][:88] + " …"]
    box = {"facecolor": VERDICT.get(status, _PLAIN), "edgecolor": "none", "boxstyle": "square,pad=0.4"}
    figure.suptitle(
        f"{status.upper().replace('_', ' ')}  " + "\n".join(lines), fontsize=panels.TEXT_PT + 0.5, x=0.01, ha="left",
        color="black", bbox=box,
    )  # fmt: skip
    panels.legend(figure.axes[2], shown)
