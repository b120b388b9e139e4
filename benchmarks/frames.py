"""How fast does an answer of Prometheus become a DataFrame, beside prometheus-api-client's own frame?

Every figure comes from a fresh process (imports are not counted). The answers have the shape of recorded ones:
521 series with six labels and random-walk values of 17 digits every 15 seconds. The server compresses when it
is asked to, as Prometheus does. ``convert``: from the bytes of the body to the frame; ``total``: with the HTTP
transfer on loopback.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import parse_qs, urlsplit

SIZES = {"1e4": (50, 200), "1e5": (100, 1000), "1e6": (521, 1920), "3e6": (521, 5760)}
"""Name to series and points."""
STEP_S, FIRST = 15, 1_700_000_010
REPEATS = {"1e4": 3, "1e5": 3, "1e6": 3, "3e6": 1}


def body(series: int, points: int) -> bytes:
    """Return an answer as the server writes it; the same for the same size."""
    import numpy as np

    walk = np.random.default_rng(7).normal(size=(series, points)).cumsum(axis=1)
    times = [FIRST + STEP_S * i for i in range(points)]
    rows = []
    for number, values in enumerate(walk):
        labels = {"__name__": "node_load", "job": "node", "instance": f"host-{number:03d}:9100", "cluster": "a",
                  "namespace": "default", "pod": f"pod-{number:05d}"}  # fmt: skip
        samples = ",".join(f'[{t},"{v!r}"]' for t, v in zip(times, values.tolist(), strict=True))
        rows.append(f'{{"metric":{json.dumps(labels, separators=(",", ":"))},"values":[{samples}]}}')
    return f'{{"status":"success","data":{{"resultType":"matrix","result":[{",".join(rows)}]}}}}'.encode()


class Handler(BaseHTTPRequestHandler):
    """Serves the answer whose size is the query."""

    bodies: dict[str, bytes]

    def do_GET(self) -> None:
        """Answer a range query."""
        answer = self.bodies[parse_qs(urlsplit(self.path).query)["query"][0]]
        self.send_response(200)
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            answer = gzip.compress(answer, 6)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def measure() -> dict[str, Any]:
    """Measure both ways at every size; medians of interleaved runs."""
    Handler.bodies = {name: body(*shape) for name, shape in SIZES.items()}
    found: dict[str, Any] = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for size in SIZES:
            for what in ("convert", "total"):
                row = _compared(what, size, server.server_port)
                found[f"{size} {what}"] = row
                print(f"  {size} {what}: {row}", flush=True)
        server.shutdown()
    flat = {f"speedup_{name.replace(' ', '_')}": row["speedup"] for name, row in found.items()}
    return {"sizes": found, **flat, "bit_identical": all(row["bit_identical"] for row in found.values())}


def _compared(what: str, size: str, port: int) -> dict[str, Any]:
    """Return time, peak memory and hash of both ways."""
    runs: dict[str, list[dict[str, Any]]] = {"package": [], "ours": []}
    for _ in range(REPEATS[size]):
        for way, results in runs.items():
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.frames", way, what, size, str(port)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            results.append(json.loads(done.stdout))
    seconds = {way: median(run["s"] for run in results) for way, results in runs.items()}
    row: dict[str, Any] = {}
    for way, results in runs.items():
        row |= {f"{way}_s": round(seconds[way], 3), f"{way}_peak_mb": max(run["peak_mb"] for run in results)}
    hashes = {run["hash"] for results in runs.values() for run in results}
    return row | {"speedup": round(seconds["package"] / seconds["ours"], 1), "bit_identical": len(hashes) == 1}


def _memory_mb(field: str) -> float:
    """Return VmRSS (now) or VmHWM (the peak since the last reset) of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(field))


def _one(way: str, what: str, size: str, port: int) -> dict[str, Any]:
    """Measure one way once, in this process."""
    import urllib.request

    import numpy as np

    prepared = _package(size, port) if way == "package" else _ours(size, port)
    text = b""
    if what == "convert":
        url = f"http://127.0.0.1:{port}/api/v1/query_range?query={size}"
        text = urllib.request.urlopen(url, timeout=60).read()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before, began = _memory_mb("VmRSS"), time.perf_counter()
    values = prepared[what](text)
    spent, peak = time.perf_counter() - began, _memory_mb("VmHWM") - before

    digest = hashlib.sha256(np.ascontiguousarray(values(), dtype=np.float64).tobytes()).hexdigest()
    return {"s": spent, "peak_mb": round(peak), "hash": digest}


def _span(size: str) -> tuple[Any, Any]:
    """Return first and last point as datetimes."""
    from datetime import UTC, datetime

    points = SIZES[size][1]
    return datetime.fromtimestamp(FIRST, UTC), datetime.fromtimestamp(FIRST + STEP_S * (points - 1), UTC)


def _package(size: str, port: int) -> dict[str, Any]:
    """The package as its documentation shows it."""
    from prometheus_api_client import MetricRangeDataFrame, PrometheusConnect

    connect, (start, end) = PrometheusConnect(f"http://127.0.0.1:{port}"), _span(size)

    def convert(text: bytes) -> Any:
        frame = MetricRangeDataFrame(json.loads(text)["data"]["result"])
        return lambda: frame["value"].to_numpy()

    def total(_text: bytes) -> Any:
        frame = MetricRangeDataFrame(connect.custom_query_range(size, start, end, str(STEP_S)))
        return lambda: frame["value"].to_numpy()

    return {"convert": convert, "total": total}


def _ours(size: str, port: int) -> dict[str, Any]:
    """The workbench; values are put into the package's order to be compared."""
    import pandas  # noqa: F401 - imports are not what is measured

    from platform_lib.wire.prometheus import Client
    from platform_lib.wire.promframe import frame_of, part_of

    client, (start, end) = Client(f"http://127.0.0.1:{port}"), _span(size)

    def convert(text: bytes) -> Any:
        frame = frame_of([part_of(text)], STEP_S)
        return lambda: frame.to_numpy().T

    def total(_text: bytes) -> Any:
        frame = client.range(size, start=start, end=end, step_s=STEP_S)
        return lambda: frame.to_numpy().T

    return {"convert": convert, "total": total}


if __name__ == "__main__":
    print(json.dumps(_one(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))))
