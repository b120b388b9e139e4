"""How does the text of a Prometheus answer become a DataFrame, a million samples in half a second?

Samples are cut out of the body as text and read by pandas' CSV parser, which reads a decimal number exactly;
only what is left, the labels and the warnings, is decoded as JSON. The cut
is safe: ``"values":[[`` cannot stand inside a JSON string, where its quotes would be escaped, and ``]]`` cannot
stand among numbers. What another server writes differently (blanks, another order) stays in the JSON part and
is converted from there: slower, and the same values.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

_BEGIN, _END = b'"values":[[', b"]]"
_BATCH_BYTES = 4_000_000
"""Text converted at once: bounds the memory, and fits in the cache of a processor."""
_LINES = bytes.maketrans(b"]", b"\n")
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """The samples of one answer, series after series.

    Attributes:
        labels: Labels of each series, sorted pairs.
        counts: Number of samples of each series.
        times: Unix seconds of all samples.
        values: Values of all samples, bit for bit what the server wrote.
        histograms: Labels of series that hold native histograms, which no float can hold.
        document: What else the answer said: ``status``, ``error``, ``warnings``, ``infos``.
    """

    labels: list[Labels]
    counts: NDArray[np.int64]
    times: NDArray[np.float64]
    values: NDArray[np.float64]
    histograms: list[Labels] = field(default_factory=list)
    document: dict[str, Any] = field(default_factory=dict)


def part_of(body: bytes) -> Part:
    """Read the body of a range query.

    Raises:
        ValueError: Not JSON.
    """
    rest, texts = _cut(body)
    with collector_paused():
        document = json.loads(rest)
    if not isinstance(document, dict):
        raise ValueError(f"a JSON object was expected, got {type(document).__name__}")
    found = (document.pop("data", None) or {}).get("result") or []
    return _joined(found, texts, document)


def part_of_series(found: Sequence[dict[str, Any]]) -> Part:
    """Read series that were decoded already."""
    return _joined(found, [], {})


def _cut(body: bytes) -> tuple[bytes, list[bytes]]:
    """Return the body without its samples, and the samples of each series as text ``t,"v"],[t,"v"``."""
    rest: list[bytes] = []
    texts: list[bytes] = []
    position = 0
    while (begin := body.find(_BEGIN, position)) >= 0:
        end = body.find(_END, begin + len(_BEGIN))
        if end < 0:
            break  # cut off: the JSON decoder will say so
        rest.append(body[position:begin] + b'"values":%d' % len(texts))
        texts.append(body[begin + len(_BEGIN) : end])
        position = end + len(_END)
    rest.append(body[position:])
    return b"".join(rest), texts


def _joined(found: Sequence[dict[str, Any]], texts: list[bytes], document: dict[str, Any]) -> Part:
    """Return one part from series whose samples are cut out (a number stands for them) or decoded."""
    plain = [series for series in found if series.get("values") != [] and "values" in series]
    numbers = [series["values"] for series in plain]
    arrays = _read([texts[n] for n in numbers]) if all(isinstance(n, int) for n in numbers) else None
    if arrays is None:
        pieces = [_read([texts[n]]) if isinstance(n, int) else _decoded(n) for n in numbers]
        arrays = _concatenated(pieces)
    return Part(
        [_key(series) for series in plain],
        arrays[0],
        arrays[1],
        arrays[2],
        [_key(series) for series in found if series.get("histograms")],
        document,
    )


Arrays = tuple["NDArray[np.int64]", "NDArray[np.float64]", "NDArray[np.float64]"]
"""Samples per series, times, values."""


def _read(texts: list[bytes]) -> Arrays:
    """Convert the text of many series, a few megabytes at a time."""
    pieces, batch, size = [], [], 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH_BYTES:
            pieces.append(_read_batch(batch))
            batch, size = [], 0
    if batch:
        pieces.append(_read_batch(batch))
    return _concatenated(pieces)


def _read_batch(texts: list[bytes]) -> Arrays:
    """Convert the text of some series: one pass makes each sample a line, with nothing before its first comma."""
    import pandas as pd

    counts = np.fromiter((text.count(b"[") + 1 for text in texts), np.int64, len(texts))
    lines = (b"," + b"],[".join(texts)).translate(_LINES, b'[" ')
    options: dict[str, Any] = {
        "header": None,
        "names": ["nothing", "t", "v"],
        "usecols": [1, 2],
        "dtype": np.float64,
        "engine": "c",
    }
    frame = pd.read_csv(BytesIO(lines), **options, **_exact())
    return counts, frame["t"].to_numpy(), frame["v"].to_numpy()


@lru_cache(maxsize=1)
def _exact() -> dict[str, Any]:
    """Return the option with which pandas reads a number exactly; since 3.1 it always does."""
    import pandas as pd
    from packaging.version import Version

    return {} if Version(pd.__version__) >= Version("3.1") else {"float_precision": "round_trip"}


def _decoded(samples: list[list[Any]]) -> Arrays:
    """Convert decoded samples; float() reads what Prometheus writes exactly."""
    times = np.fromiter((sample[0] for sample in samples), np.float64, len(samples))
    values = np.fromiter(map(float, (sample[1] for sample in samples)), np.float64, len(samples))
    return np.array([len(samples)], np.int64), times, values


def _concatenated(pieces: list[Arrays]) -> Arrays:
    """Join arrays; of nothing come empty ones."""
    if not pieces:
        return np.empty(0, np.int64), np.empty(0), np.empty(0)
    return (
        np.concatenate([piece[0] for piece in pieces]),
        np.concatenate([piece[1] for piece in pieces]),
        np.concatenate([piece[2] for piece in pieces]),
    )


def _key(series: dict[str, Any]) -> Labels:
    """Return the labels of a series as sorted pairs."""
    return tuple(sorted((series.get("metric") or {}).items()))


@contextmanager
def collector_paused() -> Iterator[None]:
    """Decode without the cyclic collector: a million samples make millions of objects and no cycle."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def frame_of(parts: Sequence[Part | Sequence[dict[str, Any]]], step_s: float) -> pd.DataFrame:
    """Build one wide frame from the answers of consecutive windows.

    Series of different windows are joined by their labels, not by their position.

    Args:
        parts: Answers, or raw results as ``custom_query_range`` returns them.
        step_s: Distance of two points in seconds.

    Returns:
        Rows: every step between the first and the last sample, UTC index ``time``. Columns: one float64 per
        series, named by its labels (see ``column_names``). NaN where a series has no sample.
        ``frame.attrs["labels"]`` holds the labels of each column.
    """
    import pandas as pd

    read = [part if isinstance(part, Part) else part_of_series(part) for part in parts]
    columns: dict[Labels, int] = {}
    for part in read:
        for key in part.labels:
            columns.setdefault(key, len(columns))
    filled = [part for part in read if len(part.times)]
    if not filled:
        return pd.DataFrame(index=pd.DatetimeIndex([], tz="UTC", name="time"))
    first = min(float(part.times.min()) for part in filled)
    last = max(float(part.times.max()) for part in filled)
    table = np.full((len(columns), round((last - first) / step_s) + 1), np.nan)
    for part in filled:
        _fill(table, part, columns, first, step_s)
    stamps = np.rint((first + np.arange(table.shape[1]) * step_s) * 1000).astype("datetime64[ms]")
    index = pd.DatetimeIndex(stamps, name="time").tz_localize("UTC")
    named = [dict(key) for key in columns]
    frame = pd.DataFrame(table.T, index=index, columns=column_names(named), copy=False)
    frame.attrs["labels"] = named
    return frame


def _fill(table: NDArray[np.float64], part: Part, columns: dict[Labels, int], first: float, step_s: float) -> None:
    """Write the samples of one answer into the table, one row per series."""
    ends = np.cumsum(part.counts)
    for key, begin, end in zip(part.labels, ends - part.counts, ends, strict=True):
        places = np.rint((part.times[begin:end] - first) / step_s).astype(np.int64)
        table[columns[key], places] = part.values[begin:end]


def column_names(labels: Sequence[dict[str, str]]) -> list[str]:
    """Name series by the labels in which they differ.

    One differing label gives its bare value (``1.2.0``), several give ``name=value`` pairs, none gives the
    metric's name or ``value``.
    """
    keys = sorted({key for item in labels for key in item if key != "__name__"})
    differing = [key for key in keys if len({item.get(key, "") for item in labels}) > 1]
    metrics_differ = len({item.get("__name__", "") for item in labels}) > 1
    if len(labels) == 1 and not differing:
        return [labels[0].get("__name__") or next(iter(labels[0].values()), "value")]
    if len(differing) == 1 and not metrics_differ:
        return [item.get(differing[0], "") for item in labels]
    shown = (["__name__"] if metrics_differ else []) + differing
    return [",".join(f"{key}={item[key]}" for key in shown if key in item) for item in labels]
