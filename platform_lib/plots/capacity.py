"""How does use compare with what is asked for? Bars beside each other, with the advice in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from platform_lib.plots.panels import COLOURS, SMALL_PT, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = (
    ("Processor per pod (millicores)", "cpu", "cpu_request_cores", "cpu_p95_cores", "cpu_target_cores", 1000.0),
    ("Memory per pod (MiB)", "memory", "memory_request_bytes", "memory_peak_bytes", "memory_target_bytes", 2**-20),
)
_LOOKS = (("asked for", COLOURS[0], ""), ("used (95 %, peak)", COLOURS[1], "////"), ("advised", COLOURS[2], "...."))


def capacity(report: Any) -> Figure:
    """Draw requests, use and advice of each workload.

    Args:
        report: What ``cost.report`` returned.

    Returns:
        A figure of two panels; a bar that is missing means not asked for, or not enough data.
    """
    from matplotlib.figure import Figure

    table = report.workloads
    figure = Figure(figsize=(9, 1.6 + 0.75 * len(table)), layout="constrained", facecolor="white")
    for axis, (heading, word, *columns, factor) in zip(figure.subplots(1, 2), _PANELS, strict=True):
        for place, ((label, colour, hatch), column) in enumerate(zip(_LOOKS, columns, strict=True)):
            values = (table[column] * factor).fillna(0.0)
            heights = [row + (place - 1) * 0.26 for row in range(len(table))]
            bars = axis.barh(heights, values, 0.24, color=colour, hatch=hatch, edgecolor="white", label=label)
            axis.bar_label(bars, [f"{value:.0f}" if value else "" for value in values], fontsize=SMALL_PT, padding=3)
        names = [f"{name.split('/')[-1]}\n{advice}" for name, advice in table[f"{word}_advice"].items()]
        axis.set_yticks(range(len(table)), names)
        axis.set_ylim(len(table) - 0.45, -0.55)
        axis.margins(x=0.15)
        title(axis, heading)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=SMALL_PT)
    return figure
