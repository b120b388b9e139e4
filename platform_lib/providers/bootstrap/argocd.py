"""Is Argo CD on a cluster, which one, and what would bringing the pinned one there change?

``installed`` and ``readiness`` only look, ``plan`` asks the server by dry runs, ``install`` does what the plan
says. An Argo CD that somebody else installed, or a newer one, is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from platform_lib import guard
from platform_lib.errors import AlreadyExists, InvalidInput, NotFound, UnsupportedSystem
from platform_lib.model import Obj, Plan, Platform, Step
from platform_lib.providers.bootstrap import localsettings, release, workloads
from platform_lib.providers.bootstrap.apply import MANAGER, Applier, Change, in_namespace, label
from platform_lib.providers.bootstrap.release import Manifests
from platform_lib.rules import manifests
from platform_lib.settings import Settings
from platform_lib.wait import Deadline, until
from platform_lib.wire import kube

NAMESPACE = "argocd"
CONTROLLER = "argocd-application-controller"
CORE = (CONTROLLER, "argocd-repo-server", "argocd-redis")
"""Without these three no Application is synchronised."""
LABELS = "app.kubernetes.io/part-of=argocd"
PROJECTS = "argoproj.io/v1alpha1/appprojects"
NAMESPACES = "v1/namespaces"
_DEFINITION = "CustomResourceDefinition"
_CRDS = "apiextensions.k8s.io/v1/customresourcedefinitions"
_VERSION_LABEL = "app.kubernetes.io/version"

DEFAULT_PROJECT: Obj = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "AppProject",
    "metadata": {"name": "default", "namespace": NAMESPACE},
    "spec": {
        "sourceRepos": ["*"],
        "destinations": [{"server": "*", "namespace": "*"}],
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
    },
}
"""What argocd-server creates at its first start; a core installation has no server."""


@dataclass(frozen=True, slots=True)
class Installed:
    """The Argo CD of a cluster.

    Attributes:
        version: Tag of its application controller's image (``v3.5.1``); ``unknown`` when it names none.
        namespace: Where it runs.
        core: True without argocd-server: no REST API and no pages.
        ours: True when this workbench applied it.
    """

    version: str
    namespace: str
    core: bool
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """What a plan is made of.

    Attributes:
        kubernetes: Version of the API server.
        installed: The Argo CD that is there, or None.
        changes: What applying the pinned manifests would do; empty for an Argo CD that is left alone.
        wanted: The manifests of that release.
        default_project: Whether the AppProject ``default`` exists.
        objects: The objects to apply, in order.
    """

    kubernetes: str
    installed: Installed | None
    changes: tuple[Change, ...]
    wanted: Manifests
    default_project: bool
    objects: tuple[Obj, ...] = ()


def installed(platform: Platform) -> Installed | None:
    """Return the Argo CD of a cluster, or None; looks in every namespace."""
    connection = kube.connect(platform)
    selector = f"app.kubernetes.io/name={CONTROLLER}"
    found = [
        item for gvr in (workloads.STATEFULSETS, kube.DEPLOYMENTS) for item in connection.list(gvr, labels=selector)[0]
    ]
    if not found:
        return None
    controller = min(found, key=lambda item: manifests.namespace(item) != platform.argocd_namespace)
    namespace = manifests.namespace(controller)
    servers, _ = connection.list(kube.DEPLOYMENTS, namespace, labels="app.kubernetes.io/name=argocd-server")
    managers = {str(entry.get("manager")) for entry in manifests.metadata(controller).get("managedFields") or ()}
    return Installed(_version_of(controller), namespace, core=not servers, ours=MANAGER in managers)


def _version_of(controller: Obj) -> str:
    """Return the version that a controller's image or label names."""
    name = manifests.image_of(controller).partition("@")[0]
    tag = name.rpartition(":")[2] if ":" in name.rpartition("/")[2] else ""
    found = tag or manifests.labels(controller).get(_VERSION_LABEL, "")
    return "unknown" if not found else found if found.startswith("v") or not found[0].isdigit() else f"v{found}"


def look(platform: Platform, current: Settings, *, pinned: Mapping[str, Manifests] = release.PINNED) -> Look:
    """Read what is there and ask the server what applying the pinned release would change.

    Raises:
        UnsupportedSystem: This Kubernetes is older than the release is tested on.
        InvalidInput: The platform keeps its Applications elsewhere, or a local manifest file is another one.
        Unreachable, BootstrapFailed: The manifests cannot be had.
    """
    connection = kube.connect(platform)
    version = str(connection.json("GET", "/version").get("gitVersion", ""))
    found = installed(platform)
    wanted = pinned["core" if current.argocd_flavor == "core" and (found is None or found.core) else "full"]
    project = _default_project_exists(connection, found.namespace if found else platform.argocd_namespace)
    if found is not None and _left_alone(found, wanted):
        return Look(version, found, (), wanted, project)
    _refuse_unsupported(version, platform)
    objects = desired(release.read(current, wanted), current)
    return Look(version, found, _changes(connection, objects), wanted, project, tuple(objects))


def desired(objects: list[Obj], current: Settings) -> list[Obj]:
    """Return what is applied: the release with the settings of a local cluster, in the order of applying."""
    settings = localsettings.values(current.argocd_reconcile_s)
    whole = [namespace_object(NAMESPACE), *localsettings.applied_to(in_namespace(objects, NAMESPACE), settings)]
    return sorted(whole, key=lambda obj: (_stage(obj), manifests.apply_order(obj)))


def namespace_object(name: str, labels: Mapping[str, str] | None = None) -> Obj:
    """Return a Namespace."""
    own = {"app.kubernetes.io/part-of": "apqx"} | dict(labels or {})
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": own}}


def _stage(obj: Obj) -> int:
    """Put the namespace first, definitions second and everything else after them."""
    return {"Namespace": 0, _DEFINITION: 1}.get(manifests.kind(obj), 2)


def _refuse_unsupported(version: str, platform: Platform) -> None:
    """Refuse, before anything is read or written, a cluster that the release cannot serve."""
    why = release.unsupported(version)
    if why:
        raise UnsupportedSystem(
            why, hint="make the cluster anew with a newer Kubernetes (k3s v1.33 or later), or install Argo CD yourself"
        )
    if platform.argocd_namespace != NAMESPACE:
        raise InvalidInput(
            f"Argo CD namespace {platform.argocd_namespace!r} - the release's manifests name {NAMESPACE!r} in their "
            "role bindings, expected that one",
            hint=f"use {NAMESPACE}, or install Argo CD there yourself",
        )


def _default_project_exists(connection: kube.Kube, namespace: str) -> bool:
    """Return whether the AppProject ``default`` exists; False also when its kind is not known yet."""
    try:
        return connection.find(PROJECTS, "default", namespace) is not None
    except NotFound:
        return False


def _changes(connection: kube.Kube, objects: list[Obj]) -> tuple[Change, ...]:
    """Ask for every object what applying it would do."""
    applier = Applier(connection)
    if connection.find(NAMESPACES, NAMESPACE) is None:
        cluster_wide = [obj for obj in objects if not manifests.namespace(obj)]
        inside = [Change("create", label(obj)) for obj in objects if manifests.namespace(obj)]
        return (*filter(None, map(applier.change, cluster_wide)), *inside)
    return tuple(filter(None, map(applier.change, objects)))


def _left_alone(found: Installed, wanted: Manifests) -> str:
    """Say why an installed Argo CD is not touched; empty when it may be."""
    where = f"Argo CD {found.version} in namespace {found.namespace}"
    if not found.ours:
        return f"{where} was installed by somebody else"
    if found.namespace != NAMESPACE:
        return f"{where} is not in namespace {NAMESPACE}"
    theirs, own = _parsed(found.version), _parsed(wanted.version)
    if theirs is None:
        return f"{where} names no release"
    return f"{where} is newer than the pinned {wanted.version}" if own is not None and theirs > own else ""


def _parsed(version: str) -> Version | None:
    """Return a version that can be compared; None when the text is none."""
    try:
        return Version(version)
    except InvalidVersion:
        return None


def decide(seen: Look) -> Plan:
    """Return what would be done; pure."""
    found, wanted = seen.installed, seen.wanted
    steps: list[Step] = []
    alone = _left_alone(found, wanted) if found else ""
    title = alone + "; it is left alone" if alone else f"Argo CD {wanted.version} ({wanted.flavor})"
    if not alone and seen.changes:
        made = [change.target for change in seen.changes if change.action == "create"]
        updated = [change.target for change in seen.changes if change.action == "update"]
        action, why = _reason(found, wanted)
        steps.append(Step(action, f"Argo CD {wanted.version}", why))
        steps += [Step("create", _some(made), "not there yet")] if made else []
        steps += [Step("update", _some(updated), "differs from the release with local settings")] if updated else []
    if not seen.default_project:
        steps.append(Step("create", "AppProject/default", "the root Application belongs to it"))
    inputs = {"version": wanted.version, "sha256": wanted.sha256, "kubernetes": seen.kubernetes}
    return Plan(title, tuple(steps), inputs)


def _reason(found: Installed | None, wanted: Manifests) -> tuple[str, str]:
    """Return the verb of the plan and why."""
    if found is None:
        return "install", "none is on the cluster"
    if found.version != wanted.version:
        return "upgrade", f"{found.version} is installed"
    return "complete", "the installation differs from the release with local settings"


def _some(targets: list[str]) -> str:
    """Name the first few of a list and count the rest."""
    shown = ", ".join(targets[:3])
    return shown if len(targets) <= 3 else f"{shown} and {len(targets) - 3} more"


def plan(platform: Platform, current: Settings, *, pinned: Mapping[str, Manifests] = release.PINNED) -> Plan:
    """Return what ``install`` would do now; changes nothing. Raises what ``look`` raises."""
    return decide(look(platform, current, pinned=pinned))


def install(
    platform: Platform,
    current: Settings,
    *,
    deadline: Deadline,
    progress: Callable[[str], None],
    pinned: Mapping[str, Manifests] = release.PINNED,
) -> Plan:
    """Bring the pinned Argo CD onto the cluster; a second call changes nothing, a broken off one is resumed.

    Does not wait for its pods: see ``wait_ready``.

    Args:
        platform: The cluster.
        current: Settings: flavour, local file, interval.
        deadline: For everything.
        progress: Called with one line a step.
        pinned: Releases by flavour.

    Returns:
        What was planned and done.

    Raises:
        UnsupportedSystem, InvalidInput, Unreachable, BootstrapFailed: Found before anything was changed.
        GuardRefused: This context may not be changed.
        WaitTimeout: The definitions were not established in time.
    """
    seen = look(platform, current, pinned=pinned)
    decided = decide(seen)
    if not decided.steps:
        progress(decided.title + ("" if decided.title.endswith("left alone") else ": nothing to do"))
        return decided
    guard.check(platform, "install Argo CD")
    connection = kube.connect(platform)
    if seen.changes:
        _apply(connection, seen.objects, deadline, progress)
    if not seen.default_project:
        _create_default_project(connection, seen.installed.namespace if seen.installed else NAMESPACE)
        progress("AppProject/default created")
    return decided


def _apply(
    connection: kube.Kube, objects: tuple[Obj, ...], deadline: Deadline, progress: Callable[[str], None]
) -> None:
    """Apply namespace and definitions, wait for these, then apply the rest."""
    applier = Applier(connection)
    first = [obj for obj in objects if _stage(obj) < 2]
    rest = [obj for obj in objects if _stage(obj) == 2]
    for obj in first:
        applier.apply(obj)
    names = [manifests.name(obj) for obj in first if manifests.kind(obj) == _DEFINITION]
    _wait_established(connection, names, deadline)
    progress(f"{len(names)} definitions established")
    applier.forget()
    for obj in rest:
        if deadline.expired():
            raise deadline.fail("Argo CD's objects applied", f"{label(obj)} is next", hint="run it again: it goes on")
        applier.apply(obj)
    progress(f"{len(objects)} objects applied")


def _wait_established(connection: kube.Kube, names: list[str], deadline: Deadline) -> None:
    """Wait until the API serves the kinds of the definitions."""

    def established() -> tuple[bool | None, str]:
        missing = [n for n in names if not manifests.condition_true(connection.get(_CRDS, n), "Established")]
        return (None if missing else True), f"not established: {', '.join(missing)}"

    until(
        workloads.forgiving(established),
        timeout_s=max(deadline.left_s, 0.1),
        wanted="definitions of Argo CD established",
    )


def _create_default_project(connection: kube.Kube, namespace: str) -> None:
    """Create the AppProject ``default``, unless argocd-server was faster."""
    project = DEFAULT_PROJECT | {"metadata": {"name": "default", "namespace": namespace}}
    try:
        connection.create(PROJECTS, project, namespace)
    except AlreadyExists:
        return


def readiness(platform: Platform) -> tuple[bool, str]:
    """Return whether every workload of Argo CD is ready, and what was seen: for people, with reasons."""
    seen = look_at_workloads(platform)
    return seen.ready, seen.seen


def look_at_workloads(platform: Platform) -> workloads.Readiness:
    """Return how far the workloads of Argo CD are."""
    return workloads.readiness(kube.connect(platform), platform.argocd_namespace, labels=LABELS, wanted=CORE)


def wait_ready(platform: Platform, *, deadline: Deadline, progress: Callable[[str], None]) -> None:
    """Wait until every workload of Argo CD is ready.

    Raises:
        WaitTimeout: Not in time; names each workload that is not ready, with its pod's reason and last event.
    """

    def ready() -> tuple[bool | None, str]:
        seen = look_at_workloads(platform)
        return (True if seen.ready else None), seen.seen

    until(
        workloads.forgiving(ready),
        timeout_s=max(deadline.left_s, 0.1),
        wanted="Argo CD ready",
        hint=f"kubectl -n {platform.argocd_namespace} get pods; run it again: it goes on",
        interval_s=1.0,
        progress=progress,
    )
