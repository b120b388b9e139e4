"""Is a container started, live and ready? Probes as Kubernetes runs them.

One documented difference: until a startup or readiness probe has passed for the first time it is also tried
between its periods (every 50 to 100 ms, once a second after half a minute), so that a pod is ready as soon as it
really serves. Such extra tries can only succeed: failures are counted by the period alone.

Source: Kubernetes documentation, "Configure Liveness, Readiness and Startup Probes".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from platform_lib.embedded.kubelet import rawhttp
from platform_lib.model import Obj

Kind = Literal["startup", "readiness", "liveness"]
EAGER_REFUSED_S, EAGER_S, EAGER_FOR_S, EAGER_LATE_S = 0.05, 0.1, 30.0, 1.0
FIRST_COUNTED_S = 1.0

Execute = Callable[[list[str], float], Awaitable[tuple[int, str]]]
"""Runs a command inside the container: (words, time-out in seconds) -> (exit code, output)."""


@dataclass(frozen=True, slots=True)
class Result:
    """One answer; ``refused`` when nobody listens yet."""

    ok: bool
    message: str = ""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked: a container at an address."""

    ip: str
    container: Obj
    execute: Execute


def port_number(port: Any, container: Obj) -> int:
    """Resolve a port given by number or by the name of a container port.

    Raises:
        ValueError: The container has no port of that name.
    """
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    for entry in container.get("ports") or ():
        if entry.get("name") == port:
            return int(entry["containerPort"])
    raise ValueError(f"couldn't find port: {port} in container {container.get('name')}")


async def attempt(action: Obj, target: Target, timeout_s: float) -> Result:
    """Ask once: ``httpGet``, ``tcpSocket`` or ``exec`` of a probe or lifecycle handler."""
    try:
        if action.get("exec"):
            code, output = await target.execute(action["exec"]["command"], timeout_s)
            return Result(code == 0, output.strip()[:400] or f"command exited with {code}")
        async with asyncio.timeout(timeout_s):
            if action.get("httpGet"):
                return await _http(action["httpGet"], target)
            if action.get("tcpSocket"):
                return await _tcp(action["tcpSocket"], target)
    except TimeoutError:
        return Result(False, f"no answer within {timeout_s:g} s: context deadline exceeded")
    except ValueError as error:
        return Result(False, str(error))
    return Result(False, "this node serves httpGet, tcpSocket and exec probes only")


async def _http(action: Obj, target: Target) -> Result:
    """Pass on a status from 200 to 399."""
    host, port = action.get("host") or target.ip, port_number(action["port"], target.container)
    path = "/" + str(action.get("path") or "/").lstrip("/")
    tls = action.get("scheme") == "HTTPS"
    url = f'Get "{"https" if tls else "http"}://{host}:{port}{path}"'
    headers = [(header["name"], header["value"]) for header in action.get("httpHeaders") or ()]
    try:
        answer = await rawhttp.get(host, port, path, tls=tls, headers=headers)
    except ConnectionRefusedError:
        return Result(False, f"{url}: dial tcp {host}:{port}: connect: connection refused", refused=True)
    except OSError as error:
        return Result(False, f"{url}: {error.strerror or error}")
    if 200 <= answer.status < 400:
        return Result(True)
    return Result(False, f"HTTP probe failed with statuscode: {answer.status}")


async def _tcp(action: Obj, target: Target) -> Result:
    """Pass when a connection opens."""
    host, port = action.get("host") or target.ip, port_number(action["port"], target.container)
    try:
        _, writer = await asyncio.open_connection(host, port)
    except ConnectionRefusedError:
        return Result(False, f"dial tcp {host}:{port}: connect: connection refused", refused=True)
    except OSError as error:
        return Result(False, f"dial tcp {host}:{port}: {error.strerror or error}")
    writer.close()
    return Result(True)


@dataclass(frozen=True, slots=True)
class Reports:
    """Whom a probe tells.

    Attributes:
        passing: Called when the verdict changes (True: passes; False: failed ``failureThreshold`` times).
        unhealthy: Called with the message of every counted failure.
    """

    passing: Callable[[bool], None]
    unhealthy: Callable[[str], None]


class Prober:
    """Runs one probe of one container until cancelled.

    Args:
        kind: Which probe.
        spec: The probe with its handler and thresholds.
        target: What is asked.
        reports: Whom to tell.
        passing: The verdict to begin with (liveness begins well; an adopted container keeps what it had).
    """

    def __init__(self, kind: Kind, spec: Obj, target: Target, reports: Reports, *, passing: bool) -> None:
        self._kind, self._spec, self._target, self._reports = kind, spec, target, reports
        self._passing = passing
        self._eager = kind != "liveness" and not passing and not spec.get("exec")
        self._successes = self._failures = 0

    async def run(self) -> None:
        """Ask at every period, and between periods while eager."""
        loop = asyncio.get_running_loop()
        period_s = float(self._spec.get("periodSeconds") or 10)
        timeout_s = float(self._spec.get("timeoutSeconds") or 1)
        await asyncio.sleep(float(self._spec.get("initialDelaySeconds") or 0))
        began = loop.time()
        due = began + (min(FIRST_COUNTED_S, period_s) if self._eager else 0.0)
        while True:
            counted = loop.time() >= due
            result = await attempt(self._spec, self._target, timeout_s)
            if counted:
                due = max(due + period_s, loop.time())
            if self._judge(result, counted=counted):
                return
            wait_s = due - loop.time()
            if self._eager:
                wait_s = min(wait_s, self._pause_s(result, loop.time() - began))
            await asyncio.sleep(max(0.0, wait_s))

    def _pause_s(self, result: Result, age_s: float) -> float:
        """Return how long an eager probe rests: a refused connection costs next to nothing."""
        if age_s > EAGER_FOR_S:
            return EAGER_LATE_S
        return EAGER_REFUSED_S if result.refused else EAGER_S

    def _judge(self, result: Result, *, counted: bool) -> bool:
        """Count one answer and report changes; True when a startup probe is done."""
        if result.ok:
            needed = int(self._spec.get("successThreshold") or 1)
            self._failures, self._successes = 0, self._successes + (1 if counted or needed == 1 else 0)
            if not self._passing and self._successes >= needed:
                self._passing, self._eager = True, False
                self._reports.passing(True)
            return self._kind == "startup" and self._passing
        if not counted:
            return False
        self._successes, self._failures = 0, self._failures + 1
        self._reports.unhealthy(result.message)
        if self._failures >= int(self._spec.get("failureThreshold") or 3) and self._passing != (
            self._kind == "startup"
        ):
            self._passing = False
            self._reports.passing(False)
        return False
