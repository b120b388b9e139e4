"""How is a year of records read by time window? One file per UTC day; closed days become Parquet.

A day is a JSON lines file while records arrive. ``compact`` turns closed days into Parquet: a window is then
read in milliseconds and a year takes a tenth of the space. A record that arrives late for a compacted day goes to
a new file of lines beside it, and the next compaction joins them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform_lib.errors import InvalidInput
from platform_lib.journal.schema import FIELDS, decoded
from platform_lib.model import Platform
from platform_lib.wait import now

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FOLDER = "journal"
"""Name of the record's folder in the state folder of a platform."""
_TAKEN = b"apqx.taken"
"""Parquet metadata: hashes of the files of lines that went into it, so that a crash never counts one twice."""


def day_file(folder: Path, moment: datetime) -> Path:
    """Return the file of lines that a moment belongs to."""
    return folder / f"{moment.astimezone(UTC):%Y-%m-%d}.jsonl"


def days(folder: Path) -> list[date]:
    """Return the days that have records, sorted."""
    if not folder.is_dir():
        return []
    found = {path.name[:10] for path in folder.iterdir() if path.suffix in (".jsonl", ".parquet", ".compacting")}
    return sorted(date.fromisoformat(name) for name in found)


def read(path: Path | None) -> pd.DataFrame:
    """Read one journal file.

    Returns:
        One row per record in file order, columns ``FIELDS``: ``utc`` and ``seen_utc`` (UTC time stamps), text, and
        ``data`` (dict). Empty when the file is absent. A line that was cut off by a crash is left out.
    """
    return _typed(_lines(path)) if path is not None else _typed([])


def frame(
    where: Platform | Path,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    source: str | Sequence[str] | None = None,
    kind: str | Sequence[str] | None = None,
    subject: str | None = None,
    run_id: str | None = None,
) -> pd.DataFrame:
    """Read the record of a platform, or one journal file, by time window.

    Args:
        where: A platform, its state folder, the folder of its record, or one file of lines.
        start: First moment, aware; None is the beginning.
        end: Moment after the last one, aware; None is everything so far.
        source: One source or several.
        kind: One kind or several.
        subject: What the records are about.
        run_id: Records of one run.

    Returns:
        One row per record, sorted by ``utc`` (records of the same moment stay in the order of writing), columns as
        in ``read``. Records of the same fact are one row. Only the files of the days in the window are opened.

    Raises:
        InvalidInput: There is no such record, or the window ends before it starts.
    """
    _check(start, end)
    wanted = {"source": source, "kind": kind, "subject": subject, "run_id": run_id}
    path = where.home if isinstance(where, Platform) else where
    if path.is_file():
        rows = read(path)
    else:
        folder = _folder(path)
        rows = _joined([_day(folder, day, start, end, wanted) for day in _within(days(folder), start, end)])
    return _folded(_selected(rows, start, end, wanted))


def compact(folder: Path, *, before: date | None = None) -> list[Path]:
    """Turn the files of closed days into Parquet.

    Safe to call while others append, and to call again after a crash at any point: a record is neither lost nor
    kept twice.

    Args:
        folder: Folder of the record.
        before: Days before this one are closed; None is yesterday, so that late records of the night are in.

    Returns:
        The Parquet files that were written.
    """
    limit = before or (now().astimezone(UTC).date() - timedelta(days=1))
    closed = (day for day in days(folder) if day < limit)
    return [path for day in closed if (path := _compact_day(folder, day)) is not None]


def _check(start: datetime | None, end: datetime | None) -> None:
    """Refuse a window that means something else than it says."""
    for name, value in (("start", start), ("end", end)):
        if value is not None and value.tzinfo is None:
            raise InvalidInput(f"{name} {value} - has no time zone, one was expected", hint="use UTC")
    if start and end and start > end:
        raise InvalidInput(f"window - starts at {start} and ends at {end}, expected to end later")


def _folder(path: Path) -> Path:
    """Find the record in a state folder, or take the folder itself."""
    if (path / FOLDER).is_dir():
        return path / FOLDER
    if days(path) or path.name == FOLDER:
        return path
    raise InvalidInput(f"record {path} - has no days, expected files named by day", hint="bring a platform up: apqx up")


def _within(found: Iterable[date], start: datetime | None, end: datetime | None) -> list[date]:
    """Keep the days that overlap the window."""
    first = start.astimezone(UTC).date() if start else date.min
    last = end.astimezone(UTC).date() if end else date.max
    return [day for day in found if first <= day <= last]


def _day(folder: Path, day: date, start: datetime | None, end: datetime | None, wanted: dict[str, Any]) -> pd.DataFrame:
    """Read what there is of one day: the compacted part filtered while reading, then lines that came later."""
    parquet, taken, parts = folder / f"{day}.parquet", set(), []
    if parquet.is_file():
        parts.append(_from_parquet(parquet, start, end, wanted))
        taken = _taken(parquet)
    for ending in ("compacting", "jsonl"):
        path = folder / f"{day}.{ending}"
        if path.is_file() and (not taken or _sha256(path) not in taken):
            parts.append(_selected(read(path), start, end, wanted))
    return _joined(parts)


def _from_parquet(path: Path, start: datetime | None, end: datetime | None, wanted: dict[str, Any]) -> pd.DataFrame:
    """Read the matching rows of a Parquet file; row groups outside the window are skipped."""
    import pyarrow.parquet as pq

    filters: list[tuple[str, str, Any]] = []
    filters += [("utc", ">=", start)] if start else []
    filters += [("utc", "<", end)] if end else []
    filters += [(name, "in", _values(value)) for name, value in wanted.items() if value is not None]
    rows: pd.DataFrame = pq.read_table(path, filters=filters or None).to_pandas()
    rows["data"] = [json.loads(text) for text in rows["data"]]
    return rows


def _selected(rows: pd.DataFrame, start: datetime | None, end: datetime | None, wanted: dict[str, Any]) -> pd.DataFrame:
    """Apply the window and the filters, and sort by time."""
    keep = rows["utc"].notna()
    if start is not None:
        keep &= rows["utc"] >= start
    if end is not None:
        keep &= rows["utc"] < end
    for name, value in wanted.items():
        if value is not None:
            keep &= rows[name].isin(_values(value))
    return rows[keep].sort_values("utc", kind="stable", ignore_index=True)


def told_on(folder: Path, day: date) -> set[tuple[str, str]]:
    """Return (source, uid) of every record of one day."""
    parquet = folder / f"{day}.parquet"
    told = {
        (record["source"], record["uid"])
        for ending in ("compacting", "jsonl")
        for record in _lines(folder / f"{day}.{ending}")
    }
    if parquet.is_file():
        import pyarrow.parquet as pq

        table = pq.read_table(parquet, columns=["source", "uid"])
        told |= set(zip(table["source"].to_pylist(), table["uid"].to_pylist(), strict=True))
    return told


def _folded(rows: pd.DataFrame) -> pd.DataFrame:
    """Make one record of those that tell the same fact: a commit is told by whoever made it and by git."""
    again = rows["uid"].ne("") & rows.duplicated(["source", "uid"])
    if not again.any():
        return rows
    first = rows[rows["uid"].ne("") & ~again].reset_index().set_index(["source", "uid"])["index"]
    columns: dict[str, list[Any]] = {name: rows[name].tolist() for name in ("data", "cause", "run_id")}
    for position in rows.index[again]:
        kept = first[(rows["source"][position], rows["uid"][position])]
        columns["data"][kept] = {**columns["data"][position], **columns["data"][kept]}
        for name in ("cause", "run_id"):
            columns[name][kept] = columns[name][kept] or columns[name][position]
    return rows.assign(**columns)[~again].reset_index(drop=True)


def _values(value: str | Sequence[str]) -> list[str]:
    """Return one value or several as a list."""
    return [value] if isinstance(value, str) else list(value)


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Put parts below each other; typed also when there is none."""
    import pandas as pd

    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else _typed([])


def _lines(path: Path) -> list[dict[str, Any]]:
    """Read the whole records of a file of lines."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [record for record in map(decoded, file) if record is not None]
    except FileNotFoundError:
        return []


def _typed(records: list[dict[str, Any]]) -> pd.DataFrame:
    """Build the DataFrame, typed also when it is empty."""
    import pandas as pd

    frame = pd.DataFrame(records, columns=list(FIELDS))
    for name in ("utc", "seen_utc"):
        frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601").astype("datetime64[ms, UTC]")
    return frame


def _compact_day(folder: Path, day: date) -> Path | None:
    """Join the files of one day into its Parquet file; None when there was nothing to do."""
    parquet, moving = folder / f"{day}.parquet", folder / f"{day}.compacting"
    if not moving.is_file() and not _set_aside(folder / f"{day}.jsonl", moving):
        return None
    taken = _taken(parquet) if parquet.is_file() else set()
    sha = _sha256(moving)
    if sha not in taken:
        parts = [_from_parquet(parquet, None, None, {})] if parquet.is_file() else []
        rows = _joined([*parts, read(moving)]).sort_values("utc", kind="stable", ignore_index=True)
        _write_parquet(parquet, rows, taken | {sha})
    moving.unlink()
    return parquet


def _set_aside(path: Path, moving: Path) -> bool:
    """Rename a file of lines once nobody writes to it; later records start a new file of that name."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            path.rename(moving)
    except FileNotFoundError:
        return False
    return True


def _write_parquet(path: Path, rows: pd.DataFrame, taken: set[str]) -> None:
    """Write a Parquet file so that it is there whole or not at all."""
    import pyarrow.parquet as pq

    temporary = path.with_suffix(".tmp")
    table = _table(rows).replace_schema_metadata({_TAKEN: json.dumps(sorted(taken)).encode()})
    pq.write_table(table, temporary, compression="zstd", row_group_size=20_000)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.rename(path)


def _table(rows: pd.DataFrame) -> pa.Table:
    """Turn records into columns; ``data`` stays JSON, its shape differs from kind to kind."""
    import pyarrow as pa

    stamp = pa.timestamp("ms", tz="UTC")
    texts = [json.dumps(data, separators=(",", ":"), default=str) for data in rows["data"]]
    columns = {
        name: pa.array(rows[name], type=stamp if name in ("utc", "seen_utc") else pa.string()) for name in FIELDS[:-1]
    }
    return pa.table({**columns, "data": pa.array(texts, type=pa.string())})


def _taken(path: Path) -> set[str]:
    """Return the hashes of the files of lines that a Parquet file holds."""
    import pyarrow.parquet as pq

    found = (pq.read_schema(path).metadata or {}).get(_TAKEN, b"[]")
    return set(json.loads(found))


def _sha256(path: Path) -> str:
    """Hash one file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
