"""Which permissions does each function of the library use? One table; ``doctor`` asks for them, ``--rbac`` grants them.

A row says function, verbs, resource and place. The place is a namespace by its role, so that the table holds for any
application: ``app`` its own, ``argocd`` that of the Applications, ``lock`` that of the Lease, ``prometheus`` that of
its Service, ``cluster`` everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from platform_lib.model import Obj

Place = Literal["app", "argocd", "lock", "prometheus", "cluster"]
LOOK = "get list watch"

_TABLE: tuple[tuple[str, str, str, Place], ...] = (
    ("doctor", "list", "deployments.apps", "cluster"),
    ("doctor", "list", "statefulsets.apps", "cluster"),
    ("doctor", "list", "daemonsets.apps", "cluster"),
    ("doctor", "list", "services", "cluster"),
    ("doctor", "list", "ingresses.networking.k8s.io", "cluster"),
    ("doctor", "list", "ingressclasses.networking.k8s.io", "cluster"),
    ("doctor", "get", "configmaps", "argocd"),
    ("status", "list", "nodes", "cluster"),
    ("status", LOOK, "applications.argoproj.io", "argocd"),
    ("deploy", f"{LOOK} patch", "applications.argoproj.io", "argocd"),
    ("deploy", "get list", "appprojects.argoproj.io", "argocd"),
    ("deploy", LOOK, "deployments.apps", "app"),
    ("deploy", LOOK, "pods", "app"),
    ("sync", f"{LOOK} patch", "applications.argoproj.io", "argocd"),
    ("sync", "get list", "appprojects.argoproj.io", "argocd"),
    ("rollback", f"{LOOK} patch", "applications.argoproj.io", "argocd"),
    ("rollback", LOOK, "deployments.apps", "app"),
    ("rollout", LOOK, "deployments.apps", "app"),
    ("rollout", "list", "replicasets.apps", "app"),
    ("rollout", LOOK, "pods", "app"),
    ("rollout", "list", "events", "app"),
    ("logs", "get", "pods/log", "app"),
    ("explain", "get list", "jobs.batch", "app"),
    ("explain", "get list", "events", "app"),
    ("journal", "list watch", "events", "cluster"),
    ("journal", "list watch", "pods", "cluster"),
    ("journal", "list watch", "deployments.apps", "cluster"),
    ("journal", "list watch", "applications.argoproj.io", "cluster"),
    ("lock", "get create update patch", "leases.coordination.k8s.io", "lock"),
    ("metrics through the API", "get", "services/proxy", "prometheus"),
    ("run on the cluster", "get list watch create delete", "jobs.batch", "app"),
    ("run on the cluster", "get create delete", "configmaps", "app"),
    ("run on the cluster", "list", "pods", "app"),
    ("run on the cluster", "get", "pods/log", "app"),
    ("drills (all)", "get", "configmaps", "app"),
    ("drills (all)", "list", "nodes", "cluster"),
    ("drill pod-loss", "get list delete", "pods", "app"),
    ("drill node-drain", "get list patch", "nodes", "cluster"),
    ("drill node-drain", "list", "pods", "cluster"),
    ("drill node-drain", "create", "pods/eviction", "cluster"),
    ("drill node-drain", "list", "poddisruptionbudgets.policy", "app"),
    ("drill cpu-pressure, memory-pressure", "get list create delete", "pods", "app"),
    ("drill cpu-pressure, memory-pressure", "get list", "pods.metrics.k8s.io", "app"),
    ("drill load-spike", "list", "horizontalpodautoscalers.autoscaling", "app"),
    ("drill load-spike", "list", "pods.metrics.k8s.io", "app"),
    ("drill drift", "get delete", "services", "app"),
    ("drill namespace-deleted", "get delete", "namespaces", "cluster"),
    ("drill namespace-deleted", "list", "persistentvolumeclaims", "app"),
    ("drill argocd-down", "list get patch", "statefulsets.apps", "argocd"),
    ("drill argocd-down", "list get patch", "deployments.apps", "argocd"),
    ("drill argocd-down", "get patch", "services", "app"),
    ("drill ingress-down, metrics-down, git-outage", "list get patch", "deployments.apps", "cluster"),
    ("drill ingress-down, metrics-down, git-outage", "list get patch", "statefulsets.apps", "cluster"),
)

ESSENTIAL = ("status", "deploy", "sync", "rollback", "rollout", "lock")
"""Without these the workbench is of no use; the rest is missed one by one."""
READ_ONLY = ("doctor", "status", "rollout", "logs", "explain", "journal", "metrics through the API")
"""What a platform for looking only needs."""
COSTS: Mapping[str, str] = {
    "doctor": "what the cluster runs stays unknown, and endpoints have to be set by hand",
    "status": "apqx status shows nothing",
    "deploy": "a deploy cannot ask Argo CD to look, and cannot see whether it is live",
    "sync": "no sync",
    "rollback": "no rollback under automatic sync",
    "rollout": "a rollout cannot be watched; a gate cannot decide",
    "logs": "no logs in apqx logs, reports and explanations",
    "explain": "a stuck hook is not explained",
    "journal": "the record has no events, pods and operations of the cluster; post-mortems are poorer",
    "lock": "two runs could change the cluster at once; nothing that changes it is allowed",
    "metrics through the API": "Prometheus needs an address of its own: set APQX_PROMETHEUS_URL",
    "run on the cluster": "apqx run --on cluster is refused; runs work from here",
}


@dataclass(frozen=True, slots=True)
class Need:
    """One permission: a verb on a resource at a place, and who uses it.

    ``resource`` is ``pods/log`` or ``deployments``; ``group`` is empty for the core group.
    """

    verb: str
    group: str
    resource: str
    place: Place
    functions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Say it as ``kubectl auth can-i`` does."""
        return f"{self.verb} {self.resource}{'.' + self.group if self.group else ''}"


def functions() -> list[str]:
    """Return the names of all functions, in the order of the table."""
    return list(dict.fromkeys(row[0] for row in _TABLE))


def needs() -> list[Need]:
    """Return every permission once, with the functions that use it."""
    users: dict[tuple[str, str, str, Place], list[str]] = {}
    for function, verbs, resource, place in _TABLE:
        plural, _, group = resource.partition(".")
        for verb in verbs.split():
            users.setdefault((verb, group, plural, place), []).append(function)
    return [Need(*key, functions=tuple(dict.fromkeys(names))) for key, names in users.items()]


def roles(
    namespaces: Mapping[Place, str],
    *,
    subject: str = "apqx",
    read_only: bool = False,
    only: Iterable[str] | None = None,
) -> list[Obj]:
    """Return the least RBAC objects with which every function works: a ClusterRole, and a Role per namespace.

    Args:
        namespaces: Namespace of each place; a place without one is granted for the whole cluster.
        subject: Name of the objects; they are bound to nobody, because only the cluster's owner knows to whom.
        read_only: Only what looking needs.
        only: Only what these functions need.
    """
    wanted = set(READ_ONLY) if read_only else set(functions() if only is None else only)
    by_place: dict[str, list[Need]] = {}
    for need in needs():
        if not set(need.functions) & wanted:
            continue
        by_place.setdefault(namespaces.get(need.place, ""), []).append(need)
    return [_role(place, subject, found) for place, found in sorted(by_place.items())]


def _role(namespace: str, subject: str, found: Iterable[Need]) -> Obj:
    """Return one Role, or the ClusterRole when the namespace is empty; rules of one verb set are joined."""
    verbs: dict[tuple[str, str], list[str]] = {}
    for need in found:
        verbs.setdefault((need.group, need.resource), []).append(need.verb)
    joined: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (group, resource), listed in verbs.items():
        joined.setdefault((group, tuple(sorted(set(listed)))), []).append(resource)
    rules = [
        {"apiGroups": [group], "resources": sorted(resources), "verbs": list(allowed)}
        for (group, allowed), resources in sorted(joined.items())
    ]
    metadata = {"name": subject} | ({"namespace": namespace} if namespace else {})
    kind = "Role" if namespace else "ClusterRole"
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "rules": rules}
