"""How does the library wait? The only place outside ``embedded`` that reads the clock or sleeps."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TypeVar

from platform_lib.errors import WaitTimeout

T = TypeVar("T")


def now() -> datetime:
    """Return the current time, aware UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Return seconds on a clock that never goes back, for durations."""
    return time.monotonic()


def pause(seconds: float) -> None:
    """Block for ``seconds``; for pacing between reads, never in place of a watch."""
    time.sleep(seconds)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the block is done; they are delivered afterwards.

    For the few seconds that take a change back: half an undo is worse than none.
    """
    held: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        before = {number: signal.signal(number, lambda arrived, _frame: held.append(arrived)) for number in numbers}
    except ValueError:  # not in the main thread: no signal arrives here
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


class Deadline:
    """A point in time that several waits share.

    Args:
        timeout_s: Seconds from now; must be positive.
    """

    def __init__(self, timeout_s: float) -> None:
        if timeout_s <= 0:
            raise ValueError(f"timeout_s must be positive, got {timeout_s}")
        self.timeout_s = timeout_s
        self._start = monotonic()

    @property
    def waited_s(self) -> float:
        """Seconds since the deadline was set."""
        return monotonic() - self._start

    @property
    def left_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.timeout_s - self.waited_s)

    def expired(self) -> bool:
        """Return whether no time is left."""
        return self.left_s <= 0

    def fail(self, wanted: str, last_seen: str, *, hint: str = "") -> WaitTimeout:
        """Return the error that says what was waited for and what was seen last."""
        return WaitTimeout(
            f"{wanted} not reached after {self.waited_s:.1f} s: last seen {last_seen}",
            hint=hint,
            wanted=wanted,
            last_seen=last_seen,
            waited_s=round(self.waited_s, 3),
        )


def until(
    probe: Callable[[], tuple[T | None, str]],
    *,
    timeout_s: float,
    wanted: str,
    hint: str = "",
    interval_s: float = 0.1,
    progress: Callable[[str], None] | None = None,
) -> T:
    """Call ``probe`` until it returns a value.

    Args:
        probe: Returns ``(value, seen)``; ``value`` None means not yet, ``seen`` is what it saw, for people.
        timeout_s: Deadline in seconds, above 0.
        wanted: What is waited for; opens the error text.
        hint: Next step for the reader of the error.
        interval_s: Pause between two calls.
        progress: Called with ``seen`` whenever that text changes.

    Returns:
        The first value that is not None.

    Raises:
        WaitTimeout: The deadline passed; carries the last ``seen``.
    """
    deadline = Deadline(timeout_s)
    last = ""
    while True:
        value, seen = probe()
        if seen != last and progress is not None:
            progress(seen)
        last = seen
        if value is not None:
            return value
        if deadline.expired():
            raise deadline.fail(wanted, last or "nothing", hint=hint)
        pause(min(interval_s, max(deadline.left_s, 0.001)))
