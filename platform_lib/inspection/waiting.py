"""Has an application reached *this* commit, and stayed well for a while? With a deadline, and the reason when not.

``sync.wait_synced`` knows when a commit is reached. Right after a sync everything looks healthy for a moment, so this
wait goes on until the application was well without a break for ``settle_s`` seconds; at the deadline it says which
object is in the way.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from platform_lib import sync
from platform_lib.errors import PlatformError, SyncFailed, WaitTimeout
from platform_lib.inspection.blockers import explain
from platform_lib.inspection.rendering import resolve
from platform_lib.model import App, AppState, Outcome, Platform
from platform_lib.rules import application as rules
from platform_lib.wait import Deadline, now
from platform_lib.wire.git import repository
from platform_lib.wire.kube import APPLICATIONS, PODS

Progress = Callable[[str], None]
_LEAST_S = 0.01


def wait(
    platform: Platform,
    app: App,
    *,
    revision: str,
    timeout_s: float = 120.0,
    settle_s: float = 0.0,
    progress: Progress | None = None,
) -> Outcome:
    """Wait until an application runs a commit and has been well for a while.

    Args:
        platform: Where.
        app: What.
        revision: Commit, branch or tag; a later commit that changes its folder means superseded, which is an error.
        timeout_s: Deadline of the whole wait in seconds.
        settle_s: So many seconds it must be Synced, Healthy and without a new restart, without a break.
        progress: Called with each new observation.

    Returns:
        Figures ``commit``, ``reached_s`` (until the commit was reached first), ``settled_s``, ``breaks`` (how often
        it was well and then not).

    Raises:
        InvalidInput: There is no such revision.
        SyncFailed: It failed for good; names the object at fault.
        WaitTimeout: The deadline passed; says what is in the way.
    """
    started, deadline, said = now(), Deadline(timeout_s), progress or (lambda _line: None)
    commit = resolve(repository(platform), revision)
    breaks: list[str] = []
    reached_at: datetime | None = None
    while True:
        try:
            state = sync.wait_synced(
                platform, app, revision=commit, timeout_s=max(deadline.left_s, _LEAST_S), since=started, progress=said
            )
        except (SyncFailed, WaitTimeout) as error:
            raise _with_reason(platform, app, error) from error
        reached_at = reached_at or now()
        broken = _settle(platform, app, state, settle_s, deadline, said)
        if not broken:
            return _outcome(app, commit, started, reached_at, settle_s, len(breaks))
        if deadline.expired():
            wanted = f"{app.name} at {commit[:7]} well for {settle_s:g} s"
            before = f"; {len(breaks)} times it was not, the last time: {breaks[-1]}" if breaks else ""
            raise _with_reason(platform, app, deadline.fail(wanted, broken + before))
        breaks.append(broken)
        said(f"was well and is not any more: {broken}")


def _outcome(app: App, commit: str, started: datetime, reached: datetime, settle_s: float, breaks: int) -> Outcome:
    """Build the outcome."""
    figures = {
        "commit": commit,
        "reached_s": round((reached - started).total_seconds(), 3),
        "settled_s": settle_s,
        "breaks": breaks,
    }
    said = f" and was well for {settle_s:g} s" if settle_s else ""
    return Outcome("wait", True, started, now(), figures=figures, message=f"{app.name} runs {commit[:7]}{said}")


def _settle(platform: Platform, app: App, before: AppState, settle_s: float, deadline: Deadline, said: Progress) -> str:
    """Watch an application for a while; return what broke, empty when it stayed well."""
    if settle_s <= 0:
        return ""
    window = Deadline(settle_s)
    said(f"reached; watching for {settle_s:g} s")
    with sync.follow(platform, app) as view:
        while not window.expired():
            state = rules.app_state(
                app.name, view.find(APPLICATIONS, app.application_name), None, view.items(PODS), now()
            )
            broken = f"cannot be seen: {view.trouble()}" if view.trouble() else broken_by(state, before)
            if broken:
                return broken
            if deadline.expired():
                return f"well, but only for {window.waited_s:.1f} of {settle_s:g} s"
            view.wait(max(min(window.left_s, deadline.left_s), _LEAST_S))
    return ""


def broken_by(state: AppState, before: AppState) -> str:
    """Say what is not well any more; empty when all is.

    Args:
        state: The application now.
        before: The application when it was well.
    """
    restarts = {pod.name: pod.restarts for pod in before.pods}
    # What is kept on purpose (Prune=false) leaves an application OutOfSync that was well all the same.
    if state.sync_status not in ("Synced", before.sync_status) or state.health_status != "Healthy":
        return f"{state.sync_status}, {state.health_status}"
    if state.revision != before.revision:
        return f"Argo CD went on to {state.revision[:7]}"
    for pod in (one for one in state.pods if one.phase != "Terminating"):
        if pod.restarts > restarts.get(pod.name, 0):
            return f"pod {pod.name} restarted ({pod.reason or 'runs again'})"
        if pod.reason:
            return f"pod {pod.name}: {pod.reason}"
    return ""


def _with_reason(platform: Platform, app: App, error: SyncFailed | WaitTimeout) -> SyncFailed | WaitTimeout:
    """Return the same error with the object that is in the way."""
    try:
        found = explain(platform, app, log_lines=0)
    except PlatformError:
        return error  # without access to the cluster, or while it is away, what the wait saw is all that is known
    headline = found.headline()
    hint = f"see apqx app explain {app.name}"
    if not headline or headline in error.message:
        return type(error)(error.message, hint=error.hint or hint, **error.context)
    return type(error)(f"{error.message}; in the way: {headline}", hint=hint, **error.context)
