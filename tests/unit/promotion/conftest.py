"""A real registry on loopback, a GitOps repository, and a platform that points at both."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from registry_tools import DEPLOYMENT, STRICT, Shelf, git

from platform_lib.model import App, Platform
from platform_lib.wait import until


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's docker-registry, with nothing in it; yields its host."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed (apt-get install docker-registry)")
    folder = tmp_path_factory.mktemp("registry")
    for attempt in range(3):  # a port that was free a moment ago may be somebody's now
        process, host = _started(program, folder, f"log{attempt}")
        try:
            until(lambda: _answers(process, host), wanted="the registry answers, or ends", timeout_s=60)  # noqa: B023
            if process.poll() is None:
                yield host
                return
        finally:
            process.terminate()
            process.wait(10)
    raise AssertionError((folder / "log2").read_text()[-500:])


def _started(program: str, folder: Path, log: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start the registry on a free port."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{sock.getsockname()[1]}"
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '{host}'}}\n"
    )
    # REGISTRY_AUTH_FILE and the like are settings of other programs; this one takes each REGISTRY_* for its own.
    env = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    with (folder / log).open("wb") as out:
        return subprocess.Popen([program, "serve", str(config)], stdout=out, stderr=out, env=env), host


def _answers(process: subprocess.Popen[bytes], host: str) -> tuple[bool | None, str]:
    if process.poll() is not None:
        return True, "ended"
    try:
        return requests.get(f"http://{host}/v2/", timeout=1).ok or None, "an error"
    except (requests.ConnectionError, requests.Timeout):
        return None, "nothing"


@pytest.fixture
def shelf(registry: str, request: pytest.FixtureRequest) -> Shelf:
    """A repository of its own for each test."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name.lower()).strip("-")[:60].strip("-")
    return Shelf(registry, f"you/{name}")


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def remote(tmp_path: Path, app: App) -> Path:
    bare, tree = tmp_path / "gitops.git", tmp_path / "seed"
    bare.mkdir()
    git("init", "-q", "--bare", "-b", "main", folder=bare)
    (tree / app.path).mkdir(parents=True)
    (tree / app.deployment_file).write_text(DEPLOYMENT.format(digest="1" * 64))
    (tree / "gitops" / "promotion").mkdir()
    (tree / "gitops" / "promotion" / "policy.toml").write_text(STRICT)
    git("init", "-q", "-b", "main", folder=tree)
    git("add", "-A", folder=tree)
    git("commit", "-q", "-m", "Start", folder=tree)
    git("push", "-q", str(bare), "main", folder=tree)
    return bare


@pytest.fixture
def platform(tmp_path: Path, remote: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.setenv("APQX_HOME", str(tmp_path / "home"))
    return Platform(
        name="apqx",
        provider="existing",
        kubeconfig=tmp_path / "kubeconfig",
        context="apqx",
        prometheus_url="http://127.0.0.1:9",
        ingress_url="http://127.0.0.1:9",
        gitops_repo=str(remote),
        home=tmp_path / "home",
    )


@pytest.fixture
def policy(remote: Path, tmp_path: Path):
    """Replaces the policy of the branch."""

    def replace(text: str, **files: str) -> None:
        tree = tmp_path / "policy-tree"
        shutil.rmtree(tree, ignore_errors=True)
        git("clone", "-q", str(remote), str(tree), folder=tmp_path)
        (tree / "gitops" / "promotion" / "policy.toml").write_text(text)
        for name, content in files.items():
            (tree / "gitops" / "promotion" / name).write_text(content)
        git("add", "-A", folder=tree)
        git("commit", "-qam", "Another policy", folder=tree)
        git("push", "-q", "origin", "main", folder=tree)

    return replace
