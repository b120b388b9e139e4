"""Does an application run *this* commit yet? Waiting with a deadline, a reason, and nothing that can hang.

A wait ends when it is reached, when it cannot be reached any more, or at its deadline. What is seen is judged in
``rules.application`` and ``rules.workload``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

from platform_lib.errors import GitError, Locked, SyncFailed
from platform_lib.model import App, AppState, Obj, Platform, joined
from platform_lib.rules import application as rules
from platform_lib.rules import manifests, workload
from platform_lib.sync.reading import LOOK_AGAIN_S, Progress, Refreshing, follow, pods_progress
from platform_lib.sync.stopping import clear_the_way
from platform_lib.wait import Deadline, monotonic, now
from platform_lib.wire import argocd
from platform_lib.wire.argocd import View
from platform_lib.wire.git import Repository, repository
from platform_lib.wire.kube import APPLICATIONS, DEPLOYMENTS, PODS

_LOST_AFTER_S = 3.0
"""A reading may be older than the request it does not show; this long it is given the benefit of the doubt."""
_SHA_CHARS = 40


def wait_synced(
    platform: Platform,
    app: App,
    *,
    revision: str,
    timeout_s: float = 120.0,
    since: datetime | None = None,
    known: Iterable[tuple[str, str]] = (),
    operation: str = "",
    supersede: bool = True,
    progress: Progress | None = None,
) -> AppState:
    """Wait until an application runs a commit: synced, healthy, and every pod replaced.

    A later commit counts when it leaves the application's folder as it is; one that changes it means that
    the wanted commit was superseded, which is an error and not a success.

    Args:
        platform: Where.
        app: What.
        revision: Full commit; empty, with ``operation``, for whatever that operation syncs to (several sources).
        timeout_s: Deadline in seconds; the default leaves room for one slow start of every pod.
        since: When the change was requested, so that an older failure is not held against it; default now.
        known: Error conditions that were there before.
        operation: Identity of the operation that was requested; when another one replaced it, or it was lost,
            that is said.
        supersede: Terminate an operation that keeps retrying an older revision.
        progress: Called with each new observation.

    Returns:
        The state that satisfied the wait.

    Raises:
        SyncFailed: The operation, the manifests, the Deployment or a pod failed for good; names them.
        WaitTimeout: The deadline passed; carries what was seen last.
    """
    since, said = since or now(), progress or (lambda _line: None)
    wanted: Target = Wanted(repository(platform), app, revision) if revision else AnyCommit()
    with follow(platform, app) as view:
        look = _Look(platform, view, app, wanted, since, frozenset(known), _Own(operation))
        return _until(platform, app, look, revision, Deadline(timeout_s), supersede, said)


def _until(
    platform: Platform,
    app: App,
    look: _Look,
    revision: str,
    deadline: Deadline,
    supersede: bool,
    progress: Progress,
) -> AppState:
    """Look until the wait is over one way or the other."""
    said, view, wanted = "", look.view, look.wanted
    refreshing = Refreshing(platform, app)
    while True:
        verdict = look.judge()
        if verdict.seen != said:
            progress(verdict.seen)
        said = verdict.seen
        if verdict.failed:
            raise _sync_failed(view, app, revision, verdict.failed)
        if verdict.done:
            return _state_of(view, app)
        if deadline.expired():
            hint = f"see apqx status and apqx logs {app.name}"
            raise deadline.fail(
                f"{app.name} at {revision[:7] or 'the commits asked for'}", said or "nothing", hint=hint
            )
        application = view.find(APPLICATIONS, app.application_name)
        if application is not None and not wanted(rules.sync_revision(application)):
            refreshing.again(application)
        if supersede and application is not None and rules.stands_in_the_way(application, wanted, wanted.follows):
            clear_the_way(platform, app, application, revision, deadline, progress)
            look.own = _Own(request_newest(platform, app, revision, progress))
        view.wait(min(LOOK_AGAIN_S, max(deadline.left_s, 0.01)))


def request_newest(platform: Platform, app: App, revision: str, progress: Progress) -> str:
    """Request a sync to a commit that the branch names; return the operation's identity.

    Pruning is asked for where automation would do it. Empty when another operation was quicker: automation's.
    """
    application = argocd.read(platform, app)
    policy = (manifests.spec(application).get("syncPolicy") or {}).get("automated") or {}
    asked = None if rules.automated(application) else revision
    try:
        return argocd.request_sync(platform, app, revision=asked, prune=bool(policy.get("prune")))
    except Locked as error:
        progress(error.message)
        return ""


class _Own:
    """Follows the operation that was requested, and says when another one took its place.

    Args:
        identity: Of the operation; empty when none was requested.
    """

    def __init__(self, identity: str) -> None:
        self.identity, self.ended = identity, False
        self._missing_since: float | None = None

    def missing(self, application: Obj, wanted: Callable[[str], bool]) -> tuple[str, bool]:
        """Return what became of it where it is not there any more, and whether waiting is pointless for it.

        An operation that goes to the same commit does as well; one whose revision is not resolved yet may.
        """
        if not self.identity or self.ended:
            return "", False
        fate = rules.fate(application, self.identity)
        self.ended = fate.kind == "ended"
        if fate.kind in ("requested", "running", "ended"):
            self._missing_since = None
            return "", False
        self._missing_since = monotonic() if self._missing_since is None else self._missing_since
        if monotonic() - self._missing_since < _LOST_AFTER_S:
            return "", False
        revision = rules.operation_revision(application)
        elsewhere = bool(revision) and not wanted(revision)
        return f"our operation was {fate.kind}: {fate.said}", fate.kind == "lost" or elsewhere


class Target(Protocol):
    """Which revisions a wait counts as reached, and which image they run."""

    image: str

    def __call__(self, revision: str) -> bool:
        """Tell whether the revision counts as the wanted one."""

    def superseded_by(self, revision: str) -> bool:
        """Tell whether the revision comes after the wanted one and changes the application."""

    def follows(self, revision: str) -> bool:
        """Tell whether the wanted revision comes after that one."""


class AnyCommit:
    """Counts every revision: what several sources are at is decided by Argo CD, and judged by the operation."""

    image = ""

    def __call__(self, revision: str) -> bool:
        """Tell whether there is a revision at all."""
        return bool(revision)

    def superseded_by(self, revision: str) -> bool:
        """Return False: nothing in particular was wanted."""
        return False

    def follows(self, revision: str) -> bool:
        """Return False: nothing in particular was wanted."""
        return False


class Wanted:
    """Answers whether a revision counts as the wanted one; asks git once per revision.

    Args:
        repo: The GitOps repository.
        app: Its folder decides: a later commit that leaves it as it is counts too.
        revision: The wanted commit.
    """

    def __init__(self, repo: Repository, app: App, revision: str) -> None:
        self._repo, self._app, self._revision = repo, app, revision
        self.image = repo.image_at(revision, app)
        self._answers = {revision: True, "": False}
        self._later = {"": False}
        self._earlier = {"": False}

    def __call__(self, revision: str) -> bool:
        """Tell whether the revision counts as the wanted one."""
        if revision not in self._answers:
            try:
                self._answers[revision] = self._repo.same_content(self._revision, revision, self._app.path)
            except GitError:
                return False  # asked again at the next look; a git outage must not be remembered as "no"
        return self._answers[revision]

    def superseded_by(self, revision: str) -> bool:
        """Tell whether the revision comes after the wanted one and changes the application's folder."""
        if revision not in self._later:
            self._later[revision] = self._repo.is_ancestor(self._revision, revision)
        return self._later[revision] and not self(revision)

    def follows(self, revision: str) -> bool:
        """Tell whether the wanted revision comes after that one; an abbreviated or symbolic one never does."""
        if len(revision) != _SHA_CHARS or self(revision):
            return False
        if revision not in self._earlier:
            self._earlier[revision] = self._repo.is_ancestor(revision, self._revision)
        return self._earlier[revision]


class _Look:
    """Judges what a view shows: Argo CD first, then the Deployment and its pods.

    Args:
        platform: Where.
        view: Open view.
        app: What.
        wanted: Which revisions count.
        since: When the change was requested.
        known: Error conditions that were there before.
        own: The operation that was requested.
    """

    def __init__(
        self,
        platform: Platform,
        view: View,
        app: App,
        wanted: Target,
        since: datetime,
        known: frozenset[tuple[str, str]],
        own: _Own,
    ) -> None:
        self._platform, self.view, self.app, self.wanted, self.own = platform, view, app, wanted, own
        self._since, self._known = since, known

    def judge(self) -> rules.Judgement:
        """Judge once; what the view cannot show is said too."""
        found = self._judge()
        trouble = self.view.trouble()
        return found._replace(seen=f"{found.seen} ({trouble})") if trouble else found

    def _judge(self) -> rules.Judgement:
        """Judge what is shown."""
        application = self.view.find(APPLICATIONS, self.app.application_name)
        identity = self.own.identity
        found = rules.judge(application, wanted=self.wanted, since=self._since, known=self._known, identity=identity)
        if found.failed or application is None:
            return found
        missing, pointless = self.own.missing(application, self.wanted)
        found = found._replace(seen=f"{found.seen}; {missing}") if missing else found
        compared = rules.sync_revision(application)
        if self.wanted.superseded_by(compared):
            return rules.Judgement(False, f"superseded by {compared[:7]} before it was reached", found.seen)
        if isinstance(self.wanted, AnyCommit) and not self.own.ended:
            found = found._replace(done=False)
        if pointless and not found.done:
            return rules.Judgement(False, missing, found.seen)
        if not rules.synced(application) or not self.wanted(compared):
            return found
        return self._look_at_pods(found)

    def _look_at_pods(self, found: rules.Judgement) -> rules.Judgement:
        """Hold the judgement against the Deployment itself, whose state Argo CD reports a moment late.

        Only pods of this change count: those of a broken release that is just being replaced still crash.
        """
        deployment = self.view.find(DEPLOYMENTS, self.app.name)
        if deployment is None:
            return found
        image = manifests.image_of(deployment)
        if self.wanted.image and image != self.wanted.image:
            text = f"{found.seen}; Deployment/{self.app.name} names {image[-12:]} still"
            return rules.Judgement(False, "", text)
        pods = self.view.items(PODS)
        rollout = pods_progress(self._platform, self.app, deployment, pods)
        seen = f"{found.seen}; {rollout.seen}"
        failures = workload.pod_failures(pods, image=image, since=self._since)
        if failures:
            seen += f" [{joined(str(failure) for failure in failures[:3])}]"
        hopeless = workload.hopeless(failures)
        failed = rollout.failed or joined((str(failure) for failure in hopeless[:3]), empty="")
        done = found.done and rollout.done
        return rules.Judgement(done, "" if done else failed, seen)


def _sync_failed(view: View, app: App, revision: str, why: str) -> SyncFailed:
    """Build the error; its hint names the way out."""
    application = view.find(APPLICATIONS, app.application_name) or {}
    return SyncFailed(
        f"{app.name} - {why}, expected to run {revision[:7] or 'the commits asked for'}",
        hint=f"correct it in git, or go back with apqx rollback {app.name}",
        app=app.name,
        revision=revision,
        phase=rules.operation_state(application).get("phase") or "",
        resources=rules.failed_rows(application),
    )


def _state_of(view: View, app: App) -> AppState:
    """Build the state from what the watches show."""
    return rules.app_state(
        app.name,
        view.find(APPLICATIONS, app.application_name),
        view.find(DEPLOYMENTS, app.name),
        view.items(PODS),
        now(),
    )
