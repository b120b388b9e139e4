"""Which optional parts does a platform have, and how are they switched? By a commit, like everything else.

On means that ``gitops/apps`` of the platform's repository holds the add-on's Applications, which the root Application
reads anyway; neither bootstrap knows of add-ons. Whether a switch may be turned is decided in ``rules.addons``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from platform_lib import journal
from platform_lib.errors import GuardRefused, InvalidInput, NotFound, SyncFailed
from platform_lib.model import App, Obj, Outcome, Plan, Platform, Step, _Table, joined
from platform_lib.operation import operation
from platform_lib.rules import addons as rules
from platform_lib.rules import application, manifests
from platform_lib.rules.addons import Addon, Secret
from platform_lib.settings import settings
from platform_lib.wait import Deadline, now
from platform_lib.wire import argocd
from platform_lib.wire.follow import Follow, Topic
from platform_lib.wire.git import Repository, repository
from platform_lib.wire.kube import APPLICATIONS, DEPLOYMENTS, connect

Progress = Callable[[str], None]
ROOT = "root"
"""Name of the Application that reads ``gitops/apps``; both bootstraps call it so."""
_LOOK_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Seen(_Table):
    """What is known of one add-on on one platform.

    Attributes:
        addon: Its entry of the catalogue.
        enabled: Whether git asks for it.
        unsupported: Why this platform cannot have it; empty when it can.
        applications: (name, where it stands) of each; empty while it is off.
        cores, memory_bytes: What it asks for, one replica of each part and one node.
    """

    addon: Addon
    enabled: bool
    unsupported: str
    applications: tuple[tuple[str, str], ...]
    cores: float
    memory_bytes: float

    @property
    def cost(self) -> str:
        """Return the requests for a person."""
        return f"{self.cores * 1000:.0f}m cpu, {self.memory_bytes / 2**20:.0f} Mi" if self.cores else "none"

    @property
    def state(self) -> str:
        """Return on, off or why not."""
        return "on" if self.enabled else f"not here: {self.unsupported}" if self.unsupported else "off"

    def rows(self) -> list[tuple[str, str]]:
        """Return purpose, state, cost and one row per Application."""
        rows = [(self.addon.name, self.state), ("purpose", self.addon.purpose), ("asks for", self.cost)]
        rows += [("instead", self.addon.instead)] if self.unsupported else []
        return rows + [(f"application {name}", seen) for name, seen in self.applications]


def catalogue() -> dict[str, Addon]:
    """Return every add-on the project knows.

    Raises:
        InvalidInput: The catalogue is absent or wrong.
    """
    path = settings().project_dir / rules.CATALOGUE
    if not path.is_file():
        raise InvalidInput(f"{rules.CATALOGUE} - absent, expected in the project", hint="set APQX_PROJECT_DIR")
    return rules.parse(path.read_text())


def look(platform: Platform) -> list[Seen]:
    """Return every add-on with what git and the cluster say of it; nothing is changed.

    Raises:
        GitError, Unreachable: Git or the cluster cannot be asked.
    """
    known = catalogue()
    with repository(platform).current() as tree:
        on = {name: _documents(tree / addon.switch) for name, addon in known.items() if (tree / addon.switch).is_file()}
    live = {manifests.name(obj): obj for obj in connect(platform).list(APPLICATIONS, platform.argocd_namespace)[0]}
    return [_seen(platform, addon, on.get(addon.name), live) for addon in known.values()]


def _seen(platform: Platform, addon: Addon, documents: Sequence[Obj] | None, live: dict[str, Obj]) -> Seen:
    """Join the catalogue, the switch in git and the Applications of the cluster."""
    names = rules.applications(documents or [])
    said = tuple((name, application.describe(live[name]) if name in live else "not there yet") for name in names)
    cores, size = rules.requests(_all_documents(settings().project_dir, addon))
    return Seen(addon, documents is not None, rules.unsupported(addon, platform.provider), said, cores, size)


def _documents(path: Path) -> list[Obj]:
    """Return the objects of one file."""
    return manifests.parse_manifests(path.read_text(), path.name)


def _all_documents(root: Path, addon: Addon) -> list[Obj]:
    """Return the objects of an add-on's own folder."""
    paths = sorted((root / rules.FOLDER / addon.name).rglob("*.yaml"))
    return [obj for path in paths if path.name != "kustomization.yaml" for obj in _documents(path)]


def _enabled(tree: Path, known: Iterable[Addon]) -> list[str]:
    """Return the names of the add-ons that are on in a work tree."""
    return [addon.name for addon in known if (tree / addon.switch).is_file()]


def plan_enable(platform: Platform, *, addon: str) -> Plan:
    """Say what switching an add-on on would change.

    Args:
        platform: Where.
        addon: Name in the catalogue.

    Returns:
        A plan without steps when git has exactly these Applications already.

    Raises:
        InvalidInput: There is no such add-on.
        GuardRefused: The platform cannot have it, another add-on is needed first, or a Secret is absent.
    """
    known = catalogue()
    wanted = rules.one(known, addon)
    reason = rules.unsupported(wanted, platform.provider)
    if reason:
        raise GuardRefused(f"add-on {addon} - {reason}", hint=f"instead: {wanted.instead}")
    require_root(platform)
    with repository(platform).current() as tree:
        on, same = _enabled(tree, known.values()), _switched_on(platform, tree, wanted)
        text = _wanted_text(platform, tree, wanted)
    title = f"enable add-on {addon}"
    if same:
        return Plan(title, inputs={"addon": addon})
    problems = rules.why_not_enable(wanted, on, _missing(platform, wanted))
    if problems:
        raise GuardRefused(f"add-on {addon} - {joined(problems)}", hint="then enable it again")
    names = rules.applications(manifests.parse_manifests(text, wanted.source))
    return Plan(
        title,
        (
            Step("commit", wanted.switch, f"its Applications: {joined(names)}"),
            Step("push", platform.gitops_branch, "Argo CD reads desired state from this branch only"),
            Step("refresh", f"Application/{ROOT}", "look at git now instead of at the next poll"),
            Step("wait", joined(names), "until each is Synced and Healthy"),
        ),
        {"addon": addon},
    )


def _missing(platform: Platform, addon: Addon) -> list[Secret]:
    """Return the Secrets that are absent or lack a key; values are not looked at."""
    found = []
    for secret in rules.secrets(addon):
        obj = connect(platform).find("v1/secrets", secret.name, secret.namespace)
        if obj is None or not set(secret.keys) <= set(obj.get("data") or {}):
            found.append(secret)
    return found


def _wanted_text(platform: Platform, tree: Path, addon: Addon) -> str:
    """Return the Applications as the repository's own copy has them, else as the project does."""
    own = tree / addon.source
    source = own if own.is_file() else settings().project_dir / addon.source
    return rules.localised(source.read_text(), url=platform.gitops_url, branch=platform.gitops_branch)


def _switched_on(platform: Platform, tree: Path, addon: Addon) -> bool:
    """Tell whether the repository asks for exactly this."""
    switch = tree / addon.switch
    return switch.is_file() and switch.read_text() == _wanted_text(platform, tree, addon)


def plan_disable(platform: Platform, *, addon: str) -> Plan:
    """Say what switching an add-on off would remove, and what would stay.

    Raises:
        InvalidInput: There is no such add-on.
        GuardRefused: Another add-on needs it, or nobody would serve afterwards.
    """
    known = catalogue()
    wanted = rules.one(known, addon)
    require_root(platform)
    with repository(platform).current() as tree:
        on = _enabled(tree, known.values())
        names = rules.applications(_documents(tree / wanted.switch)) if addon in on else []
    title = f"disable add-on {addon}"
    if addon not in on:
        return Plan(title, inputs={"addon": addon})
    problems = rules.why_not_disable(wanted, known, on, _ready(platform, wanted))
    if problems:
        raise GuardRefused(f"add-on {addon} - {joined(problems)}", hint="then disable it again")
    return Plan(
        title,
        (
            Step("commit", wanted.switch, "removed"),
            Step("push", platform.gitops_branch, "Argo CD reads desired state from this branch only"),
            Step("refresh", f"Application/{ROOT}", "look at git now instead of at the next poll"),
            Step("wait", joined(reversed(names)), "until each is gone with everything it made"),
            *(Step("stays", item, "is not removed by this") for item in wanted.stays),
        ),
        {"addon": addon},
    )


def _ready(platform: Platform, addon: Addon) -> int | None:
    """Return the ready pods of the Deployment that an add-on takes over."""
    namespace, _, name = addon.takes_over.partition("/")
    found = connect(platform).find(DEPLOYMENTS, name, namespace) if name else None
    return None if found is None else int(manifests.status(found).get("readyReplicas") or 0)


@operation("addon enable")
def enable(
    platform: Platform, *, addon: str, timeout_s: float = 600.0, wait: bool = True, progress: Progress | None = None
) -> Outcome:
    """Switch an add-on on by a commit and wait until all of it is healthy.

    What is on already is only waited for. When the deadline passes the commit stays: Argo CD goes on, and
    ``disable`` takes it back.

    Args:
        platform: Where.
        addon: Name in the catalogue.
        timeout_s: Deadline in seconds; images of a first start take minutes.
        wait: False returns after the push and the refresh.
        progress: Called with each new observation.

    Raises:
        InvalidInput, GuardRefused: See ``plan_enable``.
        GitError: The push was refused; nothing was changed.
        SyncFailed: An Application cannot get there; named with its message.
        WaitTimeout: The deadline passed; carries what was seen last.
    """
    plan_enable(platform, addon=addon)
    wanted, started, repo = catalogue()[addon], now(), repository(platform)
    commit = repo.change(partial(_switch_on, platform, wanted))
    names = _names(repo, wanted)
    _said(wanted, "enable", commit)
    _root_looks(platform, commit)
    if wait:
        judge = partial(_judge, since=started)
        _follow(platform, names, judge, timeout_s, f"add-on {addon} up", progress)
    return _outcome("addon enable", started, commit, f"{addon} {'is up' if wait else 'is committed'}", names, ())


def _switch_on(platform: Platform, addon: Addon, tree: Path) -> str | None:
    """Write the add-on's files into a work tree; its folder only where the repository has none of its own."""
    text = _wanted_text(platform, tree, addon)
    for folder in (f"{rules.FOLDER}/{addon.name}", *addon.folders):
        if not (tree / folder).exists():
            shutil.copytree(settings().project_dir / folder, tree / folder)
    switch = tree / addon.switch
    if switch.is_file() and switch.read_text() == text:
        return None
    switch.write_text(text)
    return f"Enable add-on {addon.name}\n\n{addon.purpose}"


def _names(repo: Repository, addon: Addon) -> list[str]:
    """Return the Applications that git asks for."""
    with repo.current() as tree:
        return rules.applications(
            obj for obj in _documents(tree / addon.switch) if manifests.kind(obj) == "Application"
        )


@operation("addon disable")
def disable(
    platform: Platform, *, addon: str, timeout_s: float = 300.0, wait: bool = True, progress: Progress | None = None
) -> Outcome:
    """Switch an add-on off by a commit and wait until its Applications and all they made are gone.

    Args:
        platform: Where.
        addon: Name in the catalogue.
        timeout_s: Deadline in seconds.
        wait: False returns after the push and the refresh.
        progress: Called with each new observation.

    Returns:
        The message says what stays.

    Raises:
        InvalidInput, GuardRefused: See ``plan_disable``.
        GitError: The push was refused; nothing was changed.
        WaitTimeout: The deadline passed; carries what was seen last.
    """
    plan_disable(platform, addon=addon)
    wanted, started, repo = catalogue()[addon], now(), repository(platform)
    with repo.current() as tree:
        on = (tree / wanted.switch).is_file()
    names = _names(repo, wanted) if on else []
    commit = repo.change(partial(_switch_off, wanted))
    _said(wanted, "disable", commit)
    _root_looks(platform, commit)
    if wait and names:
        _follow(platform, names, _gone, timeout_s, f"add-on {addon} gone", progress)
    stays = wanted.stays if commit else ()
    return _outcome("addon disable", started, commit, f"{addon} {'is gone' if wait else 'is removed'}", names, stays)


def _switch_off(addon: Addon, tree: Path) -> str | None:
    """Remove the switch from a work tree."""
    if not (tree / addon.switch).is_file():
        return None
    (tree / addon.switch).unlink()
    return f"Disable add-on {addon.name}"


def _root_looks(platform: Platform, commit: str | None) -> None:
    """Make the root Application look at git; a sync of an older commit that waits for a wave is ended for it.

    Where Argo CD judges the health of Applications, the root's own sync waits for each wave of an add-on. One whose
    chart cannot be fetched would then hold back every later switch, the one that takes it back included.
    """
    root = argocd.read(platform, ROOT)
    running = application.operation_state(root).get("phase") == "Running"
    if commit and running and application.synced_revision(root) != commit:
        argocd.terminate(platform, App(ROOT))
    argocd.request_refresh(platform, ROOT)


def _follow(
    platform: Platform,
    names: Sequence[str],
    judge: Callable[[Obj | None], application.Judgement],
    timeout_s: float,
    wanted: str,
    progress: Progress | None,
) -> None:
    """Watch Applications until each is as wanted."""
    deadline, said = Deadline(timeout_s), ""
    with Follow(connect(platform), [Topic(APPLICATIONS, platform.argocd_namespace)]) as view:
        while True:
            found = {name: judge(view.find(APPLICATIONS, name)) for name in names}
            seen = joined((f"{name}: {one.seen}" for name, one in found.items() if not one.done), empty="all done")
            seen += f" ({view.trouble()})" if view.trouble() else ""
            if seen != said and progress is not None:
                progress(seen)
            said = seen
            failed = next(((name, one.failed) for name, one in found.items() if one.failed), None)
            if failed is not None:
                name, why = failed
                raise SyncFailed(f"{name} - {why}, expected Synced and Healthy", hint="see argocd app get", app=name)
            if all(one.done for one in found.values()):
                return
            if deadline.expired():
                raise deadline.fail(wanted, said, hint="Argo CD goes on; look again with apqx addon list")
            view.wait(min(_LOOK_AGAIN_S, max(deadline.left_s, 0.01)))


def _judge(obj: Obj | None, *, since: datetime) -> application.Judgement:
    """Judge one Application; any revision counts, because it did not exist before the commit that made it."""
    found = application.judge(obj, wanted=bool, since=since)
    # What it builds on may not be there yet: its policy retries without end, so only the deadline ends this.
    retries = obj is not None and (manifests.spec(obj).get("syncPolicy") or {}).get("retry", {}).get("limit") == -1
    return found._replace(failed="") if retries else found


def _gone(obj: Obj | None) -> application.Judgement:
    """Judge whether an Application is gone."""
    if obj is None:
        return application.Judgement(True, "", "gone")
    left = len(manifests.status(obj).get("resources") or [])
    state = f"being deleted, {left} resources known" if manifests.deleting(obj) else "not deleted yet"
    return application.Judgement(False, "", state)


def _said(addon: Addon, what: str, commit: str | None) -> None:
    """Put a switch into the record."""
    if commit:
        journal.current().append("git", "commit", addon.name, cause=f"addon {what}", commit=commit)


def _outcome(
    name: str, started: datetime, commit: str | None, said: str, names: Sequence[str], stays: Sequence[str]
) -> Outcome:
    """Build the outcome."""
    message = said if commit else f"{said} already; nothing was committed"
    message += f"; stays: {joined(stays)}" if stays else ""
    figures: dict[str, Any] = {"changed": commit is not None, "applications": len(names)}
    return Outcome(name, True, started, now(), figures | ({"commit": commit} if commit else {}), message=message)


def require_root(platform: Platform) -> None:
    """Make sure that somebody reads ``gitops/apps``.

    Raises:
        NotFound: There is no root Application.
    """
    try:
        argocd.read(platform, ROOT)
    except NotFound as error:
        raise NotFound(
            f"Application {ROOT} - absent in namespace {platform.argocd_namespace}, add-ons are read through it",
            hint="kubectl apply -f gitops/bootstrap/k3d/root.yaml, or apqx up",
            status=404,
            reason="NotFound",
        ) from error
