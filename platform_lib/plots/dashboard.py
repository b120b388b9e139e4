"""How does a filled dashboard look on paper? Its panels on Grafana's grid, each with unit, legend and limits.

A state is said in words and not by colour alone, and series differ by line as well as by colour.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from platform_lib.plots.panels import COLOURS, FAILED, INK, SMALL_PT, SOFT, TEXT_PT, title

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 24
INCHES = 0.62
"""Width of a column of the grid; 24 of them fill a wide screen."""
ROW_INCHES = 0.34
GAP = 2
NO_LABELS = "value"
"""What a series without labels is called."""
SHOWN = 8
"""Series named in a legend; a further one is counted."""
GOOD, WARN = "#1B7837", "#B35806"
_LINES = ("-", "--", "-.", ":")


Panel = Any
"""A ``dashboards.spec.Panel``; that package is above this one, so it cannot be imported here."""
Filled = Any
"""A ``dashboards.Rendering``, for the same reason."""


def draw(filled: Filled) -> Figure:
    """Draw all panels.

    Args:
        filled: The dashboard, a frame per panel (wide, UTC index) and a note per panel.

    Returns:
        A figure without a window behind it.
    """
    from matplotlib.figure import Figure

    panels = filled.dashboard.panels
    rows = max(panel.place[1] + panel.place[3] for panel in panels)
    figure = Figure(figsize=(COLUMNS * INCHES, rows * ROW_INCHES + 0.9), dpi=110)
    top = 1 - 0.75 / figure.get_figheight()
    grid = figure.add_gridspec(rows, COLUMNS, left=0.045, right=0.985, bottom=0.02, top=top, hspace=0, wspace=0.9)
    for panel, frame, note in zip(panels, filled.frames, filled.notes, strict=True):
        column, row, width, height = panel.place
        right = column + width - (column + width < COLUMNS)
        # The last rows of a panel hold its ticks and leave room for the next heading.
        axis = figure.add_subplot(grid[row : row + max(height - GAP, 1), column:right])
        _draw_panel(axis, panel, frame, note, filled)
    window = f"{filled.start:%Y-%m-%d %H:%M:%S} to {filled.end:%H:%M:%S} UTC"
    figure.text(0.045, 1 - 0.3 / figure.get_figheight(), f"{filled.dashboard.title} - {filled.app.name}", fontsize=14)
    figure.text(0.985, 1 - 0.3 / figure.get_figheight(), window, fontsize=TEXT_PT, color=SOFT, ha="right")
    return figure


def _draw_panel(axis: Axes, panel: Panel, frame: pd.DataFrame, note: str, filled: Filled) -> None:
    """Draw one panel, or say why it is empty."""
    if frame.empty:
        title(axis, panel.title)
        axis.set(xticks=[], yticks=[])
        axis.text(
            0.5, 0.5, note or "nothing matched", ha="center", va="center", color=SOFT, fontsize=TEXT_PT, wrap=True
        )
    elif panel.kind == "stat":
        _stat(axis, panel, frame)
    else:
        _series(axis, panel, frame, filled)
        if note:
            axis.text(1, 1.02, note, transform=axis.transAxes, ha="right", fontsize=SMALL_PT, color=FAILED)


def _series(axis: Axes, panel: Panel, frame: pd.DataFrame, filled: Filled) -> None:
    """Lines over time, with limits where the panel has some."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import FuncFormatter

    for number, name in enumerate(frame.columns):
        line = _LINES[number // len(COLOURS) % len(_LINES)] if len(frame.columns) > len(COLOURS) else _LINES[number % 4]
        label = str(name) if number < SHOWN else None
        axis.plot(
            frame.index, frame.iloc[:, number], color=COLOURS[number % len(COLOURS)], linestyle=line, linewidth=1.4,
            label=label,
        )  # fmt: skip
    low, top = _range(panel, frame)
    # Room above the lines for the legend.
    high = low + (top - low) * (1.15 + 0.11 * min(len(frame.columns), SHOWN))
    axis.set_ylim(low, high)
    for value, word, colour in ((panel.warn, "look", WARN), (panel.critical, "act", FAILED)):
        if value is not None and value <= high:
            axis.axhline(value, color=colour, linewidth=0.9, linestyle=(0, (4, 3)))
            place = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
            axis.annotate(word, (1, value), fontsize=SMALL_PT, color=colour, **place)  # type: ignore[arg-type]
    axis.set_xlim(filled.start, filled.end)
    unit, form = scale(panel.unit, top)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
    locator = AutoDateLocator(minticks=3, maxticks=8)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
    title(axis, f"{panel.title} ({unit})" if unit else panel.title)
    if list(frame.columns) != [NO_LABELS]:
        _legend(axis, len(frame.columns))


def _range(panel: Panel, frame: pd.DataFrame) -> tuple[float, float]:
    """Return the least and the largest value to show; where all is 0 a limit of the panel gives the size."""
    low, top = min(float(frame.min().min()), 0.0), float(frame.max().max())
    if top != top:
        low, top = 0.0, 0.0
    return low, top if top > low else (panel.critical or panel.warn or 1.0)


def _legend(axis: Axes, count: int) -> None:
    """Name the series below the panel's heading."""
    more = f" and {count - SHOWN} more" if count > SHOWN else ""
    axis.legend(
        fontsize=SMALL_PT - 0.5, frameon=True, framealpha=0.8, edgecolor="none", loc="upper left",
        ncols=2 if count > 3 else 1, title=more or None, title_fontsize=SMALL_PT - 0.5, borderpad=0.2,
        labelspacing=0.25, handlelength=1.8,
    )  # fmt: skip


def _stat(axis: Axes, panel: Panel, frame: pd.DataFrame) -> None:
    """The newest value of each series, in large, with a word for its state."""
    title(axis, panel.title)
    axis.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
    axis.spines[["left", "bottom"]].set_visible(False)
    names = list(frame.columns)[:6]
    for number, name in enumerate(names):
        column = frame.iloc[:, number].dropna()
        value = float(column.iloc[-1]) if len(column) else float("nan")
        word, colour = state(panel, value)
        unit, form = scale(panel.unit, abs(value))
        left = (number + 0.5) / len(names)
        text = form(value) + (f"{'' if unit == '%' else ' '}{unit}" if unit else "")
        axis.text(left, 0.55, text, ha="center", va="center", fontsize=19, color=colour or INK)
        axis.text(left, 0.2, f"{name}{f': {word}' if word else ''}", ha="center", fontsize=SMALL_PT, color=SOFT)


def state(panel: Panel, value: float) -> tuple[str, str]:
    """Return the word and the colour for a value; both empty where the panel has no limits."""
    if value != value:
        return "no value", SOFT
    if panel.critical is not None and value >= panel.critical:
        return "act", FAILED
    if panel.warn is not None and value >= panel.warn:
        return "look", WARN
    if panel.good is not None:
        return ("good", GOOD) if value >= panel.good else ("act", FAILED)
    return ("good", GOOD) if panel.warn is not None or panel.critical is not None else ("", "")


def scale(unit: str, top: float) -> tuple[str, Callable[[float], str]]:
    """Return the unit that people read and how a number is written in it.

    Args:
        unit: Of the query library, or Grafana's name.
        top: Largest value, which decides between s and ms, bytes and MiB.
    """
    if unit in ("ratio", "ratio 0 to 1", "percentunit"):
        return "%", lambda value: f"{value * 100:,.4g}"
    if unit == "s" and top < 1:
        return "ms", lambda value: f"{value * 1000:.3g}"
    if unit.startswith("bytes") and top >= 2**20:
        rest = unit.removeprefix("bytes")
        return f"MiB{rest}", lambda value: f"{value / 2**20:.3g}"
    return "" if unit in ("1 or 0", "state", "none") else unit, lambda value: f"{value:,.4g}"
