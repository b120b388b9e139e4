"""A tree of objects: the worst reason on top, of a chain only the one that knows why; written line by line."""

from __future__ import annotations

from typing import Any

from platform_lib.inspection.objecttree import Node, World, node_of
from platform_lib.model import Obj


def owned(kind: str, name: str, owner: str, **more: Any) -> Obj:
    meta = {"name": name, "namespace": "n", "uid": name, "ownerReferences": [{"uid": owner, "controller": True}]}
    return {"apiVersion": "v1" if kind == "Pod" else "apps/v1", "kind": kind, "metadata": meta, **more}


def world(*objects: Obj, events: list[Obj] | None = None) -> World:
    found: dict[str, list[Obj]] = {}
    for obj in objects:
        found.setdefault(obj["metadata"]["ownerReferences"][0]["uid"], []).append(obj)
    told: dict[str, list[Obj]] = {}
    for event in events or []:
        told.setdefault(event["involvedObject"]["uid"], []).append(event)
    return World(None, None, found, told)  # type: ignore[arg-type]  # nothing is read: everything is there


WAITING = {
    "name": "web",
    "restartCount": 4,
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}},
}
CRASHING = owned("Pod", "web-1-a", "rs1", status={"phase": "Running", "containerStatuses": [WAITING]})
SETS = [
    owned("ReplicaSet", "rs1", "d", spec={"replicas": 1}, status={}),
    owned("ReplicaSet", "rs0", "d", spec={"replicas": 0}, status={}),
]
DEPLOYMENT = owned("Deployment", "web", "-", spec={"replicas": 1}, status={"updatedReplicas": 1})
DEPLOYMENT["metadata"]["uid"] = "d"
EVENT = {
    "type": "Warning",
    "reason": "BackOff",
    "message": "again",
    "count": 7,
    "lastTimestamp": "2026-01-01T12:34:56Z",
    "involvedObject": {"uid": "web-1-a"},
}


def test_a_crash_loop_stands_on_top_although_its_deployment_is_only_progressing() -> None:
    node = node_of(DEPLOYMENT, world(*SETS, CRASHING, events=[EVENT]))
    assert node.health == "Progressing"
    (above, worst), *_ = node.worst()
    assert (above, worst.object) == (("Deployment/web", "ReplicaSet/rs1"), "Pod/web-1-a")
    label, text = node.rows()[0]
    assert label == "worst" and "CrashLoopBackOff exit 3" in text and "4 restarts" in text
    assert any("12:34:56 BackOff: again (7 times)" in text for _, text in node.rows())


def test_replica_sets_that_are_only_kept_for_a_rollback_are_left_out() -> None:
    assert [child.object for child in node_of(DEPLOYMENT, world(*SETS)).children] == ["ReplicaSet/rs1"]


def test_a_pod_that_runs_again_but_is_not_ready_says_how_it_ended_last() -> None:
    status = {"name": "web", "restartCount": 1, "state": {"running": {}}, "lastState": WAITING["lastState"]}
    pod = owned("Pod", "p", "-", status={"phase": "Running", "containerStatuses": [status]})
    assert "container web ended with Error exit 3" in node_of(pod, world()).line()


def test_the_order_is_by_severity_and_what_is_well_is_not_listed() -> None:
    well, slow = Node("Service/a", "n", "Healthy"), Node("Ingress/b", "n", "Progressing")
    gone, bad = Node("ConfigMap/c", "n", "Missing"), Node("Job/d", "n", "Degraded", reason="failed")
    root = Node("Application/x", "argocd", "Degraded", children=(well, slow, gone, bad))
    assert [node.object for _, node in root.worst()] == ["Job/d", "ConfigMap/c", "Ingress/b"]
    assert Node("Service/a", "n", "Healthy").rows()[0] == ("worst", "nothing is wrong")


def test_lines_show_who_is_below_whom_and_notebooks_show_the_same_rows() -> None:
    leaf = Node("Pod/p", "n", "Healthy")
    root = Node(
        "Application/x", "a", "Healthy", children=(Node("Deployment/d", "n", "Healthy", children=(leaf,)), leaf)
    )
    assert [label for label, _ in root.rows()[1:]] == ["Application/x", "├─ Deployment/d", "│  └─ Pod/p", "└─ Pod/p"]
    assert "└─ Pod/p" in root._repr_html_() and "└─ Pod/p" in str(root)
