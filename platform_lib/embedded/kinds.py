"""Which kinds does the embedded API serve, and how? One row per kind; no behaviour belongs here.

A row added here is served at once: storage, discovery, selectors, patches and schema checks follow from it.
``acts`` says honestly what happens after an object was stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from platform_lib.model import Obj

Acts = Literal["controlled", "stored", "computed"]

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
READ_VERBS = ("get", "list")
CREATE_ONLY = ("create",)


@dataclass(frozen=True, slots=True)
class Kind:
    """One served kind of object.

    Attributes:
        group: API group; empty for the core group.
        version, kind, plural, singular: Names as in discovery.
        namespaced: False for cluster-wide kinds.
        short_names: What ``kubectl get`` accepts besides plural and singular.
        categories: Groups of kinds such as ``all``.
        subresources: Names below an object (``status``, ``scale``, ``log`` ...).
        generation: Whether ``metadata.generation`` is kept (plus one for each change of the specification).
        status: Whether ``status`` is written only through its subresource.
        verbs: What may be done, as in discovery.
        acts: ``controlled`` when the platform acts on it, ``stored`` when it is only kept,
            ``computed`` when it is answered without being stored.
        custom: Custom resource: no strategic merge, schema from its CRD.
        columns: Columns of ``kubectl get`` that a CRD declares: (name, type, JSON path, priority).
    """

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()
    generation: bool = True
    status: bool = False
    verbs: tuple[str, ...] = VERBS
    acts: Acts = "controlled"
    custom: bool = False
    columns: tuple[tuple[str, str, str, int], ...] = ()

    @property
    def api_version(self) -> str:
        """``group/version``, or only the version for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def gvr(self) -> str:
        """Key of the resource: ``v1/pods``, ``apps/v1/deployments``."""
        return f"{self.api_version}/{self.plural}"

    @property
    def resource(self) -> str:
        """Name in messages of the API: ``pods``, ``deployments.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified(self) -> str:
        """Kind name in validation messages: ``Pod``, ``Deployment.apps``."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def stored(self) -> bool:
        """False for reviews and other answers that are never kept."""
        return self.acts != "computed"


def _row(api_version: str, kind: str, plural: str, flags: str = "", **options: Any) -> Kind:
    """Build a row; flags: ``n`` namespaced, ``g`` generation, ``s`` status subresource, ``c`` scale, ``a`` in all."""
    group, _, version = api_version.rpartition("/")
    subresources = set(options.pop("sub", ()))
    subresources |= {name for flag, name in (("s", "status"), ("c", "scale")) if flag in flags}
    return Kind(
        group=group,
        version=version,
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        namespaced="n" in flags,
        generation="g" in flags,
        status="s" in flags,
        subresources=frozenset(subresources),
        short_names=tuple(options.pop("short", ())),
        categories=tuple(options.pop("categories", ("all",) if "a" in flags else ())),
        **options,
    )


_AUTHN, _AUTHZ, _RBAC = "authentication.k8s.io/v1", "authorization.k8s.io/v1", "rbac.authorization.k8s.io/v1"
_ARGO, _METRICS = "argoproj.io/v1alpha1", "metrics.k8s.io/v1beta1"

KINDS: tuple[Kind, ...] = (
    _row("v1", "Binding", "bindings", "n", verbs=CREATE_ONLY, acts="computed"),
    _row("v1", "ConfigMap", "configmaps", "n", short=("cm",)),
    _row("v1", "Event", "events", "n", short=("ev",)),
    _row("v1", "LimitRange", "limitranges", "n", short=("limits",), acts="stored"),
    _row("v1", "Namespace", "namespaces", "s", short=("ns",), sub=("finalize",)),
    _row("v1", "Node", "nodes", "s", short=("no",)),
    _row("v1", "PersistentVolumeClaim", "persistentvolumeclaims", "ns", short=("pvc",), acts="stored"),
    _row("v1", "PersistentVolume", "persistentvolumes", "s", short=("pv",), acts="stored"),
    _row("v1", "Pod", "pods", "nsa", short=("po",), sub=("binding", "eviction", "log")),
    _row("v1", "ResourceQuota", "resourcequotas", "ns", short=("quota",), acts="stored"),
    _row("v1", "Secret", "secrets", "n"),
    _row("v1", "ServiceAccount", "serviceaccounts", "n", short=("sa",), sub=("token",)),
    _row("v1", "Service", "services", "nsa", short=("svc",)),
    _row(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "gs",
        short=("crd", "crds"),
        categories=("api-extensions",),
    ),
    _row("apiregistration.k8s.io/v1", "APIService", "apiservices", "s", acts="stored", categories=("api-extensions",)),
    _row("apps/v1", "ControllerRevision", "controllerrevisions", "n", acts="stored"),
    _row("apps/v1", "DaemonSet", "daemonsets", "ngsa", short=("ds",), acts="stored"),
    _row("apps/v1", "Deployment", "deployments", "ngsca", short=("deploy",)),
    _row("apps/v1", "ReplicaSet", "replicasets", "ngsca", short=("rs",)),
    _row("apps/v1", "StatefulSet", "statefulsets", "ngsca", short=("sts",), acts="stored"),
    _row(_AUTHN, "SelfSubjectReview", "selfsubjectreviews", verbs=CREATE_ONLY, acts="computed"),
    _row(_AUTHN, "TokenReview", "tokenreviews", verbs=CREATE_ONLY, acts="computed"),
    _row(_AUTHZ, "LocalSubjectAccessReview", "localsubjectaccessreviews", "n", verbs=CREATE_ONLY, acts="computed"),
    _row(_AUTHZ, "SelfSubjectAccessReview", "selfsubjectaccessreviews", verbs=CREATE_ONLY, acts="computed"),
    _row(_AUTHZ, "SelfSubjectRulesReview", "selfsubjectrulesreviews", verbs=CREATE_ONLY, acts="computed"),
    _row(_AUTHZ, "SubjectAccessReview", "subjectaccessreviews", verbs=CREATE_ONLY, acts="computed"),
    _row("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "nsa", short=("hpa",)),
    _row("batch/v1", "CronJob", "cronjobs", "ngsa", short=("cj",), acts="stored"),
    _row("batch/v1", "Job", "jobs", "ngsa"),
    _row("coordination.k8s.io/v1", "Lease", "leases", "n"),
    _row("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", "ng"),
    _row("networking.k8s.io/v1", "IngressClass", "ingressclasses", "g"),
    _row("networking.k8s.io/v1", "Ingress", "ingresses", "ngs", short=("ing",)),
    _row("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", "ng", short=("netpol",), acts="stored"),
    _row("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", "ngs", short=("pdb",)),
    _row(_RBAC, "ClusterRoleBinding", "clusterrolebindings"),
    _row(_RBAC, "ClusterRole", "clusterroles"),
    _row(_RBAC, "RoleBinding", "rolebindings", "n"),
    _row(_RBAC, "Role", "roles", "n"),
    _row("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", "g", short=("pc",), acts="stored"),
    _row("storage.k8s.io/v1", "StorageClass", "storageclasses", short=("sc",), acts="stored"),
    _row(_METRICS, "NodeMetrics", "nodes", verbs=READ_VERBS, acts="computed"),
    _row(_METRICS, "PodMetrics", "pods", "n", verbs=READ_VERBS, acts="computed"),
    _row(_ARGO, "Application", "applications", "ng", short=("app", "apps"), custom=True),
    _row(_ARGO, "AppProject", "appprojects", "ng", short=("appproj", "appprojs"), custom=True),
)

_BY_GVR = {kind.gvr: kind for kind in KINDS}
_BY_KIND = {(kind.api_version, kind.kind): kind for kind in KINDS}


def by_gvr(gvr: str) -> Kind:
    """Return the built-in kind of a resource key.

    Raises:
        KeyError: No such built-in resource; resources of CRDs are known to the server only.
    """
    return _BY_GVR[gvr]


def by_kind(api_version: str, kind: str) -> Kind:
    """Return the built-in kind by ``apiVersion`` and ``kind``.

    Raises:
        KeyError: No such built-in kind.
    """
    return _BY_KIND[api_version, kind]


def kind_from_crd(crd: Obj) -> list[Kind]:
    """Derive one kind for each served version of a CustomResourceDefinition (v1)."""
    spec = crd["spec"]
    names = spec["names"]
    return [_custom_kind(spec, names, version) for version in spec.get("versions") or () if version.get("served", True)]


def _custom_kind(spec: Obj, names: Obj, version: Obj) -> Kind:
    subresources = frozenset(set(version.get("subresources") or ()) & {"status", "scale"})
    return Kind(
        group=spec["group"],
        version=version["name"],
        kind=names["kind"],
        plural=names["plural"],
        singular=names.get("singular") or names["kind"].lower(),
        namespaced=spec.get("scope") == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=subresources,
        status="status" in subresources,
        acts="stored",
        custom=True,
        columns=tuple(
            (column["name"], column["type"], column["jsonPath"], column.get("priority", 0))
            for column in version.get("additionalPrinterColumns") or ()
        ),
    )
