"""How does an operation end that stands in the way? Terminated, looked at until it has ended, and superseded."""

from __future__ import annotations

from platform_lib import journal
from platform_lib.model import App, Obj, Platform
from platform_lib.operation import operation
from platform_lib.rules import application as rules
from platform_lib.rules.operations import blocked_by_window
from platform_lib.sync.reading import LOOK_AGAIN_S, Progress, follow
from platform_lib.wait import Deadline, monotonic
from platform_lib.wire import argocd
from platform_lib.wire.argocd import View
from platform_lib.wire.kube import APPLICATIONS


@operation("stop", git=False)
def stop(platform: Platform, app: App, *, timeout_s: float = 60.0, progress: Progress | None = None) -> bool:
    """Terminate the running operation of an application and wait until it has ended.

    What it has applied stays; hooks that still run are deleted by Argo CD.

    Args:
        platform: Where.
        app: What.
        timeout_s: Deadline in seconds.
        progress: Called with each new observation.

    Returns:
        Whether there was one.

    Raises:
        WaitTimeout: It did not end; says what it waits for.
    """
    with follow(platform, app) as view:
        found = view.find(APPLICATIONS, app.application_name)
        if found is None or not rules.busy(found):
            return False
        end(platform, app, view, Deadline(timeout_s), progress or (lambda _line: None))
    return True


def end(platform: Platform, app: App, view: View, deadline: Deadline, progress: Progress) -> None:
    """Terminate what runs and wait until it has ended; ask again when a stale write turned it back to running.

    Raises:
        WaitTimeout: It did not end.
    """
    asked_at, said = float("-inf"), ""
    while True:
        found = view.find(APPLICATIONS, app.application_name) or {}
        if not rules.busy(found):
            return
        running = rules.operation_state(found).get("phase") == "Running"
        if running and monotonic() - asked_at >= LOOK_AGAIN_S:
            again = " again: a stale write turned it back to running" if asked_at > 0 else ""
            if argocd.terminate(platform, app):
                progress(f"terminating the operation of {rules.initiator(found)}{again}")
                asked_at = monotonic()
        seen = rules.describe(found)
        if seen != said:
            progress(seen)
        said = seen
        if deadline.expired():
            raise deadline.fail(f"{app.name} without an operation", seen, hint=_why_it_stays(app, found))
        view.wait(min(LOOK_AGAIN_S, max(deadline.left_s, 0.01)))


def _why_it_stays(app: App, application: Obj) -> str:
    """Say why an operation may not end although it was told to."""
    if blocked_by_window(application):
        return "an operation that a sync window blocks ends only when the window opens; see the project's syncWindows"
    return f"is the application controller running? see apqx app explain {app.name}"


def clear_the_way(
    platform: Platform, app: App, application: Obj, revision: str, deadline: Deadline, progress: Progress
) -> None:
    """Terminate an operation that keeps retrying an older revision, and ask for the newest one.

    Asking is needed under automation too: an operation that ended without a result counts as an attempt at
    whatever is compared next, so automation would not begin by itself.

    Args:
        platform: Where.
        app: What.
        application: The Application whose operation stands in the way.
        revision: The wanted commit.
        deadline: Shared with the wait that this serves.
        progress: Called with each new observation.
    """
    old = rules.operation_revision(application)
    progress(f"superseding the retries of {old[:7]} by {revision[:7]}")
    journal.current().append("argocd", "superseded", app.name, cause=revision, revision=old)
    with follow(platform, app) as view:
        end(platform, app, view, deadline, progress)
