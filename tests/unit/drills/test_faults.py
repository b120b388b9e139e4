"""Does every fault survive a crash of the workbench, and does the catalogue name only what exists? No platform."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from platform_lib.drills import faults, scenario
from platform_lib.drills.faults import bad_deploy, chaos_mesh, cluster, components, drift, nodes, pods, pressure, switch
from platform_lib.drills.faults.base import OnApp
from platform_lib.drills.faults.dependency import SlowDependency
from platform_lib.drills.faults.load import LoadSpike
from platform_lib.drills.faults.switch import Switch
from platform_lib.drills.sentinel import Sentinels
from platform_lib.errors import ApiError, InvalidInput, NotFound, UndoFailed, WaitTimeout
from platform_lib.model import App, Obj, Platform
from platform_lib.providers.embedded import Embedded
from platform_lib.settings import settings
from platform_lib.wire import kube

APP = App()


def platform(home: Path = Path("/nowhere"), **other: Any) -> Platform:
    values: dict[str, Any] = {"name": "apqx", "provider": "embedded", "kubeconfig": home / "kubeconfig"}
    values |= {"context": "apqx", "prometheus_url": "http://127.0.0.1:1", "ingress_url": "http://127.0.0.1:1"}
    return Platform(**{**values, "gitops_repo": "/nowhere/gitops.git", "home": home, **other})


def every_fault(place: Platform) -> dict[str, OnApp]:
    """One of each action, with a target as ``choose`` would make it."""
    part = Switch("ingress", gvr=kube.DEPLOYMENTS, name="traefik", namespace="kube-system", replicas=3)
    return {
        "force_delete_pod": pods.PodLoss(place, APP, "web-1", "uid-1", ["uid-1", "uid-2"]),
        "stop_node": nodes.NodeLoss(place, APP, "agent-0"),
        "drain_node": nodes.NodeDrain(place, APP, "agent-0", 30.0),
        "destroy_cluster": cluster.ClusterLoss(place, APP, Sentinels(place, APP)),
        "delete_service": drift.Drift(place, APP, "uid-1"),
        "delete_namespace": drift.NamespaceDeleted(place, APP, "uid-1"),
        "stop_git": components.GitOutage(place, APP, part),
        "stop_argocd": components.ArgoDown(place, APP, part, label="apqx"),
        "stop_ingress": components.IngressDown(place, APP, part),
        "stop_metrics": components.MetricsDown(place, APP, part),
        "spike_load": LoadSpike(place, APP, 2, 10, 25.0, 6),
        "press_cpu": pressure.CpuPressure(place, APP, "agent-0", "image@sha256:1", 0.6),
        "press_memory": pressure.MemoryPressure(place, APP, "agent-0", "image@sha256:1", 64.0),
        "slow_dependency": SlowDependency(place, APP, 100.0, "image@sha256:1", "1.0.0", "c0ffee"),
        "deploy_bad": bad_deploy.BadDeploy(place, APP, "errors", 0.2, 60.0, "drill-errors-1", "c0ffee"),
        "chaos_mesh": chaos_mesh.ChaosMesh(place, APP, "network-loss", "drill-network-loss", 20.0, "one", 120.0),
    }


def test_each_action_has_a_sample_here() -> None:
    assert set(every_fault(platform())) == set(faults.ACTIONS)


@pytest.mark.parametrize("action", faults.ACTIONS)
def test_a_target_goes_to_disk_and_comes_back(action: str) -> None:
    place = platform()
    first = every_fault(place)[action]
    written = json.loads(json.dumps(first.target()))
    again = faults.from_target(action, place, APP, written)
    assert type(again) is type(first)
    assert again.target() == first.target() == written
    assert again.steps() == first.steps()


@pytest.mark.parametrize("action", faults.ACTIONS)
def test_a_plan_names_what_breaks_and_a_fault_without_evidence_proves_nothing(action: str) -> None:
    fault = every_fault(platform())[action]
    assert all(step.action and step.target and step.why for step in fault.steps())
    if action.startswith(("stop_g", "stop_a", "stop_i", "stop_m", "press", "slow", "chaos")):
        assert "inconclusive" in {check.status for check in fault.checks()}


@pytest.mark.parametrize("name", scenario.names())
def test_a_scenario_names_an_action_and_parameters_that_exist(name: str) -> None:
    drill = scenario.load(name)
    chosen = faults.known(drill.fault.action).choose
    assert set(drill.fault.parameters) <= set(inspect.signature(chosen).parameters) - {"platform", "app"}
    assert drill.destroys_cluster == (name == "cluster-loss")


def test_the_catalogue_is_complete() -> None:
    bad = {f"bad-deploy-{kind}" for kind in bad_deploy.KINDS if kind != "none"}
    assert {scenario.load(name).fault.action for name in scenario.names()} == set(faults.ACTIONS)
    assert bad <= set(scenario.names())


def test_an_unknown_parameter_or_action_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="cores"):
        faults.choose("stop_ingress", platform(), APP, {"cores": 1})
    with pytest.raises(InvalidInput, match="deploy_bad"):
        faults.choose("set_on_fire", platform(), APP)
    with pytest.raises(InvalidInput, match="never-ready"):
        faults.choose("deploy_bad", platform(), APP, {"kind": "gremlins"})


# -- a cluster that is not ours: everything through the Kubernetes API ---------------------------------------------


class Fake:
    """As much of a cluster as a fault asks for."""

    def __init__(self, **lists: list[Obj]) -> None:
        self.lists = {name.replace("__", "/").replace("_", "."): items for name, items in lists.items()}
        self.calls: list[tuple[Any, ...]] = []
        self.refusals = 0

    def list(self, gvr: str, _space: str | None = None, *, fields: str = "", **_: Any) -> tuple[list[Obj], str]:
        node = fields.removeprefix("spec.nodeName=")
        found = self.lists.get(gvr.rpartition("/")[2], [])
        return [one for one in found if node in ("", one["spec"].get("nodeName"))], ""

    def find(self, gvr: str, name: str, space: str | None = None) -> Obj | None:
        return next((one for one in self.list(gvr)[0] if one["metadata"]["name"] == name), None)

    def get(self, gvr: str, name: str, space: str | None = None) -> Obj:
        found = self.find(gvr, name, space)
        if found is None:
            raise NotFound(f"{gvr} {name}", status=404)
        return found

    def patch(self, gvr: str, name: str, body: Obj, space: str | None = None, **_: Any) -> Obj:
        self.calls.append((name, body))
        found = self.get(gvr, name)
        found["spec"].update(body.get("spec", {}))
        found["status"] = {"replicas": found["spec"].get("replicas", 0)}
        return found

    def cordon(self, node: str, unschedulable: bool = True) -> None:
        self.get(kube.NODES, node)["spec"]["unschedulable"] = unschedulable

    def evict(self, pod: str, space: str) -> None:
        if self.refusals:
            self.refusals -= 1
            raise ApiError("Cannot evict pod", status=429)
        self.lists["pods"] = [one for one in self.lists["pods"] if one["metadata"]["name"] != pod]


def obj(kind: str, name: str, **spec: Any) -> Obj:
    labels = {"app.kubernetes.io/name": name.partition("-")[0] if kind == "Pod" else name}
    return {
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": "x",
            "uid": name,
            "labels": labels,
            "creationTimestamp": f"2026-01-01T00:00:0{name[-1]}Z",
        },
        "spec": spec,
    }


def ready_pod(name: str, node: str) -> Obj:
    return {**obj("Pod", name, nodeName=node), "status": {"conditions": [{"type": "Ready", "status": "True"}]}}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake(
        deployments=[obj("Deployment", "traefik", replicas=2)],
        nodes=[obj("Node", "a"), obj("Node", "b")],
        pods=[ready_pod("sample-1", "a"), ready_pod("sample-2", "b")],
    )
    monkeypatch.setattr(kube, "connect", lambda _platform: made)
    return made


def test_on_another_cluster_a_part_is_scaled_away_and_back(fake: Fake) -> None:
    other = platform(provider="existing")
    fault = components.IngressDown.choose(other, APP)
    assert fault.part.to_json() | {"replicas": 2, "name": "traefik"} == fault.part.to_json()
    fault.undo()
    assert not fake.calls, "an undo before the fault changes nothing"
    fault.part.off(other)
    components.IngressDown.from_target(other, APP, json.loads(json.dumps(fault.target()))).undo()
    fault.undo()
    assert [body["spec"]["replicas"] for _, body in fake.calls] == [0, 2]


def test_what_another_cluster_cannot_do_is_said(fake: Fake) -> None:
    other = platform(provider="existing", gitops_url="https://git.example.org/gitops.git")
    said = {action: faults.supported(action, other, APP) for action in faults.ACTIONS}
    assert said["stop_ingress"] == said["force_delete_pod"] == said["drain_node"] == ""
    assert "outside the cluster" in said["stop_git"]
    assert "0 running workloads" in said["stop_metrics"]
    assert "cannot make the cluster again" in said["destroy_cluster"]
    assert "power of a node" in said["stop_node"] and "no image" in said["deploy_bad"]
    assert "no HorizontalPodAutoscaler" in said["spike_load"]
    fake.lists["persistentvolumeclaims"] = [obj("PersistentVolumeClaim", "data")]
    assert "lost for ever" in faults.supported("delete_namespace", other, APP)
    with pytest.raises(InvalidInput, match="outside the cluster"):
        faults.choose("stop_git", other, APP)


def test_a_drain_waits_for_the_budget_and_opens_the_node_again(fake: Fake) -> None:
    fake.refusals = 2
    fault = nodes.NodeDrain.choose(platform(), APP)
    fault.inject()
    assert (fault.refused, fault.evicted, fault.node) == (2, ["sample-1"], "a")
    assert fault.checks()[1].status == "fail", "still cordoned"
    fault.undo()
    fault.undo()
    assert [check.status for check in fault.checks()] == ["pass", "pass"]


def test_a_drain_that_the_budget_never_allows_gives_up_and_says_why(fake: Fake) -> None:
    fake.refusals = 1_000
    fault = nodes.NodeDrain.choose(platform(), APP, timeout_s=0.1)
    with pytest.raises(WaitTimeout, match="refusals with 429"):
        fault.inject()


def test_a_node_that_somebody_cordoned_is_left_alone(fake: Fake) -> None:
    fake.cordon("a")
    with pytest.raises(InvalidInput, match="cordoned already"):
        nodes.NodeDrain.choose(platform(), APP)


# -- git on the embedded platform ----------------------------------------------------------------------------------


def test_a_repository_that_was_taken_away_comes_back_and_never_over_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APQX_HOME", str(tmp_path))
    provider = Embedded(settings())
    repository = provider.layout.git
    repository.mkdir(parents=True)
    (repository / "HEAD").write_text("ref")
    part = Switch("git", component="git")
    place = platform(tmp_path)
    part.on(place)
    part.off(place)
    part.off(place)
    assert not repository.exists()
    part.on(place)
    part.on(place)
    assert (repository / "HEAD").read_text() == "ref"
    part.off(place)
    repository.mkdir()
    with pytest.raises(UndoFailed, match="somebody made a new one"):
        part.on(place)


def test_the_embedded_platform_has_every_part() -> None:
    assert all(switch.find(platform(), role)[0] for role in ("git", "argocd", "ingress", "metrics"))


@pytest.mark.parametrize(("text", "cores"), [("250m", 0.25), ("1", 1.0), ("600000000n", 0.6), ("500u", 0.0005)])
def test_processor_quantities(text: str, cores: float) -> None:
    assert pressure._cores(text) == pytest.approx(cores)


def test_a_neighbour_that_gets_nothing_is_no_pressure_and_no_error(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure, "SEEN_S", 0.05)
    monkeypatch.setattr(fake, "create", lambda *_: None, raising=False)
    fault = pressure.CpuPressure(platform(), APP, "a", "image@sha256:1", 0.6)
    fault.inject()
    (seen,) = fault.checks()
    assert (seen.status, "no reading yet" in seen.value) == ("inconclusive", True)
