"""How is an application doing? Named queries, or anybody's PromQL, as DataFrames with units."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from platform_lib.errors import InvalidInput, NoData
from platform_lib.model import App, Platform, joined
from platform_lib.wait import now
from platform_lib.wire import prometheus

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_WINDOW_S = 300.0
RATE_WINDOW_S = 10.0
"""Look-back of a rate in seconds: ten scrapes of the local platform, short enough to see a rollout."""


@dataclass(frozen=True, slots=True)
class Query:
    """One named query: PromQL with placeholders, its unit and where the rule comes from."""

    name: str
    unit: str
    help: str
    promql: str
    source: str
    elsewhere: str = ""
    """Why the embedded platform cannot answer; empty when it does."""

    def render(self, app: App, *, rate_window_s: float = RATE_WINDOW_S) -> str:
        """Return the PromQL for an application."""
        values = {"app": app.name, "namespace": app.namespace, "window": f"{rate_window_s:g}s"}
        return Template(self.promql).substitute(values).strip()


@lru_cache(maxsize=1)
def queries() -> dict[str, Query]:
    """Return the named queries of ``queries.toml``."""
    text = Path(__file__).with_name("queries.toml").read_text()
    return {name: Query(name, **entry) for name, entry in tomllib.loads(text).items()}


def catalogue() -> pd.DataFrame:
    """Return one row per named query, index ``name``, with unit, help, PromQL, source and ``elsewhere``."""
    import pandas as pd

    rows = [asdict(query) | {"promql": query.promql.strip()} for query in queries().values()]
    return pd.DataFrame(rows).set_index("name")


def frame(
    platform: Platform,
    query: str,
    *,
    app: App | None = None,
    window_s: float | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    step_s: float | None = None,
    rate_window_s: float = RATE_WINDOW_S,
    tidy: bool = False,
    unit: str = "",
) -> pd.DataFrame:
    """Return a signal over time.

    Args:
        platform: Where.
        query: Name from ``catalogue()``, or PromQL; both work the same way.
        app: Fills the placeholders of a named query; default is the sample application.
        window_s: Look-back from ``end`` in seconds; default 300. Not together with ``start``.
        start: First point, aware; instead of ``window_s``.
        end: Last point; default now.
        step_s: Distance of points in seconds; default gives at most 600 points. Ranges beyond Prometheus's
            11,000 points are asked for in parts.
        rate_window_s: Look-back of rates in named queries.
        tidy: One row per sample, with a column per label, instead of one column per series.
        unit: Unit of the values of your own PromQL; named queries know theirs.

    Returns:
        Wide: UTC index ``time``, one float64 column per series. Tidy: ``time``, the labels, ``value``. NaN where
        a series has no sample. ``attrs`` hold ``name``, ``unit``, ``help``, ``promql``, ``step_s``, ``labels`` and
        ``warnings`` (of Prometheus; not empty means the answer may be partial).

    Raises:
        InvalidInput: ``start`` and ``window_s`` together, or an empty range.
        NoData: Nothing matched.
        QueryError: Prometheus refused; carries its message.
        Unreachable: No answer.
    """
    named = queries().get(query)
    promql = named.render(app or App(), rate_window_s=rate_window_s) if named else query
    first, last = _span(window_s, start, end)
    try:
        with prometheus.connect(platform) as client:
            found = client.range(promql, start=first, end=last, step_s=step_s)
    except NoData as error:
        raise _explained(error, query) from error
    found.attrs |= {"name": query, "unit": named.unit if named else unit, "help": named.help if named else ""}
    return tidied(found) if tidy else found


def _explained(error: NoData, query: str) -> NoData:
    """Say why a query may have no answer: it answers elsewhere, or its name is mistyped."""
    named = queries().get(query)
    if named:
        return NoData(error.message, hint=named.elsewhere, **error.context) if named.elsewhere else error
    near = get_close_matches(query, queries(), n=1)
    return NoData(error.message, hint=f"did you mean the named query {near[0]}?", **error.context) if near else error


def value(platform: Platform, query: str, *, app: App | None = None) -> dict[str, float]:
    """Return the present value of a signal, one entry per series; empty when nothing matches."""
    named = queries().get(query)
    promql = named.render(app or App()) if named else query
    with prometheus.connect(platform) as client:
        result = client.instant(promql)
    names = prometheus.column_names([series["metric"] for series in result])
    return {name: float(series["value"][1]) for name, series in zip(names, result, strict=True)}


def tidied(wide: pd.DataFrame) -> pd.DataFrame:
    """Turn a wide frame into one row per sample: ``time``, one categorical column per label, ``value``."""
    import pandas as pd

    parts = []
    for position, labels in enumerate(wide.attrs["labels"]):
        column = wide.iloc[:, position].dropna()
        parts.append(pd.DataFrame({"time": column.index, **labels, "value": column.to_numpy()}))
    tidy = pd.concat(parts, ignore_index=True)
    names = [name for name in tidy.columns if name not in ("time", "value")]
    tidy = tidy.astype(dict.fromkeys(names, "category"))[["time", *names, "value"]]
    tidy.attrs = dict(wide.attrs)
    return tidy


def request_rate(platform: Platform, app: App, *, window_s: float = DEFAULT_WINDOW_S) -> pd.DataFrame:
    """Return requests per second, one column per version."""
    return frame(platform, "request_rate", app=app, window_s=window_s)


def error_ratio(platform: Platform, app: App, *, window_s: float = DEFAULT_WINDOW_S) -> pd.DataFrame:
    """Return the share of failed requests (0 to 1), one column per version; NaN where none was answered."""
    return frame(platform, "error_ratio", app=app, window_s=window_s)


def latency_quantiles(platform: Platform, app: App, *, window_s: float = DEFAULT_WINDOW_S) -> pd.DataFrame:
    """Return p50, p95 and p99 in seconds, columns ``<version> p50`` and so on."""
    import pandas as pd

    end = now()
    parts = [
        frame(platform, f"latency_{rank}", app=app, window_s=window_s, end=end).add_suffix(f" {rank}")
        for rank in ("p50", "p95", "p99")
    ]
    joint = pd.concat(parts, axis=1)
    joint.attrs = {"unit": "s"}
    return joint


def cpu(platform: Platform, app: App, *, window_s: float = DEFAULT_WINDOW_S) -> pd.DataFrame:
    """Return used cores, one column per pod."""
    return frame(platform, "cpu", app=app, window_s=window_s)


def memory(platform: Platform, app: App, *, window_s: float = DEFAULT_WINDOW_S) -> pd.DataFrame:
    """Return the working set in bytes, one column per pod."""
    return frame(platform, "memory", app=app, window_s=window_s)


def restarts(platform: Platform, app: App, *, window_s: float = DEFAULT_WINDOW_S) -> pd.DataFrame:
    """Return container restarts since creation, one column per pod."""
    return frame(platform, "restarts", app=app, window_s=window_s)


def _span(window_s: float | None, start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    """Return first and last point of a range."""
    if start is not None and window_s is not None:
        given = joined(("start", "window_s"))
        raise InvalidInput(f"range - {given} were both given, one was expected", hint="leave one out")
    last = end or now()
    first = start or last - timedelta(seconds=window_s or DEFAULT_WINDOW_S)
    if first >= last:
        raise InvalidInput(f"range - starts at {first} and ends at {last}, expected to end later")
    return first, last
