"""Where are the pods that this pod must keep its distance from? Topology spread and pod (anti-)affinity.

Source: kubernetes pkg/scheduler/framework/plugins/podtopologyspread and interpodaffinity; the documentation page
"Pod Topology Spread Constraints".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from platform_lib.embedded.controllers.objects import FINISHED, node_name, phase
from platform_lib.embedded.controllers.scheduler_rules import matches_affinity, untolerated
from platform_lib.embedded.controllers.writes import NODES, PODS, Snapshot
from platform_lib.embedded.selectors import match_labels
from platform_lib.model import Obj
from platform_lib.rules.manifests import deleting, labels, name, namespace, owner, spec

SPREAD = "node(s) didn't match pod topology spread constraints"
SPREAD_LABEL = "node(s) didn't match pod topology spread constraints (missing required label)"
PODS_WANTED = "node(s) didn't match pod affinity rules"
PODS_UNWANTED = "node(s) didn't match pod anti-affinity rules"


@dataclass(frozen=True, slots=True)
class Spread:
    """One constraint, counted out: pods in each domain of the nodes that take part."""

    key: str
    max_skew: int
    hard: bool
    own: int
    least: int
    counts: Mapping[str, int]

    def refusal(self, node: Obj) -> str | None:
        """Return why a DoNotSchedule constraint keeps the pod off the node, or None."""
        if not self.hard:
            return None
        domain = labels(node).get(self.key)
        if domain is None:
            return SPREAD_LABEL
        skew = self.counts.get(domain, 0) + self.own - self.least
        return SPREAD if skew > self.max_skew else None

    def crowd(self, node: Obj) -> int:
        """Return how many matching pods the node's domain holds; fewer is better."""
        return self.counts.get(labels(node).get(self.key, ""), 0)


def spreads_of(snapshot: Snapshot, pod: Obj) -> list[Spread]:
    """Count out the pod's constraints; without any, spread the pods of one owner over the hosts, softly."""
    constraints = spec(pod).get("topologySpreadConstraints") or ()
    if constraints:
        return [_count(snapshot, pod, item, constraints) for item in constraints]
    return [_by_owner(snapshot, pod)]


def pod_affinity_refusals(snapshot: Snapshot, pod: Obj) -> Callable[[Obj], list[str]]:
    """Return a test of nodes against the required pod affinity and anti-affinity."""
    affinity = spec(pod).get("affinity") or {}
    wanted = _terms(affinity.get("podAffinity"))
    unwanted = _terms(affinity.get("podAntiAffinity"))
    attract = [(term, _domains(snapshot, pod, term)) for term in wanted]
    repel = [(term, _domains(snapshot, pod, term)) for term in unwanted]

    def refusals(node: Obj) -> list[str]:
        texts = []
        if any(not _near(term, domains, node, pod) for term, domains in attract):
            texts.append(PODS_WANTED)
        if any(labels(node).get(term["topologyKey"]) in domains for term, domains in repel):
            texts.append(PODS_UNWANTED)
        return texts

    return refusals


def _count(snapshot: Snapshot, pod: Obj, constraint: Mapping[str, Any], every: Sequence[Mapping[str, Any]]) -> Spread:
    """Count the matching pods in each domain of the nodes that take part."""
    selector = _selector(pod, constraint)
    key = constraint["topologyKey"]
    hard = constraint.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule"
    needed = [item["topologyKey"] for item in every if _is_hard(item) == hard]
    domain_of = {
        name(node): labels(node)[key]
        for node in snapshot.list(NODES)
        if all(one in labels(node) for one in needed) and _takes_part(pod, node, constraint)
    }
    counts = Counter(dict.fromkeys(domain_of.values(), 0))
    for other in snapshot.list(PODS, namespace(pod)):
        domain = domain_of.get(node_name(other))
        if domain is not None and _present(other) and match_labels(selector, labels(other)):
            counts[domain] += 1
    enough = len(counts) >= int(constraint.get("minDomains") or 1)
    return Spread(
        key=key,
        max_skew=int(constraint.get("maxSkew") or 1),
        hard=hard,
        own=int(match_labels(selector, labels(pod))),
        least=min(counts.values(), default=0) if enough else 0,
        counts=counts,
    )


def _selector(pod: Obj, constraint: Mapping[str, Any]) -> Obj | None:
    """Return the constraint's selector, narrowed to the pod's own values of ``matchLabelKeys``."""
    selector = constraint.get("labelSelector")
    if selector is None:
        return None
    own = labels(pod)
    narrowed = {key: own[key] for key in constraint.get("matchLabelKeys") or () if key in own}
    return {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), **narrowed}}


def _is_hard(constraint: Mapping[str, Any]) -> bool:
    return bool(constraint.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule")


def _takes_part(pod: Obj, node: Obj, constraint: Mapping[str, Any]) -> bool:
    """Tell whether a node is counted (``nodeAffinityPolicy`` and ``nodeTaintsPolicy``)."""
    if constraint.get("nodeAffinityPolicy", "Honor") == "Honor" and not matches_affinity(pod, node):
        return False
    honoured = constraint.get("nodeTaintsPolicy", "Ignore") == "Honor"
    return not (honoured and (untolerated(pod, node) is not None or spec(node).get("unschedulable")))


def _by_owner(snapshot: Snapshot, pod: Obj) -> Spread:
    """Count the pods of the same owner on each host (what upstream's default constraints amount to here)."""
    reference = owner(pod)
    counts: Counter[str] = Counter()
    host_of = {name(node): labels(node).get("kubernetes.io/hostname", "") for node in snapshot.list(NODES)}
    for other in snapshot.owned_by(reference["uid"]) if reference else ():
        if other["kind"] == "Pod" and _present(other) and node_name(other):
            counts[host_of.get(node_name(other), "")] += 1
    return Spread("kubernetes.io/hostname", 1, False, 1, 0, counts)


def _present(pod: Obj) -> bool:
    return not deleting(pod) and phase(pod) not in FINISHED


def _terms(affinity: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    return (affinity or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or ()


def _domains(snapshot: Snapshot, pod: Obj, term: Mapping[str, Any]) -> set[str]:
    """Return the domains that hold a pod the term chooses."""
    key = term["topologyKey"]
    domain_of = {name(node): labels(node)[key] for node in snapshot.list(NODES) if key in labels(node)}
    return {
        domain_of[node_name(other)]
        for space in term.get("namespaces") or (namespace(pod),)
        for other in snapshot.list(PODS, space)
        if node_name(other) in domain_of and _present(other) and match_labels(term.get("labelSelector"), labels(other))
    }


def _near(term: Mapping[str, Any], domains: set[str], node: Obj, pod: Obj) -> bool:
    domain = labels(node).get(term["topologyKey"])
    if domain is None:
        return False
    # The first pod of a group that wants to be together may start anywhere.
    alone = not domains and match_labels(term.get("labelSelector"), labels(pod))
    return alone or domain in domains
