from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from apiprocess import ApiServer, running


@pytest.fixture(scope="session")
def schema_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory, schema_cache: Path) -> Iterator[ApiServer]:
    """One API process (with its controllers, without nodes) for all contract tests."""
    with running(tmp_path_factory.mktemp("api"), schema_cache) as server:
        yield server


@pytest.fixture
def namespace(api_server: ApiServer) -> Iterator[str]:
    name = f"t-{uuid.uuid4().hex[:8]}"
    answer = api_server.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    assert answer.status == 201, answer.body
    yield name
    api_server.call("DELETE", f"/api/v1/namespaces/{name}")
