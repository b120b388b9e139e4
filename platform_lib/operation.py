"""What does every operation that changes something have in common? Guard, locks, step, and a patient progress.

``@operation("deploy")`` makes a function ask the guard before anything else, hold the platform's locks while it
works, be a step of its run that a resume can skip, and survive a reader of its progress that went away.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from platform_lib import guard, providers, steps
from platform_lib.errors import GuardRefused
from platform_lib.lock import shared_with_run
from platform_lib.model import App, Platform, joined, to_json
from platform_lib.settings import settings
from platform_lib.wire.git import repository

P = ParamSpec("P")
R = TypeVar("R")
Still = Callable[[Platform, App | None, Mapping[str, Any]], str]
Undo = Callable[[Platform, App | None, Mapping[str, Any]], None]
_NO_INPUTS = ("platform", "app", "progress")


def operation(
    name: str,
    *,
    still: Still | None = None,
    undo: Undo | None = None,
    locked: bool = True,
    git: bool = True,
    connects: bool = False,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function an operation that changes a platform.

    Args:
        name: What it is called in messages and in a run's ledger.
        still: Why a finished operation no longer holds, an empty text when it does; without it a resume trusts
            the ledger.
        undo: For operations that measure: takes back a cut-off attempt, given the facts from before it.
        locked: Hold the platform's locks.
        git: Remember the commit of the desired state, and refuse to resume when others changed it since.
        connects: On an existing cluster it only connects or forgets; what it changes there, the provider asks for.

    Returns:
        A decorator for functions that take ``platform`` and ``app`` first; both may be absent.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            if bound.arguments.get("progress") is not None:
                bound.arguments["progress"] = patient(bound.arguments["progress"])
            platform: Platform = bound.arguments.get("platform") or _in_force(signature, bound)
            app: App | None = bound.arguments.get("app")
            what = f"{name} {app.name if app else platform.name}"
            looks_only = connects and platform.provider == "existing"
            if not looks_only:
                guard.check(platform, what)
            rules = _rules(platform, app, still, undo, git)
            alone = locked and not looks_only
            with shared_with_run(platform.home, purpose=what) if alone else contextlib.nullcontext():
                return steps.once(
                    name,
                    inputs=_inputs(platform, app, bound),
                    act=lambda: function(*bound.args, **bound.kwargs),
                    rules=rules,
                    said=bound.arguments.get("progress") or (lambda _line: None),
                )

        return run

    return decorate


def _in_force(signature: inspect.Signature, bound: inspect.BoundArguments) -> Platform:
    """Return the platform that an operation without one means: of the provider it chooses, else the one that is up."""
    if "provider" in signature.parameters:
        options = {key: bound.arguments[key] for key in ("context", "write", "install") if key in bound.arguments}
        return providers.chosen(bound.arguments.get("provider"), **options).platform
    return providers.recorded().platform


def patient(progress: Callable[[str], None]) -> Callable[[str], None]:
    """Return a progress function that goes quiet when its reader is gone.

    A closed pipe must not stop a change half-way: ``apqx up | head`` brings the whole platform up.
    """
    gone = False

    def say(line: str) -> None:
        nonlocal gone
        if gone:
            return
        try:
            progress(line)
        except (OSError, ValueError):  # ValueError: the stream was closed
            gone = True

    return say


def _inputs(platform: Platform, app: App | None, bound: inspect.BoundArguments) -> dict[str, Any]:
    """Return what decides the operation's effect, as plain values."""
    bound.apply_defaults()
    plain = {k: to_json(v) for k, v in bound.arguments.items() if k not in _NO_INPUTS and not callable(v)}
    return {"platform": platform.name, "context": platform.context, "app": to_json(app)} | plain


def _rules(platform: Platform, app: App | None, still: Still | None, undo: Undo | None, git: bool) -> steps.Rules:
    """Bind an operation's rules to what it works on."""
    watched = git and app is not None
    return steps.Rules(
        facts=(lambda: {"head": repository(platform).head()}) if watched else dict,
        still=functools.partial(still, platform, app) if still is not None else None,
        undo=functools.partial(undo, platform, app) if undo is not None else None,
        admit=functools.partial(_admit, platform, app) if watched and app is not None else None,
    )


def _admit(platform: Platform, app: App, earlier: steps.Earlier) -> None:
    """Refuse to resume when somebody else changed the application in git since the run stopped.

    Raises:
        GuardRefused: Names the newest foreign commit; doing the step again would overwrite it.
    """
    finished = (earlier.finished or {}).get("after") or {}
    ours = {(earlier.started.get("before") or {}).get("head"), finished.get("head"), *_own_commits()} - {None, ""}
    repo = repository(platform)
    head = repo.head()
    contents = repo.contents([head, *map(str, ours)], app.path)
    if not ours or any(contents.get(str(commit)) == contents.get(head) for commit in ours):
        return
    newest = repo.log(app, limit=1)
    by = joined(f"{row.sha[:7]} by {row.author}: {row.message.splitlines()[0]}" for row in newest)
    raise GuardRefused(
        f"{app.path} - was changed in git since this run stopped ({by})",
        hint="resuming would overwrite that change; start a new run",
    )


def _own_commits() -> set[str]:
    """Return the commits that this run's journal has on record."""
    path = settings().journal_path
    found = set()
    for line in Path(path).read_text().splitlines() if path is not None and Path(path).is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if record.get("source") == "git":
            found.add(str(record.get("data", {}).get("commit", "")))
    return found
