"""Installing Argo CD on a cluster that answers: planned, verified, resumed, upgraded, left alone, and explained."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from apiprocess import ApiServer, running
from bootstrapping import hands, pinned, platform_of, set_pod, small_release

from platform_lib.errors import (
    ApiError,
    BootstrapFailed,
    GuardRefused,
    InvalidInput,
    Unreachable,
    UnsupportedSystem,
    WaitTimeout,
)
from platform_lib.model import Platform
from platform_lib.providers.bootstrap import argocd
from platform_lib.settings import Settings, settings
from platform_lib.wait import Deadline

CONTROLLER = "/apis/apps/v1/namespaces/argocd/statefulsets/argocd-application-controller"
REPO_SERVER = "/apis/apps/v1/namespaces/argocd/deployments/argocd-repo-server"
CM = "/api/v1/namespaces/argocd/configmaps/argocd-cm"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, schema_cache: Path) -> Iterator[ApiServer]:
    """One API process of these tests alone: they delete its namespace argocd."""
    with running(tmp_path_factory.mktemp("bootstrap"), schema_cache) as server:
        yield server


@pytest.fixture
def platform(api: ApiServer, tmp_path: Path) -> Iterator[Platform]:
    """A cluster without Argo CD."""
    clean(api)
    yield platform_of(api, tmp_path)
    clean(api)


def clean(api: ApiServer) -> None:
    api.call("DELETE", "/api/v1/namespaces/argocd")
    api.call("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/applicationsets.argoproj.io")
    api.call("DELETE", "/apis/rbac.authorization.k8s.io/v1/clusterroles/argocd-server")
    for _ in range(200):
        if api.call("GET", "/api/v1/namespaces/argocd").status == 404:
            return
        threading.Event().wait(0.02)
    raise AssertionError("namespace argocd stays")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    path = tmp_path / "install.yaml"
    path.write_text(small_release())
    return path


@pytest.fixture
def current(platform: Platform, release: Path) -> Settings:
    return settings(home=platform.home, argocd_manifests=release)


def install(platform: Platform, current: Settings, text: str = "", **options: Any) -> list[str]:
    said: list[str] = []
    content = text or (current.argocd_manifests.read_text() if current.argocd_manifests else small_release())
    release = pinned(content, **options)
    argocd.install(platform, current, deadline=Deadline(30), progress=said.append, pinned=release)
    return said


def plan(platform: Platform, current: Settings) -> list[tuple[str, str]]:
    assert current.argocd_manifests is not None
    found = argocd.plan(platform, current, pinned=pinned(current.argocd_manifests.read_text()))
    return [(step.action, step.target) for step in found.steps]


def versions(api: ApiServer) -> dict[str, str]:
    """Resource version of everything in the namespace, and of what is cluster-wide."""
    paths = [f"/api/v1/namespaces/argocd/{kind}" for kind in ("configmaps", "serviceaccounts")]
    paths += [f"/apis/apps/v1/namespaces/argocd/{kind}" for kind in ("deployments", "statefulsets")]
    paths += ["/apis/argoproj.io/v1alpha1/namespaces/argocd/appprojects"]
    paths += ["/apis/apiextensions.k8s.io/v1/customresourcedefinitions"]
    items = [item for path in paths for item in api.call("GET", path).json["items"]]
    return {f"{i['metadata']['name']}/{i['metadata']['uid']}": i["metadata"]["resourceVersion"] for i in items}


def test_an_empty_cluster_gets_everything_and_the_plan_said_so(
    api: ApiServer, platform: Platform, current: Settings
) -> None:
    assert argocd.installed(platform) is None
    planned = plan(platform, current)
    assert planned[0] == ("install", "Argo CD v3.5.1")
    assert ("create", "AppProject/default") in planned
    assert api.call("GET", "/api/v1/namespaces/argocd").status == 404
    said = install(platform, current)
    assert said == ["1 definitions established", "11 objects applied", "AppProject/default created"]
    assert argocd.installed(platform) == argocd.Installed("v3.5.1", "argocd", core=False, ours=True)
    data = api.call("GET", CM).json["data"]
    assert (data["timeout.reconciliation"], data["timeout.reconciliation.jitter"]) == ("30s", "0s")
    assert data["own"] == "kept"
    assert "Healthy" in data["resource.customizations.health.networking.k8s.io_Ingress"]
    params = api.call("GET", CM.replace("argocd-cm", "argocd-cmd-params-cm")).json["data"]
    assert params["controller.resource.health.persist"] == "true"
    dex = api.call("GET", REPO_SERVER.replace("repo-server", "dex-server")).json
    assert dex["spec"]["replicas"] == 0


def test_a_second_run_changes_nothing(api: ApiServer, platform: Platform, current: Settings) -> None:
    with hands(api):
        install(platform, current)
        argocd.wait_ready(platform, deadline=Deadline(20), progress=lambda _: None)
    before = versions(api)
    assert plan(platform, current) == []
    assert install(platform, current) == ["Argo CD v3.5.1 (full): nothing to do"]
    assert versions(api) == before


def test_an_installation_that_broke_off_is_completed(api: ApiServer, platform: Platform, current: Settings) -> None:
    install(platform, current)
    api.call("DELETE", REPO_SERVER)
    api.call("DELETE", CM)
    planned = plan(platform, current)
    assert planned[:2] == [
        ("complete", "Argo CD v3.5.1"),
        ("create", "ConfigMap/argocd-cm, Deployment/argocd-repo-server"),
    ]
    install(platform, current)
    assert api.call("GET", REPO_SERVER).status == 200
    assert plan(platform, current) == []


def test_a_change_by_hand_is_seen_and_taken_back(api: ApiServer, platform: Platform, current: Settings) -> None:
    install(platform, current)
    merge = "application/merge-patch+json"
    api.call("PATCH", CM, {"data": {"timeout.reconciliation": "1h", "theirs": "stays"}}, content_type=merge)
    assert plan(platform, current) == [("complete", "Argo CD v3.5.1"), ("update", "ConfigMap/argocd-cm")]
    install(platform, current)
    data = api.call("GET", CM).json["data"]
    assert (data["timeout.reconciliation"], data["theirs"]) == ("30s", "stays")


def test_changed_settings_restart_those_who_read_them_and_nobody_else(
    api: ApiServer, platform: Platform, current: Settings
) -> None:
    def templates() -> dict[str, int]:
        items = api.call("GET", "/apis/apps/v1/namespaces/argocd/deployments").json["items"]
        items.append(api.call("GET", CONTROLLER).json)
        return {i["metadata"]["name"]: i["metadata"]["generation"] for i in items}

    install(platform, current)
    before = templates()
    install(platform, settings(home=platform.home, argocd_manifests=current.argocd_manifests, argocd_reconcile_s=60))
    changed = {name for name, generation in templates().items() if generation != before[name]}
    assert changed == {"argocd-application-controller", "argocd-repo-server", "argocd-server"}
    assert api.call("GET", CM).json["data"]["timeout.reconciliation"] == "60s"


def test_an_older_version_of_ours_is_upgraded(
    api: ApiServer, platform: Platform, current: Settings, release: Path
) -> None:
    older = small_release("v3.4.7")
    release.write_text(older)
    install(platform, current, older, version="v3.4.7")
    release.write_text(small_release())
    planned = argocd.plan(platform, current, pinned=pinned(small_release()))
    assert (planned.steps[0].action, planned.steps[0].why) == ("upgrade", "v3.4.7 is installed")
    install(platform, current)
    assert argocd.installed(platform) == argocd.Installed("v3.5.1", "argocd", core=False, ours=True)


def test_a_newer_version_is_left_alone(api: ApiServer, platform: Platform, current: Settings, release: Path) -> None:
    newer = small_release("v3.6.0")
    release.write_text(newer)
    install(platform, current, newer, version="v3.6.0")
    release.write_text(small_release())
    before = versions(api)
    (said,) = install(platform, current)
    assert said == "Argo CD v3.6.0 in namespace argocd is newer than the pinned v3.5.1; it is left alone"
    assert versions(api) == before


@pytest.mark.parametrize("namespace", ["argocd", "gitops-of-others"])
def test_somebody_elses_argo_cd_is_left_alone(
    api: ApiServer, platform: Platform, current: Settings, namespace: str
) -> None:
    import yaml

    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    for obj in yaml.safe_load_all(small_release("v3.5.1", "core")):
        if obj["kind"] in ("StatefulSet", "Deployment"):
            path = f"/apis/apps/v1/namespaces/{namespace}/{obj['kind'].lower()}s"
            assert api.call("POST", path, obj).status == 201
    try:
        found = argocd.installed(platform)
        assert found == argocd.Installed("v3.5.1", namespace, core=True, ours=False)
        planned = argocd.plan(platform, current, pinned=pinned(small_release()))
        assert (
            planned.title == f"Argo CD v3.5.1 in namespace {namespace} was installed by somebody else; it is left alone"
        )
        assert [step.target for step in planned.steps] == ["AppProject/default"]
        before = api.call("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments").json["items"]
        install(platform, current)
        assert api.call("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments").json["items"] == before
    finally:
        api.call("DELETE", f"/api/v1/namespaces/{namespace}")


def test_a_file_that_is_not_the_release_is_refused_before_anything_is_applied(
    api: ApiServer, platform: Platform, current: Settings, release: Path
) -> None:
    wanted = pinned(small_release())
    release.write_text(small_release() + "# one line more\n")
    with pytest.raises(InvalidInput, match=r"install\.yaml - \d+ bytes with SHA-256 \w+, expected \w+") as caught:
        argocd.install(platform, current, deadline=Deadline(5), progress=print, pinned=wanted)
    assert wanted["full"].url in caught.value.hint
    assert api.call("GET", "/api/v1/namespaces/argocd").status == 404


def test_a_file_that_is_absent_is_named(platform: Platform, tmp_path: Path) -> None:
    gone = settings(home=platform.home, argocd_manifests=tmp_path / "nowhere.yaml")
    with pytest.raises(InvalidInput, match=r"nowhere\.yaml - No such file"):
        argocd.plan(platform, gone, pinned=pinned(small_release()))


def test_without_network_the_error_says_how_to_bring_the_file(api: ApiServer, platform: Platform) -> None:
    with pytest.raises(Unreachable, match="no answer") as caught:
        argocd.install(
            platform, settings(home=platform.home), deadline=Deadline(5), progress=print, pinned=pinned(small_release())
        )
    assert "APQX_ARGOCD_MANIFESTS=FILE" in caught.value.hint
    assert api.call("GET", "/api/v1/namespaces/argocd").status == 404


@pytest.fixture
def download() -> Iterator[tuple[str, dict[str, Any]]]:
    """An address that serves what the test puts there, and counts."""
    state: dict[str, Any] = {"text": "", "asked": 0}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state["asked"] += 1
            self.send_response(200)
            self.end_headers()
            self.wfile.write(state["text"].encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/install.yaml", state
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_release_is_fetched_once_and_a_damaged_copy_again(
    platform: Platform, download: tuple[str, dict[str, Any]]
) -> None:
    url, state = download
    state["text"] = small_release()
    wanted, plain = pinned(small_release(), url=url), settings(home=platform.home)
    for _ in range(2):
        assert argocd.plan(platform, plain, pinned=wanted).steps
    assert state["asked"] == 1
    (kept,) = (platform.home / "cache" / "argocd").iterdir()
    kept.write_text("damaged")
    assert argocd.plan(platform, plain, pinned=wanted).steps
    assert state["asked"] == 2


def test_an_address_that_sends_something_else_is_not_believed(
    api: ApiServer, platform: Platform, download: tuple[str, dict[str, Any]]
) -> None:
    url, state = download
    state["text"] = "<html>please log in</html>"
    wanted = pinned(small_release(), url=url)
    with pytest.raises(BootstrapFailed, match="26 bytes with SHA-256"):
        argocd.install(platform, settings(home=platform.home), deadline=Deadline(5), progress=print, pinned=wanted)
    assert not list((platform.home / "cache").rglob("*.yaml"))
    assert api.call("GET", "/api/v1/namespaces/argocd").status == 404


def test_a_read_only_run_may_plan_and_not_install(
    api: ApiServer, platform: Platform, current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APQX_READ_ONLY", "true")
    assert plan(platform, current)
    with pytest.raises(GuardRefused, match="read-only"):
        install(platform, current)
    assert api.call("GET", "/api/v1/namespaces/argocd").status == 404


def test_an_object_that_the_server_would_refuse_stops_it_before_the_first_change(
    api: ApiServer, platform: Platform, current: Settings, release: Path
) -> None:
    broken = small_release().replace("serviceName: argocd-application-controller", "serviceName: {not: text}")
    release.write_text(broken)
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "argocd"}})
    with pytest.raises(ApiError, match="statefulsets/argocd-application-controller"):
        install(platform, current, broken)
    assert api.call("GET", CM).status == 404


def test_a_pod_that_does_not_start_is_explained(api: ApiServer, platform: Platform, current: Settings) -> None:
    install(platform, current)
    ready, seen = argocd.readiness(platform)
    assert not ready and "Deployment/argocd-repo-server" in seen
    for _ in range(300):
        pods = api.call("GET", "/api/v1/namespaces/argocd/pods").json["items"]
        mine = [pod for pod in pods if "repo-server" in pod["metadata"]["name"]]
        if mine:
            break
        threading.Event().wait(0.02)
    (pod,) = mine
    image = "quay.io/argoproj/argocd:v3.5.1"
    waiting = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}"'}
    statuses = [
        {
            "name": "argocd-repo-server",
            "image": image,
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"waiting": waiting},
        }
    ]
    set_pod(api, pod, phase="Pending", conditions=[], containerStatuses=statuses)
    event = {
        "metadata": {"name": "pull", "namespace": "argocd"},
        "type": "Warning",
        "reason": "Failed",
        "message": "dial tcp: lookup quay.io: no such host",
        "involvedObject": {"kind": "Pod", "name": pod["metadata"]["name"], "namespace": "argocd"},
        "lastTimestamp": "2099-01-01T00:00:00Z",
    }
    assert api.call("POST", "/api/v1/namespaces/argocd/events", event).status == 201
    _, seen = argocd.readiness(platform)
    wanted = ("ImagePullBackOff", f"image {image}", "last event Failed: dial tcp: lookup quay.io: no such host")
    assert all(part in seen for part in wanted), seen
    with pytest.raises(WaitTimeout, match="ImagePullBackOff") as caught:
        argocd.wait_ready(platform, deadline=Deadline(0.5), progress=lambda _: None)
    assert "kubectl -n argocd get pods" in caught.value.hint


def test_readiness_of_a_cluster_without_argo_cd_names_what_is_missing(platform: Platform) -> None:
    ready, seen = argocd.readiness(platform)
    assert not ready
    assert seen == "not there yet: argocd-application-controller, argocd-repo-server, argocd-redis"


def test_a_plan_renders_and_has_the_same_hash_twice(platform: Platform, current: Settings) -> None:
    first, second = (argocd.plan(platform, current, pinned=pinned(small_release())) for _ in range(2))
    assert first.sha256 == second.sha256
    assert "install" in str(first) and "Argo CD v3.5.1" in str(first)
    json.dumps(first.inputs)


def test_a_cluster_that_is_too_old_is_refused_before_anything_is_read_from_the_network_or_written(
    tmp_path: Path,
) -> None:
    import yaml

    changes: list[str] = []

    class Old(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = {"/version": {"gitVersion": "v1.30.4+k3s1"}}
            status = 404 if "/appprojects/" in self.path else 200
            body = json.dumps(known.get(self.path, {"items": [], "metadata": {}})).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_PATCH(self) -> None:
            changes.append(self.path)

        do_POST = do_PATCH

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Old)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        kubeconfig = tmp_path / "kubeconfig"
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "contexts": [{"name": "apqx", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "users": [{"name": "u", "user": {}}],
        }
        kubeconfig.write_text(yaml.safe_dump(document))
        old = Platform(
            name="apqx",
            provider="existing",
            kubeconfig=kubeconfig,
            context="apqx",
            prometheus_url="",
            ingress_url="http://127.0.0.1:9",
            gitops_repo="",
            home=tmp_path,
        )
        with pytest.raises(UnsupportedSystem, match=r"v1\.30\.4\+k3s1 - older than what Argo CD v3\.5\.1") as caught:
            argocd.install(old, settings(home=tmp_path), deadline=Deadline(5), progress=print)
        assert "k3s v1.33" in caught.value.hint
        assert changes == [] and not (tmp_path / "cache").exists()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
