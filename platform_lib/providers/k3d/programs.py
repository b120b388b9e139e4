"""How are docker and k3d run? Argument lists, a deadline, output line by line, and errors with a next step.

A child gets a session of its own: Ctrl-C reaches the workbench alone, which ends the child and then undoes what it
made. k3d writes information to stdout and trouble to stderr; it is told to write neither colour nor chatter.

Source: k3d cmd/root.go (LOG_LEVEL, LOG_COLORS; levels below warning go to stdout).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import IO

from platform_lib.errors import ToolMissing, WaitTimeout
from platform_lib.providers.k3d.classify import classify, last_words
from platform_lib.settings import child_environment, search_path

K3D_MINIMUM = (5, 7, 0)
"""First release whose config takes ``files`` (the Traefik manifest) under k3d.io/v1alpha5."""
END_S = 10.0
QUICK_S = 60.0
HINTS = {
    "docker": "install Docker Engine or Docker Desktop (https://docs.docker.com/engine/install/), "
    "or use the platform that needs none: apqx up --provider embedded",
    "k3d": "install k3d 5.7 or newer (https://k3d.io/stable/#installation); tested against 5.9.0",
}
_QUIET = {"LOG_COLORS": "false", "LOG_LEVEL": "warning"}
_TALKING = {"LOG_COLORS": "false", "LOG_LEVEL": "info"}
_INFO = re.compile(r"^INFO\[\d+\]\s*")

Say = Callable[[str], None]


def find(name: str) -> str:
    """Return the path of a program.

    Raises:
        ToolMissing: It is not on PATH; says how to get it.
    """
    path = shutil.which(name, path=search_path())
    if path is None:
        raise ToolMissing(f"{name} - not found on PATH, a k3d cluster needs it", hint=HINTS[name])
    return path


def docker(*arguments: str, timeout_s: float = QUICK_S) -> str:
    """Run docker and return what it wrote to stdout.

    Raises:
        ToolMissing, PlatformError: It is absent, failed, or did not end in time; see ``classify``.
    """
    return run("docker", *arguments, timeout_s=timeout_s)


def k3d(*arguments: str, timeout_s: float = QUICK_S, say: Say | None = None) -> str:
    """Run k3d and return what it wrote to stdout; with ``say`` each line of its progress is told as it comes."""
    return run("k3d", *arguments, timeout_s=timeout_s, say=say)


def run(name: str, *arguments: str, timeout_s: float, say: Say | None = None) -> str:
    """Run a program to its end.

    Args:
        name: ``docker`` or ``k3d``.
        arguments: Its arguments.
        timeout_s: After so many seconds it is ended.
        say: Called with each line of stdout.

    Returns:
        Its stdout.

    Raises:
        ToolMissing: It is not installed.
        WaitTimeout: It did not end in time; it has been ended.
        PlatformError: It failed; see ``classify``.
    """
    shown = " ".join([name, *arguments[:3]])
    environment = child_environment((_TALKING if say else _QUIET) if name == "k3d" else {})
    with subprocess.Popen(
        [find(name), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
    ) as child:
        out, err = _Reader(child.stdout, say), _Reader(child.stderr)
        try:
            child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _end(child)
            seen = last_words("".join(err.lines) or "".join(out.lines))
            raise WaitTimeout(
                f"{shown} not finished after {timeout_s:.0f} s: last seen {seen}",
                hint="look at docker ps and docker logs; a slow network: run it again, what was pulled stays",
                wanted=f"{shown} finished",
                last_seen=seen,
                waited_s=timeout_s,
            ) from None
        except BaseException:
            _end(child)
            raise
        out.thread.join(END_S)
        err.thread.join(END_S)
    if child.returncode:
        raise classify(shown, "".join(err.lines), child.returncode)
    return "".join(out.lines)


class _Reader:
    """Reads a stream to its end in a thread of its own, so that no pipe fills up."""

    def __init__(self, stream: IO[str] | None, say: Say | None = None) -> None:
        assert stream is not None
        self.lines: list[str] = []
        self._stream, self._say = stream, say
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        with contextlib.suppress(ValueError):  # the stream is closed under us when the child was ended
            for line in self._stream:
                self.lines.append(line)
                if self._say is not None and (text := _INFO.sub("", line).strip()):
                    self._say(text)


def _end(child: subprocess.Popen[str]) -> None:
    """End a child with everything it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        try:
            child.wait(END_S)
        except subprocess.TimeoutExpired:
            continue
        return


def end_orphans(config: str) -> int:
    """End every k3d that still works on a config file: its workbench was killed and nobody waits for it.

    Returns:
        How many there were.
    """
    import psutil

    found = [
        one
        for one in psutil.process_iter(["cmdline"])
        if config in (words := one.info["cmdline"] or ()) and "create" in words
    ]
    for one in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.terminate()
    _, stubborn = psutil.wait_procs(found, END_S)
    for one in stubborn:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    return len(found)


def k3d_version() -> str:
    """Return k3d's version.

    Raises:
        ToolMissing: It is absent or older than what the config needs.
    """
    text = k3d("version")
    found = re.search(r"k3d version v?(\d+)\.(\d+)\.(\d+)", text)
    if found is None:  # a build from source calls itself v5-dev: newer than any release
        return text.split("\n", 1)[0].removeprefix("k3d version ").strip()
    version = tuple(map(int, found.groups()))
    if version < K3D_MINIMUM:
        wanted = ".".join(map(str, K3D_MINIMUM))
        raise ToolMissing(f"k3d - this is {'.'.join(found.groups())}, expected {wanted} or newer", hint=HINTS["k3d"])
    return ".".join(found.groups())


def docker_version() -> str:
    """Return the version of the daemon, which proves that it answers.

    Raises:
        ToolMissing, Unreachable, GuardRefused: docker is absent, its daemon is, or this user may not use it.
    """
    return docker("version", "--format", "{{.Server.Version}}").strip()
