"""What stands in one panel of a timeline? Lanes of pods, shares, errors, latency, events and the verdict band.

A version is known by its colour *and* its hatch, line and marker, so that a picture survives a grey printer and
any colour vision. All panels share one axis of seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Okabe and Ito's set; the first is the version from before."""
FAILED = "#B2182B"
INK, SOFT = "#1A1A1A", "#5A5A5A"
NOBODY = "no answer"
TEXT_PT, SMALL_PT = 9.5, 8.5
_HATCHES, _LINES, _MARKERS = ("", "////", "....", "xxxx", "\\\\\\\\", "++++"), ("-", "--", "-.", ":"), "os^Dv*"
Marks = Sequence[tuple[str, datetime]]


class Look(NamedTuple):
    """How one version is drawn everywhere."""

    colour: str
    hatch: str
    line: str
    marker: str


def looks(versions: Sequence[str]) -> dict[str, Look]:
    """Give each version its look, in order of appearance; requests that nobody answered are grey and crossed."""
    named = [version for version in dict.fromkeys(versions) if version != NOBODY]
    found = {
        version: Look(*(row[index % len(row)] for row in (COLOURS, _HATCHES, _LINES, _MARKERS)))
        for index, version in enumerate(named)
    }
    return {**found, NOBODY: Look("#8A8A8A", "xx", ":", "x")}


def legend(axis: Axes, shown: Mapping[str, Look]) -> None:
    """Name the versions once, above all panels."""
    from matplotlib.patches import Patch

    patches = [
        Patch(facecolor=look.colour, hatch=look.hatch, edgecolor="white", label=name) for name, look in shown.items()
    ]
    axis.legend(
        handles=patches, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=max(len(patches), 1), fontsize=TEXT_PT,
        frameon=False, borderaxespad=0.2, handlelength=2.2, columnspacing=1.4,
    )  # fmt: skip


def title(axis: Axes, text: str) -> None:
    """Head a panel: what it shows, with its unit; saves the room that a turned label takes."""
    axis.set_title(text, fontsize=TEXT_PT, loc="left", pad=3, color=INK)
    axis.tick_params(labelsize=SMALL_PT, colors=SOFT)
    axis.spines[["top", "right"]].set_visible(False)


def band(axis: Axes, spans: Sequence[tuple[float, float, str, str, str]], end_s: float) -> None:
    """Draw the verdict as a band over time.

    Args:
        axis: A flat panel.
        spans: (from, to, words, colour, hatch) in seconds.
        end_s: End of the time axis.
    """
    for left, right, words, colour, hatch in spans:
        axis.broken_barh([(left, right - left)], (0, 1), facecolor=colour, hatch=hatch, edgecolor="white", linewidth=1)
        if right - left >= 0.0105 * end_s * (len(words) + 2):
            box = {"facecolor": colour, "edgecolor": "none", "pad": 1.0}
            axis.text(
                (left + right) / 2, 0.48, words, ha="center", va="center", fontsize=SMALL_PT, color="black",
                weight="bold", bbox=box,
            )  # fmt: skip
    axis.set_ylim(0, 1)
    axis.set_yticks([])
    title(axis, "Verdict")
    axis.spines[["left"]].set_visible(False)


def events(axis: Axes, marks: Sequence[tuple[str, float]], end_s: float, *, letter_s: float) -> int:
    """Name the moments above the panels, in as many rows as they need so that no two touch.

    Args:
        axis: An empty panel.
        marks: (words, second), in order of time.
        end_s: End of the time axis.
        letter_s: Width of a letter in seconds.

    Returns:
        The number of rows.
    """
    placed = rows_of(marks, end_s, letter_s=letter_s)
    rows = max((row for *_, row, _ in placed), default=0) + 1
    for words, second, row, leftwards in placed:
        axis.plot([second], [row], marker="v", markersize=5, color=INK, clip_on=False)
        axis.vlines(second, row, rows, color=SOFT, linewidth=0.8, linestyle=(0, (3, 2)))
        axis.annotate(
            words, (second, row), xytext=(-6 if leftwards else 6, 0), textcoords="offset points", fontsize=SMALL_PT,
            va="center", ha="right" if leftwards else "left", color=INK, annotation_clip=False,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
        )  # fmt: skip
    axis.set_ylim(rows - 0.4, -0.6)
    axis.set_yticks([])
    title(axis, "Events")
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.tick_params(bottom=False)
    return rows


def rows_of(marks: Sequence[tuple[str, float]], end_s: float, *, letter_s: float) -> list[tuple[str, float, int, bool]]:
    """Give each label a row in which nothing is in its way.

    Returns:
        (words, second, row, leftwards); a label that would leave the picture on the right stands left of its mark.
    """
    taken: list[list[tuple[float, float]]] = []
    found = []
    for words, second in marks:
        width_s = (len(words) + 3) * letter_s
        leftwards = second + width_s > end_s and second - width_s > 0
        left, right = (second - width_s, second) if leftwards else (second, second + width_s)
        row = next(
            (
                number
                for number, spans in enumerate(taken)
                if all(right + letter_s <= begin or left >= end + letter_s for begin, end in spans)
            ),
            len(taken),
        )
        if row == len(taken):
            taken.append([])
        taken[row].append((left, right))
        found.append((words, second, row, leftwards))
    return found


def pods(axis: Axes, table: pd.DataFrame, start: datetime, end_s: float, shown: Mapping[str, Look]) -> None:
    """One lane per pod: a line while it exists, a bar while it is ready."""
    for lane, row in enumerate(table.to_dict("records")):
        look = shown.get(str(row["version"]), shown[NOBODY])
        left, right = _span(row["created_at"], row["deleted_at"], start, end_s)
        axis.hlines(lane, left, right, color=look.colour, linewidth=1.6, linestyle=look.line)
        bars = [_span(begin, end, start, end_s) for begin, end in row["ready_spans"]]
        axis.broken_barh(
            [(begin, end - begin) for begin, end in bars], (lane - 0.33, 0.66), facecolor=look.colour,
            hatch=look.hatch, edgecolor="white", linewidth=0,
        )  # fmt: skip
    axis.set_yticks(range(len(table)), [str(pod)[-5:] for pod in table["pod"]])
    axis.set_ylim(len(table) - 0.4, -0.6)
    title(axis, "Pods (line: exists, bar: ready)")


def _span(begin: datetime, end: Any, start: datetime, end_s: float) -> tuple[float, float]:
    """Return a stretch in seconds, cut to the picture; pandas turns a missing end into NaT, unequal to itself."""
    last = end_s if end is None or end != end else (end - start).total_seconds()
    return max((begin - start).total_seconds(), 0.0), max(min(last, end_s), 0.0)


def share(axis: Axes, binned: pd.DataFrame, shown: Mapping[str, Look]) -> None:
    """Share of requests by the version that answered, in per cent."""
    table = binned.groupby(["second", "series"]).size().unstack(fill_value=0)
    percent = table.div(table.sum(axis=1), axis=0) * 100
    order = [name for name in shown if name in percent.columns]
    drawn = axis.stackplot(
        percent.index, [percent[name] for name in order], colors=[shown[name].colour for name in order], step="post"
    )
    for area, name in zip(drawn, order, strict=True):
        area.set(hatch=shown[name].hatch, edgecolor="white", linewidth=0)
    axis.set_ylim(0, 100)
    axis.set_yticks([0, 50, 100])
    title(axis, "Share of requests by the version that answered (%)")


def errors(axis: Axes, binned: pd.DataFrame, bin_s: float, shown: Mapping[str, Look]) -> None:
    """Failed requests per second by version; an empty panel is the aim, and says so."""
    bad = binned[~binned["ok"]]
    table = bad.groupby(["second", "series"]).size().unstack(fill_value=0) / bin_s
    bottom: Any = 0.0
    for name in (name for name in shown if name in table.columns):
        look = shown[name]
        axis.bar(
            table.index, table[name], width=bin_s, bottom=bottom, align="edge", color=look.colour, hatch=look.hatch,
            edgecolor="white", linewidth=0.3,
        )  # fmt: skip
        bottom = bottom + table[name]
    top = float(table.sum(axis=1).max()) if len(table) else 0.0
    axis.set_ylim(0, max(1.0, top * 1.15))
    by = ", ".join(f"{name}: {count}" for name, count in bad["series"].value_counts().items())
    title(axis, f"Failed requests per second: {len(bad)} of {len(binned)} failed" + (f" ({by})" if by else ""))


def latency(axis: Axes, binned: pd.DataFrame, shown: Mapping[str, Look]) -> None:
    """Median (with markers) and 99th percentile (thin) of successful requests by version, in milliseconds."""
    good = binned[binned["ok"]]
    for name, group in good.groupby("series"):
        look, by = shown[str(name)], group.groupby("second")["latency_ms"]
        p50, p99 = by.quantile(0.5), by.quantile(0.99)
        every = max(len(p50) // 12, 1)
        axis.plot(
            p50.index, p50, color=look.colour, linestyle=look.line, marker=look.marker, markevery=every, markersize=5,
            markeredgecolor=INK, markeredgewidth=0.5,
        )  # fmt: skip
        axis.plot(p99.index, p99, color=look.colour, linestyle=look.line, linewidth=0.9)
        axis.fill_between(p50.index, p50, p99, color=look.colour, alpha=0.15, linewidth=0)
    if len(good):
        from matplotlib.ticker import FuncFormatter, NullFormatter

        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
    title(axis, "Latency by version (ms): median with markers, 99th percentile above it")
