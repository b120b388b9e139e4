"""A promotion asks the cluster it is meant for which architectures its nodes have."""

from __future__ import annotations

from pathlib import Path

from apiprocess import write_kubeconfig

from platform_lib import promotion
from platform_lib.model import Platform
from platform_lib.wire import kube


def node(name: str, machine: str) -> dict:
    labels = {"kubernetes.io/os": "linux", "kubernetes.io/arch": machine}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}


def test_the_nodes_say_which_architectures_an_image_needs(api_server, tmp_path: Path) -> None:
    path = write_kubeconfig(api_server.config, tmp_path)
    platform = Platform("promoted", "existing", path, "apqx", "", "", "", tmp_path)
    connection = kube.connect(platform)
    made = [node("promoted-arm", "arm64"), node("promoted-odd", "riscv64")]
    for one in made:
        connection.create("v1/nodes", one)
    try:
        assert {"linux/arm64", "linux/riscv64"} <= set(promotion._nodes(platform))
    finally:
        for one in made:
            connection.delete("v1/nodes", one["metadata"]["name"])
    assert "linux/riscv64" not in promotion._nodes(platform)


def test_without_a_cluster_nobody_is_asked(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("APQX_HOME", str(tmp_path))
    assert promotion._nodes(promotion.destination("https://github.com/you/repo", branch="main")) == ()
