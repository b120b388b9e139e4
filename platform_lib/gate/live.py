"""In which order does a gate work, and where does it leave git and cluster whatever happens?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from platform_lib import deploy as deploy_
from platform_lib import journal, restore, sync
from platform_lib.errors import GateFailed, InvalidInput, PlatformError
from platform_lib.gate import proof, record
from platform_lib.gate.detection import Detection, dated
from platform_lib.gate.record import GateRecord
from platform_lib.model import App, Platform, Status, Verdict
from platform_lib.operation import operation
from platform_lib.rollback import Method
from platform_lib.rollout import Watch, watch_rollout
from platform_lib.rules import manifests, verdict
from platform_lib.rules.verdict import Limits
from platform_lib.wait import pause
from platform_lib.wire.git import repository

Progress = Callable[[str], None]
Undecided = Literal["keep", "rollback"]


@dataclass(frozen=True, slots=True)
class Release:
    """What is put under judgement, where, and how."""

    platform: Platform
    app: App
    image: str
    version: str
    env: Mapping[str, str | None] | None
    rate_rps: float
    warmup_s: float
    settle_s: float
    timeout_s: float
    limits: Limits
    method: Method
    takes_back: frozenset[Status]
    """The verdicts after which the version is taken back."""
    progress: Progress


@operation("gate", still=restore.moved, undo=restore.take_back)
def deploy(
    platform: Platform,
    app: App,
    *,
    image: str,
    version: str,
    env: Mapping[str, str | None] | None = None,
    rate_rps: float = 200.0,
    warmup_s: float = 5.0,
    settle_s: float = 8.0,
    timeout_s: float = 120.0,
    limits: Limits | None = None,
    undecided: Undecided = "keep",
    method: Method = "revert",
    progress: Progress | None = None,
) -> GateRecord:
    """Deploy a version under load, judge it all the while, and take it back when it fails.

    Args:
        platform: Where.
        app: What.
        image: Reference by digest.
        version: Version label; must differ from the one that runs, because answers are told apart by it.
        env: Environment variables to set; None as a value removes one.
        rate_rps: Probe rate in requests per second; the probe asks through the ingress as users do.
        warmup_s: Load before the change, in seconds: what the old version is known by.
        settle_s: Load after the rollout, in seconds; the verdict is looked at all the while and may fail earlier.
        timeout_s: Deadline of the rollout, and of the recovery, in seconds. A rollout that is not done then fails.
        limits: What the version is held to.
        undecided: What happens when the evidence does not decide: ``keep`` the version or ``rollback``.
        method: How it is taken back: ``revert`` in git or by Argo CD's ``history``.
        progress: Called with each new observation.

    Returns:
        The record; call ``require_pass`` on it. After ``fail``: figures ``detect_s`` (first pod or answer to
        verdict), ``decide_s``, ``recover_s``, ``rollback_s`` (their sum), ``verify_s``, ``users_recovered_s``.

    Raises:
        InvalidInput, ManifestError: It cannot be deployed or judged; nothing was changed.
        GitError: The push was refused; nothing was changed.
        GateFailed: The platform failed during the gate; says where git was left.
        UndoFailed: It had to be taken back and could not be.
        KeyboardInterrupt: Its text says where git was left: the version is reverted before it is raised again.
    """
    takes_back: set[Status] = {"fail"}
    takes_back |= {"not_enough_data", "inconclusive"} if undecided == "rollback" else set()
    release = Release(
        platform, app, image, version, env, rate_rps, warmup_s, settle_s, timeout_s, limits or Limits(), method,
        frozenset(takes_back), progress or (lambda _line: None),
    )  # fmt: skip
    return run(release)


def run(release: Release) -> GateRecord:
    """Do the whole of it."""
    platform, app, said = release.platform, release.app, release.progress
    check(release)
    before = repository(platform).head()
    with Watch(platform, app, rate_rps=release.rate_rps, source="gate") as watch:
        said(f"probing {app.host} at {release.rate_rps:g} requests/s, {release.warmup_s:g} s before the change")
        pause(release.warmup_s)
        try:
            found, taken = _judged(watch, release)
        except BaseException as error:
            _left(error, proof.undo(platform, app, before, release.version, said), release)
            raise
        watch.mark("end")
        served = watch.deployed_version()
    return record.build(watch, release.version, found, taken, served, release.limits)


def check(release: Release) -> None:
    """Refuse what cannot be deployed or judged, before anything is changed.

    Raises:
        InvalidInput: The image is not named by digest, or the version runs already.
        ManifestError: The desired state cannot be edited.
    """
    deploy_.plan_deploy(release.platform, release.app, image=release.image, version=release.version, env=release.env)
    running = manifests.version_of(sync.deployment(release.platform, release.app) or {})
    if running == release.version:
        raise InvalidInput(
            f"gate {release.version} - this version runs already, and a gate tells new from old by the version name",
            hint="give the new release another version",
        )


def _judged(watch: Watch, release: Release) -> tuple[Detection, proof.TakenBack | None]:
    """Change git, judge, and take the version back if its verdict asks for it."""
    watch.mark("change", version=release.version)
    deployed = deploy_.deploy(
        release.platform, release.app, image=release.image, version=release.version, env=release.env, wait=False
    )
    watch.expect(str(deployed.figures["commit"]))
    found = dated(watch, release.version, _verdict(watch, release), release.limits)
    mark = "detected" if found.detected_at else "judged"
    watch.mark(mark, status=found.verdict.status, reason=found.verdict.reason)
    release.progress(f"{found.verdict.status}: {found.verdict.reason}")
    if found.verdict.status not in release.takes_back:
        return found, None
    taken = proof.take_back(watch, release.version, release.method, release.timeout_s, release.progress)
    proof.prove(watch, release.version, release.limits.error_objective, release.progress)
    return found, taken


def _verdict(watch: Watch, release: Release) -> Verdict:
    """Watch the rollout, then the settled version; the first failure ends it at once."""
    version, limits = release.version, release.limits

    def ended(found: Verdict) -> bool:
        return found.status == "fail" or watch.rolled_out(version)

    rolling = watch_rollout(
        watch, version=version, timeout_s=release.timeout_s, until=ended, limits=limits, progress=release.progress
    )
    if rolling.status == "fail":
        return rolling
    if watch.rolled_out(version):
        watch.mark("rolled_out", version=version)
        release.progress(f"{version} runs everywhere; judging for another {release.settle_s:g} s")
        settled = watch_rollout(
            watch, version=version, timeout_s=release.settle_s, limits=limits, progress=release.progress
        )
        if settled.status == "fail":
            return settled
    return _final(watch, release)


def _final(watch: Watch, release: Release) -> Verdict:
    """Judge once more with latency; say what would be enough where data is missing."""
    seen = watch.seen(new_version=release.version, finished=True)
    found = verdict.judge(seen, watch.limits(release.limits))
    if found.status != "not_enough_data":
        return found
    advice = verdict.enough(seen, release.limits, rate_rps=release.rate_rps, settle_s=release.settle_s)
    return replace(found, reason=f"{found.reason}; enough would be: {advice}")


def _left(error: BaseException, state: str, release: Release) -> None:
    """Let the error say where git was left."""
    journal.current().append("gate", "step", release.app.name, cause=release.version, error=str(error), state=state)
    if isinstance(error, KeyboardInterrupt):
        error.args = (state,)
    elif isinstance(error, PlatformError) and not state.startswith("git was not changed"):
        raise GateFailed(
            f"gate {release.version} - could not be judged: {error.message}; {state}", hint=error.hint
        ) from error
