"""How is the application served? gunicorn, started from Python: one worker process with threads.

The end of the process, in order: SIGTERM -> ``/ready`` answers 503 while new requests are still
served (``drain_s``) -> no new connections -> requests in flight finish -> exit code 0.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
from types import FrameType
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from sample_app import faults, telemetry
from sample_app.config import Settings
from sample_app.web import create_app, state


class DrainingWorker(ThreadWorker):  # type: ignore[misc]
    """A threaded worker that says it is leaving before it stops accepting.

    gunicorn stops accepting at once on SIGTERM, and a connection that arrives a moment later waits in
    the backlog until it is reset. The drain closes that gap, whatever stands in front.
    """

    def init_process(self) -> None:
        """Start what must live in the worker, then serve."""
        settings = state(self.app.wsgi()).settings
        if settings.faults.leak_mb_per_s:
            faults.start_leak(settings.faults.leak_mb_per_s)
        state(self.app.wsgi()).tracing.start()
        super().init_process()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Refuse readiness now, stop accepting after the drain."""
        shared = state(self.wsgi)
        if shared.lifecycle.reason == "draining":
            return
        shared.lifecycle.drain()
        timer = threading.Timer(shared.settings.drain_s, super().handle_exit, (sig, None))
        timer.daemon = True
        timer.start()

    def handle(self, conn: Any) -> Any:
        """Serve one request, and close the connection here if it is not kept.

        gunicorn 27 closes it in the main thread and waits up to 2 s for the client to close too: a
        single client that takes its time stalls every other one (measured: 2.0 s). In this thread it
        costs a place in the pool. Older versions return a tuple and close at once; delete this when
        gunicorn no longer waits in ``finish_request``.
        """
        keep = super().handle(conn)
        if keep is False:
            conn.close(graceful=True)
            conn.close = _closed_already
        return keep


class JsonLogger(Logger):  # type: ignore[misc]
    """gunicorn's own messages in the same JSON as the requests."""

    def setup(self, cfg: Any) -> None:
        """Replace gunicorn's handlers; its access log stays off, the application writes a better one."""
        super().setup(cfg)
        self.error_log.handlers[:] = logging.getLogger(telemetry.LOGGER).handlers
        self.error_log.propagate = False


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn's application object, configured from ``Settings`` and never from files or arguments."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._flask = create_app(settings)
        super().__init__()

    def load_config(self) -> None:
        """Hand every setting to gunicorn, skipping those this version does not know."""
        for name, value in _options(self.settings).items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Flask:
        """Return the application that was built before the fork."""
        return self._flask


def serve(settings: Settings) -> None:
    """Serve until SIGTERM; leaves by SystemExit with gunicorn's exit code (0 after a graceful end)."""
    Server(settings).run()


def _options(settings: Settings) -> dict[str, Any]:
    host = f"[{settings.bind_address}]" if ":" in settings.bind_address else settings.bind_address
    return {
        "bind": f"{host}:{settings.port}",
        # One process: the metrics registry is complete and the pod has one memory figure.
        # More load means more pods, which is what the autoscaler does.
        "workers": 1,
        "worker_class": DrainingWorker,
        "threads": settings.threads,
        # Imported once, before the fork: master and worker share those pages.
        "preload_app": True,
        "keepalive": settings.keepalive_s,
        "graceful_timeout": settings.graceful_s,
        "timeout": 30,
        # The heartbeat file; memory, because the root file system is read-only.
        "worker_tmp_dir": next((d for d in ("/dev/shm", "/tmp") if os.access(d, os.W_OK)), None),  # noqa: S108
        # gunicorn 25 and later would create a socket file in a home folder that is not there.
        "control_socket_disable": True,
        "logger_class": JsonLogger,
        "accesslog": None,
        "proc_name": "sample-app",
        "when_ready": _when_ready,
        "worker_exit": _worker_exit,
    }


def _when_ready(arbiter: Arbiter) -> None:
    """Arm the crash fault and freeze the heap, in the master, before the worker is forked."""
    crash_after_s = arbiter.app.settings.faults.crash_after_s
    if crash_after_s:
        # A timer signal and not a thread: nothing that could be half-way when the worker is forked.
        signal.signal(signal.SIGALRM, lambda *_: _crash(arbiter))
        signal.setitimer(signal.ITIMER_REAL, crash_after_s)
    # The collector would write into every shared page; what exists now lives as long as the process.
    gc.collect()
    gc.freeze()


def _worker_exit(_arbiter: Arbiter, worker: Any) -> None:
    """Send the last spans once no request is left."""
    state(worker.app.wsgi()).tracing.stop()


def _closed_already(graceful: bool = False) -> None:
    """Stand in for the close of a connection that is closed."""


def _crash(arbiter: Arbiter) -> None:
    """End the whole program at once, as a fatal bug would: no drain, no answer, exit code 1."""
    for pid in list(arbiter.WORKERS):
        os.kill(pid, signal.SIGKILL)
    os._exit(1)
