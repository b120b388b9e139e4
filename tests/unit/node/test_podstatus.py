from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from platform_lib.embedded.kubelet.podstatus import ContainerView, PodView, differs, phase_of, status_of

NOW = "2026-01-01T00:00:00Z"
RUNNING = {"running": {"startedAt": NOW}}
WAITING = {"waiting": {"reason": "ContainerCreating"}}
CRASHED = {"terminated": {"exitCode": 1, "reason": "Error"}}
DONE = {"terminated": {"exitCode": 0, "reason": "Completed"}}


def container(state: Any, *, name: str = "app", ready: bool = False, last: Any = None) -> ContainerView:
    return ContainerView(name, "i", "i", "", state, last or {}, ready, "running" in state, 0)


def view(*apps: ContainerView, inits: tuple[ContainerView, ...] = (), policy: str = "Always", **more: Any) -> PodView:
    pod = {"metadata": {"name": "p"}, "spec": {"restartPolicy": policy}, "status": more.pop("status", {})}
    return PodView(pod, "1.1.1.1", "1.1.1.2", NOW, inits, apps, **more)


@pytest.mark.parametrize(
    ("apps", "policy", "phase"),
    [
        ([WAITING], "Always", "Pending"),
        ([RUNNING], "Always", "Running"),
        ([RUNNING, WAITING], "Always", "Pending"),
        ([CRASHED], "Always", "Running"),
        ([DONE], "Always", "Running"),
        ([DONE], "OnFailure", "Succeeded"),
        ([CRASHED], "OnFailure", "Running"),
        ([CRASHED, DONE], "Never", "Failed"),
        ([DONE, DONE], "Never", "Succeeded"),
        ([DONE, RUNNING], "Never", "Running"),
    ],
)
def test_phase_follows_containers_and_restart_policy(apps: list[Any], policy: str, phase: str) -> None:
    assert phase_of(view(*map(container, apps), policy=policy)) == phase


def test_back_off_after_a_crash_counts_as_running() -> None:
    waiting = container({"waiting": {"reason": "CrashLoopBackOff"}}, last=CRASHED)
    assert phase_of(view(waiting)) == "Running"


def test_failed_init_container_fails_the_pod_only_when_it_is_never_restarted() -> None:
    init = container(CRASHED, name="init")
    assert phase_of(view(container(WAITING), inits=(init,), policy="Never")) == "Failed"
    assert phase_of(view(container(WAITING), inits=(init,))) == "Pending"


@pytest.mark.parametrize(("state", "phase"), [(DONE, "Succeeded"), (CRASHED, "Failed"), (WAITING, "Failed")])
def test_terminated_pod_ends_by_its_exit_codes(state: Any, phase: str) -> None:
    assert phase_of(view(container(state), terminated=True)) == phase


def conditions(found: PodView) -> dict[str, Any]:
    return {c["type"]: c for c in status_of(found, NOW)["conditions"]}


def test_unready_container_is_named() -> None:
    ready = conditions(view(container(RUNNING), container(RUNNING, name="side", ready=True)))["Ready"]
    assert (ready["status"], ready["reason"]) == ("False", "ContainersNotReady")
    assert ready["message"] == "containers with unready status: [app]"


def test_readiness_gate_holds_back_ready_but_not_containers_ready() -> None:
    gated = view(container(RUNNING, ready=True))
    gated.pod["spec"]["readinessGates"] = [{"conditionType": "example.com/gate"}]
    found = conditions(gated)
    assert (found["Ready"]["status"], found["ContainersReady"]["status"]) == ("False", "True")


def test_condition_that_did_not_change_keeps_its_time() -> None:
    old = [{"type": "Ready", "status": "True", "lastTransitionTime": "2025-01-01T00:00:00Z"}]
    found = conditions(view(container(RUNNING, ready=True), status={"conditions": old}))
    assert found["Ready"]["lastTransitionTime"] == "2025-01-01T00:00:00Z"
    assert found["Initialized"]["lastTransitionTime"] == NOW


def test_reason_that_no_longer_holds_is_deleted() -> None:
    old = [{"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "x"}]
    ready = conditions(view(container(RUNNING, ready=True), status={"conditions": old}))["Ready"]
    assert (ready["reason"], ready["message"]) == (None, None)


def test_started_sidecar_counts_as_initialized() -> None:
    side = container(RUNNING, name="proxy", ready=True)
    found = view(container(RUNNING, ready=True), inits=(side,), sidecars=frozenset({"proxy"}))
    assert conditions(found)["Initialized"]["status"] == "True"
    assert phase_of(found) == "Running"


def test_status_is_told_only_when_it_differs() -> None:
    wanted = status_of(view(container(RUNNING, ready=True)), NOW)
    observed = {**wanted, "qosClass": "Burstable", "conditions": [*wanted["conditions"], {"type": "PodScheduled"}]}
    assert not differs(wanted, observed)
    assert differs(status_of(view(container(RUNNING)), NOW), observed)
    assert differs(status_of(view(replace(container(CRASHED))), NOW), observed)


def test_leftover_state_in_the_api_is_noticed() -> None:
    wanted = status_of(view(container(RUNNING, ready=True)), NOW)
    observed = {**wanted, "containerStatuses": [{**wanted["containerStatuses"][0], "state": {**RUNNING, **WAITING}}]}
    assert differs(wanted, observed)
