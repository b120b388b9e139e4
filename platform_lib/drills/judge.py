"""Did the platform do what the scenario expects? Checks over the figures of a drill; no I/O.

A drill passes only when every check passes. What a blind source would have had to say is inconclusive, and so is
a fault that nobody can see: it proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from platform_lib.drills.scenario import Scenario
from platform_lib.model import Check, Status, Verdict, joined

LAG_MAX_MS = 250.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a drill found, as far as the verdict needs it.

    Attributes:
        figures: Measures.
        noticed: Source to what it saw first.
        own: Whether the fault's own reading said "not over" and later "over".
        blind_s: Source to how long it was blind.
        timed_out: What was waited for when the deadline passed; empty when it did not.
        steady: Steady-state checks after the undo.
        extra: Checks that only the fault knows.
    """

    figures: dict[str, Any]
    noticed: dict[str, str]
    own: bool
    blind_s: dict[str, float]
    timed_out: str
    steady: tuple[Check, ...]
    extra: tuple[Check, ...] = ()


def judge(drill: Scenario, found: Evidence, timeout_s: float) -> Verdict:
    """Hold the measures to the scenario's expectation."""
    checks = tuple(_checks(drill, found, min(timeout_s, drill.expect.rto_max_s)))
    worst = _worst(checks)
    if worst is not None:
        return Verdict(worst.status, f"{worst.name}: {worst.value}", checks)
    figures = found.figures
    lost = f"{figures['requests_lost']} of {figures['requests_sent']} requests lost"
    return Verdict("pass", f"recovered in {figures['rto_s']:.2f} s, {lost}", checks)


def _worst(checks: tuple[Check, ...]) -> Check | None:
    """A fault that did not strike decides first: nothing else means anything then; then failures, then doubts."""
    if checks[0].status != "pass":
        return checks[0]
    order: tuple[Status, ...] = ("fail", "inconclusive", "not_enough_data")
    return next((check for status in order for check in checks if check.status == status), None)


def _checks(drill: Scenario, found: Evidence, rto_max_s: float) -> Iterator[Check]:
    """Yield every check of a drill, whether the fault struck first."""
    yield _struck(found)
    yield _recovered(drill, found, rto_max_s)
    yield from _service(drill, found)
    yield from _detection(drill, found)
    yield from _blindness(drill, found)
    yield _honest(found)
    if "sentinels_lost" in found.figures:
        yield _sentinels(found.figures)
    yield from found.extra
    yield from (Check(f"steady again: {c.name}", c.status, c.value, c.rule, c.reason) for c in found.steady)


def _struck(found: Evidence) -> Check:
    """Somebody must have seen the fault: a source, a client, or the fault's own reading."""
    own = [f"{check.name} ({check.value})" for check in found.extra if check.status == "pass"]
    seen = [*(f"{source} ({words})" for source, words in found.noticed.items()), *own]
    who = joined(seen, empty="no source noticed")
    lost = found.figures["requests_lost"]
    struck = bool(seen) or lost > 0 or found.own
    return Check(
        "fault struck",
        "pass" if struck else "inconclusive",
        f"{who}, {lost} requests lost",
        "the fault must be visible to the platform, to a client or to its own reading",
        "" if struck else "a fault that nobody can see proves nothing",
    )


def _recovered(drill: Scenario, found: Evidence, rto_max_s: float) -> Check:
    """From the fault to the proven steady state within the limit."""
    rto_s = found.figures["rto_s"]
    if found.timed_out or rto_s is None:
        return Check("recovered", "fail", f"not over: {found.timed_out or 'no recovery seen'}", _within(rto_max_s), "")
    return Check("recovered", "pass" if rto_s <= rto_max_s else "fail", f"{rto_s:.2f} s", _within(rto_max_s),
                 drill.expect.text)  # fmt: skip


def _service(drill: Scenario, found: Evidence) -> Iterator[Check]:
    """Clients get what the scenario promises them."""
    figures, wanted = found.figures, drill.expect.availability_min
    ratio = figures["availability_ratio"]
    if wanted > 0:
        status: Status = "not_enough_data" if ratio is None else "pass" if ratio >= wanted else "fail"
        value = "no request" if ratio is None else f"{ratio:.3%}"
        yield Check("availability", status, value, f"at least {wanted:.3%}", "good requests of all since the fault")
    if not drill.expect.outage_allowed:
        lost = figures["requests_lost"]
        yield Check("no outage", "fail" if lost else "pass", f"{lost} requests lost", "none", "no outage is allowed")


def _detection(drill: Scenario, found: Evidence) -> Iterator[Check]:
    """Each source that the scenario names must have noticed; one that was blind cannot be blamed."""
    for source in drill.expect.detected_by:
        seen = found.noticed.get(source, "")
        blind = source in found.blind_s and source not in drill.expect.blind
        status: Status = "inconclusive" if blind else "pass" if seen else "fail"
        value = f"blind for {found.blind_s[source]:.1f} s" if blind else seen or "did not notice"
        yield Check(f"detected by {source}", status, value, "it must notice the fault", "")


def _blindness(drill: Scenario, found: Evidence) -> Iterator[Check]:
    """The drill must know which of its own eyes were shut."""
    for source in drill.expect.blind:
        seen = source in found.blind_s
        value = f"blind for {found.blind_s[source]:.1f} s" if seen else "never found blind"
        yield Check(f"blindness of {source} noticed", "pass" if seen else "fail", value, "the drill must say so", "")


def _honest(found: Evidence) -> Check:
    """A late probe measures itself."""
    lag_ms = found.figures["probe_lag_p99_ms"]
    return Check(
        "probe honest",
        "pass" if lag_ms < LAG_MAX_MS else "inconclusive",
        f"lag p99 {lag_ms:.1f} ms",
        f"below {LAG_MAX_MS:g} ms",
        "a starved probe cannot tell the service's delay from its own",
    )


def _sentinels(figures: dict[str, Any]) -> Check:
    """Every commit that git acknowledged must be in the rebuilt cluster."""
    lost, pushed, rpo_s = figures["sentinels_lost"], figures["sentinels_pushed"], figures["rpo_s"]
    return Check(
        "desired state kept",
        "fail" if lost else "pass",
        f"{lost} of {pushed} sentinels lost, newest one {'none' if rpo_s is None else f'{rpo_s:.2f} s old'}",
        "no acknowledged commit is lost",
        f"the rebuilt cluster does not hold {lost} commits" if lost else "",
    )


def _within(limit_s: float) -> str:
    """Word a limit."""
    return f"within {limit_s:g} s"
