"""May this pod run on this node, and how well does the node suit it? One small test for each rule.

Source: kubernetes pkg/scheduler/framework/plugins; the refusals are worded as there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from platform_lib.embedded.controllers.resources import Resources, allocatable, pod_requests
from platform_lib.embedded.controllers.tolerations import tolerates
from platform_lib.embedded.controllers.writes import Snapshot
from platform_lib.embedded.selectors import match_labels
from platform_lib.model import Obj
from platform_lib.rules.manifests import labels, metadata, name, spec

UNSCHEDULABLE = "node(s) were unschedulable"
NODE_NAME = "node(s) didn't match the requested node name"
AFFINITY = "node(s) didn't match Pod's node affinity/selector"
PORTS = "node(s) didn't have free ports for the requested pod ports"

_UNSCHEDULABLE_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
_HARD = ("NoSchedule", "NoExecute")


def untolerated(pod: Obj, node: Obj) -> Mapping[str, Any] | None:
    """Return the first taint that keeps the pod off the node, or None."""
    for taint in spec(node).get("taints") or ():
        if taint.get("effect") in _HARD and not tolerates(pod, taint):
            found: Mapping[str, Any] = taint
            return found
    return None


def soft_taints(pod: Obj, node: Obj) -> int:
    """Return how many PreferNoSchedule taints of the node the pod does not tolerate."""
    soft = [one for one in spec(node).get("taints") or () if one.get("effect") == "PreferNoSchedule"]
    return sum(not tolerates(pod, taint) for taint in soft)


def matches_affinity(pod: Obj, node: Obj) -> bool:
    """Tell whether ``nodeSelector`` and the required node affinity choose the node."""
    wanted: Mapping[str, str] = spec(pod).get("nodeSelector") or {}
    if any(labels(node).get(key) != value for key, value in wanted.items()):
        return False
    affinity = (spec(pod).get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    return any(_term_matches(term, node) for term in required.get("nodeSelectorTerms") or ())


def preference(pod: Obj, node: Obj) -> int:
    """Return the sum of the weights of the preferred node affinity that the node satisfies."""
    affinity = (spec(pod).get("affinity") or {}).get("nodeAffinity") or {}
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return sum(int(item["weight"]) for item in preferred if _term_matches(item["preference"], node))


def shortages(pod: Obj, node: Obj, used: Resources) -> list[str]:
    """Return which resources the node lacks for the pod."""
    free = allocatable(node).minus(used)
    asked = pod_requests(pod)
    texts = ("Insufficient cpu", "Insufficient memory", "Too many pods")
    return [text for text, need, left in zip(texts, asked, free, strict=True) if need > max(0, left) and need > 0]


def free_share(pod: Obj, node: Obj, used: Resources) -> float:
    """Return the mean free share of CPU and memory after the pod was placed, 0 to 1 (LeastAllocated)."""
    offered, after = allocatable(node), used.plus(pod_requests(pod))
    shares = [1 - taken / total for total, taken in zip(offered[:2], after[:2], strict=True) if total > 0]
    return sum(shares) / len(shares) if shares else 0.0


def simple_refusals(pod: Obj, node: Obj) -> Iterable[str]:
    """Yield why the node cannot take the pod, as far as only the two of them matter."""
    if spec(node).get("unschedulable") and not tolerates(pod, _UNSCHEDULABLE_TAINT):
        yield UNSCHEDULABLE
    taint = untolerated(pod, node)
    if taint is not None and not (spec(node).get("unschedulable") and _is_cordon(taint)):
        yield f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    if not matches_affinity(pod, node):
        yield AFFINITY


def host_ports(pod: Obj) -> set[tuple[str, int]]:
    """Return the (protocol, port) pairs the pod takes on its node."""
    return {
        (port.get("protocol", "TCP"), int(port["hostPort"]))
        for container in spec(pod).get("containers") or ()
        for port in container.get("ports") or ()
        if port.get("hostPort")
    }


def ports_taken(snapshot: Snapshot, pod: Obj, node: Obj) -> bool:
    """Tell whether a pod on the node holds a host port this pod wants."""
    wanted = host_ports(pod)
    return bool(wanted) and any(wanted & host_ports(other) for other in snapshot.pods_on(name(node)))


def _is_cordon(taint: Mapping[str, Any]) -> bool:
    return taint.get("key") == _UNSCHEDULABLE_TAINT["key"]


def _term_matches(term: Mapping[str, Any], node: Obj) -> bool:
    """Tell whether all expressions of a node selector term hold; an empty term chooses nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    named = {"metadata.name": str(metadata(node).get("name", ""))}
    return match_labels({"matchExpressions": list(expressions)}, labels(node)) and match_labels(
        {"matchExpressions": list(fields)}, named
    )
