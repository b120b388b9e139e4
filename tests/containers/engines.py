"""What the tests of the images share: which engines are there, and how a container is asked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASE = "docker.io/library/python:3.11-slim"
BASE_PYTHON = "3.11.2"
"""Debian 12's; the locks ask for the full version."""
HARDENED = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--memory=128m", "--pids-limit=64"]
NEEDED = ("debootstrap", "dockerd", "buildah", "runc", "skopeo", "docker-registry")
START_TIMEOUT_S = 60.0


def missing() -> str:
    """Say why real engines cannot be tried here, or nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux and root: debootstrap and dockerd change root and mount"
    absent = [name for name in NEEDED if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)} (.ci/run installs them)" if absent else ""


needs_engines = pytest.mark.skipif(bool(missing()), reason=missing() or "engines are there")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """Ask until it holds; fail with what was waited for and what was seen."""
    end, seen = time.monotonic() + timeout_s, "nothing"
    while time.monotonic() < end:
        try:
            if condition():
                return
        except Exception as error:
            seen = repr(error)
        time.sleep(0.05)
    raise AssertionError(f"{what} not seen in {timeout_s:g} s; last: {seen}")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that a fixture started."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Docker:
    """The private daemon, through the same client that the library chose."""

    program: str

    def __call__(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([self.program, *arguments], capture_output=True, text=True, timeout=240)
        assert not check or done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done

    def inspect(self, name: str) -> dict:
        return json.loads(self("inspect", name).stdout)[0]

    def layers(self, reference: str) -> list[str]:
        return self.inspect(reference)["RootFS"]["Layers"]


@dataclass(frozen=True)
class Running:
    """One started container of the application."""

    name: str
    port: int

    def get(self, path: str, timeout_s: float = 5) -> tuple[int, str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=timeout_s) as answer:
            return answer.status, answer.read().decode()
