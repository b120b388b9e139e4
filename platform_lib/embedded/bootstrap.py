"""Which objects does every cluster have from the start? Created when missing, never changed afterwards.

Source: what kube-apiserver and k3s create at first start; the roles follow "Default roles" of Kubernetes' RBAC.
"""

from __future__ import annotations

from collections.abc import Iterable

from platform_lib.embedded.api import Api
from platform_lib.errors import AlreadyExists
from platform_lib.model import Obj

_RBAC = "rbac.authorization.k8s.io"
_BOOT = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]
_ALL = ["*"]

_VIEWED = {
    "": [
        "configmaps",
        "endpoints",
        "events",
        "limitranges",
        "namespaces",
        "persistentvolumeclaims",
        "pods",
        "pods/log",
        "pods/status",
        "resourcequotas",
        "serviceaccounts",
        "services",
        "services/status",
    ],
    "apps": [
        "controllerrevisions",
        "daemonsets",
        "daemonsets/status",
        "deployments",
        "deployments/scale",
        "deployments/status",
        "replicasets",
        "replicasets/scale",
        "replicasets/status",
        "statefulsets",
        "statefulsets/scale",
        "statefulsets/status",
    ],
    "autoscaling": ["horizontalpodautoscalers", "horizontalpodautoscalers/status"],
    "batch": ["cronjobs", "cronjobs/status", "jobs", "jobs/status"],
    "discovery.k8s.io": ["endpointslices"],
    "metrics.k8s.io": ["nodes", "pods"],
    "networking.k8s.io": ["ingresses", "ingresses/status", "networkpolicies"],
    "policy": ["poddisruptionbudgets", "poddisruptionbudgets/status"],
}
_EDITED = {
    "": [
        "configmaps",
        "events",
        "persistentvolumeclaims",
        "pods",
        "pods/eviction",
        "secrets",
        "serviceaccounts",
        "serviceaccounts/token",
        "services",
    ],
    "apps": ["daemonsets", "deployments", "deployments/scale", "replicasets", "replicasets/scale", "statefulsets"],
    "autoscaling": ["horizontalpodautoscalers"],
    "batch": ["cronjobs", "jobs"],
    "coordination.k8s.io": ["leases"],
    "networking.k8s.io": ["ingresses", "networkpolicies"],
    "policy": ["poddisruptionbudgets"],
}


def ensure(api: Api) -> None:
    """Create what is missing of namespaces, roles, definitions, and the default project."""
    for gvr, obj in objects():
        metadata = obj["metadata"]
        namespace, name = metadata.get("namespace"), metadata["name"]
        if api.store.get(gvr, namespace, name) is None:
            try:
                api.create(gvr, obj, namespace, user="system:apiserver")
            except AlreadyExists:
                continue


def objects() -> Iterable[tuple[str, Obj]]:
    """Yield (resource, object) in the order in which they can be created."""
    for name in ("default", "kube-system", "kube-public", "kube-node-lease", "argocd"):
        yield "v1/namespaces", _object("v1", "Namespace", name)
    yield from _roles()
    yield from _bindings()
    yield "v1/services", _kubernetes_service()
    yield "networking.k8s.io/v1/ingressclasses", _ingress_class()
    for name, namespace in (
        ("argocd-application-controller", "argocd"),
        ("apqx-metrics", "kube-system"),
        ("traefik", "kube-system"),
    ):
        yield "v1/serviceaccounts", _object("v1", "ServiceAccount", name, namespace)
    yield from _argo_definitions()
    yield "argoproj.io/v1alpha1/appprojects", _default_project()


def _object(api_version: str, kind: str, name: str, namespace: str = "", **rest: object) -> Obj:
    metadata: Obj = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def _rule(group: str, resources: list[str], verbs: list[str]) -> Obj:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


def _paths(*paths: str) -> Obj:
    return {"nonResourceURLs": list(paths), "verbs": ["get"]}


def _reading() -> list[Obj]:
    return [_rule(group, resources, _READ) for group, resources in _VIEWED.items()]


def _editing() -> list[Obj]:
    secrets = _rule("", ["secrets"], _READ)
    return [*_reading(), secrets, *(_rule(group, names, _WRITE) for group, names in _EDITED.items())]


def _roles() -> Iterable[tuple[str, Obj]]:
    """Yield the default ClusterRoles and those of the platform's own components."""
    own_rbac = _rule(_RBAC, ["rolebindings", "roles"], [*_READ, *_WRITE])
    argo = ["applications", "appprojects"]
    rules: dict[str, list[Obj]] = {
        "cluster-admin": [_rule("*", _ALL, _ALL), {"nonResourceURLs": ["*"], "verbs": ["*"]}],
        "admin": [*_editing(), own_rbac, _rule("authorization.k8s.io", ["localsubjectaccessreviews"], ["create"])],
        "edit": _editing(),
        "view": _reading(),
        "system:discovery": [_paths("/", "/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*")],
        "system:public-info-viewer": [_paths("/healthz", "/livez", "/readyz", "/version", "/version/")],
        "system:basic-user": [
            _rule("authorization.k8s.io", ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], ["create"]),
            _rule("authentication.k8s.io", ["selfsubjectreviews"], ["create"]),
        ],
        "system:node": _node_rules(),
        "apqx:traefik": [
            _rule("", ["nodes", "secrets", "services"], _READ),
            _rule("discovery.k8s.io", ["endpointslices"], _READ),
            _rule("networking.k8s.io", ["ingressclasses", "ingresses"], _READ),
        ],
        "apqx:metrics": [*_reading(), _rule("", ["nodes"], _READ), _rule("argoproj.io", argo, _READ)],
    }
    for name, found in rules.items():
        role = _object(f"{_RBAC}/v1", "ClusterRole", name, rules=found)
        role["metadata"]["labels"] = dict(_BOOT)
        yield f"{_RBAC}/v1/clusterroles", role


def _node_rules() -> list[Obj]:
    """Return what a node agent does; unlike Kubernetes' node authorizer, not limited to its own pods."""
    return [
        _rule("", ["configmaps", "namespaces", "secrets", "serviceaccounts", "services"], _READ),
        _rule("", ["nodes"], [*_READ, "create", "patch", "update", "delete"]),
        _rule("", ["nodes/status", "pods/status"], ["get", "patch", "update"]),
        _rule("", ["pods"], [*_READ, "create", "patch", "update", "delete"]),
        _rule("", ["pods/eviction", "serviceaccounts/token"], ["create"]),
        _rule("", ["events"], [*_READ, "create", "patch", "update"]),
        _rule("coordination.k8s.io", ["leases"], [*_READ, "create", "patch", "update", "delete"]),
        _rule("discovery.k8s.io", ["endpointslices"], _READ),
    ]


def _bindings() -> Iterable[tuple[str, Obj]]:
    """Yield who has which of the roles."""
    groups = {
        "cluster-admin": "system:masters",
        "system:discovery": "system:authenticated",
        "system:public-info-viewer": "system:authenticated",
        "system:basic-user": "system:authenticated",
        "system:node": "system:nodes",
    }
    for role, group in groups.items():
        yield _binding(role, role, {"kind": "Group", "apiGroup": _RBAC, "name": group})
    accounts = (
        ("argocd-application-controller", "cluster-admin", "argocd", "argocd-application-controller"),
        ("apqx:traefik", "apqx:traefik", "kube-system", "traefik"),
        ("apqx:metrics", "apqx:metrics", "kube-system", "apqx-metrics"),
    )
    for name, role, namespace, account in accounts:
        yield _binding(name, role, {"kind": "ServiceAccount", "namespace": namespace, "name": account})


def _binding(name: str, role: str, subject: Obj) -> tuple[str, Obj]:
    reference = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role}
    obj = _object(f"{_RBAC}/v1", "ClusterRoleBinding", name, roleRef=reference, subjects=[subject])
    obj["metadata"]["labels"] = dict(_BOOT)
    return f"{_RBAC}/v1/clusterrolebindings", obj


def _kubernetes_service() -> Obj:
    spec = {
        "type": "ClusterIP",
        "clusterIP": "10.43.0.1",
        "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
    }
    service = _object("v1", "Service", "kubernetes", "default", spec=spec)
    service["metadata"]["labels"] = {"component": "apiserver", "provider": "kubernetes"}
    return service


def _ingress_class() -> Obj:
    spec = {"controller": "traefik.io/ingress-controller"}
    found = _object("networking.k8s.io/v1", "IngressClass", "traefik", spec=spec)
    found["metadata"]["annotations"] = {"ingressclass.kubernetes.io/is-default-class": "true"}
    return found


def _argo_definitions() -> Iterable[tuple[str, Obj]]:
    """Yield the definitions of Argo CD's kinds; their schemas are built in (``argocd_schema``)."""
    from platform_lib.embedded import argocd_schema
    from platform_lib.embedded.kinds import KINDS

    for kind in KINDS:
        if not kind.custom:
            continue
        body = argocd_schema.BODIES[f"{kind.api_version}/{kind.kind}"]
        version = {"name": kind.version, "served": True, "storage": True, "schema": {"openAPIV3Schema": body}}
        names = {
            "kind": kind.kind,
            "listKind": f"{kind.kind}List",
            "plural": kind.plural,
            "singular": kind.singular,
            "shortNames": list(kind.short_names),
        }
        spec = {"group": kind.group, "names": names, "scope": "Namespaced", "versions": [version]}
        name = f"{kind.plural}.{kind.group}"
        yield (
            "apiextensions.k8s.io/v1/customresourcedefinitions",
            _object("apiextensions.k8s.io/v1", "CustomResourceDefinition", name, spec=spec),
        )


def _default_project() -> Obj:
    everything = [{"group": "*", "kind": "*"}]
    spec = {
        "sourceRepos": ["*"],
        "destinations": [{"namespace": "*", "server": "*"}],
        "clusterResourceWhitelist": everything,
    }
    return _object("argoproj.io/v1alpha1", "AppProject", "default", "argocd", spec=spec)
