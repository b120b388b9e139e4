from __future__ import annotations

from typing import Any

import pytest

from platform_lib.embedded.kinds import by_kind
from platform_lib.embedded.schema import Schemas, cache_name

DEPLOYMENT = by_kind("apps/v1", "Deployment")


@pytest.fixture(scope="session")
def cache_file(tmp_path_factory):
    return tmp_path_factory.mktemp("cache") / cache_name()


@pytest.fixture(scope="session")
def schemas(cache_file) -> Schemas:
    return Schemas.load(cache_file)


def deployment(**spec: Any) -> dict[str, Any]:
    """A small valid Deployment; keyword arguments replace fields of its specification."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [
                        {
                            "name": "web",
                            "image": "example/web@sha256:00",
                            "ports": [{"containerPort": 8080, "name": "http"}],
                            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                        }
                    ]
                },
            },
            **spec,
        },
    }
