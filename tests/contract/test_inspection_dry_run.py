"""A question asked by a dry run is no change: a guard that refuses every change lets it pass, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from apiprocess import ApiServer

from platform_lib.errors import GuardRefused
from platform_lib.wire.kube import Kube, path_of

MAPS = "v1/configmaps"
APPLY = "application/apply-patch+yaml"


@pytest.fixture
def looking(api_server: ApiServer, tmp_path: Path) -> Kube:
    """A connection on which every change is refused."""
    config = api_server.config
    cluster = {"server": config.api_url, "certificate-authority": str(config.ca_file)}
    document = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": config.token("admin")}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(document))

    def refuse(what: str) -> None:
        raise GuardRefused(what)

    return Kube(path, "x", before_change=refuse)


def apply(kube: Kube, namespace: str, **params: Any) -> Any:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "asked"}, "data": {"a": "b"}}
    where = path_of(MAPS, namespace, "asked")
    query = {"fieldManager": "t", "force": True, **params}
    return kube.json("PATCH", where, body=json.dumps(body), content_type=APPLY, params=query)


def test_a_dry_run_answers_and_stores_nothing(looking: Kube, namespace: str) -> None:
    assert apply(looking, namespace, dryRun="All")["data"] == {"a": "b"}
    assert looking.find(MAPS, "asked", namespace) is None


@pytest.mark.parametrize("params", [{}, {"dryRun": ""}, {"dryRun": "all"}, {"dryRun": True}], ids=str)
def test_anything_else_is_a_change(looking: Kube, namespace: str, params: dict[str, Any]) -> None:
    with pytest.raises(GuardRefused, match="PATCH"):
        apply(looking, namespace, **params)
    assert looking.find(MAPS, "asked", namespace) is None
