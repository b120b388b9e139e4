"""Is the probe honest at 1,000 requests a second on one core, beside what people would write themselves?

All senders ask the live application through the ingress, each in a process of its own that is pinned to one core.
In the middle the ingress is stopped for one second, as a stalled server would be. A sender that waits for answers
before it sends the next request (closed loop) sees one slow request there; one that sends by the clock sees all
that users would have sent. ``late`` is how much later than intended requests left, by the sender's own account.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from platform_lib import App, Platform, start_probe
from platform_lib.providers import state
from platform_lib.settings import settings
from platform_lib.wire.probe import Probe
from platform_lib.wire.sender import Spec

RATE_RPS, SECONDS, STALL_S, SLOW_S = 1000, 8.0, 1.0, 0.25
GIVE_UP_S = 40.0
"""A sender that needs five times as long as its schedule has queued up behind itself."""


def measure(platform: Platform) -> dict[str, Any]:
    """Return figures per sender: what it sent, how late, what it saw of the stall, what it cost."""
    core = max(os.sched_getaffinity(0))
    senders: dict[str, Callable[[], dict[str, Any]]] = {"ours": lambda: _ours(platform)}
    senders["ours_light_target"] = lambda: _light(platform)
    senders["requests_closed"] = lambda: _other(platform, "requests")
    if importlib.util.find_spec("httpx"):
        senders["httpx_closed"] = lambda: _other(platform, "httpx")
        senders["httpx_open"] = lambda: _other(platform, "httpx-open")
    found = {"rate_rps": RATE_RPS, "core": core}
    for name, sender in senders.items():
        with _pinned(core), _stall():
            found[name] = _costed(sender)
    return found


def _ours(platform: Platform) -> dict[str, Any]:
    """The product's own probe."""
    with start_probe(platform, App(), rate_rps=RATE_RPS) as probe:
        time.sleep(SECONDS)
    got = probe.samples()
    return _summary(got.latency_ms / 1000, got.lag_ms, int((~got.good).sum()), float(np.ptp(got.intended)))


def _light(platform: Platform) -> dict[str, Any]:
    """The product's own probe on a page that costs the server nothing: what the sender alone can do."""
    url = urlsplit(platform.prometheus_url)
    spec = Spec(str(url.hostname), url.port or 80, str(url.hostname), "/-/ready", RATE_RPS, 2.0)
    with Probe(platform.prometheus_url, spec) as probe:
        time.sleep(SECONDS)
    got = probe.samples()
    return _summary(got.latency_ms / 1000, got.lag_ms, int((~got.good).sum()), float(np.ptp(got.intended)))


def _other(platform: Platform, kind: str) -> dict[str, Any]:
    """A sender as people write it, in a process of its own."""
    url = urlsplit(platform.ingress_url)
    target = f"http://{url.hostname}:{url.port}/"
    argv = [sys.executable, "-m", "benchmarks.probe", kind, target, App().host]
    try:
        done = json.loads(subprocess.run(argv, capture_output=True, check=True, timeout=GIVE_UP_S).stdout)
    except subprocess.TimeoutExpired:
        return {"sent": 0, "gave_up_after_s": GIVE_UP_S}
    return _summary(np.array(done["latency_s"]), np.array(done["lag_ms"]), done["failed"], done["span_s"])


def _summary(latency_s: Any, lag_ms: Any, failed: int, span_s: float) -> dict[str, Any]:
    """Reduce one run; a closed loop knows no lag."""
    return {
        "sent": len(latency_s),
        "sent_rps": round(len(latency_s) / max(span_s, 1e-9), 1),
        "failed": failed,
        "slow_seen": int((latency_s > SLOW_S).sum()),
        "late_p50_ms": round(float(np.percentile(lag_ms, 50)), 2) if len(lag_ms) else None,
        "late_p99_ms": round(float(np.percentile(lag_ms, 99)), 2) if len(lag_ms) else None,
        "latency_p50_ms": round(float(np.percentile(latency_s, 50)) * 1000, 2),
    }


def _costed(sender: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Add the processor time of the sender's process per 1,000 requests."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = sender()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return found | {"cpu_ms_per_request": round(spent_s * 1000 / found["sent"], 3) if found["sent"] else None}


@contextmanager
def _pinned(core: int) -> Iterator[None]:
    """Let processes started in the block run on one core only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _stall() -> Iterator[None]:
    """Stop the ingress for a moment in the middle of the block; it always goes on."""
    pid = state.processes(state.Layout(settings().home))["traefik"]["pid"]
    timers = [
        threading.Timer(SECONDS / 2 + index * STALL_S, os.kill, (pid, number))
        for index, number in enumerate((signal.SIGSTOP, signal.SIGCONT))
    ]
    for timer in timers:
        timer.start()
    try:
        yield
    finally:
        timers[0].cancel()
        timers[1].join()
        os.kill(pid, signal.SIGCONT)


def _requests(url: str, host: str) -> dict[str, Any]:
    """Closed loop, one connection."""
    import requests

    session, headers = requests.Session(), {"Host": host}
    return _closed(lambda: session.get(url, headers=headers, timeout=2).status_code)


def _httpx(url: str, host: str) -> dict[str, Any]:
    """Closed loop, one connection."""
    import httpx

    client, headers = httpx.Client(), {"Host": host}
    return _closed(lambda: client.get(url, headers=headers, timeout=2).status_code)


def _closed(ask: Callable[[], int]) -> dict[str, Any]:
    """Ask, wait, ask again."""
    latency_s, failed, began = list[float](), 0, time.monotonic()
    while (sent := time.monotonic()) - began < SECONDS:
        try:
            failed += not 200 <= ask() < 400
        except Exception:
            failed += 1
        latency_s.append(time.monotonic() - sent)
    return {"latency_s": latency_s, "lag_ms": [], "failed": failed, "span_s": time.monotonic() - began}


def _httpx_open(url: str, host: str) -> dict[str, Any]:
    """Open loop over asyncio: one task per request at its intended time."""
    import asyncio

    import httpx

    latency_s, lag_ms, failed = list[float](), list[float](), 0

    async def one(client: Any, due: float) -> None:
        nonlocal failed
        lag_ms.append((time.monotonic() - due) * 1000)
        try:
            failed += not 200 <= (await client.get(url, headers={"Host": host}, timeout=2)).status_code < 400
        except Exception:
            failed += 1
        latency_s.append(time.monotonic() - due)

    async def run() -> float:
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=1000)) as client:
            began, tasks = time.monotonic(), []
            for index in range(int(RATE_RPS * SECONDS)):
                due = began + index / RATE_RPS
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                tasks.append(asyncio.create_task(one(client, due)))
            await asyncio.gather(*tasks)
            return time.monotonic() - began

    span_s = asyncio.run(run())
    return {"latency_s": latency_s, "lag_ms": lag_ms, "failed": failed, "span_s": span_s}


if __name__ == "__main__":
    kind, url, host = sys.argv[1:]
    print(json.dumps({"requests": _requests, "httpx": _httpx, "httpx-open": _httpx_open}[kind](url, host)))
