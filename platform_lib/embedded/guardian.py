"""Who watches the supervisor? A small process that starts it again when it was killed.

The two watch each other: the supervisor starts a new guardian the same way. Only losing both at once stops
the repair, and then the next ``up`` adopts what still runs.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from pathlib import Path

from platform_lib.embedded import identity as ids
from platform_lib.embedded import launch
from platform_lib.embedded.config import Config
from platform_lib.embedded.identity import Identity
from platform_lib.embedded.loop import Loop
from platform_lib.embedded.record import BACKOFF_S, SETTLED_S, read_record

log = logging.getLogger("apqx.guardian")
STOP_S = 4.0
"""Longer than the supervisor needs to stop everything."""


class Guardian:
    """Keeps one supervisor running until SIGTERM.

    Args:
        config: The platform.
        config_file: Handed to the supervisor.
    """

    def __init__(self, config: Config, config_file: Path) -> None:
        self._config, self._file = config, config_file
        self._loop = Loop((signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD), self._on_signal)
        self._supervisor: Identity | None = None
        self._stopping = False
        self._failures = 0
        self._started_at = 0.0

    def run(self, supervisor_pid: int | None) -> None:
        """Watch the given supervisor, or start one; return when the platform has stopped."""
        ids.become_subreaper()
        known = ids.identify(supervisor_pid) if supervisor_pid else None
        recorded = Identity.from_json(read_record(self._config).get("supervisor"))
        if known is None and ids.alive(recorded):
            known = recorded
        if known is None:
            self._start()
        else:
            self._watch(known)
        self._loop.run(lambda: self._stopping)
        ids.send(self._supervisor, signal.SIGTERM)
        self._loop.run(lambda: not ids.alive(self._supervisor), timeout_s=STOP_S)

    def _start(self) -> None:
        """Start a supervisor."""
        if self._stopping:
            return
        argv = [sys.executable, "-m", "platform_lib.embedded", str(self._file), f"--supervise={os.getpid()}"]
        started = launch.start("supervisor", launch.python(argv), self._config.log_file("supervisor"))
        started.release()
        self._started_at = time.monotonic()
        self._watch(started.identity)

    def _watch(self, supervisor: Identity) -> None:
        """Remember the supervisor and react to its end."""
        self._supervisor = supervisor
        self._loop.on_exit(supervisor, self._ended)

    def _ended(self) -> None:
        """Start a new supervisor, unless the old one stopped the platform on purpose."""
        ids.reap()
        if self._stopping or read_record(self._config).get("state") == "stopping":
            self._stopping = True
            return
        if time.monotonic() - self._started_at > SETTLED_S:
            self._failures = 0
        delay_s = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
        self._failures += 1
        log.warning("the supervisor ended; starting another in %g s", delay_s)
        self._loop.after(delay_s, self._start)

    def _on_signal(self, number: signal.Signals) -> None:
        """SIGTERM stops the platform; SIGCHLD collects orphans."""
        if number == signal.SIGTERM:
            self._stopping = True
        elif number == signal.SIGCHLD:
            ids.reap()
