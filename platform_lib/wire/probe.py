"""What do users see? An open-loop HTTP probe through the ingress, sent by a process of its own.

The schedule does not depend on the answers, latency counts from the intended send time, and the result says
how late the probe itself was. The sending half is ``wire.sender``; the arithmetic is ``rules.downtime``.

Measured: in the caller's process, 2 s of Python work delay every probe of those 2 s; from its own process
the lag stays below 2 ms (p99) at 200 requests/s.
"""

from __future__ import annotations

import http.client
import json
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from platform_lib import journal
from platform_lib.errors import InvalidInput, Unreachable
from platform_lib.model import App, Platform, ProbeResult
from platform_lib.rules import downtime
from platform_lib.rules.downtime import Samples
from platform_lib.settings import settings
from platform_lib.wire.dns import resolve
from platform_lib.wire.sender import Spec

if TYPE_CHECKING:
    import pandas as pd

MAX_RATE_RPS = 2000.0
_READY_S = 20.0
WINDOW_S = 1.0
"""Length of one window in the record; short enough to tell when something happened."""
SAMPLES = "samples"
"""Folder inside a run's folder in which each probe leaves its samples."""
_RECORD = np.dtype(
    [
        ("intended", "<f8"),
        ("lag_ms", "<f4"),
        ("latency_ms", "<f4"),
        ("status", "<u2"),
        ("error", "<u2"),
        ("version", "<u2"),
        ("pod", "<u2"),
    ]
)


class Answer(NamedTuple):
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Decode the body."""
        return json.loads(self.body)


class Probe:
    """A running probe; use ``start_probe``.

    Args:
        url: What is asked for, for people.
        spec: What the sender gets.
        subject: Whose service is asked for; names the windows in the record.
    """

    def __init__(self, url: str, spec: Spec, *, subject: str = "") -> None:
        self.url, self.rate_rps, self._spec, self.subject = url, spec.rate_rps, spec, subject or url
        self._folder = Path()
        self._samples: Samples | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Probe:
        return self.start()

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Tell whether the sender still sends."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Probe:
        """Start the sender and return when it sends.

        Raises:
            Unreachable: The sender did not start.
        """
        if self._process is not None:
            return self
        self._folder = Path(tempfile.mkdtemp(prefix="apqx-probe-"))
        self._spec = replace(self._spec, folder=str(self._folder))
        # A session of its own: a Ctrl-C in the terminal must not end the measurement before the undo.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "platform_lib.wire.sender", self._spec.to_text()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self._folder / "stderr").open("wb"),
            start_new_session=True,
        )
        stdout = self._process.stdout
        readable = select.select([stdout], [], [], _READY_S)[0] if stdout else []
        if not readable or not stdout or stdout.readline() != b"ready\n":
            said = (self._folder / "stderr").read_text()[-500:]
            self.stop()
            raise Unreachable(f"probe {self.url} - sender did not start: {said or 'no message'}", url=self.url)
        return self

    def stop(self) -> None:
        """Stop sending, wait for requests in flight, keep the samples (a run keeps them as a file); twice is fine."""
        process = self._process
        if process is not None and process.poll() is None:
            _tell(process, b"stop\n")
            try:
                process.wait(self._spec.timeout_s + 5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for stream in (process.stdin, process.stdout) if process is not None else ():
            if stream is not None and not stream.closed:
                _close(stream)
        if process is not None and self._samples is None:
            self._samples = self._read()
            shutil.rmtree(self._folder, ignore_errors=True)
            folder = settings().run_dir
            if folder is not None:
                keep(self._samples, folder / SAMPLES)
            self._note(self._samples)

    def _note(self, samples: Samples) -> None:
        """Put what was seen on record, window by window."""
        record = journal.current()
        for part in downtime.cut(samples, WINDOW_S):
            seen = downtime.summarise(part, url=self.url, rate_rps=self.rate_rps)
            record.append(
                "probe",
                "window",
                self.subject,
                at=seen.started_at,
                started_at=seen.started_at,
                ended_at=seen.started_at + timedelta(seconds=seen.duration_s),
                sent=seen.sent,
                failed=seen.failed,
                errors=seen.errors,
                p50_ms=seen.p50_ms,
                p99_ms=seen.p99_ms,
                lag_p99_ms=seen.lag_p99_ms,
                rate_rps=self.rate_rps,
                url=self.url,
            )

    def samples(self, *, since: datetime | None = None, until: datetime | None = None) -> Samples:
        """Return the samples so far, in the order of intended send time."""
        samples = self._samples if self._samples is not None else self._read()
        if since is None and until is None:
            return samples
        return samples.between(since.timestamp() if since else -np.inf, until.timestamp() if until else np.inf)

    def result(self, *, since: datetime | None = None, until: datetime | None = None) -> ProbeResult:
        """Return what the probe saw so far, or in a part of that time."""
        samples = self.samples(since=since, until=until)
        return downtime.summarise(samples, url=self.url, rate_rps=self.rate_rps)

    def frame(self) -> pd.DataFrame:
        """Return one row per request.

        Returns:
            Columns ``intended_at`` (UTC), ``latency_ms`` (from the intended send time), ``lag_ms``,
            ``status`` (0 when there was no answer), ``error`` (kind, empty when there was an answer),
            ``version``, ``pod`` (empty when unknown) and ``ok`` (answered with 200 to 399).
        """
        return frame_of(self.samples())

    def _read(self) -> Samples:
        """Read the files of the sender as far as they are written."""
        records = self._folder / "records"
        raw = records.read_bytes() if self._process is not None and records.exists() else b""
        table = np.frombuffer(raw[: len(raw) // _RECORD.itemsize * _RECORD.itemsize], dtype=_RECORD)
        names_file = self._folder / "names"
        lines = names_file.read_text().splitlines() if raw and names_file.exists() else []
        names = np.array(["", *(json.loads(line) for line in lines)], dtype=np.str_)
        table = table[np.argsort(table["intended"], kind="stable")]
        return Samples(
            table["intended"],
            table["lag_ms"],
            table["latency_ms"],
            table["status"],
            names[table["error"]],
            names[table["version"]],
            names[table["pod"]],
        )


def start_probe(
    platform: Platform,
    app: App,
    *,
    rate_rps: float = 200.0,
    path: str = "/",
    timeout_s: float = 2.0,
) -> Probe:
    """Return a probe of an application through the ingress; entering it starts it.

    Args:
        platform: Where.
        app: Its host names the route.
        rate_rps: Requests per second, above 0 and up to 2000.
        path: Page; the default answers with version and pod, which the verdict compares.
        timeout_s: Total time for one request in seconds; may exceed the period, sending does not wait.

    Example:
        >>> with start_probe(platform, app, rate_rps=200) as probe:  # doctest: +SKIP
        ...     change()
        >>> probe.result().failed  # doctest: +SKIP
        0
    """
    if not 0 < rate_rps <= MAX_RATE_RPS:
        raise InvalidInput(f"rate_rps {rate_rps} - expected above 0 and up to {MAX_RATE_RPS:.0f}")
    if timeout_s <= 0:
        raise InvalidInput(f"timeout_s {timeout_s} - expected above 0")
    address, port = _ingress(platform)
    spec = Spec(address, port, app.host, path, rate_rps, timeout_s)
    return Probe(f"http://{app.host}{path}", spec, subject=app.name)


def fetch(platform: Platform, app: App, path: str = "/", *, timeout_s: float = 5.0) -> Answer:
    """Send one request through the ingress.

    Raises:
        Unreachable: No answer within ``timeout_s``.
    """
    address, port = _ingress(platform)
    connection = http.client.HTTPConnection(address, port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"Host": app.host, "User-Agent": "apqx"})
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(
            f"http://{app.host}{path} - no answer through {address}:{port}: {error}",
            hint="is the ingress up? see apqx status",
            url=path,
        ) from error
    finally:
        connection.close()


def keep(samples: Samples, folder: Path) -> Path | None:
    """Write samples to a file of their own, named by their first send time; None when there are none."""
    if len(samples.intended) == 0:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"probe-{int(samples.intended[0] * 1e6)}.npz"
    np.savez_compressed(path, **samples._asdict())
    return path


def kept(folder: Path) -> Samples | None:
    """Read all samples that were kept in a folder, in the order of their send times; None when there are none."""
    parts = []
    for path in sorted(folder.glob("probe-*.npz")):
        with np.load(path, allow_pickle=False) as columns:
            parts.append([columns[name] for name in Samples._fields])
    if not parts:
        return None
    joined = Samples._make(np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(joined.intended, kind="stable")
    return Samples._make(column[order] for column in joined)


def frame_of(samples: Samples) -> pd.DataFrame:
    """Turn samples into a DataFrame; columns as in ``Probe.frame``."""
    import pandas as pd

    return pd.DataFrame(
        {
            "intended_at": pd.to_datetime(samples.intended, unit="s", utc=True),
            "latency_ms": samples.latency_ms.astype(float),
            "lag_ms": samples.lag_ms.astype(float),
            "status": samples.status.astype(int),
            "error": samples.error,
            "version": samples.version,
            "pod": samples.pod,
            "ok": samples.good,
        }
    )


def _ingress(platform: Platform) -> tuple[str, int]:
    """Return address and port of the ingress; names are resolved without DNS where they carry an address."""
    url = urlsplit(platform.ingress_url)
    return resolve(url.hostname or "127.0.0.1"), url.port or 80


def _tell(process: subprocess.Popen[bytes], text: bytes) -> None:
    """Write to the sender; one that has ended needs no telling."""
    if process.stdin is None:
        return
    try:
        process.stdin.write(text)
        process.stdin.flush()
    except BrokenPipeError:
        return


def _close(stream: Any) -> None:
    """Close a pipe; unsent bytes to a process that has ended do not matter."""
    try:
        stream.close()
    except BrokenPipeError:
        return
