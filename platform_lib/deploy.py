"""How does a version reach the cluster? Its digest is committed to git; Argo CD does the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from platform_lib import journal, restore, sync
from platform_lib.errors import GateFailed, InvalidInput
from platform_lib.model import App, Check, Outcome, Plan, Platform, Step, Verdict, joined
from platform_lib.operation import operation
from platform_lib.rules import application as rules
from platform_lib.rules.manifests import image_of, parse_manifests, version_of
from platform_lib.wait import now
from platform_lib.wire import manifest_edit
from platform_lib.wire.git import AUTHOR, Repository, repository
from platform_lib.wire.probe import fetch

Progress = Callable[[str], None]
Env = Mapping[str, str | None]


def plan_deploy(platform: Platform, app: App, *, image: str, version: str, env: Env | None = None) -> Plan:
    """Say what a deploy would change, without changing anything.

    Args:
        platform: Where.
        app: What.
        image: Reference by digest (``name@sha256:...``).
        version: Version label, 1 to 63 characters.
        env: Environment variables to set on its container; None as a value removes one.

    Returns:
        A plan without steps when git names exactly this release already.

    Raises:
        InvalidInput: The image is not named by digest, or the version cannot be a label.
        GitError, ManifestError: The desired state cannot be read.
    """
    manifest_edit.check_release(image, version)
    with repository(platform).current() as tree:
        text = _read(tree, app)
    after = manifest_edit.set_release(text, image=image, version=version, env=env)
    documents = parse_manifests(text, app.deployment_file)
    before = next(document for document in documents if document["kind"] == "Deployment")
    inputs = {"app": app.name, "image": image, "version": version, "env": dict(env or {})}
    title = f"deploy {app.name} {version}"
    if after == text:
        return Plan(title, inputs=inputs)
    change = f"{version_of(before) or 'no version'} to {version}, {image_of(before)[-12:]} to {image[-12:]}"
    return Plan(
        title,
        (
            Step("commit", app.deployment_file, change),
            Step("push", platform.gitops_branch, "Argo CD reads desired state from this branch only"),
            Step("refresh", f"Application/{app.name}", "look at git now instead of at the next poll"),
            Step("wait", f"Deployment/{app.name}", "until every pod runs the new digest and is ready"),
        ),
        inputs,
    )


@operation("deploy", still=restore.moved)
def deploy(
    platform: Platform,
    app: App,
    *,
    image: str,
    version: str,
    env: Env | None = None,
    timeout_s: float = 120.0,
    wait: bool = True,
    author: str = AUTHOR,
    progress: Progress | None = None,
) -> Outcome:
    """Commit a release to git and wait until exactly that commit runs.

    Args:
        platform: Where.
        app: What.
        image: Reference by digest.
        version: Version label.
        env: Environment variables to set; None as a value removes one.
        timeout_s: Deadline of the wait in seconds.
        wait: False returns after the push and the refresh.
        author: ``Name <mail>`` of the commit.
        progress: Called with each new observation.

    Returns:
        Figures ``commit``, ``digest``, ``version``, ``changed``, ``commit_s``, ``rollout_s``.

    Raises:
        InvalidInput: See ``plan_deploy``.
        GitError: The push was refused; nothing was changed.
        SyncRefused: A window, a pause, several sources or the project forbids it; nothing was changed.
        SyncFailed: The release cannot run (invalid manifest, failed operation, crashing pods); named.
        WaitTimeout: The deadline passed; carries what was seen last.
    """
    manifest_edit.check_release(image, version)
    started = now()
    repo = repository(platform, author=author)
    known = rules.errors_of(sync.ready(platform, app, change="deploy").application)
    commit = _commit(repo, app, image, version, env)
    target = commit or repo.head()
    pushed = now()
    if commit:
        journal.current().append("git", "commit", app.name, cause=f"deploy {version}", commit=commit)
    sync.reach(
        platform,
        app,
        revision=target,
        timeout_s=timeout_s,
        since=started,
        known=known,
        wait=wait,
        progress=progress,
    )
    outcome = _outcome(app, image, version, commit, target, started, pushed, wait)
    journal.current().append("deploy", "outcome", app.name, cause=target, **outcome.figures)
    return outcome


def _commit(repo: Repository, app: App, image: str, version: str, env: Env | None) -> str | None:
    """Commit and push the release; None when git named it already."""

    def edit(tree: Path) -> str | None:
        path = tree / app.deployment_file
        changed = manifest_edit.write_release(path, image=image, version=version, env=env)
        return f"Deploy {app.name} {version}\n\nImage: {image}" if changed else None

    return repo.change(edit)


def _outcome(
    app: App,
    image: str,
    version: str,
    commit: str | None,
    target: str,
    started: datetime,
    pushed: datetime,
    waited: bool,
) -> Outcome:
    """Build the outcome with its figures."""
    finished = now()
    commit_s, rollout_s = (pushed - started).total_seconds(), (finished - pushed).total_seconds()
    said = f"{version} ({target[:7]}) {'runs' if waited else 'is committed'}"
    return Outcome(
        "deploy",
        True,
        started,
        finished,
        figures={
            "commit": target,
            "digest": image.partition("@")[2],
            "version": version,
            "changed": commit is not None,
            "commit_s": commit_s,
            **({"rollout_s": rollout_s} if waited else {}),
        },
        stages=(("commit and push", commit_s), ("sync and rollout" if waited else "refresh", rollout_s)),
        message=f"{app.name} {said}" if commit else f"{app.name} {said} already; nothing was committed",
    )


def _read(tree: Path, app: App) -> str:
    """Read the Deployment of an application from a work tree."""
    path = tree / app.deployment_file
    return path.read_text() if path.is_file() else ""


_FAULTS = {
    "error_ratio": "FAULT_ERROR_RATIO",
    "latency_ms": "FAULT_LATENCY_MS",
    "never_ready": "FAULT_NEVER_READY",
    "crash_after_s": "FAULT_CRASH_AFTER_S",
    "leak_mb_per_s": "FAULT_LEAK_MB_PER_S",
}


def fault_env(fault: str, value: float) -> dict[str, str | None]:
    """Return the environment that gives the sample application a fault, and removes all others.

    Args:
        fault: ``error_ratio`` (0 to 1), ``latency_ms``, ``never_ready``, ``crash_after_s`` or ``leak_mb_per_s``.
        value: Its size in the unit of its name; ``never_ready`` takes any value above 0.

    Raises:
        InvalidInput: There is no such fault.
    """
    if fault not in _FAULTS:
        raise InvalidInput(f"fault {fault!r} - unknown, expected one of {joined(_FAULTS)}")
    env: dict[str, str | None] = dict.fromkeys(_FAULTS.values())
    env[_FAULTS[fault]] = "true" if fault == "never_ready" else f"{value:g}"
    return env


def served_versions(platform: Platform, app: App, *, requests: int = 20) -> dict[str, int]:
    """Ask the application through the ingress and count the versions that answer.

    Returns:
        Answers per version; the key ``status 503`` (and the like) counts other answers.

    Raises:
        Unreachable: The ingress does not answer.
    """
    counts: dict[str, int] = {}
    for _ in range(requests):
        answer = fetch(platform, app)
        good = 200 <= answer.status < 400
        key = answer.headers.get("x-app-version", "unknown") if good else f"status {answer.status}"
        counts[key] = counts.get(key, 0) + 1
    return counts


def verify_version(platform: Platform, app: App, *, version: str, requests: int = 20) -> dict[str, int]:
    """Prove through the ingress that only one version answers.

    Returns:
        Answers per version, see ``served_versions``.

    Raises:
        GateFailed: Another version, or an error, answered too.
        Unreachable: The ingress does not answer.
    """
    counts = served_versions(platform, app, requests=requests)
    if set(counts) != {version}:
        seen = joined(f"{key}: {count}" for key, count in counts.items())
        reason = f"{seen}, expected only {version}"
        check = Check("served version", "fail", seen, f"all {requests} answers come from {version}", reason)
        raise GateFailed(
            f"{app.name} - answers came from {reason}",
            hint="wait for the rollout to end: apqx status",
            verdict=Verdict("fail", reason, (check,)),
        )
    return counts
