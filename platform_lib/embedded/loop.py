"""How does a supervising process wait for several things at once? Signals, process exits and timers.

Single-threaded on purpose: it forks. Nothing is polled; the only time-outs are timers somebody asked for.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable

from platform_lib.embedded.identity import Identity, open_pidfd

Callback = Callable[[], None]


class Loop:
    """A small event loop over a selector.

    Args:
        signals: Numbers to receive.
        on_signal: Called with each signal, outside the signal handler.
    """

    def __init__(self, signals: Iterable[signal.Signals], on_signal: Callable[[signal.Signals], None]) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callback]] = []
        self._order = itertools.count()
        self._on_signal = on_signal
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        self._signals = read
        self._selector.register(read, selectors.EVENT_READ, self._drain_signals)
        for number in signals:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(write)

    def after(self, delay_s: float, callback: Callback) -> None:
        """Call back once, ``delay_s`` from now."""
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._order), callback))

    def on_exit(self, identity: Identity, callback: Callback) -> None:
        """Call back once when the process ends (at once when it has ended), child or not."""
        handle = open_pidfd(identity)
        if handle is None:
            self.after(0, callback)
            return

        def ended() -> None:
            self._selector.unregister(handle)
            os.close(handle)
            callback()

        self._selector.register(handle, selectors.EVENT_READ, ended)

    def run(self, until: Callable[[], bool], *, timeout_s: float | None = None) -> bool:
        """Handle events until the condition holds; return False when the time was up first."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not until():
            left = self._next_timer_s(deadline)
            if deadline is not None and time.monotonic() >= deadline:
                return False
            for key, _ in self._selector.select(left):
                key.data()
            self._fire_timers()
        return True

    def _next_timer_s(self, deadline: float | None) -> float | None:
        """Return seconds to the next timer or the deadline; None to wait for events only."""
        moments = [self._timers[0][0]] if self._timers else []
        moments += [deadline] if deadline is not None else []
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _fire_timers(self) -> None:
        """Run the timers that are due."""
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()

    def _drain_signals(self) -> None:
        """Hand over the signals received since the last turn, each kind once."""
        with contextlib.suppress(BlockingIOError):
            for number in sorted(set(os.read(self._signals, 512))):
                self._on_signal(signal.Signals(number))
