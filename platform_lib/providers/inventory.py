"""What does a cluster run that the workbench needs or can use, in which version, and where? Looks, changes nothing.

A cluster of somebody else may forbid a look. Then that part is ``unknown`` and says which permission is missing; the
rest is still looked at. Workloads are found by the labels that their charts and manifests share, one request a kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from platform_lib.errors import ApiError, Forbidden, NotFound
from platform_lib.model import Obj, joined
from platform_lib.rules import manifests
from platform_lib.wait import now
from platform_lib.wire import kube
from platform_lib.wire.kube import Kube

Presence = Literal["ok", "degraded", "missing", "unknown"]

NAME = "app.kubernetes.io/name"
STATEFULSETS, DAEMONSETS, SERVICES = "apps/v1/statefulsets", "apps/v1/daemonsets", "v1/services"
INGRESSES, CLASSES = "networking.k8s.io/v1/ingresses", "networking.k8s.io/v1/ingressclasses"
WANTED = (
    "argocd-application-controller",
    "argocd-repo-server",
    "argocd-server",
    "argocd-redis",
    "argo-rollouts",
    "traefik",
    "ingress-nginx",
    "prometheus",
    "thanos-query",
    "mimir",
    "metrics-server",
    "cert-manager",
    "kyverno",
    "external-secrets",
    "loki",
    "chaos-mesh",
    "linkerd-destination",
)
"""Values of ``app.kubernetes.io/name`` that are asked for."""
PROMETHEUS_PORTS = ("http-web", "web", "http", "prometheus")
PROMETHEUS_NAMES = ("prometheus", "thanos-query", "mimir", "kube-prometheus-stack-prometheus")
PROMETHEUS_SELECTORS = (f"{NAME} in (prometheus,thanos-query)", "operated-prometheus=true", "app=prometheus")
AT_WORK = timedelta(minutes=15)
"""A controller compares each Application every two to three minutes, whether something changed or not."""
CORE = ("argocd-application-controller", "argocd-repo-server")
"""Workloads without which no Application is synced; argocd-server is only the user interface and the REST API."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing a cluster has or lacks.

    Attributes:
        name: For people.
        presence: What was seen; ``unknown`` when the look was forbidden.
        found: Version and place, or why not.
        version: As its image or label says it; empty when unknown.
        namespace: Where its workloads are.
        needed: The workbench cannot work without it.
        cost: What is lost without it.
        hint: The next step.
    """

    name: str
    presence: Presence
    found: str
    version: str = ""
    namespace: str = ""
    needed: bool = False
    cost: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read once, for all parts.

    Attributes:
        groups: API groups that are served.
        resources: Plural names of group ``argoproj.io/v1alpha1``.
        workloads: Deployments, StatefulSets and DaemonSets with one of the wanted names.
        classes: IngressClasses.
        forbidden: What was not allowed, as (what, error text).
    """

    groups: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    workloads: tuple[Obj, ...] = ()
    classes: tuple[Obj, ...] = ()
    forbidden: tuple[tuple[str, str], ...] = ()

    def named(self, *names: str) -> list[Obj]:
        """Return the workloads with one of these names."""
        return [one for one in self.workloads if _label(one) in names]

    def unseen(self, what: str) -> str:
        """Return why something could not be looked at; an empty text when it could."""
        return next((text for name, text in self.forbidden if name == what), "")


@dataclass(slots=True)
class _Looking:
    """Reads lists, and remembers what was forbidden instead of failing."""

    api: Kube
    forbidden: list[tuple[str, str]] = field(default_factory=list)

    def items(self, what: str, gvr: str, *, labels: str = "", namespace: str | None = None) -> list[Obj]:
        """Return the objects of a kind; nothing when the kind is absent or forbidden."""
        try:
            return self.api.list(gvr, namespace, labels=labels)[0]
        except Forbidden as error:
            self.forbidden.append((what, error.message))
        except NotFound:
            return []
        return []

    def document(self, path: str) -> Obj:
        """Return a discovery document; an empty one when it is absent, forbidden or its server is away."""
        try:
            return self.api.json("GET", path)
        except (NotFound, Forbidden):
            return {}


def look(api: Kube) -> Seen:
    """Read everything that the parts are made of."""
    looking = _Looking(api)
    groups = {str(one.get("name")) for one in looking.document("/apis").get("groups") or ()}
    argo = looking.document("/apis/argoproj.io/v1alpha1").get("resources") or ()
    selector = f"{NAME} in ({','.join(WANTED)})"
    workloads = [
        one
        for gvr in (kube.DEPLOYMENTS, STATEFULSETS, DAEMONSETS)
        for one in looking.items("workloads", gvr, labels=selector)
    ]
    if not any(_label(one) == "metrics-server" for one in workloads):  # k3s and its own manifests label it so
        workloads += looking.items("workloads", kube.DEPLOYMENTS, labels="k8s-app=metrics-server")
    return Seen(
        groups=frozenset(groups),
        resources=frozenset(str(one.get("name")) for one in argo),
        workloads=tuple(workloads),
        classes=tuple(looking.items("ingress classes", CLASSES)),
        forbidden=tuple(looking.forbidden),
    )


def argocd_namespace(seen: Seen, default: str) -> str:
    """Return the namespace in which Argo CD's controller runs, else the default."""
    found = [manifests.namespace(one) for one in seen.named("argocd-application-controller")]
    return default if default in found or not found else found[0]


def last_reconciled(api: Kube, namespace: str) -> datetime | None:
    """Return when a controller last compared an Application; None when none did, or nobody may look."""
    times = [str(manifests.status(one).get("reconciledAt") or "") for one in listed(api, kube.APPLICATIONS, namespace)]
    newest = max(times, default="")
    return datetime.fromisoformat(newest) if newest else None


def argocd(seen: Seen, namespace: str, reconciled_at: datetime | None = None) -> Part:
    """Say whether Argo CD is there, whole, and with or without its server.

    Args:
        seen: What was read.
        namespace: Of its Applications.
        reconciled_at: When a controller last compared one of them.
    """
    cost = "no deploy, sync, rollback or drill: all of them go through its Applications"
    hint = "apqx up --provider existing --install argocd --write"
    if "applications" not in seen.resources:
        return Part("Argo CD", "missing", "applications.argoproj.io is not served", needed=True, cost=cost, hint=hint)
    here = {_label(one): one for one in seen.workloads if manifests.namespace(one) == namespace}
    if why := seen.unseen("workloads"):
        return Part("Argo CD", "unknown", f"CRDs are there; {why}", needed=True, hint="see permissions below")
    absent = [name for name in CORE if name not in here]
    if absent and reconciled_at is not None and now() - reconciled_at < AT_WORK:
        found = f"a controller outside this cluster compares its Applications (last {reconciled_at:%H:%M:%S} UTC)"
        lost = "its version and its pods cannot be looked at"
        return Part("Argo CD", "degraded", found, namespace=namespace, needed=True, cost=lost)
    if absent:
        found = f"CRDs are there, but no {joined(absent)} in namespace {namespace}"
        step = "start it, or set argocd_namespace to where it runs"
        return Part("Argo CD", "missing", found, namespace=namespace, needed=True, cost=cost, hint=step)
    version = version_of(here["argocd-repo-server"])
    down = [name for name, one in here.items() if not _ready(one)]
    kind = "full" if "argocd-server" in here else "core (no argocd-server)"
    found = f"{version or 'version unknown'}, {kind}, namespace {namespace}"
    if down:
        text = f"{found}; not ready: {joined(down)}"
        return Part(
            "Argo CD", "degraded", text, version, namespace, True, "syncs wait until it is ready", "see its pods"
        )
    return Part("Argo CD", "ok", found, version, namespace, needed=True)


def ingress(seen: Seen) -> Part:
    """Say which ingress controllers serve."""
    cost = "no probe through an ingress: rollouts, drills and gates cannot see what users see"
    hint = "install an ingress controller, or set ingress_url to how users reach the application"
    controllers = {manifests.name(one): str(manifests.spec(one).get("controller", "")) for one in seen.classes}
    traefik = seen.named("traefik")
    if not controllers and (why := seen.unseen("ingress classes")):
        return Part("ingress", "unknown", why, cost=cost, hint="see permissions below")
    if not controllers and not traefik:
        return Part("ingress", "missing", "no IngressClass", cost=cost, hint=hint)
    text = joined(f"{name} ({what})" for name, what in sorted(controllers.items()))
    if not traefik and not any("traefik" in what for what in controllers.values()):
        lost = "Traefik's metrics: requests per backend stay empty"
        return Part("ingress", "degraded", text, cost=lost, hint="the probe works; queries of Traefik need Traefik")
    version = version_of(traefik[0]) if traefik else ""
    return Part("ingress", "ok", f"{text}{f', Traefik {version}' if version else ''}", version)


def metrics_server(seen: Seen, api: Kube) -> Part:
    """Say whether resource metrics are served; asked, because the group stays listed while its server is away."""
    cost = "HPA does not scale, and cpu_of_requests stays empty"
    hint = "install metrics-server (it is part of k3s)"
    if "metrics.k8s.io" not in seen.groups:
        return Part("metrics-server", "missing", "metrics.k8s.io is not served", cost=cost, hint=hint)
    running = seen.named("metrics-server") or [one for one in seen.workloads if manifests.name(one) == "metrics-server"]
    version = version_of(running[0]) if running else ""
    try:
        api.json("GET", "/apis/metrics.k8s.io/v1beta1")
    except ApiError as error:
        return Part("metrics-server", "degraded", error.message, version, cost=cost, hint="see its pods and APIService")
    return Part("metrics-server", "ok", version or "metrics.k8s.io answers", version)


EXTRAS: Mapping[str, tuple[str, str, str]] = {
    "Argo Rollouts": ("rollouts", "argo-rollouts", "no canary steps by Argo Rollouts; the gate of the workbench works"),
    "cert-manager": ("cert-manager.io", "cert-manager", "certificates are not renewed by the cluster itself"),
    "Kyverno": ("kyverno.io", "kyverno", "policies are checked offline only, not at admission"),
    "Prometheus Operator": (
        "monitoring.coreos.com",
        "",
        "rules come from a ConfigMap, not from PrometheusRule objects",
    ),
    "External Secrets": ("external-secrets.io", "external-secrets", "secrets are brought in by hand"),
    "Chaos Mesh": ("chaos-mesh.org", "chaos-mesh", "no network or disk faults in drills"),
    "Linkerd": ("linkerd.io", "linkerd-destination", "no mutual TLS and no metrics per route"),
}
"""Optional parts: what tells of them (an API group or a resource of argoproj.io), their workload, what is lost."""


def extras(seen: Seen) -> list[Part]:
    """Say which optional parts are there."""
    found = []
    for name, (sign, workload, cost) in EXTRAS.items():
        running = seen.named(workload) if workload else []
        version = version_of(running[0]) if running else ""
        if sign in seen.groups or sign in seen.resources:
            found.append(Part(name, "ok", version or "its CRDs are served", version))
        else:
            found.append(Part(name, "missing", "its CRDs are not served", cost=cost))
    return found


def prometheus_service(api: Kube) -> tuple[Obj | None, str]:
    """Return the Service of a Prometheus-compatible endpoint, and why none was found."""
    looking = _Looking(api)
    for selector in PROMETHEUS_SELECTORS:
        for one in looking.items("services", SERVICES, labels=selector):
            if _port(one) is not None:
                return one, ""
    why = next((text for _, text in looking.forbidden), "no Service is labelled as Prometheus or Thanos")
    return None, why


def listed(api: Kube, gvr: str, namespace: str | None = None, *, labels: str = "") -> list[Obj]:
    """Return the objects of a kind; nothing where the kind is absent or may not be looked at."""
    try:
        return api.list(gvr, namespace, labels=labels)[0]
    except ApiError:
        return []


def proxied(service: Obj) -> str:
    """Return the address of a Service through the API server, as ``wire.prometheus`` understands it."""
    return f"kube://{manifests.namespace(service)}/{manifests.name(service)}:{_port(service)}"


def _port(service: Obj) -> int | None:
    """Return the port on which a Prometheus-like Service answers queries."""
    ports = manifests.spec(service).get("ports") or []
    named = [one for one in ports if one.get("name") in PROMETHEUS_PORTS]
    chosen = named or [one for one in ports if one.get("port") in (80, 9090, 8080, 10902)]
    return int(chosen[0]["port"]) if chosen else None


def url_through_ingress(ingresses: Iterable[Obj], namespace: str, service: str) -> str:
    """Return the URL under which an Ingress leads to a Service; an empty text when none does."""
    for one in ingresses:
        if manifests.namespace(one) != namespace:
            continue
        secure = {host for entry in manifests.spec(one).get("tls") or () for host in entry.get("hosts") or ()}
        for rule in manifests.spec(one).get("rules") or ():
            for path in (rule.get("http") or {}).get("paths") or ():
                backend = ((path.get("backend") or {}).get("service") or {}).get("name")
                if backend == service and rule.get("host"):
                    scheme = "https" if rule["host"] in secure else "http"
                    return f"{scheme}://{rule['host']}{str(path.get('path') or '').rstrip('/')}"
    return ""


def entry_point(obj: Obj) -> str:
    """Return the address in the status of an Ingress or of a LoadBalancer Service; an empty text when there is none."""
    found: list[dict[str, Any]] = (manifests.status(obj).get("loadBalancer") or {}).get("ingress") or []
    address = next((one.get("hostname") or one.get("ip") for one in found), None)
    return f"http://{address}" if address else ""


def version_of(workload: Obj) -> str:
    """Return the version of a workload: the tag of its image, else its version label.

    Example:
        >>> version_of({"spec": {"template": {"spec": {"containers": [{"image": "quay.io/argoproj/argocd:v3.5.1"}]}}}})
        'v3.5.1'
    """
    for image in manifests.images(workload):
        tag = image.split("@")[0].rpartition("/")[2].partition(":")[2]
        if tag:
            return tag
    return manifests.labels(workload).get("app.kubernetes.io/version", "")


def _label(obj: Obj) -> str:
    """Return the name label of a workload."""
    return manifests.labels(obj).get(NAME, "")


def _ready(workload: Obj) -> bool:
    """Return whether a workload has the replicas it wants."""
    status = manifests.status(workload)
    if "desiredNumberScheduled" in status:
        return int(status.get("numberReady") or 0) >= int(status["desiredNumberScheduled"])
    return int(status.get("readyReplicas") or 0) >= manifests.replicas(workload)
