from __future__ import annotations

from typing import Any

import pytest

from platform_lib.embedded.podsecurity import PREFIX, judge, pod_spec, violations

GOOD: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {"name": "c", "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    ],
}


def with_container(**context: Any) -> dict[str, Any]:
    container = GOOD["containers"][0]
    return {**GOOD, "containers": [{**container, "securityContext": {**container["securityContext"], **context}}]}


def test_a_hardened_pod_passes_every_level() -> None:
    assert [violations(level, GOOD) for level in ("privileged", "baseline", "restricted")] == [[], [], []]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({**GOOD, "hostNetwork": True}, "host namespaces (hostNetwork=true)"),
        (
            with_container(privileged=True),
            'privileged (container "c" must not set securityContext.privileged=true)',
        ),
        (
            {**GOOD, "volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
            'hostPath volumes (volume "v")',
        ),
        (
            {**GOOD, "containers": [{**GOOD["containers"][0], "ports": [{"containerPort": 80, "hostPort": 80}]}]},
            'hostPort (container "c" uses hostPort 80)',
        ),
    ],
)
def test_baseline_names_what_it_refuses(spec: dict[str, Any], text: str) -> None:
    assert text in violations("baseline", spec)


@pytest.mark.parametrize(
    ("spec", "start"),
    [
        (with_container(allowPrivilegeEscalation=True), "allowPrivilegeEscalation != false"),
        (with_container(capabilities={}), "unrestricted capabilities"),
        (with_container(capabilities={"drop": ["ALL"], "add": ["CHOWN"]}), "unrestricted capabilities"),
        (with_container(runAsNonRoot=False), "runAsNonRoot != true"),
        (with_container(runAsUser=0), "runAsUser=0"),
        ({**GOOD, "securityContext": {"runAsNonRoot": True}}, "seccompProfile"),
        ({**GOOD, "volumes": [{"name": "v", "nfs": {}}]}, "restricted volume types"),
    ],
)
def test_restricted_names_what_it_refuses(spec: dict[str, Any], start: str) -> None:
    found = violations("restricted", spec)
    assert [text for text in found if text.startswith(start)], found
    assert len(found) == 1


def test_templates_are_only_warned_about() -> None:
    labels = {f"{PREFIX}enforce": "restricted", f"{PREFIX}warn": "baseline"}
    bad = {"hostPID": True, "containers": [{"name": "c"}]}
    refusal, warnings = judge(labels, bad, is_pod=False)
    assert refusal == ""
    assert warnings == ['would violate PodSecurity "baseline:latest": host namespaces (hostPID=true)']
    refusal, warnings = judge(labels, bad, is_pod=True)
    assert refusal.startswith('violates PodSecurity "restricted:latest": host namespaces')
    assert warnings == []


def test_the_pod_specification_is_found_in_every_kind_that_starts_pods() -> None:
    spec = {"containers": []}
    assert pod_spec("v1/pods", {"spec": spec}) == spec
    assert pod_spec("apps/v1/deployments", {"spec": {"template": {"spec": spec}}}) == spec
    job = {"template": {"spec": spec}}
    assert pod_spec("batch/v1/cronjobs", {"spec": {"jobTemplate": {"spec": job}}}) == spec
    assert pod_spec("v1/configmaps", {}) is None
