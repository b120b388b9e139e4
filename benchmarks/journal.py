"""How fast is a time window of a year's record read, beside reading its lines with pandas?

A synthetic year of ten million records: one day is written line by line with the record's own encoding and compacted
by the record's own compaction; the other days are that day with its time stamps and identities moved. The last day
stays lines, as on a running platform. Each read happens in a fresh process (imports are not counted). The naive way
is ``pandas.read_json(lines=True)`` on one tenth of the year: the whole would take ten times its memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

RECORDS, DAYS, NAIVE_SHARE = 10_000_000, 365, 10
FIRST = datetime(2025, 1, 1, tzinfo=UTC)
DAY, HOUR, NOON = timedelta(days=1), timedelta(hours=1), timedelta(days=180, hours=12)
WINDOWS = {
    "one_hour": (NOON, NOON + HOUR),
    "one_day": (NOON, NOON + DAY),
    "one_week": (NOON, NOON + 7 * DAY),
    "open_day_hour": (timedelta(days=DAYS - 1, hours=12), timedelta(days=DAYS - 1, hours=13)),
}
"""Windows as distances from the first moment; the last one lies in the day that is still lines."""
REPEATS = 3


def measure() -> dict[str, Any]:
    """Build the year, read windows of it, and read a tenth of it the naive way."""
    with tempfile.TemporaryDirectory(prefix="apqx-bench-") as place:
        folder = Path(place) / "journal"
        found = _year(folder)
        for name in WINDOWS:
            runs = [_fresh("ours", str(folder), name) for _ in range(REPEATS)]
            found[name] = _median(runs)
            print(f"  {name}: {found[name]}", flush=True)
        found["one_year_operations"] = _fresh("filtered", str(folder), "")
        found["naive_tenth"] = _fresh("naive", str(_tenth(folder)), "")
        found["naive_day"] = _fresh("naive", str(folder / f"{_day(DAYS - 1)}.jsonl"), "")
        return found


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the middle time of several runs, and the highest peak."""
    return runs[0] | {"s": median(run["s"] for run in runs), "peak_mb": max(run["peak_mb"] for run in runs)}


def _day(number: int) -> str:
    """Return the name of a day."""
    return f"{FIRST + number * DAY:%Y-%m-%d}"


def _year(folder: Path) -> dict[str, Any]:
    """Write and compact the first day, make the others of it, and leave the last one as lines."""
    from platform_lib import journal

    folder.mkdir()
    each = RECORDS // DAYS + 1
    began = time.perf_counter()
    lines = folder / f"{_day(0)}.jsonl"
    lines.write_text("".join(_lines(FIRST, each)))
    (folder / f"{_day(DAYS - 1)}.jsonl").write_text("".join(_lines(FIRST + (DAYS - 1) * DAY, each)))
    written, size = time.perf_counter() - began, lines.stat().st_size
    began = time.perf_counter()
    journal.compact(folder, before=(FIRST + DAY).date())
    spent = time.perf_counter() - began
    _others(folder, folder / f"{_day(0)}.parquet")
    total = sum(path.stat().st_size for path in folder.iterdir())
    return {
        "records": each * DAYS,
        "bytes_per_line": round(size / each),
        "lines_a_year_mb": round(size * DAYS / 1e6),
        "compacted_year_mb": round(total / 1e6),
        "compact_records_per_s": round(each / spent),
        "encode_records_per_s": round(2 * each / written),
    }


def _others(folder: Path, first: Path) -> None:
    """Write the days between the first and the last: the first one with its time stamps moved."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(first)
    for number in range(1, DAYS - 1):
        moved = table
        for name in ("utc", "seen_utc"):
            field = table.schema.field(name)
            later = pc.add(table[name], pa.scalar(number * DAY, pa.duration("ms"))).cast(field.type)
            moved = moved.set_column(table.schema.get_field_index(name), field, later)
        own = pc.binary_join_element_wise(table["uid"], _day(number), "/")
        moved = moved.set_column(table.schema.get_field_index("uid"), "uid", own)
        pq.write_table(moved, folder / f"{_day(number)}.parquet", compression="zstd", row_group_size=20_000)


def _lines(start: datetime, count: int) -> Iterator[str]:
    """Yield the lines of a busy day: mostly events and probe windows, some operations and commits."""
    from platform_lib.journal import encoded

    for number in range(count):
        at = start + DAY * number / count
        yield encoded(_record(number, at)) + "\n"


def _record(number: int, at: datetime) -> dict[str, Any]:
    """Return one record; what it says depends on its number only."""
    if number % 500 == 0:
        told: tuple[str, str, str, dict[str, Any]] = (
            "argocd",
            "operation",
            "sample-app",
            {"phase": "Succeeded", "revision": f"{number:040x}", "message": "successfully synced (all tasks run)"},
        )
    elif number % 3 == 0:
        told = ("probe", "window", "sample-app", {"sent": 2000, "failed": number % 7, "p99_ms": number % 90 / 10})
    else:
        pod = f"sample-app-{number % 97:010x}-{number % 31:05d}"
        event = {"type": "Normal", "reason": "Started", "message": f"Started container {pod}", "count": 1}
        told = ("kubernetes", "event", f"Pod/{pod}", {**event, "namespace": "sample-app"})
    source, kind, subject, data = told
    seen = at + timedelta(milliseconds=number % 900)
    return {"utc": at, "seen_utc": seen, "source": source, "kind": kind, "subject": subject, "run_id": "",
            "cause": "", "uid": f"{at:%Y%m%d}{number:024x}", "data": data}  # fmt: skip


def _tenth(folder: Path) -> Path:
    """Write one tenth of the year as lines, in one file."""
    day = (folder / f"{_day(DAYS - 1)}.jsonl").read_bytes()
    path = folder.parent / "tenth.jsonl"
    with path.open("wb") as file:
        for _ in range(DAYS // NAIVE_SHARE):
            file.write(day)
    return path


def _fresh(way: str, where: str, window: str) -> dict[str, Any]:
    """Read in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.journal", way, where, window]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _memory_mb(field: str) -> float:
    """Return VmRSS (now) or VmHWM (the peak since the last reset) of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(field))


def _one(way: str, where: Path, window: str) -> dict[str, Any]:
    """Read once, in this process; everything is imported before the clock starts."""
    import pandas as pd
    import pyarrow.parquet  # noqa: F401 - imports are not what is measured

    from platform_lib import journal

    start, end = (FIRST + distance for distance in WINDOWS.get(window, (timedelta(0), DAYS * DAY)))
    ways = {
        "ours": lambda: journal.frame(where, start=start, end=end),
        "filtered": lambda: journal.frame(where, start=start, end=end, source="argocd", kind="operation"),
        "naive": lambda: pd.read_json(where, lines=True),
    }
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before, began = _memory_mb("VmRSS"), time.perf_counter()
    rows = len(ways[way]())
    spent, peak = time.perf_counter() - began, _memory_mb("VmHWM") - before
    return {"rows": rows, "s": round(spent, 3), "peak_mb": round(peak)}


if __name__ == "__main__":
    print(json.dumps(_one(sys.argv[1], Path(sys.argv[2]), sys.argv[3])))
