"""How do people see a rollout or a drill at a glance? matplotlib figures from records; no data is fetched here.

Colours are the Okabe-Ito set, which colour-blind readers can tell apart; the ground is white so that a figure
reads the same in a report and in a dark notebook.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
FAILED = "#B2182B"
VERDICT = {"pass": "#009E73", "fail": "#B2182B", "not_enough_data": "#8A8A8A", "inconclusive": "#E69F00"}
_BESIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "fontsize": 7, "frameon": False}
"""Legends stand beside the panel: nothing of the data is covered."""
Marks = Sequence[tuple[str, datetime]]


def rollout(record: Any) -> Figure:
    """Draw a rollout: pods by version, requests by version, failures and latency, events and verdict.

    Args:
        record: What ``rollout.observe`` or ``rollback.rehearse`` returned: ``samples``, ``pods``, ``marks``,
            ``verdict``.

    Returns:
        A figure of four panels over seconds since the probe started.
    """
    return _timeline(record, title=f"Rollout: {record.verdict.reason}", pods=record.pods)


def drill(record: Any) -> Figure:
    """Draw a drill: requests by pod version, failures and latency, with the drill's moments and verdict.

    Args:
        record: What ``drills.run_drill`` returned: ``samples``, ``marks``, ``verdict``, ``scenario``.

    Returns:
        A figure of three panels over seconds since the probe started.
    """
    return _timeline(record, title=f"{record.scenario.title}: {record.verdict.reason}", pods=None)


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
    for index, name in enumerate(frame.columns):
        axis.plot(frame.index, frame[name], color=COLOURS[index % len(COLOURS)], label=str(name))
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

    samples = record.samples
    start = samples["intended_at"].min()
    end_s = float((samples["intended_at"].max() - start).total_seconds())
    bin_s = 0.25 if end_s <= 60 else 1.0
    binned = samples.assign(
        second=((samples["intended_at"] - start).dt.total_seconds() // bin_s) * bin_s,
        series=samples["version"].replace("", "no answer").fillna("no answer"),
    )
    versions = _versions(binned, pods)
    lanes = pods is not None and len(pods) > 0
    heights = ([max(0.9, 0.28 * len(pods))] if lanes and pods is not None else []) + [1.6, 1.0, 1.6]
    figure = Figure(figsize=(10, 1.2 + sum(heights)), layout="constrained", facecolor="white")
    axes = list(figure.subplots(len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights}))
    if lanes and pods is not None:
        _pods(axes[0], pods, start, end_s, versions)
    _requests(axes[-3], binned, bin_s, versions)
    _failures(axes[-2], binned, bin_s)
    _latency(axes[-1], binned, versions)
    for axis in axes:
        _marks(axis, record.marks, start, named=axis is axes[0])
        axis.set_xlim(0, end_s)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("seconds since the probe started")
    _verdict(figure, title, record.verdict.status)
    return figure


def _versions(binned: pd.DataFrame, pods: pd.DataFrame | None) -> dict[str, str]:
    """Give each version its colour, in order of appearance; requests without an answer are grey."""
    seen = list(dict.fromkeys(binned["series"]))
    if pods is not None:
        seen += [version for version in dict.fromkeys(pods["version"]) if version not in seen]
    named = [version for version in seen if version != "no answer"]
    colours = {version: COLOURS[index % len(COLOURS)] for index, version in enumerate(named)}
    return {**colours, "no answer": "#8A8A8A"}


def _pods(axis: Axes, pods: pd.DataFrame, start: datetime, end_s: float, colours: dict[str, str]) -> None:
    """One lane per pod: thin while it exists, thick while it is ready."""
    for lane, row in enumerate(pods.to_dict("records")):
        colour = colours.get(str(row["version"]), "#8A8A8A")
        for spans, width in (([(row["created_at"], row["deleted_at"])], 1.5), (row["ready_spans"], 7)):
            for begin, end in spans:
                left = max((begin - start).total_seconds(), 0.0)
                right = end_s if _open(end) else (end - start).total_seconds()
                axis.plot([left, right], [lane, lane], color=colour, linewidth=width, solid_capstyle="butt")
    axis.set_yticks(
        range(len(pods)),
        [f"{pod[-5:]}  {version}" for pod, version in zip(pods["pod"], pods["version"], strict=True)],
        fontsize=7,
    )
    axis.set_ylabel("pods\n(thick: ready)", fontsize=8)
    axis.invert_yaxis()


def _open(moment: Any) -> bool:
    """Whether a span has no end yet; pandas turns a missing time stamp into NaT, which differs from itself."""
    return moment is None or moment != moment


def _requests(axis: Axes, binned: pd.DataFrame, bin_s: float, colours: dict[str, str]) -> None:
    """Requests per second, stacked by the version that answered."""
    table = binned.groupby(["second", "series"]).size().unstack(fill_value=0) / bin_s
    order = [name for name in colours if name in table.columns]
    axis.stackplot(
        table.index, [table[name] for name in order], labels=order, colors=[colours[n] for n in order], step="post"
    )
    axis.set_ylabel("requests\nper second", fontsize=8)
    axis.legend(**_BESIDE, title="answered by", title_fontsize=7)


def _failures(axis: Axes, binned: pd.DataFrame, bin_s: float) -> None:
    """Failed requests per bin; a flat line at 0 is the aim."""
    failed = binned.assign(failed=~binned["ok"]).groupby("second")["failed"].sum()
    axis.bar(failed.index, failed, width=bin_s, align="edge", color=FAILED)
    axis.set_ylim(0, max(1.0, float(failed.max()) * 1.15))
    axis.set_ylabel("failed\nrequests", fontsize=8)
    axis.text(
        0.995, 0.9, f"{int(failed.sum())} of {len(binned)}", transform=axis.transAxes, ha="right", va="top", fontsize=8
    )


def _latency(axis: Axes, binned: pd.DataFrame, colours: dict[str, str]) -> None:
    """Median (solid) and 99th percentile (dotted) of successful requests, by version."""
    good = binned[binned["ok"]]
    for version, group in good.groupby("series"):
        quantiles = group.groupby("second")["latency_ms"].agg(
            p50=lambda ms: ms.quantile(0.5), p99=lambda ms: ms.quantile(0.99)
        )
        colour = colours.get(str(version), "#8A8A8A")
        axis.plot(quantiles.index, quantiles["p50"], color=colour, label=f"{version} p50")
        axis.plot(quantiles.index, quantiles["p99"], color=colour, linestyle=":", label=f"{version} p99")
    if len(good):
        axis.set_yscale("log")
        axis.legend(**_BESIDE)
    axis.set_ylabel("latency (ms)", fontsize=8)


def _marks(axis: Axes, marks: Marks, start: datetime, *, named: bool) -> None:
    """A thin line per moment; names only on the first panel, on two heights so that neighbours do not touch."""
    for index, (name, moment) in enumerate(marks):
        second = (moment - start).total_seconds()
        axis.axvline(second, color="#444444", linewidth=0.8, linestyle="--", zorder=0)
        if named:
            axis.annotate(
                name.replace("_", " "),
                (second, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(2, 2 + 9 * (index % 3)),
                textcoords="offset points",
                fontsize=7,
                annotation_clip=False,
            )


def _verdict(figure: Figure, title: str, status: str) -> None:
    """The verdict as a coloured band with words, never by colour alone."""
    figure.suptitle(
        f"{status.upper().replace('_', ' ')}   {title}", fontsize=10, color="white", wrap=True,
        bbox={"facecolor": VERDICT.get(status, "#444444"), "edgecolor": "none", "boxstyle": "square,pad=0.4"},
    )  # fmt: skip
