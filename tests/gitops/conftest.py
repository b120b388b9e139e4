"""The desired state as the tests read it: every document of gitops/, with its file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "app"))


class Document(NamedTuple):
    """One manifest and the file it stands in, relative to the repository."""

    file: str
    body: dict[str, Any]

    @property
    def kind(self):
        return self.body["kind"]

    @property
    def name(self):
        return self.body["metadata"]["name"]


OPTIONAL = ("gitops/addons", "gitops/policies")
"""Applied only where somebody switches them on; see test_addons.py."""


def read(folder: str) -> list[Document]:
    """Return the documents below a folder of the repository, in file order."""
    return [
        Document(str(path.relative_to(ROOT)), body)
        for path in sorted((ROOT / folder).rglob("*.yaml"))
        # Specifications and instructions for kustomize are no manifests: nobody applies them.
        if "gitops/slo" not in str(path) and path.name != "kustomization.yaml"
        for body in yaml.safe_load_all(path.read_text())
    ]


@pytest.fixture(scope="session")
def project() -> Path:
    """Folder of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    """Every document of gitops/ that a platform has from its start."""
    return [document for document in read("gitops") if not document.file.startswith(OPTIONAL)]


@pytest.fixture(scope="session")
def addon_documents() -> list[Document]:
    """Every document of the optional parts."""
    return [document for folder in OPTIONAL for document in read(folder)]


@pytest.fixture(scope="session")
def workload() -> dict[str, dict[str, Any]]:
    """Kind -> manifest of the sample application; each kind stands there once."""
    found = read("gitops/workloads/sample-app")
    assert len({d.kind for d in found}) == len(found)
    return {d.kind: d.body for d in found}


@pytest.fixture(scope="session")
def pod(workload) -> dict[str, Any]:
    """Pod template of the sample application."""
    template: dict[str, Any] = workload["Deployment"]["spec"]["template"]
    return template


@pytest.fixture(scope="session")
def container(pod) -> dict[str, Any]:
    """The only container of the sample application."""
    (only,) = pod["spec"]["containers"]
    return only


@pytest.fixture(scope="session")
def prometheus_config() -> dict[str, Any]:
    """The scrape configuration inside its ConfigMap."""
    (body,) = (d.body for d in read("gitops/platform/monitoring") if d.name == "prometheus-config")
    config: dict[str, Any] = yaml.safe_load(body["data"]["prometheus.yml"])
    return config


@pytest.fixture(scope="session")
def rule_texts() -> dict[str, str]:
    """Rule file name -> text."""
    names = ("prometheus-rules", "prometheus-slo-rules")
    maps = [d.body["data"] for d in read("gitops/platform/monitoring") if d.name in names]
    return {name: text for texts in maps for name, text in texts.items()}


@pytest.fixture(scope="session")
def rules(rule_texts) -> list[dict[str, Any]]:
    """Every recording rule and alert."""
    groups = [group for text in rule_texts.values() for group in yaml.safe_load(text)["groups"]]
    return [rule for group in groups for rule in group["rules"]]
