"""What happens to a command whose reader or owner goes away? It finishes, or it stops in an orderly way.

A closed pipe (``apqx up | head``) silences the output and nothing else: the exit code stays the command's own.
SIGTERM and SIGHUP act like Ctrl-C, so that every clean-up runs: faults are undone, locks given back.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any


class Patient:
    """A text stream that goes quiet when nobody reads it any more."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, if somebody reads."""
        try:
            self._stream.write(text)
        except BrokenPipeError:
            self._silence()
        return len(text)

    def flush(self) -> None:
        """Flush, if somebody reads."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._silence()

    def _silence(self) -> None:
        """Send the rest to nowhere; what was buffered would fail again at exit."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def prepare() -> None:
    """Make this process survive closed pipes and stop cleanly when it is told to end."""
    sys.stdout, sys.stderr = Patient(sys.stdout), Patient(sys.stderr)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has its reason to ignore SIGHUP
            signal.signal(number, _interrupt)


def _interrupt(number: int, _frame: Any) -> None:
    """Stop as Ctrl-C does."""
    raise KeyboardInterrupt(signal.Signals(number).name)
