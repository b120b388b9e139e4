"""The sending half of the probe: a process of its own, ``python -m platform_lib.wire.sender SPEC``.

It sends by the clock whatever the answers do (open loop) and writes one fixed record per request, so the
caller's Python work cannot delay it. It ends when its standard input ends: on ``stop``, it lets requests in
flight finish; on a bare end (the caller died), it also removes its folder.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import resource
import shutil
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

RECORD = struct.Struct("<dffHHHH")
"""intended (Unix seconds), lag_ms, latency_ms, status, then indexes of error, version and pod in the names."""

_FLUSH_S = 0.1
_VERSION = re.compile(rb'"version"\s*:\s*"([^"]{1,63})"')
_POD = re.compile(rb'"pod"\s*:\s*"([^"]{1,253})"')
_MAX_NAMES = 60_000


@dataclass(frozen=True, slots=True)
class Spec:
    """What to send, to where, how often, and the folder for the records."""

    address: str
    port: int
    host: str
    path: str
    rate_rps: float
    timeout_s: float
    folder: str = ""

    def to_text(self) -> str:
        """Return the specification as one command argument."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Spec:
        """Read what ``to_text`` wrote."""
        return cls(**json.loads(text))


class Recorder:
    """Writes records and the names they refer to; a name is always on disk before its first record."""

    def __init__(self, folder: Path) -> None:
        self._records = (folder / "records").open("ab", buffering=0)
        self._names = (folder / "names").open("ab", buffering=0)
        self._index = {"": 0}
        self._pending = bytearray()

    def add(
        self, intended: float, lag_s: float, latency_s: float, status: int, error: str, version: str, pod: str
    ) -> None:
        """Keep one record for the next flush."""
        self._pending += RECORD.pack(
            intended,
            lag_s * 1000,
            latency_s * 1000,
            status,
            self._name(error),
            self._name(version),
            self._name(pod),
        )

    def _name(self, text: str) -> int:
        """Return the index of a name, writing it down when it is new."""
        index = self._index.get(text)
        if index is None:
            index = len(self._index)
            if index > _MAX_NAMES:
                return 0
            self._index[text] = index
            self._names.write(json.dumps(text).encode() + b"\n")
        return index

    def flush(self) -> None:
        """Write what is pending."""
        if self._pending:
            self._records.write(self._pending)
            self._pending.clear()


class Sender:
    """Sends at absolute times and records every answer."""

    def __init__(self, spec: Spec, recorder: Recorder) -> None:
        import aiohttp

        self._spec, self._recorder = spec, recorder
        self._url = f"http://{spec.address}:{spec.port}{spec.path}"
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        # The wall clock of the schedule: read once, then advanced by the monotonic clock.
        self._epoch = time.time() - time.monotonic()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_connections(), keepalive_timeout=15),
            timeout=aiohttp.ClientTimeout(total=spec.timeout_s),
            headers={"Host": spec.host, "User-Agent": "apqx-probe"},
            auto_decompress=False,
            trust_env=False,
        )

    async def run(self) -> None:
        """Send until told to stop, then wait for what is in flight."""
        flusher = asyncio.create_task(self._flush())
        try:
            await self._send_by_the_clock()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self._spec.timeout_s + 1.0)
        finally:
            flusher.cancel()
            await self._session.close()
            self._recorder.flush()

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()

    async def _send_by_the_clock(self) -> None:
        """Start every request that is due; a late wake-up sends all it missed, none is skipped."""
        period_s = 1.0 / self._spec.rate_rps
        start = time.monotonic() + period_s
        count = 0
        while not self._stop.is_set():
            due = start + count * period_s
            delay = due - time.monotonic()
            if delay > 0:
                await asyncio.sleep(delay)
                continue
            task = asyncio.create_task(self._request(due))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            count += 1
            if count % 50 == 0:
                await asyncio.sleep(0)

    async def _request(self, due: float) -> None:
        """Send one request and record it; every failure is a record with its kind."""
        import aiohttp

        sent = time.monotonic()
        status, error, version, pod = 0, "", "", ""
        try:
            async with self._session.get(self._url, allow_redirects=False) as answer:
                body = await answer.read()
                status = answer.status
                version = answer.headers.get("X-App-Version") or _found(_VERSION, body)
                pod = answer.headers.get("X-App-Pod") or _found(_POD, body)
        except TimeoutError:
            error = "timeout"
        except aiohttp.ClientConnectorError as problem:
            error = type(problem.os_error).__name__ if problem.os_error else "ConnectionError"
        except (aiohttp.ClientError, OSError) as problem:
            error = type(problem).__name__
        latency = time.monotonic() - due
        self._recorder.add(self._epoch + due, sent - due, latency, status, error, version, pod)

    async def _flush(self) -> None:
        """Make records visible to the caller ten times a second."""
        while True:
            await asyncio.sleep(_FLUSH_S)
            self._recorder.flush()


def _found(pattern: re.Pattern[bytes], body: bytes) -> str:
    """Return what a pattern finds in the first bytes of a body."""
    match = pattern.search(body, 0, 4096)
    return match.group(1).decode("utf-8", "replace") if match else ""


def _connections() -> int:
    """Raise the limit of open files as far as allowed; return how many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(8192, hard) if hard != resource.RLIM_INFINITY else 8192
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return max(soft - 64, 64)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Prefer uvloop, whose timers are finer (lag of 0.1 instead of 0.7 ms)."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _serve(spec: Spec) -> bool:
    """Run until standard input ends; return whether the caller said ``stop``."""
    sender = Sender(spec, Recorder(Path(spec.folder)))
    said: list[bytes] = []

    def heard() -> None:
        data = os.read(sys.stdin.fileno(), 64)
        if data:
            said.append(data)
        if not data or b"stop" in data:
            loop.remove_reader(sys.stdin.fileno())
            sender.stop()

    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), heard)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await sender.run()
    return any(b"stop" in data for data in said)


def main() -> None:
    """Run the sender for the specification in the first argument."""
    import aiohttp  # noqa: F401  (import it before the first request is due)

    spec = Spec.from_text(sys.argv[1])
    gc.freeze()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        asked = runner.run(_serve(spec))
    if not asked:
        shutil.rmtree(spec.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
