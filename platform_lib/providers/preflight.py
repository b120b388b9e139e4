"""Can the embedded platform start here? Every reason against it is found before anything is started.

Checks the system, the programs, the ports and the state folder. It changes nothing but the state folder's
existence.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
import tempfile
from pathlib import Path

from platform_lib.errors import BootstrapFailed, GuardRefused, InvalidInput, UnsupportedSystem
from platform_lib.providers import tools
from platform_lib.settings import Settings

ARCHITECTURES = ("x86_64", "aarch64")
FREE_BYTES = 200 * 2**20
"""A day of metrics, images and logs of the sample application stays below it."""


def system() -> str:
    """Return a description of this system.

    Raises:
        UnsupportedSystem: It is not Linux on x86-64 or arm64.
    """
    seen = f"{platform.system()} {platform.machine()}"
    if sys.platform != "linux" or platform.machine() not in ARCHITECTURES:
        raise UnsupportedSystem(
            f"embedded platform - this is {seen}, want Linux on x86-64 or arm64",
            hint="use a k3d cluster here: apqx up --provider k3d",
        )
    return seen


def state_folder(home: Path) -> None:
    """Make the state folder, and make sure that it can be written and has room.

    Raises:
        GuardRefused: No permission, or a file is in the way.
        BootstrapFailed: Too little free space.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise GuardRefused(
            f"state folder {home} - cannot be written ({error.strerror}), want a folder of your own",
            hint="set APQX_HOME to a folder you can write",
            path=str(home),
        ) from error
    free = shutil.disk_usage(home).free
    if free < FREE_BYTES:
        raise BootstrapFailed(
            f"state folder {home} - {free // 2**20} MiB free, want {FREE_BYTES // 2**20} MiB",
            hint="free space or set APQX_HOME to another disk",
            stage="check",
        )


def sources(current: Settings) -> None:
    """Make sure that the project folder holds what is deployed.

    Raises:
        InvalidInput: ``app/`` or ``gitops/`` is not there.
    """
    for name in ("app", "gitops"):
        if not (current.project_dir / name).is_dir():
            raise InvalidInput(
                f"project folder {current.project_dir} - holds no {name}/, expected one",
                hint="run from the checkout, or set APQX_PROJECT_DIR",
            )


def programs(current: Settings) -> dict[str, str]:
    """Return the paths of the programs (``bwrap`` may be empty).

    Raises:
        ToolMissing: A needed one is absent.
    """
    found = {tool.name: tools.require(tool.name, current) for tool in tools.TOOLS if tool.needed}
    return found | {"bwrap": tools.find("bwrap", current) or ""}


def ports_free(current: Settings, node_addresses: list[str]) -> None:
    """Make sure that every port can be bound.

    Raises:
        GuardRefused: A port is taken; names who holds it.
    """
    wanted = [("127.0.0.1", port, f"APQX_PORT_{name.upper()}") for name, port in current.ports().items()]
    wanted += [(address, current.port_kubelet, "APQX_PORT_KUBELET") for address in node_addresses]
    for address, port, variable in wanted:
        require_free(address, port, variable)


def require_free(address: str, port: int, variable: str) -> None:
    """Make sure that one port can be bound.

    Raises:
        GuardRefused: It is taken; names who holds it, and the setting that moves it.
    """
    if not _free(address, port):
        raise GuardRefused(
            f"port {address}:{port} - held by {holder(port)}, want it free",
            hint=f"end that program, or set {variable} to another port",
            port=port,
        )


def _free(address: str, port: int) -> bool:
    """Return whether the port can be bound (connections in TIME_WAIT do not count as taken)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """Return who listens on a port, as far as this user may know."""
    import psutil

    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return "a process of another user"
    pids = {c.pid for c in connections if c.laddr and c.laddr.port == port and c.status == psutil.CONN_LISTEN}
    names = []
    for pid in sorted(p for p in pids if p):
        try:
            process = psutil.Process(pid)
            names.append(f"{process.name()} (pid {pid}, user {process.username()})")
        except psutil.Error:
            names.append(f"pid {pid}")
    return ", ".join(names) or "a process of another user"


def free_text(home: Path) -> str:
    """Return free space and permission of the state folder, for people; the nearest parent counts."""
    folder = next(p for p in (home, *home.parents) if p.exists())
    free = shutil.disk_usage(folder).free // 2**20
    return f"{home}: {free} MiB free, {'writable' if os.access(folder, os.W_OK) else 'not writable'}"
