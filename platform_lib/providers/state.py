"""Where does the embedded platform keep its state, and which of its processes live?

Paths, the endpoints file, the lock of ``up`` and ``down``, and the supervisor's record of processes. It
decides nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from platform_lib.errors import Locked, Unreachable
from platform_lib.model import Platform
from platform_lib.settings import Settings
from platform_lib.wait import now

KEEPERS = ("guardian", "supervisor")
STAT_STATE, STAT_START = 0, 19
"""Places in /proc/PID/stat counted from the field after the command name (proc_pid_stat(5))."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one state folder.

    ``cluster`` is what a loss of the cluster destroys; ``git`` and ``images`` survive it.
    """

    home: Path

    @property
    def cluster(self) -> Path:
        """State that is lost with the cluster."""
        return self.home / "cluster"

    @property
    def git(self) -> Path:
        """Bare repository that plays the git server."""
        return self.home / "git" / "gitops.git"

    @property
    def images(self) -> Path:
        """OCI layout that plays the registry."""
        return self.home / "images"

    @property
    def cache(self) -> Path:
        """Derived files; may be deleted when nothing runs."""
        return self.home / "cache"

    @property
    def endpoints(self) -> Path:
        """The platform's endpoints, for ``connect``."""
        return self.home / "platform.json"

    @property
    def config(self) -> Path:
        """What the embedded platform was told."""
        return self.cluster / "config.json"

    @property
    def k3d(self) -> Path:
        """What belongs to a k3d cluster of this state folder: its config, kubeconfig and logs."""
        return self.home / "k3d"

    @property
    def k3d_config(self) -> Path:
        """What k3d was told; written before the cluster is created."""
        return self.k3d / "config.yaml"

    @property
    def kubeconfig(self) -> Path:
        """Administrator's credentials."""
        return self.cluster / "kubeconfig"

    @property
    def logs(self) -> Path:
        """One log a component."""
        return self.cluster / "logs"


def platform_of(current: Settings) -> Platform:
    """Return the endpoints that the settings give the embedded platform."""
    layout = Layout(current.home)
    return Platform(
        name=current.cluster_name,
        provider="embedded",
        kubeconfig=layout.kubeconfig,
        context=current.cluster_name,
        prometheus_url=f"http://127.0.0.1:{current.port_prometheus}",
        ingress_url=f"http://127.0.0.1:{current.port_web}",
        gitops_repo=str(layout.git),
        home=current.home,
    )


def write_endpoints(platform: Platform) -> None:
    """Keep the endpoints for ``connect``, mode 0600."""
    write_private(Layout(platform.home).endpoints, json.dumps(asdict(platform), default=str, indent=1))


def read_endpoints(home: Path) -> Platform:
    """Read the endpoints of the platform in a state folder.

    Raises:
        Unreachable: None was brought up there, or it was taken down.
    """
    try:
        data = json.loads(Layout(home).endpoints.read_text())
    except (FileNotFoundError, ValueError) as error:
        raise Unreachable(
            "platform - none is up, expected one", hint="bring it up with: apqx up", url=str(home)
        ) from error
    paths = {name: Path(data[name]) for name in ("kubeconfig", "home", "argocd_ca", "prometheus_ca") if data.get(name)}
    headers = tuple((name, value) for name, value in data.get("prometheus_headers", ()))
    return Platform(**data | paths | {"prometheus_headers": headers})


def write_private(path: Path, text: str) -> None:
    """Write a file in one step, mode 0600."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.touch(mode=0o600)
    scratch.write_text(text)
    scratch.rename(path)


@contextlib.contextmanager
def locked(home: Path, purpose: str) -> Iterator[None]:
    """Hold the lock of ``up`` and ``down``; the kernel drops it when the holder dies.

    Raises:
        Locked: Another process is bringing this platform up or down.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(home / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _held(os.pread(handle, 4096, 0)) from error
        note = {"holder": f"{getpass.getuser()} pid {os.getpid()}", "purpose": purpose, "since": now().isoformat()}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(note).encode(), 0)
        yield
    finally:
        os.close(handle)


def _held(note: bytes) -> Locked:
    """Say who holds the lock; the note may be empty for the instant between lock and note."""
    try:
        seen = json.loads(note)
    except ValueError:
        seen = {"holder": "another process", "purpose": "starting", "since": "just now"}
    return Locked(
        f"platform - {seen['holder']} is at it ({seen['purpose']}) since {seen['since']}, expected nobody",
        hint="wait for it to end",
        holder=seen["holder"],
        since=seen["since"],
    )


def processes(layout: Layout) -> dict[str, dict[str, Any]]:
    """Return every recorded process by name (guardian, supervisor, components); empty when none is on record."""
    try:
        record = json.loads((layout.cluster / "processes.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    found: dict[str, dict[str, Any]] = {name: record[name] for name in KEEPERS if record.get(name)}
    found.update(record.get("components", {}))
    return found


def alive(process: dict[str, Any] | None) -> bool:
    """Return whether exactly the recorded process runs: same pid, same start, not a zombie."""
    if not process or not process.get("pid"):
        return False
    try:
        fields = Path(f"/proc/{process['pid']}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return False
    return fields[STAT_STATE] not in "ZX" and int(fields[STAT_START]) == process["start_ticks"]


def living(layout: Layout) -> list[str]:
    """Return the names of recorded processes that run."""
    return [name for name, process in processes(layout).items() if alive(process)]


def complete(layout: Layout) -> bool:
    """Return whether the keepers and every component that should run do run."""
    record = processes(layout)
    wanted = [p for name, p in record.items() if name in KEEPERS or p.get("state") != "stopped"]
    return len(record) > len(KEEPERS) and all(map(alive, wanted))


def mounts(layout: Layout) -> list[str]:
    """Return mount points below the cluster folder."""
    below = f"{layout.cluster}/"
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return sorted((p for p in points if p.startswith(below)), key=len, reverse=True)
