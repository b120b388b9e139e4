"""How is a runbook's kernel started and interrupted?

Each run gets its own Unix socket path: parallel runs lose kernels on TCP ports (papermill issue 511) and on
the default IPC path. The path must stay short, Unix sockets end at 107 bytes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

from platform_lib.settings import child_environment


def kernel_class(socket_dir: Path, extra_env: dict[str, str]) -> type[AsyncKernelManager]:
    """Build a kernel manager class for one run.

    Args:
        socket_dir: Empty private folder for the kernel's sockets and connection file.
        extra_env: Variables added to the kernel's environment.
    """

    class RunKernel(AsyncKernelManager):  # type: ignore[misc]
        """Starts this very interpreter, over IPC."""

        last_pid: int | None = None

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.transport = "ipc"
            self.ip = str(socket_dir / "k")
            self.connection_file = str(socket_dir / "connection.json")

        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(
                argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                display_name="apqx",
                language="python",
            )

        async def _async_start_kernel(self, **kwargs: Any) -> None:
            kwargs["env"] = child_environment(extra_env)
            await super()._async_start_kernel(**kwargs)
            type(self).last_pid = getattr(self.provisioner, "pid", None)

        start_kernel = _async_start_kernel

    return RunKernel


@contextlib.contextmanager
def socket_folder() -> Iterator[Path]:
    """Yield a short private folder and remove it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="apqx-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def interrupting(kernel: type[AsyncKernelManager]) -> Iterator[list[int]]:
    """Forward Ctrl-C and SIGTERM to the kernel, so that the cell's own clean-up runs.

    The cell then ends with KeyboardInterrupt, its ``finally`` blocks have undone the fault, and papermill saves
    the partial notebook. A second signal is forwarded too; the run itself is never torn down in the middle.

    Yields:
        The signals seen so far.
    """
    seen: list[int] = []

    def forward(number: int, _frame: Any) -> None:
        seen.append(number)
        pid = getattr(kernel, "last_pid", None)
        if pid is None:
            raise KeyboardInterrupt
        os.kill(pid, signal.SIGINT)

    try:
        previous = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: the caller keeps its own handling
        yield seen
        return
    try:
        yield seen
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
