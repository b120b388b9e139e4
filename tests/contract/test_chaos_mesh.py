"""Faults of Chaos Mesh as drill actions, on a real API with its resources and a controller that keeps its contract.

The controller here does what Chaos Mesh's does to its resources (api/v1alpha1 of v2.8.3): a finalizer first, then
records and conditions, and on deletion the finalizer goes only when the fault is taken back.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from apiprocess import ApiServer, write_kubeconfig

from platform_lib.drills import faults
from platform_lib.drills.faults import chaos_mesh
from platform_lib.drills.faults.chaos_mesh import ChaosMesh
from platform_lib.errors import InvalidInput, UndoFailed
from platform_lib.model import App, Platform
from platform_lib.wire import kube

GVR = f"{chaos_mesh.GROUP}/networkchaos"
RECORD = {"id": "ns/web-1", "selectorKey": ".", "injectedCount": 0, "recoveredCount": 0}


def crd(plural: str, kind: str) -> dict:
    """As much of the definition as decides what is stored."""
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    spec = free | {"required": ["action", "mode", "selector"]}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": free}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.chaos-mesh.org"},
        "spec": {
            "group": "chaos-mesh.org",
            "names": {"kind": kind, "plural": plural, "singular": plural, "listKind": f"{kind}List"},
            "scope": "Namespaced",
            "versions": [{"name": "v1alpha1", "served": True, "storage": True, "schema": schema}],
        },
    }


@pytest.fixture(scope="module")
def installed(api_server: ApiServer) -> Iterator[None]:
    kinds = {"networkchaos": "NetworkChaos", "podchaos": "PodChaos"}
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for plural, kind in kinds.items():
        answer = api_server.call("POST", path, crd(plural, kind))
        assert answer.status == 201, answer.body
    yield
    for plural in kinds:
        api_server.call("DELETE", f"{path}/{plural}.chaos-mesh.org")


@pytest.fixture
def place(api_server: ApiServer, namespace: str, tmp_path: Path) -> Platform:
    path = write_kubeconfig(api_server.config, tmp_path)
    return Platform("c", "existing", path, "apqx", "", "", "", tmp_path)


@pytest.fixture
def app(namespace: str) -> App:
    return App(name="web", namespace=namespace)


def status(*, injected: bool, selected: bool = True, failure: str = "") -> dict:
    event = {"type": "Failed", "operation": "Apply", "message": failure, "timestamp": None}
    record = RECORD | {"phase": "Injected" if injected else "Not Injected", "events": [event] if failure else []}
    said = {"Selected": selected, "AllInjected": injected, "AllRecovered": not injected, "Paused": False}
    conditions = [{"type": name, "status": str(value)} for name, value in said.items()]
    experiment = {"desiredPhase": "Run", "containerRecords": [record] if selected else []}
    return {"conditions": conditions, "experiment": experiment}


@contextlib.contextmanager
def controller(place: Platform, space: str, told: dict, *, recovers: bool = True) -> Iterator[None]:
    """Follow the namespace by watch and answer each resource as told."""
    client, stop = kube.connect(place), threading.Event()
    _, version = client.list(GVR, space)

    def follow() -> None:
        for kind, found in client.watch(GVR, version, space, timeout_s=20):
            name, meta = found["metadata"]["name"], found["metadata"]
            if kind == "ADDED":
                patch = {"metadata": {"finalizers": ["chaos-mesh/records"]}, "status": told}
                client.patch(GVR, name, patch, space)
            elif kind == "MODIFIED" and meta.get("deletionTimestamp") and meta.get("finalizers") and recovers:
                client.patch(GVR, name, {"metadata": {"finalizers": None}}, space)
            if kind == "DELETED" or stop.is_set():
                return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        for found in client.list(GVR, space)[0]:
            client.patch(GVR, found["metadata"]["name"], {"metadata": {"finalizers": None}}, space)
        thread.join(timeout=25)


def test_without_chaos_mesh_or_permission_of_the_namespace_the_drill_is_skipped(
    place: Platform, app: App, request: pytest.FixtureRequest
) -> None:
    assert "apqx addon enable chaos-mesh" in faults.supported("chaos_mesh", place, app)
    request.getfixturevalue("installed")
    assert "chaos-mesh.org/inject=enabled is missing" in faults.supported("chaos_mesh", place, app)
    annotation = {"metadata": {"annotations": {chaos_mesh.OPEN_ANNOTATION: "enabled"}}}
    kube.connect(place).patch("v1/namespaces", app.namespace, annotation)
    assert faults.supported("chaos_mesh", place, app) == ""


def test_a_fault_is_in_place_when_chaos_mesh_says_so_and_gone_when_it_lets_go(
    place: Platform, app: App, installed: None
) -> None:
    fault = ChaosMesh.choose(place, app, kind="network-delay", size=200)
    with controller(place, app.namespace, status(injected=True)):
        fault.inject()
        stored = kube.connect(place).get(GVR, "drill-network-delay", app.namespace)
        assert stored["spec"]["duration"] == "120s" and stored["spec"]["delay"]["latency"] == "200ms"
        assert fault.recovered() == (False, "drill-network-delay is there")
        # Another process undoes what this one did.
        faults.from_target("chaos_mesh", place, app, fault.target()).undo()
        assert kube.connect(place).find(GVR, "drill-network-delay", app.namespace) is None
    fault.undo()
    assert [check.status for check in fault.checks()] == ["pass"]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (status(injected=False, failure="toda daemon: not found"), "ns/web-1: toda daemon: not found"),
        (status(injected=False, selected=False), "no pod was selected"),
    ],
    ids=["refused by the node", "nobody selected"],
)
def test_a_fault_that_never_took_hold_proves_nothing_and_says_why(
    place: Platform, app: App, installed: None, monkeypatch: pytest.MonkeyPatch, told: dict, words: str
) -> None:
    monkeypatch.setattr(chaos_mesh, "INJECTED_S", 1.5)
    fault = ChaosMesh.choose(place, app, kind="network-loss", size=20)
    with controller(place, app.namespace, told):
        fault.inject()
        fault.undo()
    (check,) = fault.checks()
    assert check.status == "inconclusive" and words in check.value


def test_a_fault_that_is_not_taken_back_is_an_undo_that_failed(
    place: Platform, app: App, installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chaos_mesh, "GONE_S", 1.0)
    fault = ChaosMesh.choose(place, app, kind="network-partition")
    with controller(place, app.namespace, status(injected=True), recovers=False):
        fault.inject()
        with pytest.raises(UndoFailed, match="chaos-mesh/records") as failed:
            fault.undo()
    assert chaos_mesh.CLEAN_ANNOTATION in failed.value.hint


@pytest.mark.parametrize(
    ("parameters", "words"),
    [({"kind": "gremlins"}, "network-delay"), ({"kind": "network-loss", "size": 120}, "1 to 100 per cent"),
     ({"kind": "pod-failure", "mode": "half"}, "'one' or 'all'")],
)  # fmt: skip
def test_a_fault_that_does_not_exist_is_refused_before_anything_is_created(
    place: Platform, app: App, parameters: dict, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        faults.choose("chaos_mesh", place, app, parameters)
