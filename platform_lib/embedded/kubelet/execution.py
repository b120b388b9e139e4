"""How does a command run inside a container that runs already? For exec probes and lifecycle hooks.

In a sandbox: in the program's own namespaces (``nsenter``) with its environment, user and control group. Without
one: beside the program, with the same rewritten paths and user.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import signal

from platform_lib.embedded.identity import Identity, send
from platform_lib.embedded.kubelet import runtime
from platform_lib.embedded.kubelet.records import ContainerRecord
from platform_lib.embedded.kubelet.runtime import Launch
from platform_lib.embedded.kubelet.sandbox import (
    DROPPED,
    Confinement,
    Sandbox,
    host_environment,
    identity,
    plain_drops_uid,
    relocate,
)

OUTPUT_BYTES = 10_240
NS_GET_USERNS = 0xB701


async def execute(
    sandbox: Sandbox, wanted: Confinement, record: ContainerRecord, words: list[str], timeout_s: float
) -> tuple[int, str]:
    """Run a command inside a container.

    Args:
        sandbox: What this machine offers.
        wanted: The container as it was started.
        record: Its processes and control groups.
        words: Program and arguments.
        timeout_s: Then it is killed.

    Returns:
        Exit code and the beginning of its output; code 1 with the reason when it could not run or finish.
    """
    if record.app is None:
        return 1, "the container is not running"
    words = [str(wanted.python) if words[0] in ("python", "python3") else words[0], *words[1:]]
    try:
        with contextlib.ExitStack() as stack:
            command, fds = _command(sandbox, wanted, record.app, words, stack)
            return await _launch(sandbox, wanted, record, command, fds, timeout_s)
    except OSError as error:
        return 1, f"cannot enter the container: {error.strerror}"


async def _launch(
    sandbox: Sandbox,
    wanted: Confinement,
    record: ContainerRecord,
    command: list[str],
    fds: tuple[int, ...],
    timeout_s: float,
) -> tuple[int, str]:
    """Run a finished command line with the container's environment and control groups."""
    output = wanted.tmp / f"exec-{secrets.token_hex(6)}"
    cwd = str(wanted.rootfs / wanted.cwd.strip("/")) if sandbox.mode == "plain" else "/"
    entrances = tuple(f"{group}/cgroup.procs" for group in record.cgroups)
    launch = Launch(command, host_environment(sandbox, wanted), cwd, output, entrances, fds)
    try:
        return await _run(launch, timeout_s)
    finally:
        output.unlink(missing_ok=True)


async def _run(launch: Launch, timeout_s: float) -> tuple[int, str]:
    """Run one command to its end or its time-out."""
    try:
        child = runtime.spawn(launch)
    except OSError as error:
        return 1, f"cannot run {launch.command[0]}: {error.strerror}"
    waiting = asyncio.ensure_future(runtime.wait_child(child))
    try:
        async with asyncio.timeout(timeout_s):
            code = await asyncio.shield(waiting)
    except TimeoutError:
        await _stop(child, waiting)
        return 1, f"command timed out: {timeout_s:g} s"
    except asyncio.CancelledError:
        await _stop(child, waiting)
        raise
    with launch.log_file.open("rb") as file:
        return code, file.read(OUTPUT_BYTES).decode(errors="replace")


async def _stop(child: Identity, waiting: asyncio.Future[int]) -> None:
    """Kill and collect."""
    send(child, signal.SIGKILL)
    with contextlib.suppress(asyncio.CancelledError):
        await waiting


def _command(
    sandbox: Sandbox, wanted: Confinement, app: Identity, words: list[str], stack: contextlib.ExitStack
) -> tuple[list[str], tuple[int, ...]]:
    """Build the command line that enters the container, and the descriptors that it needs.

    Raises:
        OSError: The program is gone or nsenter is not installed.
    """
    if sandbox.mode == "plain":
        drops = sandbox.setpriv and plain_drops_uid(wanted)
        prefix = [*identity(sandbox, wanted.uid, wanted.gid), "--"] if drops else []
        return [*prefix, *(relocate(word, wanted) for word in words)], ()
    nsenter = shutil.which("nsenter")
    if nsenter is None:
        raise FileNotFoundError(errno.ENOENT, "exec needs the program nsenter (package util-linux)")
    enter = [nsenter, "--target", str(app.pid), "--mount", "--uts", "--ipc", "--pid", "--wd"]
    if sandbox.mode == "root":
        return [*enter, "--", *identity(sandbox, wanted.uid, wanted.gid), "--", *words], ()
    return _through_user_namespaces(sandbox, app, enter, words, stack)


def _through_user_namespaces(
    sandbox: Sandbox, app: Identity, enter: list[str], words: list[str], stack: contextlib.ExitStack
) -> tuple[list[str], tuple[int, ...]]:
    """Enter as an ordinary user: first the user namespace that owns the mounts, then the program's own.

    bubblewrap puts the program into a second user namespace without rights over the first, so entering that
    one directly would leave no right to the mounts (ioctl_ns(2) finds the owner).
    """
    own = _opened(f"/proc/{app.pid}/ns/user", stack)
    mounts = _opened(f"/proc/{app.pid}/ns/mnt", stack)
    owner = fcntl.ioctl(mounts, NS_GET_USERNS)
    stack.callback(os.close, owner)
    command = [*enter, f"--user=/proc/self/fd/{owner}", "--preserve-credentials", "--"]
    if os.fstat(owner).st_ino != os.fstat(own).st_ino:
        command += [enter[0], f"--user=/proc/self/fd/{own}", "--preserve-credentials", "--"]
    command += [sandbox.setpriv, *DROPPED, "--"] if sandbox.setpriv else []
    return [*command, *words], (own, owner)


def _opened(path: str, stack: contextlib.ExitStack) -> int:
    """Open a namespace until the stack is closed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return descriptor
