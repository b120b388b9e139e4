"""How is a dashboard filled and drawn without Grafana? Each panel is asked of Prometheus; a figure comes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from platform_lib import metrics
from platform_lib.dashboards import grafana, spec
from platform_lib.dashboards.spec import Dashboard, Panel, Target
from platform_lib.errors import InvalidInput, NoData, QueryError
from platform_lib.model import App, Platform, joined
from platform_lib.wait import now
from platform_lib.wire.prometheus import choose_step

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Progress = Callable[[str], None]
SUFFIXES = (".png", ".svg", ".pdf")
_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)|\[\[(\w+)\]\]")
"""The three spellings of a variable in Grafana; a format (``${app:regex}``) changes nothing for a single value."""
_LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Rendering:
    """A filled dashboard.

    Attributes:
        dashboard: What was asked.
        app: Whose values stand in it.
        start, end: Its window.
        frames: One a panel, in its order: wide, UTC index, a column per series; empty where nothing matched.
        notes: One a panel: why it is empty, or what Prometheus warned of; empty where all is well.
        left: Panels of a foreign dashboard that cannot be drawn here, with the reason.
    """

    dashboard: Dashboard
    app: App
    start: datetime
    end: datetime
    frames: tuple[pd.DataFrame, ...]
    notes: tuple[str, ...]
    left: tuple[str, ...] = ()

    def figure(self) -> Figure:
        """Draw it."""
        from platform_lib.plots.dashboard import draw

        return draw(self)

    def save(self, path: Path) -> Path:
        """Write the picture.

        Args:
            path: Ends in .png, .svg or .pdf.

        Raises:
            InvalidInput: Another ending, or the folder is not there.
        """
        if path.suffix not in SUFFIXES or not path.parent.is_dir():
            raise InvalidInput(
                f"{path} - cannot be written as a picture, expected a file in an existing folder that ends in "
                f"{joined(SUFFIXES)}",
                hint="for example -o application.svg",
            )
        self.figure().savefig(path)
        return path

    def _repr_png_(self) -> bytes:
        """Show the picture in a notebook."""
        import io

        buffer = io.BytesIO()
        self.figure().savefig(buffer, format="png")
        return buffer.getvalue()


def load(name: str) -> tuple[Dashboard, list[str]]:
    """Return a built-in dashboard by name, or one of Grafana's from a file (``.json``).

    Raises:
        InvalidInput: No such dashboard, or the file holds none.
    """
    if not name.endswith(".json"):
        return spec.one(name), []
    try:
        raw = json.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{name} - not readable as JSON: {error}", hint="export it in Grafana as JSON") from error
    return grafana.read(raw, name=name)


def render(
    platform: Platform,
    name: str = "application",
    *,
    app: App | None = None,
    window_s: float = 1800.0,
    end: datetime | None = None,
    variables: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Rendering:
    """Fill a dashboard from Prometheus.

    Args:
        platform: Where.
        name: Built-in dashboard, or a file of Grafana's that ends in .json.
        app: Fills the variables ``app`` and ``namespace``.
        window_s: Look-back in seconds.
        end: Last point; default now.
        variables: Further variables of a foreign dashboard.
        progress: Called with the title of each panel.

    Raises:
        InvalidInput: Unknown dashboard, or a variable without a value.
        Unreachable: Prometheus does not answer.
    """
    dashboard, left = load(name)
    app, last = app or App(), end or now()
    first = last - timedelta(seconds=window_s)
    values = _values(app, first, last) | dict(variables or {})
    wanted = [[substituted(t.promql, values, panel.title) for t in panel.targets] for panel in dashboard.panels]
    frames, notes = [], []
    for panel, queries in zip(dashboard.panels, wanted, strict=True):
        if progress is not None:
            progress(panel.title)
        frame, note = _filled(platform, panel, queries, first, last)
        frames.append(frame)
        notes.append(note)
    return Rendering(dashboard, app, first, last, tuple(frames), tuple(notes), tuple(left))


def _values(app: App, first: datetime, last: datetime) -> dict[str, str]:
    """Return the values of the variables that every dashboard may use; rates look back over four scrapes and a step."""
    step_s = choose_step(first, last)
    window = f"{max(metrics.RATE_WINDOW_S, step_s):g}s"
    whole = f"{(last - first).total_seconds():g}s"
    names = {"app": app.name, "namespace": app.namespace, "window": window, "__rate_interval": window}
    return names | {"__interval": f"{step_s:g}s", "__range": whole, "datasource": "", "__all": ".*"}


def substituted(promql: str, values: Mapping[str, str], where: str) -> str:
    """Put values into an expression.

    Raises:
        InvalidInput: A variable has no value; names it and the panel.
    """

    def value(match: re.Match[str]) -> str:
        name = next(group for group in match.groups() if group)
        if name not in values:
            raise InvalidInput(
                f"panel {where!r} - variable ${name} has no value",
                hint=f"give it one: --var {name}=VALUE",
            )
        return values[name]

    return _VARIABLE.sub(value, promql)


def _filled(
    platform: Platform, panel: Panel, queries: list[str], first: datetime, last: datetime
) -> tuple[pd.DataFrame, str]:
    """Ask for a panel; what cannot be had is said in the panel and not in place of the others."""
    import pandas as pd

    parts, notes = [], []
    for target, promql in zip(panel.targets, queries, strict=True):
        try:
            found = metrics.frame(platform, promql, start=first, end=last)
        except NoData:
            notes.append("nothing matched")
        except QueryError as error:
            notes.append(error.message)
        else:
            parts.append(_named(found, target))
            notes += found.attrs.get("warnings", [])
    frame = pd.concat(parts, axis=1) if parts else pd.DataFrame()
    said = dict.fromkeys(note for note in notes if not (parts and note == "nothing matched"))
    return frame, joined(said, empty="")


def _named(frame: pd.DataFrame, target: Target) -> pd.DataFrame:
    """Name the series as the legend says."""
    if not target.legend:
        return frame
    names = [
        _LEGEND.sub(lambda match, labels=labels: str(labels.get(match[1], "")), target.legend).strip()  # type: ignore[misc]
        for labels in frame.attrs["labels"]
    ]
    return frame.set_axis([name or "all" for name in names], axis=1)
