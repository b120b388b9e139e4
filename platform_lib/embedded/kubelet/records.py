"""What must survive the death of a node agent? One folder and one JSON record per pod.

``pods/<uid>/pod.json`` names every process with its start time, so that a restarted agent adopts what runs and
so that a machine loss or a tear-down can kill it without ever hitting a stranger.
"""

from __future__ import annotations

import json
import logging
import os
import select
import shutil
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from platform_lib.embedded.identity import Identity, alive, identify, open_pidfd, send
from platform_lib.embedded.kubelet import procfs
from platform_lib.model import Obj

log = logging.getLogger(__name__)

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - what a pod keeps in memory belongs there


@dataclass(slots=True)
class ContainerRecord:
    """One container of one pod.

    Attributes:
        restarts: Restart count; also numbers the log and status files.
        monitor: The process to wait for (the sandbox's outer process or the shim).
        init: The process whose death ends everything inside (the sandbox's pid 1); same as app without one.
        app: The program of the image.
        sandboxed: Whether ``init`` is a sandbox's own pid 1.
        cgroups: Control group folders that hold it.
        exit: Terminated state as the API shows it; empty while it runs or before the first start.
        last: The terminated state before that one.
        ended_at: When the last run ended (seconds since the epoch; the API's times are whole seconds).
        backoff_s, backoff_since: Restart back-off and the exit (seconds since the epoch) it was computed for.
    """

    name: str
    restarts: int = 0
    container_id: str = ""
    image_id: str = ""
    started_at: str = ""
    monitor: Identity | None = None
    init: Identity | None = None
    app: Identity | None = None
    sandboxed: bool = False
    cgroups: list[str] = field(default_factory=list)
    exit: Obj = field(default_factory=dict)
    last: Obj = field(default_factory=dict)
    ready: bool = False
    started: bool = False
    oom_killed: bool = False
    ended_at: float = 0.0
    backoff_s: float = 0.0
    backoff_since: float = 0.0

    def processes(self) -> list[Identity]:
        """Return the known processes, the one that holds the others first."""
        known = (self.init, self.app, self.monitor)
        return [process for process in known if process is not None]


@dataclass(slots=True)
class PodRecord:
    """One pod: identity, address, containers by name; ``failure`` is (reason, message) when the node gave it up."""

    uid: str
    namespace: str
    name: str
    ip: str
    started_at: str
    containers: dict[str, ContainerRecord] = field(default_factory=dict)
    failure: list[str] = field(default_factory=list)


class PodFolder:
    """Where the files of one pod lie."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def record_file(self) -> Path:
        """The JSON record."""
        return self.root / "pod.json"

    def volume(self, name: str) -> Path:
        """Folder of a volume."""
        return self.root / "volumes" / name

    def memory(self) -> Path:
        """Folder for volumes that are kept in memory; shared memory is a tmpfs on every Linux."""
        return SHARED_MEMORY / f"apqx-{self.root.name}"

    def etc(self) -> Path:
        """Generated files for /etc of the sandbox."""
        return self.root / "etc"

    def container(self, name: str) -> Path:
        """Folder of a container."""
        return self.root / "containers" / name

    def log(self, name: str, restarts: int) -> Path:
        """Output of one run of a container."""
        return self.container(name) / f"{restarts}.log"

    def status(self, name: str, restarts: int) -> Path:
        """Child pid and exit code of one run, written by whoever waits for it."""
        return self.container(name) / f"{restarts}.status"

    def save(self, record: PodRecord) -> None:
        """Write the record so that a reader sees the old or the new one, never a part."""
        self.root.mkdir(parents=True, exist_ok=True)
        partial = self.root / "pod.json.partial"
        partial.write_text(json.dumps(asdict(record)))
        partial.replace(self.record_file)

    def load(self) -> PodRecord | None:
        """Read the record; None when there is none or it cannot be read."""
        try:
            data = json.loads(self.record_file.read_text())
            containers = {name: _container(entry) for name, entry in data.pop("containers").items()}
            return PodRecord(**data, containers=containers)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            log.warning("%s - unreadable pod record (%s); the pod starts anew", self.record_file, error)
            return None

    def remove(self) -> None:
        """Delete everything of the pod."""
        shutil.rmtree(self.memory(), ignore_errors=True)
        shutil.rmtree(self.root, ignore_errors=True)


def _container(data: dict[str, Any]) -> ContainerRecord:
    """Rebuild a container record; JSON knows no identities."""
    for key in ("monitor", "init", "app"):
        data[key] = Identity(**data[key]) if data[key] else None
    return ContainerRecord(**data)


def pods_dir(node_dir: Path) -> Path:
    """Folder of all pod folders of a node."""
    return node_dir / "pods"


def stored_pods(node_dir: Path) -> dict[str, PodRecord]:
    """Read all pod records of a node, by uid."""
    root = pods_dir(node_dir)
    folders = sorted(root.iterdir()) if root.is_dir() else []
    loaded = ((folder.name, PodFolder(folder).load()) for folder in folders)
    return {uid: record for uid, record in loaded if record is not None}


def kill_container(record: ContainerRecord) -> list[Identity]:
    """Kill every process of a container at once (SIGKILL), each after its identity was verified.

    Returns:
        The processes that were signalled.
    """
    oldest = min((process.start_ticks for process in record.processes()), default=0)
    pids = [pid for process in record.processes() if alive(process) for pid in procfs.tree(process.pid)]
    if record.app is not None:
        pids += procfs.sessions().get(record.app.pid, [])
    found = (identify(pid) for pid in dict.fromkeys(pids))
    victims = [process for process in found if process is not None and process.start_ticks >= oldest]
    return [victim for victim in victims if send(victim, signal.SIGKILL)]


def kill_all_pods(node_dir: Path, *, timeout_s: float = 2.0) -> list[int]:
    """Kill all pod processes of a node: what a machine loss or a tear-down does; records stay.

    Args:
        node_dir: The node's state folder (``cluster_dir/nodes/NAME``).
        timeout_s: How long to wait until the killed processes are really gone (their ports free again).

    Returns:
        The pids that were killed. Control group folders that became empty and volumes in memory are removed.
    """
    containers = [c for pod in stored_pods(node_dir).values() for c in pod.containers.values()]
    killed = [process for container in containers for process in kill_container(container)]
    killed += kill_strays(node_dir)
    await_exit(killed, timeout_s)
    for container in containers:
        remove_cgroups(container.cgroups)
    for uid in stored_pods(node_dir):
        shutil.rmtree(PodFolder(pods_dir(node_dir) / uid).memory(), ignore_errors=True)
    return [process.pid for process in killed]


def kill_strays(node_dir: Path) -> list[Identity]:
    """Kill containers of this node that no record names.

    An agent that is killed between the start of a process and its record leaves one. It is recognised by its
    own program (the sandbox or the shim) together with the node's folder in its arguments or environment.
    """
    recorded = [c for pod in stored_pods(node_dir).values() for c in pod.containers.values()]
    known = {pid for c in recorded for p in c.processes() if alive(p) for pid in procfs.tree(p.pid)}
    mark = f"{pods_dir(node_dir)}/".encode()
    found = []
    for pid, words in procfs.command_lines().items():
        ours = words[0].endswith(b"bwrap") or any(word.endswith(b"/kubelet/shim.py") for word in words)
        if ours and pid not in known and (mark in b"\0".join(words) or mark in procfs.environment(pid)):
            found += [identity for identity in map(identify, procfs.tree(pid)) if identity is not None]
    return [process for process in found if send(process, signal.SIGKILL)]


def await_exit(processes: list[Identity], timeout_s: float) -> bool:
    """Block until processes are gone; False when ``timeout_s`` passed first."""
    deadline = time.monotonic() + timeout_s
    for process in processes:
        handle = open_pidfd(process)
        if handle is not None:
            try:
                poller = select.poll()
                poller.register(handle, select.POLLIN)
                if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    return False
            finally:
                os.close(handle)
    return True


def remove_cgroups(folders: list[str]) -> list[str]:
    """Remove empty control group folders.

    Returns:
        Those that could not be removed yet because a process in them is still dying.
    """
    busy = []
    for folder in folders:
        try:
            Path(folder).rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            busy.append(folder)
    return busy
