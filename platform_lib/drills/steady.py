"""Does the steady state of a scenario hold right now? One check per line of ``[steady_state]``; reads only."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from platform_lib.drills.scenario import Scenario
from platform_lib.errors import DrillAborted, PlatformError
from platform_lib.model import App, AppState, Check, Platform, joined
from platform_lib.sync import state
from platform_lib.wait import Deadline, pause
from platform_lib.wire import prometheus
from platform_lib.wire.probe import fetch

STALE_S = 45.0
"""Samples older than this mean that Prometheus has stopped looking (a usual scrape interval is 1 to 30 s)."""
METRICS_TIMEOUT_S = 2.0
_LOOK_S = 0.1


def examine(platform: Platform, app: App, drill: Scenario) -> tuple[Check, ...]:
    """Check every condition of the steady state; a source that does not answer is a failed check."""
    return tuple(_checks(platform, app, drill))


def holds(checks: tuple[Check, ...]) -> bool:
    """Whether all of them passed."""
    return all(check.status == "pass" for check in checks)


def words(checks: tuple[Check, ...]) -> str:
    """Name what is wrong, for people."""
    return joined((f"{c.name} {c.value}" for c in checks if c.status != "pass"), empty="all conditions hold")


def require(platform: Platform, app: App, drill: Scenario) -> tuple[Check, ...]:
    """Return the checks when all hold.

    Raises:
        DrillAborted: Nothing was touched; names the condition.
    """
    found = examine(platform, app, drill)
    if not holds(found):
        raise DrillAborted(
            f"{app.name} - no steady state: {words(found)}; a drill wants one before it breaks anything",
            hint="see apqx status",
            undone=True,
        )
    return found


def again(platform: Platform, app: App, drill: Scenario, timeout_s: float) -> tuple[Check, ...]:
    """Wait until the steady state holds; returns the last checks, also when the deadline passed."""
    deadline = Deadline(timeout_s)
    while True:
        found = examine(platform, app, drill)
        if holds(found) or deadline.expired():
            return found
        pause(_LOOK_S)


def sample_age_s(platform: Platform) -> float:
    """Return how old the newest sample of Prometheus is, in seconds.

    Raises:
        PlatformError: Prometheus does not answer, or has nothing.
    """
    with prometheus.connect(platform, timeout_s=METRICS_TIMEOUT_S) as client:
        found = client.instant("time() - max(timestamp(up))")
    if not found:
        raise PlatformError("prometheus - answers without a single sample", hint="see its targets page")
    return float(found[0]["value"][1])


def _checks(platform: Platform, app: App, drill: Scenario) -> Iterator[Check]:
    """Yield one check per condition that the scenario asks for."""
    wanted = drill.steady_state
    if wanted.healthy or wanted.synced or wanted.ready:
        yield from _application(platform, app, drill)
    if wanted.answers:
        yield _check("answers", "HTTP 200 to 399", lambda: _answer(platform, app))
    if wanted.metrics:
        yield _check("metrics", f"samples younger than {STALE_S:g} s", lambda: _metrics(platform))


def _application(platform: Platform, app: App, drill: Scenario) -> Iterator[Check]:
    """Check what Argo CD and the Deployment say, from one reading."""
    wanted = drill.steady_state
    try:
        seen = state(platform, app)
    except PlatformError as error:
        yield Check("application", "fail", error.message, "readable", "")
        return
    if wanted.healthy:
        yield _equal("health", seen.health_status, "Healthy")
    if wanted.synced:
        yield _equal("sync", seen.sync_status, "Synced")
    if wanted.ready:
        yield _ready(seen)


def _ready(seen: AppState) -> Check:
    """Every wanted replica must be ready, and there must be one."""
    complete = seen.ready_replicas >= max(seen.desired_replicas, 1)
    value = f"{seen.ready_replicas} of {seen.desired_replicas}"
    return Check("ready replicas", "pass" if complete else "fail", value, "all wanted replicas", "")


def _equal(name: str, value: str, wanted: str) -> Check:
    """Compare one word."""
    return Check(name, "pass" if value == wanted else "fail", value, wanted, "")


def _check(name: str, rule: str, look: Callable[[], tuple[bool, str]]) -> Check:
    """Run one look; no answer is a failed check."""
    try:
        ok, value = look()
    except PlatformError as error:
        ok, value = False, error.message
    return Check(name, "pass" if ok else "fail", value, rule, "")


def _answer(platform: Platform, app: App) -> tuple[bool, str]:
    """Send one request through the ingress."""
    status = fetch(platform, app).status
    return 200 <= status < 400, f"HTTP {status}"


def _metrics(platform: Platform) -> tuple[bool, str]:
    """Ask for the age of the newest sample."""
    age_s = sample_age_s(platform)
    return age_s <= STALE_S, f"newest sample {age_s:.1f} s old"
