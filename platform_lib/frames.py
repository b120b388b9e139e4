"""How are DataFrames kept in a folder? One file each, parquet or compressed CSV, and one index with their meaning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from platform_lib.errors import InvalidInput, ToolMissing
from platform_lib.model import to_json

if TYPE_CHECKING:
    import pandas as pd

INDEX = "index.json"
_GZIP: dict[str, Any] = {"method": "gzip", "mtime": 0}
"""Without a time stamp, equal tables are equal files."""


def write(
    folder: Path, tables: Mapping[str, pd.DataFrame], *, form: Literal["auto", "parquet", "csv"] = "auto"
) -> None:
    """Write tables to a folder.

    Args:
        folder: Created; nothing is written when there are no tables.
        tables: Name to table; ``attrs`` are kept too.
        form: ``auto`` is parquet where pyarrow is installed, else compressed CSV.

    Raises:
        ToolMissing: Parquet was asked for and pyarrow is not installed.
    """
    if not tables:
        return
    chosen = _form(form)
    folder.mkdir(parents=True, exist_ok=True)
    index = {}
    for name, table in tables.items():
        file = f"{name}.{'parquet' if chosen == 'parquet' else 'csv.gz'}"
        _store(table, folder / file, chosen)
        times = [str(c) for c in table.columns if str(table[c].dtype).startswith("datetime64")]
        index[name] = {"file": file, "times": times, "index": table.index.name, "attrs": dict(table.attrs)}
    (folder / INDEX).write_text(json.dumps(to_json(index), indent=1, default=str) + "\n")


def read(folder: Path) -> dict[str, pd.DataFrame]:
    """Read the tables of a folder; empty when there is none.

    Raises:
        InvalidInput: A file named by the index cannot be read.
        ToolMissing: A table is parquet and pyarrow is not installed.
    """
    path = folder / INDEX
    if not path.is_file():
        return {}
    index = json.loads(path.read_text())
    return {name: _load(folder / entry["file"], entry) for name, entry in index.items()}


def _form(form: str) -> str:
    """Choose how tables are stored."""
    has_parquet = find_spec("pyarrow") is not None
    if form == "parquet" and not has_parquet:
        raise ToolMissing(
            "pyarrow - not installed, parquet needs it", hint="pip install 'apqx[analysis]', or choose csv"
        )
    return ("parquet" if has_parquet else "csv") if form == "auto" else form


def _store(table: pd.DataFrame, path: Path, form: str) -> None:
    """Write one table."""
    plain = table.copy()
    plain.attrs = {}
    plain.columns = [str(name) for name in plain.columns]
    if form == "parquet":
        plain.to_parquet(path, compression="zstd")
    else:
        plain.to_csv(path, index=plain.index.name is not None, compression=_GZIP, float_format="%.9g")


def _load(path: Path, entry: Mapping[str, Any]) -> pd.DataFrame:
    """Read one table with its types and its meaning."""
    import pandas as pd

    try:
        if path.suffix == ".parquet":
            _form("parquet")
            table = pd.read_parquet(path)
        else:
            table = _from_csv(path, entry)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"table {path} - cannot be read: {error}", hint="copy the archive again") from error
    table.attrs = dict(entry["attrs"])
    return table


def _from_csv(path: Path, entry: Mapping[str, Any]) -> pd.DataFrame:
    """Read a compressed CSV; text columns keep their empty texts."""
    import pandas as pd

    texts = dict.fromkeys(("error", "version", "pod"), str)
    table = pd.read_csv(path, index_col=0 if entry["index"] else None, dtype=texts)  # type: ignore[arg-type]
    if entry["index"]:
        table.index = pd.to_datetime(table.index, utc=True, format="ISO8601")
        table.index.name = entry["index"]
    for name in entry["times"]:
        table[name] = pd.to_datetime(table[name], utc=True, format="ISO8601")
    return table.fillna({name: "" for name in texts if name in table.columns})
