"""For all tests: a test run that is told to end takes down what its fixtures brought up."""

import os
import signal
import tempfile
from pathlib import Path

import pytest


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart() -> None:
    """SIGTERM (a time limit, a closing terminal) acts like Ctrl-C: a platform of a fixture is taken down."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)
    # What tests do must not enter the record of the platform that the person at the keyboard works with.
    os.environ.setdefault("APQX_HOME", str(Path(tempfile.gettempdir()) / f"apqx-tests-{os.getpid()}"))
