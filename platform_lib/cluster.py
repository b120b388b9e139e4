"""How does a person bring a platform up, look at it, connect to it and take it down?

Chooses the provider and renders what it did. How a cluster comes and goes is the provider's business; what
happens on it is that of ``deploy``, ``sync``, ``rollout`` and ``rollback``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from platform_lib import applications, journal, providers
from platform_lib.errors import GuardRefused, InvalidInput, PlatformError
from platform_lib.model import App, Outcome, Plan, Platform, Step, _Table
from platform_lib.operation import operation
from platform_lib.providers import state
from platform_lib.providers.base import Named, Provider, Release
from platform_lib.settings import settings
from platform_lib.wait import until
from platform_lib.wire import access, kube, manifest_edit

Progress = Callable[[str], None]


def _silent(_line: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class PlatformStatus(_Table):
    """What runs, how well, and where.

    Attributes:
        name: Cluster name.
        state: ``up``, ``degraded`` (something is not as it should be) or ``down``.
        components: (name, state and restarts) of every process or container.
        nodes: (name, condition).
        apps: (name, sync and health).
        urls: (what, where) for a person.
    """

    name: str
    state: str
    components: tuple[tuple[str, str], ...] = ()
    nodes: tuple[tuple[str, str], ...] = ()
    apps: tuple[tuple[str, str], ...] = ()
    urls: tuple[tuple[str, str], ...] = ()

    def rows(self) -> list[tuple[str, str]]:
        """Return one row for each thing."""
        rows = [("platform", f"{self.name}: {self.state}")]
        rows += [(f"node {name}", text) for name, text in self.nodes]
        rows += [(f"app {name}", text) for name, text in self.apps]
        rows += [(f"process {name}", text) for name, text in self.components]
        return rows + [(what, where) for what, where in self.urls]


def _not_up(_platform: Platform, _app: App | None, _facts: Mapping[str, Any]) -> str:
    """Say why a platform that was brought up no longer is."""
    seen = status().state
    return "" if seen == "up" else f"the platform is {seen}"


def _not_gone(_platform: Platform, _app: App | None, _facts: Mapping[str, Any]) -> str:
    """Say what is left of a platform that was taken down."""
    return ", ".join(_last_taken_down().left_behind())


_taken_down: list[Provider] = []
"""The provider of the last ``down`` of this process; its endpoints file is gone by then."""


def _last_taken_down() -> Provider:
    """Return whose remains to look for."""
    return _taken_down[-1] if _taken_down else providers.recorded()


@operation("up", still=_not_up, locked=False, connects=True)
def up(
    *,
    provider: str | None = None,
    context: str = "",
    write: bool = False,
    install: Sequence[str] = (),
    merge_kubeconfig: bool = False,
    timeout_s: float | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Bring the platform up and wait for the application's first answer; a second call changes nothing.

    Args:
        provider: Who runs the cluster; None or empty: the setting, else what is up, else ``embedded``.
        context: Provider existing: context of the kubeconfig; empty: the setting, else the current one.
        write: Provider existing: let the cluster be changed; its context must be on the allow-list too.
        install: Provider existing: what to install where it is missing (``argocd``).
        merge_kubeconfig: Also add the cluster to the user's own kubeconfig, where the provider can.
        timeout_s: Deadline for everything in seconds; default: the provider's setting.
        progress: Called with one line a stage.

    Returns:
        Outcome with the stages; figure ``time_to_first_200_s`` when something was started.

    Raises:
        BootstrapFailed: A stage failed; what was started has been ended again.
        UndoFailed: A stage failed, and what was started could not be ended.
        InvalidInput, GuardRefused, ToolMissing, UnsupportedSystem, Locked: Nothing was started.
    """
    found = _free_for(providers.chosen(provider, context=context, write=write, install=install))
    _refuse_merge(found, merge_kubeconfig)
    outcome = found.up(timeout_s=timeout_s, progress=progress or _silent)
    if merge_kubeconfig:
        found.merge_kubeconfig()
    _note("up", outcome)
    return outcome


def _free_for(wanted: Provider) -> Provider:
    """Refuse a second platform in one state folder: its endpoints, lock and record belong to one."""
    there = providers.recorded()
    if there.platform.provider != wanted.platform.provider and there.present():
        raise InvalidInput(
            f"state folder {wanted.settings.home} - holds {there.platform.provider} platform {there.platform.name}, "
            f"expected none or one of {wanted.platform.provider}",
            hint="take it down: apqx down; or set APQX_HOME to another folder",
        )
    return wanted


def _refuse_merge(found: Provider, wanted: bool) -> None:
    """Refuse to merge a kubeconfig where the provider cannot; asks nobody."""
    if wanted and (why := found.cannot("merge_kubeconfig")):
        raise InvalidInput(
            f"merging the kubeconfig of {found.platform.name} - refused: {why}", hint="leave out --merge-kubeconfig"
        )


def plan_up(
    *,
    provider: str | None = None,
    context: str = "",
    write: bool = False,
    install: Sequence[str] = (),
    merge_kubeconfig: bool = False,
) -> Plan:
    """Return what ``up`` would do now; arguments as there.

    Raises:
        InvalidInput: There is no such provider, it cannot do what was asked, or another one is up in this state folder.
    """
    found = _free_for(providers.chosen(provider, context=context, write=write, install=install))
    _refuse_merge(found, merge_kubeconfig)
    plan = found.plan_up()
    if not merge_kubeconfig:
        return plan
    merge = Step("merge", f"context {found.platform.context}", "into your own kubeconfig; its current context stays")
    return replace(plan, steps=(*plan.steps, merge))


@operation("down", still=_not_gone, connects=True)
def down(*, purge: bool = False, confirm: str | None = None, progress: Progress | None = None) -> Outcome:
    """Destroy the cluster: no process, port or mount stays; git and images stay unless ``purge``.

    Args:
        purge: Also delete the git repository and the images.
        confirm: Must equal the cluster's name where it is given; runbooks always give it.
        progress: Called with one line a stage.

    Raises:
        GuardRefused: ``confirm`` names another cluster.
        UndoFailed: Something could not be ended.
        Locked: Another ``up`` or ``down`` is at it.
    """
    found = providers.recorded()
    if confirm is not None and confirm != found.platform.name:
        raise GuardRefused(
            f"platform {found.platform.name} - confirmed as {confirm!r}, expected its name",
            hint=f"pass confirm={found.platform.name}",
        )
    outcome = found.down(purge=purge, progress=progress or _silent)
    _taken_down[:] = [found]
    if not purge:  # a record of it would be the first of a new record
        _note("down", outcome)
    return outcome


def plan_down(*, purge: bool = False) -> Plan:
    """Return what ``down`` would do now."""
    return providers.recorded().plan_down(purge=purge)


def build_image(platform: Platform, *, version: str, image: str = "") -> Release:
    """Build the project's application and bring the image where this platform pulls it from.

    Args:
        platform: Where it will run: its provider says which engine builds and which registry receives.
        version: What the application reports and its pods are labelled with.
        image: Reference by digest of an image that is there already; then nothing is built.

    Returns:
        A value with ``reference`` (by digest, as the cluster pulls it) and ``version``.

    Raises:
        InvalidInput: The version cannot be used, or this provider builds no images.
        ImageError, ToolMissing: It could not be built or pushed.
    """
    if image:
        manifest_edit.check_release(image, version)
        return Named(image, version)
    return providers.of(platform).build_release(version)


def connect(name: str | None = None) -> Platform:
    """Return the endpoints of the platform that is up.

    Args:
        name: Expected cluster name; any when None.

    Raises:
        Unreachable: None is up, or an existing cluster does not answer.
        GuardRefused: Another one is up.
        SettingsError, Forbidden, UnsupportedSystem: An existing cluster cannot be used any more; see ``wire.access``.
    """
    platform = state.read_endpoints(settings().home)
    if name is not None and name != platform.name:
        raise GuardRefused(
            f"platform {name} - the one that is up is {platform.name}",
            hint="set APQX_HOME to the other one's state folder",
        )
    if platform.provider == "existing":  # others run it: since we last looked anything may have changed
        access.preflight(platform)
    return platform


def status() -> PlatformStatus:
    """Look at the platform: processes, nodes, applications and addresses; never raises for a dead platform."""
    found = providers.recorded()
    platform = found.platform
    if not found.present():
        return PlatformStatus(platform.name, "down")
    components: tuple[tuple[str, str], ...] = ()
    try:
        components, healthy = found.components(), found.whole()
        nodes, apps = _nodes(platform), _apps(platform)
    except PlatformError as error:
        return PlatformStatus(platform.name, f"degraded: {error.message}", components)
    healthy = healthy and all(text == "Ready" for _, text in nodes)
    healthy = healthy and bool(apps) and all(text == "Synced, Healthy" for _, text in apps)
    return PlatformStatus(platform.name, "up" if healthy else "degraded", components, nodes, apps, urls(platform))


def verify(platform: Platform, *, timeout_s: float = 30.0, progress: Progress | None = None) -> PlatformStatus:
    """Check that the platform is whole, from the outside: processes, nodes, applications, one answer.

    Args:
        platform: What to check.
        timeout_s: How long it may take until everything is as it should be: right after ``up`` the last
            Applications still settle.
        progress: Called with each new observation.

    Raises:
        WaitTimeout: Something is not as it should be; says what.
        PlatformError: The application does not answer.
    """

    def whole() -> tuple[PlatformStatus | None, str]:
        seen = status()
        wrong = [f"{n} {t}" for n, t in (*seen.nodes, *seen.apps) if t not in ("Ready", "Synced, Healthy")]
        text = f"platform {seen.name}: {seen.state} {', '.join(wrong)}".rstrip()
        return (seen if seen.state == "up" else None), text

    seen = until(
        whole, timeout_s=timeout_s, wanted=f"platform {platform.name} up", hint="see apqx status", progress=progress
    )
    answer = providers.of(platform).ask()
    if answer != 200:
        raise PlatformError(f"http://{App().host}/ - answered {answer}, expected 200", hint="see apqx logs sample-app")
    return seen


def verify_gone() -> None:
    """Check that nothing of the platform is left: no recorded process, no pod, no port, no mount.

    Raises:
        PlatformError: Something is left; says what.
    """
    found = _last_taken_down()
    left = found.left_behind()
    if left:
        raise PlatformError(f"platform {found.platform.name} - left behind: {', '.join(left)}", hint="run apqx down")


def urls(platform: Platform) -> tuple[tuple[str, str], ...]:
    """Return where a person looks at a platform."""
    port = urlsplit(platform.ingress_url).port
    scheme = urlsplit(platform.ingress_url).scheme or "http"
    application = f"{scheme}://{App().host}{f':{port}' if port else ''}/" if platform.ingress_url else ""
    rows = (
        ("application", application),
        ("prometheus", platform.prometheus_url),
        ("kubeconfig", str(platform.kubeconfig)),
        ("git repository", platform.gitops_repo),
    )
    return tuple((what, where or "unknown") for what, where in rows)


def _nodes(platform: Platform) -> tuple[tuple[str, str], ...]:
    """Return every node with its condition."""
    nodes, _ = kube.connect(platform).list(kube.NODES)
    return tuple((node["metadata"]["name"], _ready_text(node)) for node in nodes)


def _ready_text(node: dict[str, Any]) -> str:
    """Return ``Ready`` or why not."""
    for condition in node.get("status", {}).get("conditions") or ():
        if condition.get("type") == "Ready":
            good = condition.get("status") == "True"
            return "Ready" if good else f"not ready ({condition.get('reason', condition.get('status'))})"
    return "not ready (no condition)"


def _apps(platform: Platform) -> tuple[tuple[str, str], ...]:
    """Return every application with sync and health; of somebody else's cluster those that are known here, if any."""
    found, _ = kube.connect(platform).list(kube.APPLICATIONS, platform.argocd_namespace)
    if platform.provider == "existing":
        ours = {applications.named(name).application_name for name in applications.known()}
        found = [app for app in found if app["metadata"]["name"] in ours] or found
    return tuple(
        (
            app["metadata"]["name"],
            f"{app.get('status', {}).get('sync', {}).get('status', 'Unknown')}, "
            f"{app.get('status', {}).get('health', {}).get('status', 'Unknown')}",
        )
        for app in found
    )


def _note(kind: str, outcome: Outcome) -> None:
    """Put the outcome into the journal of this run, if there is one."""
    journal.current().append("cluster", kind, "platform", ok=outcome.ok, message=outcome.message)
