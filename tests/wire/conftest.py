from __future__ import annotations

from pathlib import Path

import pytest
from wire_tools import DEPLOYMENT, git

from platform_lib.model import App, Platform


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def remote(tmp_path: Path, app: App) -> Path:
    """A bare repository with one commit of an application."""
    bare, tree = tmp_path / "gitops.git", tmp_path / "seed"
    bare.mkdir()
    git("init", "-q", "--bare", "-b", "main", folder=bare)
    (tree / app.path).mkdir(parents=True)
    (tree / app.deployment_file).write_text(DEPLOYMENT.format(digest="1" * 64))
    (tree / "README.md").write_text("desired state\n")
    git("init", "-q", "-b", "main", folder=tree)
    git("add", "-A", folder=tree)
    git("commit", "-q", "-m", "Start", folder=tree)
    git("push", "-q", str(bare), "main", folder=tree)
    return bare


@pytest.fixture
def platform(tmp_path: Path, remote: Path) -> Platform:
    return Platform(
        name="test",
        provider="existing",
        kubeconfig=tmp_path / "kubeconfig",
        context="apqx",
        prometheus_url="http://127.0.0.1:9",
        ingress_url="http://127.0.0.1:9",
        gitops_repo=str(remote),
        home=tmp_path / "home",
    )
