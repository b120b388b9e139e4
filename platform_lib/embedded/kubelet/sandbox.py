"""How is a container confined on this machine? The command line around its program, and what it cannot do.

Three ways, best first: bubblewrap as root (own mount, pid, ipc and uts namespaces, uid dropped by setpriv),
bubblewrap as an ordinary user (the same plus a user namespace), and none (a process group behind ``shim.py``).
Network namespaces are not used anywhere: a pod's address is a loopback address of the host.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Mode = Literal["root", "user", "plain"]
SHIM = Path(__file__).with_name("shim.py")
_SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_BASE = frozenset((*_SYSTEM, "/usr", "/etc", "/proc", "/dev", "/sys", "/tmp"))  # noqa: S108 - inside the sandbox
_ETC = ("ssl", "ca-certificates", "ld.so.cache", "localtime", "nsswitch.conf", "alternatives")
_TMP_BYTES = 64 * 1024 * 1024
DROPPED = ("--inh-caps=-all", "--bounding-set=-all", "--no-new-privs")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What was found on this machine.

    Attributes:
        mode: The way that works.
        bwrap, setpriv: Programs; empty when absent.
        reason: Why no better mode is used; empty in a sandbox.
    """

    mode: Mode
    bwrap: str = ""
    setpriv: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Mount:
    """A host folder or file that the container sees at ``path``."""

    source: Path
    path: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Confinement:
    """One container as it should run.

    Attributes:
        rootfs: Unpacked image.
        command: Program and arguments.
        env: Complete environment.
        cwd: Working directory inside.
        uid, gid: Wanted identity.
        hostname: Name of the pod.
        python: The node's interpreter, visible at its own path.
        etc: Folder with passwd, group, hosts and resolv.conf for this pod.
        tmp: Private folder on the host for temporary files where /tmp cannot be private.
        read_only: Whether the root may not be written to.
    """

    rootfs: Path
    command: list[str]
    env: Mapping[str, str]
    cwd: str
    uid: int
    gid: int
    hostname: str
    python: Path
    etc: Path
    tmp: Path
    read_only: bool = True
    mounts: tuple[Mount, ...] = field(default_factory=tuple)


def detect(bwrap: str) -> Sandbox:
    """Find the best mode by trying it.

    Args:
        bwrap: Path of bubblewrap; empty when there is none.
    """
    setpriv = shutil.which("setpriv") or ""
    if not bwrap:
        return Sandbox("plain", setpriv=setpriv, reason="bubblewrap is not installed")
    root = os.geteuid() == 0
    if root and not setpriv:
        return Sandbox("plain", reason="setpriv is not installed, so root cannot be dropped inside bubblewrap")
    trial = [bwrap, *_namespaces(root, "probe", 1000, 1000), *_system_mounts(), "--proc", "/proc", "/usr/bin/true"]
    try:
        done = subprocess.run(trial, capture_output=True, timeout=5, env={}, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Sandbox("plain", setpriv=setpriv, reason=f"bubblewrap does not start: {error}")
    if done.returncode == 0:
        return Sandbox("root" if root else "user", bwrap, setpriv)
    told = done.stderr.decode(errors="replace").strip().splitlines()
    return Sandbox("plain", setpriv=setpriv, reason=f"bubblewrap does not work here: {' '.join(told[-1:])}")


def _namespaces(root: bool, hostname: str, uid: int, gid: int) -> list[str]:
    """Return the options that separate the sandbox from the host."""
    options = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--new-session"]
    options += ["--hostname", hostname[:63], "--cap-drop", "ALL"]
    if root:
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
            options += ["--cap-add", capability]
        return options
    return ["--unshare-user", "--uid", str(uid), "--gid", str(gid), *options]


def _system_mounts() -> list[str]:
    """Show the host's /usr read-only: it plays the base image."""
    options = ["--ro-bind", "/usr", "/usr"]
    for path in map(Path, _SYSTEM):
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            options += ["--ro-bind", str(path), str(path)]
    return options


def command_line(sandbox: Sandbox, wanted: Confinement, status_fd: int, seccomp_fd: int | None = None) -> list[str]:
    """Build the argument list that starts a container.

    Args:
        sandbox: What this machine offers.
        wanted: The container.
        status_fd: Open descriptor that receives the child pid and the exit code as JSON lines.
        seccomp_fd: Open descriptor with a compiled filter, for a sandbox.

    Returns:
        A command whose own life is that of the container.
    """
    if sandbox.mode == "plain":
        return _plain(sandbox, wanted, status_fd)
    root = sandbox.mode == "root"
    options = _namespaces(root, wanted.hostname, wanted.uid, wanted.gid)
    options += _Tree().system().etc(wanted.etc).interpreter(wanted.python).image(wanted).volumes(wanted).options
    options += ["--remount-ro", "/"] if wanted.read_only else []
    options += ["--chdir", wanted.cwd, "--json-status-fd", str(status_fd)]
    options += ["--seccomp", str(seccomp_fd)] if seccomp_fd is not None else []
    drop = [*identity(sandbox, wanted.uid, wanted.gid), "--"] if root else []
    return [sandbox.bwrap, *options, "--", *drop, *wanted.command]


def identity(sandbox: Sandbox, uid: int, gid: int) -> list[str]:
    """Return the setpriv prefix that gives up root for good."""
    return [sandbox.setpriv, "--reuid", str(uid), "--regid", str(gid), "--clear-groups", *DROPPED]


class _Tree:
    """Collects mount options; creates each parent folder once, readable for everybody.

    bubblewrap would create missing parents with mode 0700, closed for the container's user.
    """

    def __init__(self) -> None:
        self.options: list[str] = []
        self._made: set[str] = {"/"}

    def _parents(self, path: str) -> None:
        for parent in reversed(Path(path).parents):
            if str(parent) not in self._made:
                self._made.add(str(parent))
                self.options += ["--perms", "0755", "--dir", str(parent)]

    def _bind(self, source: Path, path: str, read_only: bool) -> None:
        self._parents(path)
        self._made.add(path)
        self.options += ["--ro-bind" if read_only else "--bind", str(source), path]

    def system(self) -> _Tree:
        """The host's programs, a private /proc, /dev, /dev/shm and /tmp."""
        self._made |= {"/usr", *_SYSTEM, "/proc", "/dev"}
        self.options += [*_system_mounts(), "--proc", "/proc", "--dev", "/dev"]
        for path in ("/dev/shm", "/tmp"):  # noqa: S108 - paths inside the sandbox
            self.options += ["--perms", "1777", "--size", str(_TMP_BYTES), "--tmpfs", path]
            self._made.add(path)
        return self

    def etc(self, generated: Path) -> _Tree:
        """The few files of /etc that programs need; names and users are generated per pod."""
        for name in _ETC:
            source = Path("/etc") / name
            if source.exists():
                self._bind(source, f"/etc/{name}", True)
        for source in sorted(generated.iterdir()):
            self._bind(source, f"/etc/{source.name}", True)
        return self

    def interpreter(self, python: Path) -> _Tree:
        """The interpreter's installation at its own path, when it is not part of /usr."""
        prefix = python.parent.parent
        if not prefix.is_relative_to("/usr"):
            self._bind(prefix, str(prefix), True)
        return self

    def image(self, wanted: Confinement) -> _Tree:
        """Every top-level entry of the image that is not the system's own."""
        for entry in image_entries(wanted.rootfs):
            self._bind(entry, f"/{entry.name}", True)
        if not (wanted.rootfs / wanted.cwd.lstrip("/")).is_dir():
            self._parents(f"{wanted.cwd}/x")
        return self

    def volumes(self, wanted: Confinement) -> _Tree:
        """The volumes, outer paths first."""
        for mount in sorted(wanted.mounts, key=lambda m: m.path):
            self._bind(mount.source, mount.path, mount.read_only)
        return self


def image_entries(rootfs: Path) -> list[Path]:
    """Return what an image adds to the base image; the host's system folders play that base."""
    return [entry for entry in sorted(rootfs.iterdir()) if f"/{entry.name}" not in _BASE]


def _plain(sandbox: Sandbox, wanted: Confinement, status_fd: int) -> list[str]:
    """Start without a sandbox: a session of its own, the uid dropped where that leaves the files readable."""
    drops = plain_drops_uid(wanted)
    uid, gid = (wanted.uid, wanted.gid) if drops else (-1, -1)
    command = [relocate(word, wanted) for word in wanted.command]
    if sandbox.setpriv:
        prefix = identity(sandbox, uid, gid) if drops else [sandbox.setpriv, "--no-new-privs"]
        command, uid, gid = [*prefix, "--", *command], -1, -1
    interpreter = os.path.realpath(sys.executable)
    return [interpreter, "-I", "-S", str(SHIM), str(status_fd), str(uid), str(gid), *command]


def plain_drops_uid(wanted: Confinement) -> bool:
    """Tell whether the wanted uid could read everything it needs, when this process is root."""
    needed = [wanted.python, wanted.rootfs, wanted.tmp, *(mount.source for mount in wanted.mounts)]
    return os.geteuid() == 0 and all(reachable(path, wanted.uid, wanted.gid) for path in needed)


def reachable(path: Path, uid: int, gid: int) -> bool:
    """Tell whether a user may walk to a path and read it, by the permission bits of every folder on the way."""
    for place in [*path.parents, path]:
        status = place.stat()
        bits = status.st_mode >> (6 if status.st_uid == uid else 3 if status.st_gid == gid else 0)
        if not bits & 0o1 and (place.is_dir() or place != path):
            return False
        if place == path and not bits & 0o4:
            return False
    return True


def places(wanted: Confinement) -> list[tuple[str, str]]:
    """Return (path inside, path on the host) for a container without a mount namespace, longest first."""
    pairs = [(mount.path.rstrip("/"), str(mount.source)) for mount in wanted.mounts]
    pairs += [(f"/{entry.name}", str(entry)) for entry in image_entries(wanted.rootfs)]
    return sorted(pairs, key=lambda pair: -len(pair[0]))


def relocate(text: str, wanted: Confinement) -> str:
    """Rewrite absolute paths of the image and its volumes to where they lie on the host.

    A path counts as a whole text, as a part of a ``:`` list, and after the ``=`` of an option.
    """
    pairs = places(wanted)
    return ":".join(_one(part, pairs) for part in text.split(":"))


def _one(text: str, pairs: list[tuple[str, str]]) -> str:
    """Rewrite the path that a text without colons holds, if it is one of the container's."""
    head, sign, tail = text.rpartition("=")
    for inside, outside in pairs:
        if tail == inside or tail.startswith(f"{inside}/"):
            return f"{head}{sign}{outside}{tail[len(inside) :]}"
    return text


def host_environment(sandbox: Sandbox, wanted: Confinement) -> dict[str, str]:
    """Return the environment to start with; outside a sandbox its paths are rewritten and TMPDIR is private."""
    if sandbox.mode != "plain":
        return dict(wanted.env)
    env = {name: relocate(value, wanted) for name, value in wanted.env.items()}
    return {**env, "TMPDIR": str(wanted.tmp), "HOME": env.get("HOME") or str(wanted.tmp)}


def shortfalls(sandbox: Sandbox, wanted: Confinement, *, asked_uid: bool) -> list[str]:
    """Name what the pod asks for and this machine does not enforce; empty in a sandbox."""
    if sandbox.mode != "plain":
        return []
    missing = ["private mounts, process ids and /tmp", "read-only root filesystem"]
    missing += [] if sandbox.setpriv else ["no new privileges", "dropped capabilities"]
    if asked_uid and os.geteuid() != 0 and os.geteuid() != wanted.uid:
        missing.append(f"uid {wanted.uid} (runs as uid {os.geteuid()}: only root can change it)")
    elif asked_uid and os.geteuid() == 0 and not plain_drops_uid(wanted):
        missing.append(f"uid {wanted.uid} (runs as root: that uid cannot read the interpreter or the state folder)")
    return missing
