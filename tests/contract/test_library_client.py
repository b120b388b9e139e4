"""The library's own client against the API: reads, guarded writes, watches, Argo CD requests."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import yaml
from apiprocess import ApiServer, write_kubeconfig

from platform_lib import errors
from platform_lib.model import App, Platform
from platform_lib.rules import application as rules
from platform_lib.wire import argocd, kube
from platform_lib.wire.follow import Follow, Topic

CONFIGMAPS = "v1/configmaps"


@pytest.fixture
def platform(api_server: ApiServer, namespace: str, tmp_path: Path) -> Platform:
    path = write_kubeconfig(api_server.config, tmp_path)
    return Platform("c", "existing", path, "apqx", "", "", "", tmp_path, argocd_namespace=namespace)


@pytest.fixture
def client(platform: Platform) -> kube.Kube:
    return kube.connect(platform)


def configmap(name: str, **data: str) -> dict:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def application(client: kube.Kube, platform: Platform, name: str = "sample-app", **policy) -> dict:
    obj = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name},
        "spec": {
            "project": "default",
            "source": {"repoURL": "http://git/x.git", "path": "p", "targetRevision": "main"},
            "destination": {"server": "https://kubernetes.default.svc"},
            "syncPolicy": policy,
        },
    }
    return client.create(kube.APPLICATIONS, obj, platform.argocd_namespace)


def test_objects_are_created_read_changed_and_deleted(client, namespace) -> None:
    client.create(CONFIGMAPS, configmap("a", x="1"), namespace)
    assert client.patch(CONFIGMAPS, "a", {"data": {"x": "2"}}, namespace)["data"] == {"x": "2"}
    items, version = client.list(CONFIGMAPS, namespace, fields="metadata.name=a")
    assert [item["metadata"]["name"] for item in items] == ["a"] and int(version) > 0
    client.delete(CONFIGMAPS, "a", namespace, uid=items[0]["metadata"]["uid"])
    assert client.find(CONFIGMAPS, "a", namespace) is None


def test_refusals_have_their_class_reason_and_text(client, namespace) -> None:
    client.create(CONFIGMAPS, configmap("a"), namespace)
    with pytest.raises(errors.AlreadyExists) as exists:
        client.create(CONFIGMAPS, configmap("a"), namespace)
    with pytest.raises(errors.NotFound, match='"nobody" not found'):
        client.get(CONFIGMAPS, "nobody", namespace)
    with pytest.raises(errors.Conflict):
        client.patch(CONFIGMAPS, "a", {"metadata": {"resourceVersion": "1"}}, namespace)
    with pytest.raises(errors.Conflict):
        client.delete(CONFIGMAPS, "a", namespace, uid="00000000-0000-0000-0000-000000000000")
    with pytest.raises(errors.Invalid):
        client.create(CONFIGMAPS, {"metadata": {"name": "Not A Name"}}, namespace)
    assert (exists.value.status, exists.value.reason) == (409, "AlreadyExists")


def test_a_wrong_token_is_forbidden_and_never_shown(platform, tmp_path) -> None:
    text = platform.kubeconfig.read_text()
    token = yaml.safe_load(text)["users"][0]["user"]["token"]
    bad = tmp_path / "bad"
    bad.write_text(text.replace(token, "canary-token"))
    with pytest.raises(errors.Forbidden) as caught:
        kube.Kube(bad, "apqx").list(CONFIGMAPS, "default")
    assert "canary" not in str(caught.value) and "canary" not in repr(caught.value.context)


def test_a_missing_context_and_a_missing_platform_are_told_apart(platform, tmp_path) -> None:
    with pytest.raises(errors.SettingsError, match="'other'"):
        kube.Kube(platform.kubeconfig, "other")
    platform.kubeconfig.unlink()
    with pytest.raises(errors.Unreachable, match="no kubeconfig"):
        kube.connect(platform)


def test_a_rewritten_kubeconfig_gives_a_new_connection(platform) -> None:
    first = kube.connect(platform)
    assert kube.connect(platform) is first
    platform.kubeconfig.write_text(platform.kubeconfig.read_text() + "\n")
    assert kube.connect(platform) is not first


def test_following_sees_every_change_and_ends_at_once(client, namespace) -> None:
    client.create(CONFIGMAPS, configmap("before"), namespace)
    events: list[tuple[str, str]] = []
    topics = [Topic(CONFIGMAPS, namespace, fields="metadata.name!=kube-root-ca.crt")]
    with Follow(client, topics, on_event=lambda _g, kind, obj: events.append((kind, obj["metadata"]["name"]))) as view:
        assert view.find(CONFIGMAPS, "before") is not None
        view.wait(0)
        client.create(CONFIGMAPS, configmap("later", x="1"), namespace)
        client.patch(CONFIGMAPS, "later", {"data": {"x": "2"}}, namespace)
        client.delete(CONFIGMAPS, "later", namespace)
        while len(events) < 4:
            assert view.wait(5.0), events
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("follow ")]
    assert events == [("ADDED", "before"), ("ADDED", "later"), ("MODIFIED", "later"), ("DELETED", "later")]
    assert threads and not any(thread.is_alive() for thread in threads)


def test_following_an_unknown_resource_says_so_and_goes_on(client, namespace) -> None:
    with Follow(client, [Topic("example.org/v1/nothings", namespace)]) as view:
        assert "404" in view.trouble() and view.items("example.org/v1/nothings") == []


def test_following_starts_again_after_its_version_is_gone(client, namespace) -> None:
    with pytest.raises(errors.Expired):
        list(client.watch(CONFIGMAPS, "1", namespace, timeout_s=1))


def test_a_sync_request_carries_policy_and_identity_and_clears_the_old_state(client, platform) -> None:
    retry = {"limit": 2, "backoff": {"duration": "1s"}}
    application(client, platform, syncOptions=["CreateNamespace=true"], retry=retry)
    old = {"status": {"operationState": {"phase": "Failed", "message": "old", "syncResult": {"revision": "x"}}}}
    client.patch(kube.APPLICATIONS, "sample-app", old, platform.argocd_namespace)
    identity = argocd.request_sync(platform, App(), revision="main", prune=True)
    seen = argocd.read(platform, App())
    assert rules.operation_id(seen) == identity and "operationState" not in (seen.get("status") or {})
    sync = seen["operation"]["sync"]
    assert sync["prune"] is True and sync["syncOptions"] == ["CreateNamespace=true"] and "hook" in sync["syncStrategy"]
    assert seen["operation"]["retry"] == retry and seen["operation"]["initiatedBy"] == {"username": "apqx"}


def test_a_second_request_is_refused_while_one_is_there(client, platform) -> None:
    application(client, platform)
    argocd.request_sync(platform, App())
    with pytest.raises(errors.Locked, match="another operation is requested"):
        argocd.request_sync(platform, App())


def test_automation_and_another_revision_do_not_go_together(client, platform) -> None:
    application(client, platform, automated={})
    with pytest.raises(errors.SyncFailed, match="automation follows main"):
        argocd.request_sync(platform, App(), revision="a" * 40)
    with pytest.raises(errors.RollbackRefused, match="auto-sync is enabled"):
        argocd.request_rollback(platform, App(), history_id=0)


def test_a_rollback_request_takes_revision_and_source_of_the_row_without_hooks(client, platform) -> None:
    application(client, platform, retry={"limit": 5})
    row = {"id": 3, "revision": "b" * 40, "source": {"repoURL": "http://git/x.git", "path": "old"}}
    client.patch(kube.APPLICATIONS, "sample-app", {"status": {"history": [row]}}, platform.argocd_namespace)
    with pytest.raises(errors.RollbackRefused, match="deployment with id 9"):
        argocd.request_rollback(platform, App(), history_id=9)
    argocd.request_rollback(platform, App(), history_id=3)
    operation = argocd.read(platform, App())["operation"]
    assert operation["sync"]["revision"] == "b" * 40 and operation["sync"]["source"]["path"] == "old"
    assert "apply" in operation["sync"]["syncStrategy"] and "retry" not in operation


def test_automation_is_paused_and_resumed_without_losing_its_settings(client, platform) -> None:
    application(client, platform, automated={"prune": True, "selfHeal": True})
    assert argocd.pause_automation(platform, "sample-app") is True
    paused = argocd.read(platform, App())
    assert paused["spec"]["syncPolicy"]["automated"] == {"enabled": False, "prune": True, "selfHeal": True}
    assert argocd.pause_automation(platform, "sample-app") is False
    assert argocd.resume_automation(platform, "sample-app") is True
    assert argocd.read(platform, App())["spec"]["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}


def test_what_somebody_else_paused_stays_paused(client, platform) -> None:
    application(client, platform, automated={"enabled": False})
    assert argocd.pause_automation(platform, "sample-app") is False
    assert argocd.resume_automation(platform, "sample-app") is False
    assert not rules.automated(argocd.read(platform, App()))


def test_terminate_needs_a_running_operation(client, platform) -> None:
    application(client, platform)
    assert argocd.terminate(platform, App()) is False
    running = {"operation": {"sync": {}}, "status": {"operationState": {"phase": "Running"}}}
    client.patch(kube.APPLICATIONS, "sample-app", running, platform.argocd_namespace)
    assert argocd.terminate(platform, App()) is True
    assert rules.operation_state(argocd.read(platform, App()))["phase"] == "Terminating"


def test_parents_are_found_by_tracking(client, platform) -> None:
    application(client, platform, "root")
    application(client, platform)
    tracking = f"root:argoproj.io/Application:{platform.argocd_namespace}/sample-app"
    patch = {"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": tracking}}}
    client.patch(kube.APPLICATIONS, "sample-app", patch, platform.argocd_namespace)
    assert argocd.parents(platform, App()) == ["root"]


def test_a_refresh_is_an_annotation(client, platform) -> None:
    application(client, platform)
    argocd.request_refresh(platform, App(), hard=True)
    assert argocd.read(platform, App())["metadata"]["annotations"][rules.REFRESH_ANNOTATION] == "hard"


def test_an_absent_application_names_the_next_step(platform) -> None:
    with pytest.raises(errors.NotFound, match=r"Application sample-app - absent in namespace .*gitops/bootstrap"):
        argocd.read(platform, App())
