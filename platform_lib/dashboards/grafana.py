"""How does a dashboard look to Grafana, and how is one of Grafana's read? Its JSON model, both ways; pure.

Only what Prometheus panels need is read: time series, stat, gauge and bar gauge. Other panels (text, logs, tables of
other sources) are left out and named.

Source: Grafana, dashboard JSON model (schemaVersion 39, Grafana 11 and newer).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from platform_lib.dashboards.spec import COLUMNS, HEIGHT, Dashboard, Kind, Panel, Target
from platform_lib.errors import InvalidInput
from platform_lib.model import App

SCHEMA_VERSION = 39
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {
    "s": "s",
    "bytes": "bytes",
    "bytes/s": "Bps",
    "ratio": "percentunit",
    "ratio 0 to 1": "percentunit",
    "requests/s": "reqps",
    "cores": "suffix: cores",
    "times": "suffix:x",
}
"""Units of the query library to Grafana's names; the others are counts."""
_READABLE = {"timeseries": "timeseries", "graph": "timeseries", "stat": "stat", "gauge": "stat", "bargauge": "stat"}


def document(dashboard: Dashboard, app: App) -> dict[str, Any]:
    """Return Grafana's JSON of a dashboard.

    Args:
        dashboard: What to show.
        app: The application that the variables name at first.
    """
    return {
        "uid": f"apqx-{dashboard.name}",
        "title": dashboard.title,
        "description": dashboard.help,
        "tags": ["apqx"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [_datasource(), _text("app", app.name), _text("namespace", app.namespace)]},
        "annotations": {"list": []},
        "links": [],
        "panels": [_panel(number, panel) for number, panel in enumerate(dashboard.panels, 1)],
    }


def _datasource() -> dict[str, Any]:
    """Return the variable that chooses among several Prometheus servers."""
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}


def _text(name: str, value: str) -> dict[str, Any]:
    """Return a variable that a person types."""
    current = {"text": value, "value": value, "selected": True}
    return {"name": name, "type": "textbox", "query": value, "current": current, "options": [current], "hide": 0}


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    """Return one panel."""
    column, row, width, height = panel.place
    stat = panel.kind == "stat"
    legend = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}
    options = (
        {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "textMode": "value_and_name"}
        if stat
        else {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    )
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": DATASOURCE,
        "gridPos": {"x": column, "y": row, "w": width, "h": height},
        "targets": [_target(index, target) for index, target in enumerate(panel.targets)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": options,
    }


def _target(index: int, target: Target) -> dict[str, Any]:
    """Return one query; the look-back of a rate is left to Grafana, which knows the scrape interval."""
    return {
        "refId": chr(ord("A") + index),
        "datasource": DATASOURCE,
        "expr": target.promql.replace("${window}", "$__rate_interval"),
        "legendFormat": target.legend or "__auto",
        "range": True,
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    """Return unit and thresholds."""
    unit = UNITS.get(panel.unit, "none")
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.good is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": panel.good}]
    steps += [{"color": "orange", "value": panel.warn}] if panel.warn is not None else []
    steps += [{"color": "red", "value": panel.critical}] if panel.critical is not None else []
    found: dict[str, Any] = {"unit": unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind == "timeseries":
        style = "line" if panel.critical is not None else "off"
        found["custom"] = {"lineWidth": 1, "fillOpacity": 10, "thresholdsStyle": {"mode": style}}
    return found | ({"min": 0} if panel.kind == "timeseries" else {})


def read(raw: Any, *, name: str) -> tuple[Dashboard, list[str]]:
    """Read a dashboard of Grafana's, also one that somebody else made.

    Args:
        raw: Decoded JSON: a dashboard, or the answer of Grafana's API (``{"dashboard": ...}``).
        name: What it is called here.

    Returns:
        The dashboard, and the titles of panels that were left out with the reason.

    Raises:
        InvalidInput: It is no dashboard, or holds no panel that Prometheus can fill.
    """
    model = raw.get("dashboard", raw) if isinstance(raw, Mapping) else None
    if not isinstance(model, Mapping) or not isinstance(model.get("panels"), list):
        raise InvalidInput(f"{name} - no dashboard of Grafana's, expected an object with `panels`")
    units = {theirs: ours for ours, theirs in reversed(UNITS.items())}
    panels, left = [], []
    for found in _flat(model["panels"]):
        title, kind = str(found.get("title") or "untitled"), str(found.get("type"))
        targets = tuple(_read_target(one) for one in found.get("targets") or () if one.get("expr"))
        if kind not in _READABLE or not targets:
            left.append(f"{title}: {'no PromQL' if kind in _READABLE else f'panel of type {kind}'}")
            continue
        panels.append(_read_panel(found, title, _READABLE[kind], targets, units))  # type: ignore[arg-type]
    if not panels:
        raise InvalidInput(f"{name} - holds no panel with PromQL, expected at least one ({'; '.join(left[:3])})")
    return Dashboard(name, str(model.get("title") or name), tuple(panels), str(model.get("description") or "")), left


def _flat(panels: list[Any]) -> Iterator[Mapping[str, Any]]:
    """Yield panels, those inside folded rows too; a row itself is only a heading."""
    for panel in panels:
        if panel.get("type") == "row":
            yield from _flat(panel.get("panels") or [])
        else:
            yield panel


def _read_target(raw: Mapping[str, Any]) -> Target:
    """Read one query."""
    legend = str(raw.get("legendFormat") or "")
    return Target(str(raw["expr"]), "" if legend == "__auto" else legend)


def _read_panel(
    raw: Mapping[str, Any], title: str, kind: Kind, targets: tuple[Target, ...], units: Mapping[str, str]
) -> Panel:
    """Read one panel; thresholds become warn and critical in the order of Grafana's steps."""
    defaults = (raw.get("fieldConfig") or {}).get("defaults") or {}
    grid = raw.get("gridPos") or {}
    place = tuple(int(grid.get(key, default)) for key, default in (("x", 0), ("y", 0), ("w", COLUMNS), ("h", HEIGHT)))
    steps = [one for one in (defaults.get("thresholds") or {}).get("steps") or () if one.get("value") is not None]
    values = {str(one.get("color")): float(one["value"]) for one in steps}
    unit = str(defaults.get("unit") or "")
    return Panel(
        title=title,
        kind=kind,
        unit=units.get(unit, unit),
        targets=targets,
        place=place,  # type: ignore[arg-type]
        warn=values.get("orange", values.get("yellow")),
        critical=values.get("red"),
        good=values.get("green"),
        help=str(raw.get("description") or ""),
    )
