"""Where are Prometheus, the ingress, git and Argo CD of a cluster that others set up? Found, or said to be unknown.

A setting always wins. Else each address is taken from what the cluster says of itself: the source of an Application,
the address in the status of an Ingress, the Service of Prometheus, ``url`` of argocd-cm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from platform_lib.errors import ApiError, GuardRefused, NotFound, PlatformError
from platform_lib.model import App, Obj, Platform, joined
from platform_lib.providers import inventory
from platform_lib.rules import manifests
from platform_lib.settings import Settings
from platform_lib.wire import kube, kubeconfig, prometheus, secretvalue
from platform_lib.wire.kube import Kube

CONFIG_MAPS = "v1/configmaps"
_LOOK_S = 5.0


def first_guess(current: Settings, found: kubeconfig.Entry, file: Path) -> Platform:
    """Return the endpoints as far as settings and kubeconfig know them; asks nobody.

    Raises:
        SettingsError: A header of Prometheus would keep a secret in the endpoints file.
    """
    headers = tuple(current.prometheus_headers.items())
    secretvalue.check_headers(headers)
    return Platform(
        name=found.context,
        provider="existing",
        kubeconfig=file,
        context=found.context,
        prometheus_url=current.prometheus_url,
        ingress_url=current.ingress_url.rstrip("/"),
        gitops_repo=current.gitops_repo or current.git_url,
        home=current.home,
        gitops_branch=current.gitops_branch or "main",
        gitops_url=current.git_url or current.gitops_repo,
        argocd_namespace=current.argocd_namespace or "argocd",
        argocd_url=current.argocd_url.rstrip("/"),
        argocd_token=current.argocd_token,
        argocd_ca=current.argocd_ca,
        prometheus_headers=headers,
        prometheus_ca=current.prometheus_ca,
        writable=current.existing_write,
    )


def discover(current: Settings, first: Platform) -> tuple[Platform, list[str]]:
    """Find the endpoints that settings do not give.

    Args:
        current: Settings, which win.
        first: What ``first_guess`` returned; its cluster has answered.

    Returns:
        The endpoints, and one note for each that stays unknown, with the next step.
    """
    api, notes = kube.connect(first), list[str]()
    seen = inventory.look(api)
    namespace = current.argocd_namespace or inventory.argocd_namespace(seen, first.argocd_namespace)
    found = replace(first, argocd_namespace=namespace)
    ingresses = inventory.listed(api, inventory.INGRESSES)
    found = _with_git(found, current, api, notes)
    found = _with_ingress(found, api, ingresses, notes)
    found = _with_argocd_server(found, api, ingresses)
    return _with_prometheus(found, api, ingresses, notes), notes


def _with_git(found: Platform, current: Settings, api: Kube, notes: list[str]) -> Platform:
    """Take repository and branch from the Application's source."""
    applications = inventory.listed(api, kube.APPLICATIONS, found.argocd_namespace)
    source = _source(applications)
    if source is None:
        if not found.gitops_repo:
            notes.append(f"git: no Application in {found.argocd_namespace} names one repository; set APQX_GITOPS_REPO")
        return found
    url, revision = str(source["repoURL"]), str(source.get("targetRevision") or "HEAD")
    if revision == "HEAD" and not current.gitops_branch:
        notes.append(
            "git: the Application follows HEAD; branch main is assumed, set APQX_GITOPS_BRANCH if it is another"
        )
    branch = current.gitops_branch or ("main" if revision == "HEAD" else revision.removeprefix("refs/heads/"))
    return replace(found, gitops_repo=found.gitops_repo or url, gitops_branch=branch, gitops_url=url)


def _source(applications: list[Obj]) -> dict[str, Any] | None:
    """Return the source of the sample application, else the one that most Applications share.

    An Application with several sources has no single folder to commit to and is left out.
    """
    usable = [one for one in applications if (manifests.spec(one).get("source") or {}).get("repoURL")]
    plain = [one for one in usable if "chart" not in manifests.spec(one)["source"]]
    ours = [one for one in plain if manifests.name(one) == App().name]
    if not (ours or plain):
        return None
    common = Counter(str(manifests.spec(one)["source"]["repoURL"]) for one in ours or plain).most_common(1)[0][0]
    chosen = next(one for one in ours or plain if manifests.spec(one)["source"]["repoURL"] == common)
    return dict(manifests.spec(chosen)["source"])


def _with_ingress(found: Platform, api: Kube, ingresses: list[Obj], notes: list[str]) -> Platform:
    """Take the entry point from the status of the application's Ingress, else of any, else of Traefik's Service."""
    if found.ingress_url:
        return found
    ours = [one for one in ingresses if manifests.namespace(one) == App().namespace]
    services = inventory.listed(api, inventory.SERVICES, labels=f"{inventory.NAME}=traefik")
    url = next((url for one in (*ours, *services, *ingresses) if (url := inventory.entry_point(one))), "")
    if not url:
        notes.append("ingress: no Ingress or LoadBalancer has an address; set APQX_INGRESS_URL to how users come in")
    return replace(found, ingress_url=url)


def _with_argocd_server(found: Platform, api: Kube, ingresses: list[Obj]) -> Platform:
    """Take the address of argocd-server from its own configuration, else from an Ingress; core has none."""
    if found.argocd_url:
        return found
    try:
        config = api.find(CONFIG_MAPS, "argocd-cm", found.argocd_namespace) or {}
    except ApiError:  # the library works without it: everything goes through the Application resource
        config = {}
    told = str((config.get("data") or {}).get("url") or "").rstrip("/")
    url = told or inventory.url_through_ingress(ingresses, found.argocd_namespace, "argocd-server")
    return replace(found, argocd_url=url)


def _with_prometheus(found: Platform, api: Kube, ingresses: list[Obj], notes: list[str]) -> Platform:
    """Find an address under which Prometheus really answers: through the API server, else through an Ingress."""
    tried = [found.prometheus_url] if found.prometheus_url else []
    why = ""
    if not tried:
        service, why = inventory.prometheus_service(api)
        if service is not None:
            through = inventory.url_through_ingress(ingresses, manifests.namespace(service), manifests.name(service))
            tried = [inventory.proxied(service), *([through] if through else [])]
    refusals = []
    for url in tried:
        refused = prometheus_refuses(replace(found, prometheus_url=url))
        if not refused:
            return replace(found, prometheus_url=url)
        refusals.append(refused)
    told = found.prometheus_url
    notes.append(
        f"Prometheus: {'; '.join(refusals) or why}"
        + ("" if told else "; set APQX_PROMETHEUS_URL, for example to a port-forward: http://127.0.0.1:9090")
    )
    return found


def prometheus_refuses(platform: Platform) -> str:
    """Ask Prometheus for the number one; return why it did not answer, an empty text when it did."""
    try:
        with prometheus.connect(platform, timeout_s=_LOOK_S) as client:
            client.instant("vector(1)")
    except PlatformError as error:
        return str(error)
    return ""


def remove_argocd(platform: Platform, current: Settings, progress: Callable[[str], None]) -> None:
    """Delete the Argo CD that this workbench installed, definitions last; the namespace and what else it holds stay.

    Args:
        platform: The cluster; the guard has agreed.
        current: Settings, for the pinned manifests.
        progress: Called with one line a step.

    Raises:
        GuardRefused: Applications are there: deleting their definition would delete what they deployed.
        Forbidden: It may not be seen whether there are any.
    """
    from platform_lib.providers.bootstrap import argocd, release
    from platform_lib.providers.bootstrap.apply import Applier

    api = kube.connect(platform)
    left = [manifests.name(one) for one in _every_application(api)]
    if left:
        raise GuardRefused(
            f"Argo CD of {platform.context} - {len(left)} Applications are there ({joined(left[:5])}), expected none",
            hint="delete them first, or run apqx down without --purge and leave Argo CD where it is",
        )
    here = argocd.installed(platform)
    flavour = "core" if here is not None and here.core else "full"
    objects = argocd.desired(release.read(current, release.PINNED[flavour]), current)
    applier, deleted = Applier(api), 0
    for obj in reversed(objects):
        path = None if manifests.kind(obj) == "Namespace" else applier.path(obj)
        if path is None:
            continue
        try:
            api.json("DELETE", path)
            deleted += 1
        except NotFound:
            continue
    progress(f"{deleted} objects of Argo CD deleted; namespace {argocd.NAMESPACE} stays")


def _every_application(api: Kube) -> list[Obj]:
    """Return the Applications of all namespaces; what may not be looked at is an error here, never "none"."""
    try:
        return api.list(kube.APPLICATIONS)[0]
    except NotFound:  # their kind is gone, so they are
        return []
