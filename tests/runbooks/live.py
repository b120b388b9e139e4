"""Bring a private platform up for tests that need the whole thing."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_lib import cluster

NAMES = ("API", "WEB", "WEBSECURE", "TRAEFIK", "PROMETHEUS", "SCRAPE", "KUBELET")


def environment(folder: Path, third: int) -> dict[str, str]:
    """Settings with free ports, a pod network of its own and private folders."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in NAMES]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        ports = {f"APQX_PORT_{name}": str(each.getsockname()[1]) for name, each in zip(NAMES, sockets, strict=True)}
    return {
        **ports,
        "APQX_HOME": str(folder / "home"),
        "APQX_RUNS_DIR": str(folder / "runs"),
        "APQX_POD_NETWORK": f"127.{third}.0.0/16",
    }


@contextlib.contextmanager
def running(folder: Path, third: int) -> Iterator[dict[str, str]]:
    """A platform that is up inside the block; nothing of it may be left afterwards."""
    env = environment(folder, third)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        cluster.up()
        try:
            yield env
        finally:
            cluster.down()
        cluster.verify_gone()
