"""A configuration of the embedded platform in a temporary folder; nothing is started with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform_lib.embedded.config import Config, NodeConfig, Ports


@pytest.fixture
def config(tmp_path: Path) -> Config:
    nodes = (
        NodeConfig("apqx-server-0", "control-plane", "127.43.0.1", "127.43.0.0/24"),
        NodeConfig("apqx-agent-0", "worker", "127.43.1.1", "127.43.1.0/24"),
    )
    return Config(
        name="apqx",
        cluster_dir=tmp_path / "cluster",
        images_dir=tmp_path / "images",
        cache_dir=tmp_path / "cache",
        git_dir=tmp_path / "git",
        git_url="http://git.apqx-system.svc/gitops.git",
        python="/usr/bin/python3",
        traefik="/opt/traefik",
        prometheus="/opt/prometheus",
        ports=Ports(api=17443, web=18080, websecure=18443, traefik=19100, prometheus=19090, scrape=19101),
        nodes=nodes,
    )
