"""Fixtures of the controller tests: a simulated cluster on the real API."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from simulated import Cluster

from platform_lib.embedded.schema import Schemas, cache_name


@pytest.fixture(scope="session")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Schemas:
    return Schemas.load(tmp_path_factory.mktemp("schemas") / cache_name())


@pytest.fixture
def new_cluster(schemas: Schemas, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Cluster]]:
    made: list[Cluster] = []

    def build(**options: int) -> Cluster:
        made.append(Cluster(tmp_path_factory.mktemp("cluster"), schemas, **options))
        return made[-1]

    yield build
    for cluster in made:
        cluster.store.close()


@pytest.fixture
def cluster(new_cluster: Callable[..., Cluster]) -> Cluster:
    return new_cluster()
