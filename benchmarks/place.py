"""A private place to measure in: own state folder, own ports, own pod network; the user's platform is left alone."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PORTS = ("API", "WEB", "WEBSECURE", "TRAEFIK", "PROMETHEUS", "SCRAPE", "KUBELET")


def environment(folder: Path, *, network: int) -> dict[str, str]:
    """Return the variables of a platform in a folder, on ports that are free now."""
    held = [socket.socket() for _ in PORTS]
    for one in held:
        one.bind(("127.0.0.1", 0))
    found = {f"APQX_PORT_{name}": str(one.getsockname()[1]) for name, one in zip(PORTS, held, strict=True)}
    for one in held:
        one.close()
    return found | {
        "APQX_HOME": str(folder / "home"),
        "APQX_RUNS_DIR": str(folder / "runs"),
        "APQX_POD_NETWORK": f"127.{network}.0.0/16",
    }


@contextmanager
def private() -> Iterator[Path]:
    """Point the settings at a new place; whatever was started there is taken down at the end."""
    from platform_lib import cluster

    before = {name: value for name, value in os.environ.items() if name.startswith("APQX_")}
    folder = Path(tempfile.mkdtemp(prefix="apqx-bench-"))
    for name in before:
        del os.environ[name]
    os.environ.update(environment(folder, network=100 + os.getpid() % 60))
    try:
        yield folder
    finally:
        cluster.down(purge=True)
        for name in [name for name in os.environ if name.startswith("APQX_")]:
            del os.environ[name]
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)
