"""How is an add-on switched? By a commit that adds or removes its Applications, and a wait for what follows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from platform_lib import journal
from platform_lib.addons.look import catalogue, documents
from platform_lib.addons.plan import ROOT, plan_disable, plan_enable, wanted_text
from platform_lib.errors import SyncFailed
from platform_lib.model import App, Obj, Outcome, Platform, joined
from platform_lib.operation import operation
from platform_lib.rules import addons as rules
from platform_lib.rules import application, manifests
from platform_lib.rules.addons import Addon
from platform_lib.settings import settings
from platform_lib.wait import Deadline, now
from platform_lib.wire import argocd
from platform_lib.wire.follow import Follow, Topic
from platform_lib.wire.git import Repository, repository
from platform_lib.wire.kube import APPLICATIONS, connect

Progress = Callable[[str], None]
_LOOK_AGAIN_S = 1.0


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
    text = wanted_text(platform, tree, addon)
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
        return rules.applications(obj for obj in documents(tree / addon.switch) if manifests.kind(obj) == "Application")


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
