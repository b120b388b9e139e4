"""Installing on somebody's cluster: only what is missing, only when told, and gone again only when nobody uses it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from apiprocess import ApiServer, running
from bootstrapping import hands, pinned, platform_of, small_release

from platform_lib import cluster
from platform_lib.errors import GuardRefused
from platform_lib.providers.bootstrap import release

CONTROLLER = "/apis/apps/v1/namespaces/argocd/statefulsets/argocd-application-controller"
APPLICATIONS = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, schema_cache: Path) -> Iterator[ApiServer]:
    """One API process of these tests alone: they install Argo CD and remove it."""
    with running(tmp_path_factory.mktemp("existing"), schema_cache) as server:
        yield server


@pytest.fixture
def theirs(api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Context ``apqx`` of a cluster without Argo CD, and a release at hand whose hash is the pinned one."""
    manifests = tmp_path / "install.yaml"
    manifests.write_text(small_release())
    for flavour, made in pinned(small_release()).items():
        monkeypatch.setitem(release.PINNED, flavour, made)
    monkeypatch.setenv("APQX_KUBECONFIG", str(platform_of(api, tmp_path).kubeconfig))
    monkeypatch.setenv("APQX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("APQX_ARGOCD_MANIFESTS", str(manifests))


def there(api: ApiServer) -> bool:
    return api.call("GET", CONTROLLER).status == 200


def up(**options: object) -> list[str]:
    lines: list[str] = []
    cluster.up(provider="existing", context="apqx", install=("argocd",), progress=lines.append, **options)  # type: ignore[arg-type]
    return lines


def test_nothing_is_installed_without_the_word_and_without_being_allowed(
    theirs: None, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.up(provider="existing", context="apqx")
    assert not there(api), "a look installs nothing"
    with pytest.raises(GuardRefused, match=r"looking only.*--write"):
        up()
    monkeypatch.setenv("APQX_ALLOWED_CONTEXTS", '["another"]')
    with pytest.raises(GuardRefused, match="not on the allow-list"):
        up(write=True)
    assert not there(api)


def test_what_is_missing_is_installed_once_and_removed_only_while_nobody_uses_it(
    theirs: None, api: ApiServer, tmp_path: Path
) -> None:
    with hands(api):
        first = up(write=True)
        assert any(line.startswith("install argocd:") for line in first) and there(api)
        assert not any(line.startswith("install argocd:") for line in up(write=True)), "it is there"
    application = {
        "metadata": {"name": "theirs"},
        "spec": {
            "project": "default",
            "source": {"repoURL": "https://git.example.com/x.git", "path": "x"},
            "destination": {"server": "https://kubernetes.default.svc"},
        },
    }
    assert api.call("POST", APPLICATIONS, application).status == 201
    with pytest.raises(GuardRefused, match=r"1 Applications are there \(theirs\), expected none"):
        cluster.down(purge=True)
    assert there(api) and cluster.connect().context == "apqx"
    api.call("DELETE", f"{APPLICATIONS}/theirs")
    assert [step.action for step in cluster.plan_down(purge=True).steps] == ["remove", "delete"]
    done = cluster.down(purge=True)
    assert "argocd was removed" in done.message and not there(api)
    assert api.call("GET", "/api/v1/namespaces/argocd").status == 200, "what else is in it is not ours"
    assert cluster.status().state == "down"


def test_a_down_without_purge_leaves_what_was_installed(theirs: None, api: ApiServer) -> None:
    with hands(api):
        up(write=True)
    cluster.down()
    assert there(api)
