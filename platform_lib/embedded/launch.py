"""How does one component of the platform start, so that it is on record before it runs its first line?

A child is forked, waits on a pipe, and goes on only after its parent has written its identity to
``processes.json``. If the parent dies in between, the child reads end-of-file and leaves: no component can
run without being on record, so none can be lost.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from platform_lib.embedded.identity import Identity, identify, set_name

RESET = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


@dataclass(frozen=True, slots=True)
class Started:
    """A child that waits for ``release``."""

    identity: Identity
    gate: int

    def release(self) -> None:
        """Let the child run; call it when the child is on record."""
        # A child that was killed while it waited has closed the pipe; its exit is noticed like any other.
        with contextlib.suppress(BrokenPipeError):
            os.write(self.gate, b"g")
        os.close(self.gate)


def start(name: str, body: Callable[[], object], log_file: Path) -> Started:
    """Fork a child that will run ``body`` in a session of its own, with its output in ``log_file``."""
    gate_read, gate_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(name, body, log_file, gate_read)
    os.close(gate_read)
    identity = identify(pid) or Identity(pid, 0)
    return Started(identity, gate_write)


def execute(argv: Sequence[str], *, home: Path) -> Callable[[], object]:
    """Return a body that becomes another program, with a clean environment.

    The environment is clean on purpose: KUBECONFIG or HTTP_PROXY of the person at the keyboard would
    silently change what Traefik and Prometheus connect to.
    """

    def body() -> object:
        environment = {"PATH": os.defpath, "HOME": str(home), "GOGC": "50"}
        os.execve(argv[0], list(argv), environment)  # noqa: S606 - no shell wanted

    return body


def python(argv: list[str]) -> Callable[[], object]:
    """Return a body that becomes another Python program of this package, with this environment."""

    def body() -> object:
        os.execve(argv[0], argv, dict(os.environ))  # noqa: S606 - no shell wanted

    return body


def _child(name: str, body: Callable[[], object], log_file: Path, gate: int) -> NoReturn:
    """Run in the child: detach from the parent's files, wait for the gate, run the body, leave."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in RESET:
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        gate = _own_files(log_file, gate)
        set_name(f"apqx-{name}")
        if os.read(gate, 1):
            os.close(gate)
            _log_to_stderr()
            body()
            code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:  # the last line of defence of a process: say it in the log, then end
        logging.getLogger("apqx").exception("%s ended", name)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _own_files(log_file: Path, gate: int) -> int:
    """Put the log on standard output and error, close all else; return the gate's new number."""
    log_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(gate, 3, inheritable=False)
    os.closerange(4, 1024)
    return 3


def _log_to_stderr() -> None:
    """Send log records to the component's own log file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
