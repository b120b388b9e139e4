"""What is a dashboard? Panels with PromQL on a grid of 24 columns; the built-in ones come from ``catalogue.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from platform_lib import metrics
from platform_lib.errors import InvalidInput
from platform_lib.model import joined

Kind = Literal["timeseries", "stat"]
COLUMNS = 24
"""Width of Grafana's grid."""
HEIGHT = 8


@dataclass(frozen=True, slots=True)
class Target:
    """One query of a panel.

    Attributes:
        promql: May hold ``${app}``, ``${namespace}``, ``${window}`` and Grafana's ``$__rate_interval``.
        legend: Grafana's format, ``{{label}}``; empty: the series' labels.
    """

    promql: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of a dashboard.

    Attributes:
        title: What it shows.
        kind: ``timeseries``, or ``stat`` for the newest value in large.
        unit: As in the query library (``s``, ``bytes``, ``ratio 0 to 1``), or Grafana's own name.
        targets: Its queries.
        place: (column, row, width, height) on the grid.
        warn, critical: Values from which on something deserves a look, or somebody's sleep; None: nothing does.
        good: For ``stat``: the value from which on it is as it should be.
        help: Sentence behind the title.
    """

    title: str
    kind: Kind
    unit: str
    targets: tuple[Target, ...]
    place: tuple[int, int, int, int]
    warn: float | None = None
    critical: float | None = None
    good: float | None = None
    help: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Panels with a name, a title and a sentence."""

    name: str
    title: str
    panels: tuple[Panel, ...]
    help: str = ""


@lru_cache(maxsize=1)
def catalogue() -> dict[str, Dashboard]:
    """Return the built-in dashboards by name."""
    entries = tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text())
    return {name: _dashboard(name, entry) for name, entry in entries.items()}


def one(name: str) -> Dashboard:
    """Return a built-in dashboard.

    Raises:
        InvalidInput: There is none of that name; names those that are there.
    """
    found = catalogue()
    if name not in found:
        raise InvalidInput(
            f"dashboard {name!r} - unknown, expected one of {joined(found)} or a file of Grafana's",
            hint="apqx dashboard list",
        )
    return found[name]


def _dashboard(name: str, entry: dict[str, Any]) -> Dashboard:
    """Build one dashboard: panels flow from left to right."""
    panels, column, row = [], 0, 0
    for raw in entry["panels"]:
        width = int(raw.get("width", COLUMNS // 2))
        if column + width > COLUMNS:
            column, row = 0, row + HEIGHT
        panels.append(_panel(raw, (column, row, width, HEIGHT)))
        column += width
    return Dashboard(name, entry["title"], tuple(panels), entry["help"])


def _panel(raw: dict[str, Any], place: tuple[int, int, int, int]) -> Panel:
    """Build one panel; expressions, units and sentences come from the query library."""
    named = [metrics.queries()[name] for name in raw.get("queries", ())]
    several = len(named) > 1
    legends = raw.get("legends") or [raw.get("legend") or _words(query.name, several) for query in named]
    targets = [Target(query.promql.strip(), legend) for query, legend in zip(named, legends, strict=True)]
    targets += [Target(raw["promql"], raw.get("legend", ""))] if "promql" in raw else []
    help_ = raw.get("help") or " ".join(query.help for query in named)
    return Panel(
        title=raw["title"],
        kind=raw.get("kind", "timeseries"),
        unit=raw.get("unit") or named[0].unit,
        targets=tuple(targets),
        place=place,
        warn=raw.get("warn"),
        critical=raw.get("critical"),
        good=raw.get("good"),
        help=help_,
    )


def _words(name: str, several: bool) -> str:
    """Name a series by its query where several stand in one panel."""
    return name.removeprefix("app_").removeprefix("ingress_").replace("_", " ") if several else ""
