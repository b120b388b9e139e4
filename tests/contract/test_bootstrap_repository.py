"""A user with a repository of their own: refused until it names itself, one commit does that, then it is followed.

One story: the tests are its steps and run in the order of their numbers.
"""

from __future__ import annotations

import base64
import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from apiprocess import ApiServer, free_port, write_config
from bootstrapping import hands, pinned, platform_of, small_release
from gitopsprocess import Gitops

from platform_lib.errors import GitError, GuardRefused, InvalidInput
from platform_lib.model import Platform
from platform_lib.providers import seed
from platform_lib.providers.bootstrap import bootstrap, gitsource, repourl
from platform_lib.providers.stages import Stages
from platform_lib.settings import Settings, settings
from platform_lib.wait import Deadline
from platform_lib.wire import git

TOKEN = "a-token-of-the-user"


class Release(NamedTuple):
    reference: str = f"k3d-apqx-registry:5000/sample-app@sha256:{'c' * 64}"
    version: str = "1.0.0"


class Shipped(NamedTuple):
    """What a fork of the project names: an image that no registry has."""

    reference: str = f"ghcr.io/apqx/sample-app@{gitsource.NEVER_BUILT}"
    version: str = "1.0.0"


class World(NamedTuple):
    api: ApiServer
    gitops: Gitops
    platform: Platform
    current: Settings
    bare: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, schema_cache: Path) -> Iterator[World]:
    """A cluster, and a host with the user's fork that asks for a token before it takes a push."""
    home, state, port = tmp_path_factory.mktemp("cluster"), tmp_path_factory.mktemp("state"), free_port()
    url = f"http://git.127.0.0.1.sslip.io:{port}/apqx.git"
    config = replace(write_config(home, schema_cache), sync_wave_delay_s=0.05, reconcile_s=1.0, git_url=url)
    config = replace(config, git_dir=home / "git" / "apqx.git")
    config.save(config.cluster_dir / "config.json")
    api = ApiServer(config)
    api.start()
    (home / "install.yaml").write_text(small_release())
    (home / "token").write_text(TOKEN)
    current = settings(
        home=state, argocd_manifests=home / "install.yaml", git_url=url, git_token=f"file:{home / 'token'}"
    )
    platform = gitsource.of(platform_of(api, state), current)
    argv = [sys.executable, "-m", "platform_lib.gitserver", "--root", str(config.git_dir.parent)]
    argv += ["--repository", "apqx.git", "--token-file", str(home / "token"), "--bind", f"127.0.0.1:{port}"]
    with (home / "git.log").open("wb") as sink:
        server = subprocess.Popen(argv, stdout=sink, stderr=sink)
    gitops = Gitops(api, home / "work")
    try:
        _wait(port)
        with seed.first_commit(current, "/usr/bin/git", home, Shipped()) as fork:
            subprocess.run(["git", "-C", str(fork), "push", "-q", str(config.git_dir), "main"], check=True)
        gitops.start()
        yield World(api, gitops, platform, current, config.git_dir)
    finally:
        server.terminate()
        server.wait(25)
        gitops.stop()
        api.stop()


def _wait(port: int) -> None:
    for _ in range(400):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        with suppress(OSError):
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.05)
    raise AssertionError("the git server does not answer")


def up(world: World, **changed: Any) -> tuple[Platform, list[str]]:
    said: list[str] = []
    current = world.current.model_copy(update=changed)
    options: dict[str, Any] = {"release": Release(), "workbench": "", "pinned": pinned(small_release())}
    start = replace(world.platform, gitops_repo="", gitops_token="")
    return bootstrap(start, current, stages=Stages(said.append), deadline=Deadline(60), **options), said


def get(world: World, path: str) -> Any:
    answer = world.api.call("GET", path)
    return answer.json if answer.status == 200 else None


def test_1_a_fork_that_names_another_repository_is_refused_with_the_command(world: World) -> None:
    with pytest.raises(InvalidInput, match=r" is http://git\.apqx-system\.svc/gitops\.git, expected") as caught:
        up(world)
    assert caught.value.hint.endswith(f"apqx gitops use {world.platform.gitops_url} --branch main")
    assert get(world, "/apis/apps/v1/namespaces/argocd/deployments")["items"] == []


def test_2_a_branch_that_is_absent_is_named(world: World) -> None:
    with pytest.raises(GitError, match="branch no-such-branch"):
        up(world, git_branch="no-such-branch")


def test_3_a_token_that_is_not_there_is_named_and_not_its_value(world: World) -> None:
    with pytest.raises(InvalidInput, match="APQX_GIT_TOKEN 'env:NO_SUCH_TOKEN' - not found"):
        up(world, git_token="env:NO_SUCH_TOKEN")


def test_4_the_plan_names_every_file_and_changes_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APQX_READ_ONLY", "true")
    planned = gitsource.plan_use(world.platform, world.current)
    assert {"gitops/apps/project.yaml", "gitops/apps/sample-app.yaml", "gitops/bootstrap/k3d/root.yaml"} <= {
        step.target for step in planned.steps
    }
    with pytest.raises(GuardRefused):
        gitsource.use(world.platform, world.current)


def test_5_one_commit_makes_it_name_itself_and_a_second_call_makes_none(world: World) -> None:
    commit = gitsource.use(world.platform, world.current)
    assert commit
    assert gitsource.use(world.platform, world.current) is None
    assert gitsource.plan_use(world.platform, world.current).steps == ()
    with git.repository(world.platform).current() as tree:
        assert repourl.own(tree) == (world.platform.gitops_url, "main")
        shown = subprocess.run(
            ["git", "-C", str(tree), "show", "--format=", "--unified=0", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    changed = [line for line in shown.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert changed and all("http://git." in line for line in changed), "nothing but addresses changed"


def test_6_then_the_cluster_follows_it(world: World) -> None:
    with hands(world.api):
        platform, said = up(world)
    assert (platform.gitops_repo, platform.gitops_url) == (world.current.git_url, world.current.git_url)
    apps = get(world, "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications")["items"]
    assert {app["spec"]["source"]["repoURL"] for app in apps} == {world.current.git_url}
    assert {app["status"]["sync"]["status"] for app in apps} == {"Synced"} and len(apps) == 4
    deployment = get(world, "/apis/apps/v1/namespaces/sample-app/deployments/sample-app")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == Release().reference
    assert get(world, "/api/v1/namespaces/apqx-system") is None, "no git server where there is a repository"
    assert any("names release 1.0.0" in line for line in said)


def test_7_argo_cd_gets_the_credential_as_a_secret_and_nobody_else_sees_it(world: World) -> None:
    secret = get(world, "/api/v1/namespaces/argocd/secrets/apqx-repository")
    assert secret["metadata"]["labels"]["argocd.argoproj.io/secret-type"] == "repository"
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert data == {"type": "git", "url": world.current.git_url, "username": "git", "password": TOKEN}
    assert TOKEN not in str(world.platform)
    clone = world.platform.home / "clones" / "apqx" / ".git" / "config"
    assert TOKEN not in clone.read_text()


def test_8_a_deployed_image_is_not_overwritten_by_the_next_run(world: World) -> None:
    head = git.repository(world.platform).head()
    with hands(world.api):
        up(world)
    assert git.repository(world.platform).head() == head
