"""Does an application still stand where a run left it, and how does it get back to where the run began?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from platform_lib import journal, sync
from platform_lib.errors import PlatformError
from platform_lib.model import App, Platform
from platform_lib.wire.git import repository


def moved(platform: Platform, app: App | None, facts: Mapping[str, Any]) -> str:
    """Say why an application no longer stands where a finished step left it.

    Args:
        platform: Where.
        app: What.
        facts: ``head``, the commit when the step had finished.

    Returns:
        The reason; empty when git names the same, and it runs and is healthy.
    """
    if app is None:
        return ""
    repo = repository(platform)
    head = repo.head()
    if not repo.same_content(str(facts.get("head", "")), head, app.path):
        return f"git names something else for {app.name} at {head[:7]}"
    try:
        seen = sync.state(platform, app)
    except PlatformError as error:
        return error.message
    if (seen.sync_status, seen.health_status) != ("Synced", "Healthy") or seen.ready_replicas != seen.desired_replicas:
        return f"{app.name} is {seen.sync_status}, {seen.health_status}"
    return ""


def take_back(platform: Platform, app: App | None, facts: Mapping[str, Any]) -> None:
    """Bring an application back to what git named before a cut-off step began, and wait until it runs.

    Args:
        platform: Where.
        app: What.
        facts: ``head``, the commit before the step.

    Raises:
        GitError, SyncFailed, WaitTimeout: It could not be brought back.
    """
    before = str(facts.get("head", ""))
    if app is None or not before:
        return
    repo = repository(platform)

    def edit(tree: Path) -> str:
        repo.restore(tree, before, app.path)
        return f"Take back a run of {app.name} that was cut off\n\nThe content of {before} again."

    commit = repo.change(edit)
    if commit:
        journal.current().append("git", "commit", app.name, cause="resume of a run", commit=commit)
    sync.reach(platform, app, revision=commit or repo.head())
