"""What do Argo CD and Kubernetes say of an application now? Reading and following; a refresh asks Argo CD to look."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from platform_lib.errors import InvalidInput, SyncFailed
from platform_lib.model import App, AppState, Obj, Platform, joined
from platform_lib.rules import application as rules
from platform_lib.rules import manifests, workload
from platform_lib.wait import Deadline, monotonic, now
from platform_lib.wire import argocd
from platform_lib.wire.argocd import View
from platform_lib.wire.argocd.crd import NAME_LABEL
from platform_lib.wire.argocd.door import OnEvent
from platform_lib.wire.kube import APPLICATIONS, DEPLOYMENTS, PODS

__all__ = ["LOOK_AGAIN_S", "NAME_LABEL", "Progress", "Refreshing", "compare", "follow", "history", "refresh", "state"]

Progress = Callable[[str], None]
LOOK_AGAIN_S = 1.0
"""A wait looks at least this often, although it is woken by watches: a lost event must not cost a deadline."""
_MOST_PATIENT_S = 16.0


def state(platform: Platform, app: App) -> AppState:
    """Read what Argo CD and Kubernetes say of an application now.

    Raises:
        NotFound: There is no such Application.
        Unreachable: The API does not answer.
    """
    application = argocd.read(platform, app)
    way = argocd.door(platform, app)
    return rules.app_state(app.name, application, way.deployment(app), way.pods(app), now())


def deployment(platform: Platform, app: App) -> Obj | None:
    """Return the application's Deployment, or None when it is absent."""
    return argocd.door(platform, app).deployment(app)


def pods_progress(platform: Platform, app: App, deployment: Obj | None, pods: Iterable[Obj]) -> workload.Progress:
    """Say how far an application's pods are: by its Deployment, or by the Rollout that took them over.

    A Deployment that wants no pods is done at once; where pods of the application run all the same, that is no answer.
    """
    found = workload.rollout_progress(deployment)
    if deployment is None or manifests.replicas(deployment):
        return found
    rollout = argocd.door(platform, app).rollout(app)
    if rollout is not None:
        return workload.canary_progress(rollout, deployment)
    others = sum(not manifests.deleting(pod) for pod in pods)
    if not others:
        return found
    who = "somebody else owns them (a Rollout that cannot be read?)"
    return found._replace(done=False, seen=f"{found.seen}; {others} pods run all the same: {who}")


def require_own_pods(platform: Platform, app: App) -> Obj | None:
    """Return the Deployment that is to be measured; refuse one whose pods belong to a Rollout of Argo Rollouts.

    Raises:
        InvalidInput: Names the Rollout.
    """
    found = deployment(platform, app)
    rollout = argocd.door(platform, app).rollout(app) if found and not manifests.replicas(found) else None
    if rollout is not None:
        raise InvalidInput(
            f"{app.name} - Rollout/{manifests.name(rollout)} owns its pods and its Deployment wants none, "
            "expected a Deployment with pods of its own",
            hint="its canary is judged by its own analysis: deploy without a gate, sync waits for the Rollout; "
            "or switch the add-on argo-rollouts off (docs/addons.md, Canary)",
        )
    return found


def refresh(platform: Platform, app: App, *, hard: bool = False) -> None:
    """Ask Argo CD to look at git now, instead of at its next poll (two to three minutes)."""
    argocd.request_refresh(platform, app, hard=hard)


def history(platform: Platform, app: App) -> list[Obj]:
    """Return Argo CD's rows of successful deployments, oldest first (it keeps ten, and no failures)."""
    return argocd.history(argocd.read(platform, app))


def follow(platform: Platform, app: App, *, on_event: OnEvent | None = None) -> View:
    """Return a not yet opened view of an application: its Application, Deployments and pods."""
    return argocd.watch(platform, app, on_event=on_event)


class Refreshing:
    """Asks for a comparison, and again when a running one swallowed the request.

    Args:
        platform: Where.
        app: What.
        hard: Also forget cached manifests.

    Source: argo-cd pull request 28414: an annotation that is set while a comparison runs may go with it.
    """

    def __init__(self, platform: Platform, app: App, *, hard: bool = False) -> None:
        self._platform, self._app, self._hard = platform, app, hard
        self._patience_s = LOOK_AGAIN_S
        self._at = monotonic()
        self.asked: datetime = argocd.request_refresh(platform, app, hard=hard)
        """When it was asked for first: ``reconciledAt`` has whole seconds, so a comparison that begins in the second
        of a repetition counts only against the first request."""

    def again(self, application: Obj | None) -> bool:
        """Repeat the request when it went unanswered; less and less often. Return whether it was repeated."""
        if application is None or rules.REFRESH_ANNOTATION in manifests.annotations(application):
            return False
        if monotonic() - self._at < self._patience_s:
            return False
        self._patience_s = min(self._patience_s * 2, _MOST_PATIENT_S)
        self._at = monotonic()
        argocd.request_refresh(self._platform, self._app, hard=self._hard)
        return True


def compare(
    platform: Platform,
    app: App,
    *,
    hard: bool = False,
    timeout_s: float = 60.0,
    progress: Progress | None = None,
) -> AppState:
    """Have Argo CD compare git with the cluster now, and wait until it has.

    Args:
        platform: Where.
        app: What.
        hard: Also forget cached manifests.
        timeout_s: Deadline in seconds.
        progress: Called with each new observation.

    Returns:
        The state after that comparison.

    Raises:
        SyncFailed: It cannot be compared: manifests, repository, project; says so in Argo CD's words.
        WaitTimeout: The deadline passed; carries what was seen last.
    """
    deadline, said = Deadline(timeout_s), ""
    known = rules.errors_of(argocd.read(platform, app))
    with follow(platform, app) as view:
        refreshing = Refreshing(platform, app, hard=hard)
        while True:
            found = view.find(APPLICATIONS, app.application_name)
            seen = rules.describe(found) if found is not None else "Application absent"
            if progress is not None and seen != said:
                progress(seen)
            said = seen
            if found is not None:
                done = rules.answered(found, refreshing.asked)
                _refuse_errors(app, found, done=done, known=known)
                if done:
                    return rules.app_state(app.name, found, view.find(DEPLOYMENTS, app.name), view.items(PODS), now())
            if deadline.expired():
                raise deadline.fail(f"a comparison of {app.name}", seen, hint="is the application controller running?")
            refreshing.again(found)
            view.wait(min(LOOK_AGAIN_S, max(deadline.left_s, 0.01)))


def _refuse_errors(app: App, application: Obj, *, done: bool, known: frozenset[tuple[str, str]]) -> None:
    """End the wait at an error of the comparison; an invalid specification never moves ``reconciledAt``."""
    found = {pair for pair in rules.errors_of(application) if pair[0] in ("ComparisonError", "InvalidSpecError")}
    answered = done or rules.REFRESH_ANNOTATION not in manifests.annotations(application)
    fresh = found if done else {pair for pair in found - known if answered}
    stuck = {pair for pair in found if pair[0] == "InvalidSpecError" and answered}
    if fresh | stuck:
        why = joined(f"{kind}: {text}" for kind, text in sorted(fresh | stuck))
        raise SyncFailed(
            f"{app.name} - cannot be compared: {why}", hint="correct it in git or in the Application", app=app.name
        )
