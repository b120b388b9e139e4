"""A cluster on this machine is asked directly, whatever proxy the machine has for the rest of the world."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from platform_lib.errors import Unreachable
from platform_lib.wire.kube import Kube


@pytest.fixture
def closed() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cause(folder: Path, server: str, **more: Any) -> str:
    path = folder / "kubeconfig"
    document = {
        "clusters": [{"name": "x", "cluster": {"server": server, **more}}],
        "users": [{"name": "x", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(Unreachable) as caught:
        Kube(path, "x").json("GET", "/version", timeout_s=2)
    return str(caught.value.context["cause"])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_asked_directly(host: str, closed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{closed}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert cause(tmp_path, f"https://{host}:{closed}") == "refused"


def test_others_are_asked_through_it_and_so_is_a_tunnel_that_the_kubeconfig_names(
    closed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = f"http://127.0.0.1:{closed}"
    assert cause(tmp_path, "https://127.0.0.1:6443", **{"proxy-url": proxy}) == "proxy"
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert cause(tmp_path, "https://192.0.2.1:6443") == "proxy"
