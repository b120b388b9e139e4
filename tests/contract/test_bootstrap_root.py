"""From a cluster that only answers to a platform: real API, real GitOps controller, real git server, real pushes.

Only what runs inside pods is played: ``hands`` lets every pod be ready. The git server that the manifests describe
runs here as the process that its container would start, where the ingress of a k3d cluster would lead to it.
"""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from apiprocess import ApiServer, free_port, write_config
from bootstrapping import hands, pinned, platform_of, small_release
from gitopsprocess import Gitops

from platform_lib.errors import GuardRefused, InvalidInput, WaitTimeout
from platform_lib.model import Platform
from platform_lib.providers.bootstrap import bootstrap, gitserver
from platform_lib.providers.stages import Stages
from platform_lib.settings import Settings, settings
from platform_lib.wait import Deadline
from platform_lib.wire import git

WORKBENCH = f"k3d-apqx-registry:5000/workbench@sha256:{'b' * 64}"


class Release(NamedTuple):
    reference: str = f"k3d-apqx-registry:5000/sample-app@sha256:{'a' * 64}"
    version: str = "1.0.0"


@dataclass
class Cluster:
    """A cluster with the way to its git server."""

    api: ApiServer
    gitops: Gitops
    platform: Platform
    current: Settings
    log: Path

    def up(self, timeout_s: float = 60.0, **options: Any) -> tuple[Platform, list[str]]:
        said: list[str] = []
        stages = Stages(said.append)
        wanted = {"release": Release(), "workbench": WORKBENCH, "pinned": pinned(small_release())} | options
        return bootstrap(self.platform, self.current, stages=stages, deadline=Deadline(timeout_s), **wanted), said

    def get(self, path: str) -> Any:
        answer = self.api.call("GET", path)
        return answer.json if answer.status == 200 else None


@contextlib.contextmanager
def cluster(home: Path, cache: Path, state: Path) -> Iterator[Cluster]:
    """Start API, controller and git server; ``state`` is the workbench's folder, which outlives a cluster."""
    config = replace(write_config(home, cache), sync_wave_delay_s=0.05, reconcile_s=1.0)
    config.save(config.cluster_dir / "config.json")
    api = ApiServer(config)
    api.start()
    platform = platform_of(api, state, ingress_url=f"http://127.0.0.1:{free_port()}")
    release = home / "install.yaml"
    release.write_text(small_release())
    current = settings(home=state, argocd_manifests=release)
    gitserver.token(platform)
    gitops = Gitops(api, home / "work")
    log = home / "gitserver.log"
    server = _git_server(platform, config.git_dir.parent, log)
    try:
        gitops.start()
        yield Cluster(api, gitops, platform, current, log)
    finally:
        server.terminate()
        server.wait(25)
        gitops.stop()
        api.stop()


def _git_server(platform: Platform, root: Path, log: Path) -> subprocess.Popen[bytes]:
    port = int(platform.ingress_url.rpartition(":")[2])
    argv = [sys.executable, "-m", "platform_lib.gitserver", "--root", str(root), "--bind", f"127.0.0.1:{port}"]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*argv, "--token-file", str(gitserver.token_file(platform))], stdout=sink, stderr=sink
        )
    for _ in range(400):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        with contextlib.suppress(OSError):
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def up(
    tmp_path_factory: pytest.TempPathFactory, schema_cache: Path, state: Path
) -> Iterator[tuple[Cluster, Platform, list[str]]]:
    """A platform that was brought up once."""
    with cluster(tmp_path_factory.mktemp("cluster"), schema_cache, state) as found, hands(found.api):
        platform, said = found.up()
        yield found, platform, said


def test_everything_follows_from_the_root(up: tuple[Cluster, Platform, list[str]]) -> None:
    found, _, said = up
    apps = found.get("/apis/argoproj.io/v1alpha1/namespaces/argocd/applications")["items"]
    states = {a["metadata"]["name"]: (a["status"]["sync"]["status"], a["status"]["health"]["status"]) for a in apps}
    assert states == dict.fromkeys(("root", "monitoring", "monitoring-k3d", "sample-app"), ("Synced", "Healthy"))
    assert found.get("/apis/apps/v1/namespaces/monitoring/deployments/prometheus")
    stages = [line.partition(":")[0] for line in said if line.endswith(" s")]
    assert stages == ["git check", "argocd", "git source", "argocd ready", "root application"]


def test_the_first_commit_names_the_release(up: tuple[Cluster, Platform, list[str]]) -> None:
    found, platform, said = up
    deployment = found.get("/apis/apps/v1/namespaces/sample-app/deployments/sample-app")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == Release().reference
    assert f"the repository begins with 1.0.0 ({Release().reference})" in said
    (first,) = git.repository(platform).history()
    assert first["message"].startswith("Desired state of sample-app 1.0.0")


def test_the_platform_names_the_way_from_the_laptop_and_a_reference_to_the_token(
    up: tuple[Cluster, Platform, list[str]],
) -> None:
    found, platform, _ = up
    port = found.platform.ingress_url.rpartition(":")[2]
    assert platform.gitops_repo == f"http://git.127.0.0.1.sslip.io:{port}/gitops.git"
    assert platform.gitops_url == "http://git.apqx-system.svc/gitops.git"
    path = Path(platform.gitops_token.removeprefix("file:"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert found.get("/api/v1/namespaces/apqx-system/secrets/git-token")
    assert path.read_text() not in str(platform) + found.log.read_text()


def test_a_push_from_the_laptop_reaches_the_cluster(up: tuple[Cluster, Platform, list[str]]) -> None:
    found, platform, _ = up

    def edit(tree: Path) -> str:
        path = tree / "gitops/workloads/sample-app/namespace.yaml"
        path.write_text(path.read_text().replace("part-of: apqx\n", "part-of: apqx\n    pushed: from-the-laptop\n"))
        return "Label the namespace"

    assert git.repository(platform).change(edit)
    found.gitops.eventually(
        lambda: "pushed" in found.get("/api/v1/namespaces/sample-app")["metadata"]["labels"], timeout_s=20
    )


def test_a_second_run_changes_nothing(up: tuple[Cluster, Platform, list[str]]) -> None:
    found, platform, _ = up
    head = git.repository(platform).head()
    paths = ("/apis/apps/v1/namespaces/apqx-system/deployments/git", "/api/v1/namespaces/argocd/configmaps/argocd-cm")
    before = [found.get(path)["metadata"]["resourceVersion"] for path in paths]
    again, said = found.up()
    assert again == platform
    assert "Argo CD v3.5.1 (full): nothing to do" in said and "the repository has its history" in said
    assert git.repository(platform).head() == head
    assert [found.get(path)["metadata"]["resourceVersion"] for path in paths] == before


def test_a_lost_cluster_gets_its_history_back_from_this_machine(
    up: tuple[Cluster, Platform, list[str]], tmp_path: Path, schema_cache: Path, state: Path
) -> None:
    _, platform, _ = up
    head = git.repository(platform).head()
    with git.repository(platform).current():
        pass  # the clone has seen the newest commit
    with cluster(tmp_path / "new", schema_cache, state) as rebuilt, hands(rebuilt.api):
        # The same port as before, as a k3d cluster of the same settings has it.
        clone = state / "clones" / "apqx"
        moved = gitserver.of(rebuilt.platform).gitops_repo
        subprocess.run(["git", "-C", str(clone), "remote", "set-url", "origin", moved], check=True)
        after, said = rebuilt.up()
        assert "the repository was restored from this machine's clone" in said
        assert git.repository(after).head() == head


def test_nodes_that_run_nothing_are_named_with_the_reason(tmp_path: Path, schema_cache: Path) -> None:
    (tmp_path / "state").mkdir()
    with cluster(tmp_path / "c", schema_cache, tmp_path / "state") as found:
        with pytest.raises(WaitTimeout, match="the cluster's git server not reached") as caught:
            found.up(timeout_s=4.0)
        assert "Deployment/git" in str(caught.value) and WORKBENCH in str(caught.value)
        with hands(found.api):
            _, said = found.up()
        assert "the repository begins with" in " ".join(said)


@pytest.fixture
def untouched(api_server: ApiServer, tmp_path: Path) -> tuple[ApiServer, Platform, Settings]:
    release = tmp_path / "install.yaml"
    release.write_text(small_release())
    return api_server, platform_of(api_server, tmp_path), settings(home=tmp_path, argocd_manifests=release)


def refused(untouched: tuple[ApiServer, Platform, Settings], error: type[Exception], match: str, **more: Any) -> Any:
    api, platform, current = untouched
    options: dict[str, Any] = {"release": Release(), "workbench": WORKBENCH, "pinned": pinned(small_release())} | more
    changed = current.model_copy(update=options.pop("settings", {}))
    with pytest.raises(error, match=match) as caught:
        bootstrap(platform, changed, stages=Stages(lambda _: None), deadline=Deadline(5), **options)
    assert api.call("GET", "/api/v1/namespaces/apqx-system").status == 404
    deployments = api.call("GET", "/apis/apps/v1/namespaces/argocd/deployments").json["items"]
    assert deployments == []
    return caught.value


def test_without_an_image_for_the_git_server_nothing_is_applied(
    untouched: tuple[ApiServer, Platform, Settings],
) -> None:
    error = refused(untouched, InvalidInput, "no workbench image", workbench="")
    assert "APQX_GIT_URL" in error.hint


@pytest.mark.parametrize(
    ("url", "match"),
    [("https://user:pw@github.com/x/y.git", "carries a credential"), ("http://localhost/x.git", "unknown inside")],
)
def test_a_repository_that_a_cluster_cannot_use_is_refused(
    untouched: tuple[ApiServer, Platform, Settings], url: str, match: str
) -> None:
    error = refused(untouched, InvalidInput, match, settings={"git_url": url})
    assert "pw" not in str(error)


def test_an_unknown_context_is_refused_first(
    untouched: tuple[ApiServer, Platform, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APQX_ALLOWED_CONTEXTS", '["another"]')
    refused(untouched, GuardRefused, "not on the allow-list")
