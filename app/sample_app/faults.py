"""How does the application misbehave on request? Each fault is off unless the environment says so."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import asdict

from sample_app.config import Faults

_TICKS_PER_S = 10
_PAGE = 4096


def states(faults: Faults) -> dict[str, bool]:
    """Return for each fault whether it is switched on."""
    return {name: bool(value) for name, value in asdict(faults).items()}


class RequestFaults:
    """Latency and errors for the requests of users; probes and scrapes stay honest.

    Args:
        faults: The switches.
        draw: Source of numbers in [0, 1); replaced in tests.
    """

    def __init__(self, faults: Faults, draw: Callable[[], float] = random.random) -> None:
        self._error_ratio = faults.error_ratio
        self._latency_s = faults.latency_ms / 1000
        self._draw = draw

    def apply(self) -> bool:
        """Delay the request, then return whether it has to fail."""
        if self._latency_s:
            time.sleep(self._latency_s)
        return self._error_ratio > 0 and self._draw() < self._error_ratio


def start_leak(mb_per_s: float) -> threading.Thread:
    """Take ``mb_per_s`` mebibytes a second from now on, until something kills the process."""

    def leak() -> None:
        held: list[bytearray] = []
        size = max(1, int(mb_per_s * 1024 * 1024 / _TICKS_PER_S))
        while True:
            block = bytearray(size)
            block[::_PAGE] = b"x" * len(range(0, size, _PAGE))  # touch each page, or it costs nothing
            held.append(block)
            time.sleep(1 / _TICKS_PER_S)

    thread = threading.Thread(target=leak, name="fault-leak", daemon=True)
    thread.start()
    return thread
