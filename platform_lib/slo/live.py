"""How much budget is left now, how fast does it burn, which rule fires, and is the objective sound at all?"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import isinf, isnan
from typing import Any

from platform_lib.errors import InvalidInput
from platform_lib.model import Check, Platform, _Table
from platform_lib.rules import slo as rules
from platform_lib.rules import slorules
from platform_lib.rules.slo import Decision, Objective, duration
from platform_lib.slo.spec import WINDOW
from platform_lib.wire import prometheus

Counts = tuple[float, float]
"""Bad and all events."""


@dataclass(frozen=True, slots=True)
class SloStatus(_Table):
    """The state of one objective.

    Attributes:
        objective: What was promised.
        bad, total: Events of the period, as far as Prometheus still has them.
        budget_left: Share of the budget of these events that is left; below 0 when overspent.
        exhausted_in_s: How long it lasts at the burn rate of the fastest rule's long window; infinity when
            nothing burns.
        decisions: What each of the four rules says.
    """

    objective: Objective
    bad: float
    total: float
    budget_left: float | None
    exhausted_in_s: float
    decisions: tuple[Decision, ...]

    @property
    def firing(self) -> tuple[Decision, ...]:
        """Return the rules that fire."""
        return tuple(decision for decision in self.decisions if decision.state == "firing")

    def facts(self) -> dict[str, Any]:
        """Return the state as plain JSON values; what is not known is null."""
        return {
            "objective": self.objective.uid,
            "percent": self.objective.percent,
            "bad": self.bad,
            "total": self.total,
            "budget_left": self.budget_left,
            "exhausted_in_s": None if isinf(self.exhausted_in_s) else self.exhausted_in_s,
            "rules": [
                {
                    "rule": one.rule.name,
                    "state": one.state,
                    "reason": one.reason,
                    "long_burn": None if isnan(one.long_burn) else one.long_burn,
                    "short_burn": None if isnan(one.short_burn) else one.short_burn,
                }
                for one in self.decisions
            ],
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return objective, events, budget, and one row per rule with its reason."""
        wanted, spent = self.objective, "not known: no events"
        if self.budget_left is not None:
            spent = f"{self.budget_left:.1%} of the budget of these events"
        if self.budget_left is not None and self.budget_left < 0:
            spent = f"none: {1 - self.budget_left:.3g} times the budget of these events is spent"
        scale = f", windows {wanted.time_scale:g} times shorter (drill)" if wanted.time_scale != 1 else ""
        slow = f" within {wanted.threshold_s:g} s" if wanted.threshold_s else ""
        return [
            ("objective", f"{wanted.uid}: {wanted.percent:g} %{slow} over {duration(wanted.period_s)}{scale}"),
            ("events", f"{self.bad:.0f} bad of {self.total:.0f}"),
            ("budget left", spent),
            (
                "exhausted in",
                "not at this rate" if isinf(self.exhausted_in_s) else duration(round(self.exhausted_in_s)),
            ),
        ] + [(decision.rule.name, f"{decision.state}: {decision.reason}") for decision in self.decisions]


def status(platform: Platform, objective: Objective) -> SloStatus:
    """Return the state of an objective, counted in events (a busy hour weighs more than a quiet one).

    Raises:
        InvalidInput: An alert of the objective could never fire.
        QueryError: Prometheus refused a query.
        Unreachable: No answer.
    """
    four = rules.rules_of(objective)
    spans = [*slorules.windows(four), objective.period_s]
    with prometheus.connect(platform) as client:
        counted = _counts(client, objective, spans)
    bad, total = counted[objective.period_s]
    decisions = tuple(
        rules.decide(
            rule,
            long=counted[rule.long_s],
            short=counted[rule.short_s],
            budget=objective.budget,
            min_bad=objective.min_bad_events,
        )
        for rule in four
    )
    left = rules.budget_left(bad, total, objective.objective) if total > 0 else None
    burn = rules.burn_rate(*counted[four[0].long_s], objective.objective)
    lasts = rules.time_to_exhaustion_s(left, burn, objective.period_s) if left is not None else float("inf")
    return SloStatus(objective, bad, total, left, lasts, decisions)


def _counts(client: prometheus.Client, objective: Objective, spans: Iterable[float]) -> dict[float, Counts]:
    """Return bad and all events of many windows with two queries."""
    names = {duration(seconds): seconds for seconds in spans}
    found = []
    for query in (objective.error_query, objective.total_query):
        parts = [
            f'label_replace(sum({query.replace(WINDOW, name)}) * {seconds:g}, "window", "{name}", "", "")'
            for name, seconds in names.items()
        ]
        answer = client.instant(" or ".join(parts))
        found.append({series["metric"]["window"]: float(series["value"][1]) for series in answer})
    bad, total = found
    # Without traffic a query has no answer at all: that is no event. A difference of two rates may fall
    # short of 0 by a rounding.
    return {seconds: (max(0.0, bad.get(name, 0.0)), total.get(name, 0.0)) for name, seconds in names.items()}


_HISTOGRAM = re.compile(r'([a-zA-Z_:][\w:]*_bucket)\s*\{([^}]*?),?\s*\ble="([^"]+)"([^}]*)\}')


def check(platform: Platform, objective: Objective) -> tuple[Check, ...]:
    """Tell whether an objective can do its work: rules that can fire, a real bucket, queries that answer.

    Raises:
        Unreachable: No answer.
    """
    found = [_checked("alerts can fire", lambda: _fires(objective))]
    with prometheus.connect(platform) as client:
        if objective.kind == "latency":
            found.append(_checked("threshold is a bucket", lambda: _bucket(client, objective)))
        found.append(_answers(client, objective))
        found.append(_loaded(client, objective))
    return tuple(found)


def _checked(name: str, act: object) -> Check:
    """Run one check; a refusal becomes its reason."""
    try:
        text = act()  # type: ignore[operator]
    except InvalidInput as error:
        return Check(name, "fail", "", "", str(error))
    return Check(name, "pass", text, "", text)


def _fires(objective: Objective) -> str:
    """Return the time each rule would take in a total outage."""
    four = rules.rules_of(objective)
    took = [f"{rule.name}: {rules.time_to_alert_s(rule, objective.budget, 1.0):.3g} s" for rule in four]
    return f"in a total outage after {', '.join(took)}"


def _bucket(client: prometheus.Client, objective: Objective) -> str:
    """Hold the threshold against the buckets that the histogram has.

    Raises:
        InvalidInput: There is no such bucket.
    """
    match = _HISTOGRAM.search(objective.error_query)
    if match is None:
        raise InvalidInput(f"{objective.uid} - no histogram with le= in its query", hint="see gitops/slo")
    metric, before, edge, after = match.groups()
    matchers = ",".join(part.strip(" ,") for part in (before, after) if part.strip(" ,"))
    answer = client.instant(f"count by (le) ({metric}{{{matchers}}})")
    rules.check_threshold(edge, [series["metric"]["le"] for series in answer], metric=metric)
    return f'{metric} has le="{edge}"'


def _answers(client: prometheus.Client, objective: Objective) -> Check:
    """Tell whether there are events to judge."""
    short = rules.alert_rules(objective.period_days, objective.time_scale)[0].long_s
    bad, total = _counts(client, objective, [short])[short]
    if total <= 0:
        reason = f"no events within {duration(short)}: nothing can be judged"
        return Check("queries answer", "not_enough_data", "0", "more than 0 events", reason)
    text = f"{bad:.0f} bad of {total:.0f} events within {duration(short)}"
    return Check("queries answer", "pass", text, "more than 0 events", text)


def _loaded(client: prometheus.Client, objective: Objective) -> Check:
    """Tell whether Prometheus evaluates the rules that belong to the objective."""
    answer = client.instant(f"slo:objective:ratio{slorules.selector(objective)}")
    seen = float(answer[0]["value"][1]) if answer else None
    if seen is None:
        reason = "Prometheus has no rules of this objective: apqx slo rules --write, commit, sync"
    elif abs(seen - objective.objective) > 1e-9:
        reason = f"Prometheus has an older objective, {seen:.6g}"
    else:
        return Check("rules are loaded", "pass", f"{seen:.6g}", f"{objective.objective:.6g}", "same objective")
    return Check("rules are loaded", "fail", "none" if seen is None else f"{seen:.6g}", "the same objective", reason)
