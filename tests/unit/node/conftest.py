from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Cluster, Layout, find_bwrap, running_cluster

_subnets = itertools.count(21)


@pytest.fixture(scope="session")
def node_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("node-cache")


@pytest.fixture(scope="session", params=["plain", "sandbox"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, node_cache: Path
) -> Iterator[Cluster]:
    """An API with one node; once without a sandbox, once with bubblewrap where it is installed."""
    bwrap = find_bwrap() if request.param == "sandbox" else ""
    if request.param == "sandbox" and not bwrap:
        pytest.skip("bubblewrap is not installed; set BWRAP to one that is unpacked")
    home = tmp_path_factory.mktemp(f"node-{request.param}")
    with running_cluster(home, node_cache, bwrap=bwrap, subnet=next(_subnets)) as running:
        yield running


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "images")


@pytest.fixture
def pod_name(request: pytest.FixtureRequest) -> str:
    """A name for this test's pod."""
    name = request.node.name.split("[")[0].removeprefix("test_").replace("_", "-")
    return f"{name[:50].rstrip('-')}"
