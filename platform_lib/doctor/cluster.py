"""What does somebody's cluster have, what may we do there, and what would each missing thing cost? Looks only.

The parts come from ``providers.inventory``, the permissions from ``doctor.needs``: each is asked of the cluster itself
(SelfSubjectAccessReview), because RBAC is only one of the things that decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from platform_lib.doctor import needs
from platform_lib.doctor.needs import Need, Place
from platform_lib.errors import ApiError, PlatformError
from platform_lib.model import App, Obj, Platform, _Table, joined
from platform_lib.providers import endpoints, inventory
from platform_lib.providers.existing import Existing
from platform_lib.providers.inventory import Part
from platform_lib.settings import Settings, settings
from platform_lib.wire import access, kube
from platform_lib.wire.kube import Kube

State = Literal["ok", "degraded", "missing", "optional"]
REVIEWS = "authorization.k8s.io/v1/selfsubjectaccessreviews"
_TOGETHER = 8
"""Reviews that are asked at once; a cluster far away answers each in a tenth of a second."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: For people.
        state: ``ok``; ``missing``: the workbench cannot work without it; ``degraded``: something is lost;
            ``optional``: absent, and only missed by who wants it.
        found: What was seen.
        cost: What is lost.
        hint: The next step.
    """

    name: str
    state: State
    found: str
    cost: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis(_Table):
    """All findings about one cluster.

    Attributes:
        context: Context of the kubeconfig.
        findings: The most basic first.
        denied: Permissions that are missing, as ``verb resource (place)``.
        namespaces: (place, namespace) that were asked about.
    """

    context: str
    findings: tuple[Finding, ...]
    denied: tuple[str, ...] = ()
    namespaces: tuple[tuple[Place, str], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is missing that is needed."""
        return all(one.state != "missing" for one in self.findings)

    def rows(self) -> list[tuple[str, str]]:
        """Return one row a finding, with what it costs and the next step."""
        return [
            (one.name, "; ".join(text for text in (f"{one.state}: {one.found}", one.cost, one.hint) if text))
            for one in self.findings
        ]


def diagnose(*, context: str = "", app: App | None = None, current: Settings | None = None) -> Diagnosis:
    """Look at a cluster behind a context of the kubeconfig.

    Args:
        context: Its name; empty: the setting, else the kubeconfig's current context.
        app: Whose namespace the permissions are asked for; default: the sample application.
        current: Settings in force.

    Returns:
        Findings; an API that cannot be used is the only one then.
    """
    target = app or App()
    current = current or settings()
    chosen = current.model_copy(update={"provider": "existing", "context": context or current.context})
    try:
        platform = Existing(chosen).guess()
        seen = access.preflight(platform)
    except PlatformError as error:
        failed = Finding("Kubernetes API", "missing", error.message, "nothing works without it", error.hint)
        return Diagnosis(context or current.context or "(current)", (failed,))
    return _examined(platform, chosen, target, seen)


def _examined(platform: Platform, current: Settings, app: App, seen: access.Access) -> Diagnosis:
    """Look at a cluster that answered."""
    api = kube.connect(platform)
    things = inventory.look(api)
    found, _ = endpoints.discover(current, platform)
    service, _ = inventory.prometheus_service(api)
    places: dict[Place, str] = {
        "app": app.namespace,
        "argocd": app.application_namespace(found),
        "lock": current.lease_namespace,
        "prometheus": str((service or {}).get("metadata", {}).get("namespace", "")),
    }
    reconciled_at = inventory.last_reconciled(api, found.argocd_namespace)
    parts = [inventory.argocd(things, found.argocd_namespace, reconciled_at), inventory.ingress(things)]
    parts += [inventory.metrics_server(things, api), *inventory.extras(things)]
    answers = _reviewed(api, [need for need in needs.needs() if _asked(need, places)], places)
    findings = [_version(seen), _write(platform, current), *map(_of_part, parts[:2])]
    findings += [_prometheus(found), *_addresses(found), *map(_of_part, parts[2:]), *_functions(answers, places)]
    denied = tuple(f"{need.text} ({_place(need, places)})" for need, why in answers if why)
    return Diagnosis(platform.context, tuple(findings), denied, tuple(places.items()))


def _asked(need: Need, places: dict[Place, str]) -> bool:
    """Return whether a permission matters here: asking a Service by the API needs a Service."""
    return need.place == "cluster" or bool(places[need.place])


def _reviewed(api: Kube, asked: Iterable[Need], places: dict[Place, str]) -> list[tuple[Need, str]]:
    """Ask the cluster about each permission; return why it is denied, an empty text when it is granted."""
    with ThreadPoolExecutor(_TOGETHER, thread_name_prefix="review") as pool:
        listed = list(asked)
        return list(zip(listed, pool.map(lambda need: _denied(api, need, places), listed), strict=True))


def _denied(api: Kube, need: Need, places: dict[Place, str]) -> str:
    """Return why one permission is missing."""
    resource, _, sub = need.resource.partition("/")
    attributes = {"verb": need.verb, "group": need.group, "resource": resource, "subresource": sub}
    if need.place != "cluster":
        attributes["namespace"] = places[need.place]
    body: Obj = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    try:
        status = api.create(REVIEWS, body).get("status") or {}
    except ApiError as error:
        return f"could not be asked: {error.message}"
    return "" if status.get("allowed") else str(status.get("reason") or "denied")


def _version(seen: access.Access) -> Finding:
    """Say which version answers, and as whom."""
    text = f"{seen.version} at {seen.server}, as {seen.user or 'nobody'} ({seen.credentials})"
    if seen.tested:
        return Finding("Kubernetes API", "ok", text)
    oldest, newest = ("v{}.{}".format(*release) for release in access.TESTED)
    cost = f"Argo CD is tested with {oldest} to {newest}; what is different in others is found out the hard way"
    return Finding("Kubernetes API", "degraded", text, cost, "plan an upgrade of the cluster")


def _write(platform: Platform, current: Settings) -> Finding:
    """Say whether this context may be changed."""
    if platform.context not in current.allowed_contexts:
        hint = f"""to change it: APQX_ALLOWED_CONTEXTS='["{platform.context}"]' and apqx up --write"""
        return Finding("allow-list", "optional", "not on it: for looking only", "every change is refused", hint)
    if not current.existing_write:
        return Finding("allow-list", "ok", "on it; each connection says with --write whether it may change something")
    return Finding("allow-list", "ok", "on it, and changes are allowed (existing_write)")


def _of_part(part: Part) -> Finding:
    """Turn a part into a finding."""
    if part.presence == "ok":
        return Finding(part.name, "ok", part.found)
    if part.needed:
        state: State = "degraded" if part.presence in ("degraded", "unknown") else "missing"
    else:
        state = "optional" if part.name in inventory.EXTRAS else "degraded"
    return Finding(part.name, state, part.found, part.cost, part.hint)


def _prometheus(found: Platform) -> Finding:
    """Say whether Prometheus answers, asked the way the library will ask it."""
    cost = "no golden signals, SLOs and metrics in reports; gates decide by the probe alone"
    if not found.prometheus_url:
        hint = "set APQX_PROMETHEUS_URL, for example to a port-forward: http://127.0.0.1:9090"
        return Finding("Prometheus", "degraded", "no address under which it answers", cost, hint)
    refused = endpoints.prometheus_refuses(found)
    if refused:
        return Finding(
            "Prometheus", "degraded", refused, cost, "check prometheus_url, prometheus_headers, prometheus_ca"
        )
    return Finding("Prometheus", "ok", f"answers at {found.prometheus_url}")


def _addresses(found: Platform) -> list[Finding]:
    """Say which other endpoints are known."""
    git_hint = "set APQX_GITOPS_REPO to where git pushes"
    rows = [
        ("git repository", f"{found.gitops_repo} ({found.gitops_branch})" if found.gitops_repo else "", git_hint,
         "no deploy: desired state is changed in git only"),
        ("ingress address", found.ingress_url, "set APQX_INGRESS_URL to how users come in",
         "no probe: downtime cannot be measured"),
    ]  # fmt: skip
    return [
        Finding(name, "ok", text) if text else Finding(name, "degraded", "unknown", cost, hint)
        for name, text, hint, cost in rows
    ]


def _functions(answers: list[tuple[Need, str]], places: dict[Place, str]) -> list[Finding]:
    """Say for each function of the library whether it is allowed, and which permissions are missing."""
    findings = []
    for name in needs.functions():
        mine = [(need, why) for need, why in answers if name in need.functions]
        lacking = [f"{need.text} ({_place(need, places)})" for need, why in mine if why]
        if not mine:
            continue
        if not lacking:
            findings.append(Finding(f"may: {name}", "ok", f"{len(mine)} of {len(mine)} permissions"))
            continue
        state: State = "missing" if name in needs.ESSENTIAL else "degraded"
        cost = needs.COSTS.get(name, "it is refused before anything happens")
        text = f"without {joined(lacking)}"
        findings.append(Finding(f"may: {name}", state, text, cost, "apqx doctor --rbac prints the roles to ask for"))
    return findings


def _place(need: Need, places: dict[Place, str]) -> str:
    """Name the place of a permission."""
    return "cluster" if need.place == "cluster" else f"namespace {places[need.place]}"


def rbac_text(seen: Diagnosis, *, read_only: bool = False) -> str:
    """Return the least roles as manifests to apply, with a comment that says how they are bound.

    Args:
        seen: Says which namespaces are meant; of a cluster that did not answer the conventional ones.
        read_only: Only what looking needs.
    """
    import yaml

    places = dict(seen.namespaces) or {"app": App().namespace, "argocd": "argocd", "lock": settings().lease_namespace}
    head = (
        "# Least permissions of the workbench; bind them to the user or ServiceAccount that runs it:\n"
        "#   kubectl create clusterrolebinding apqx --clusterrole=apqx --user=NAME\n"
        "#   kubectl -n NAMESPACE create rolebinding apqx --role=apqx --user=NAME   (for each Role below)\n"
    )
    return head + yaml.safe_dump_all(needs.roles(places, read_only=read_only), sort_keys=False, explicit_start=True)
