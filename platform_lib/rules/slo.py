"""How much error budget is left, how fast does it burn, and which alert does that deserve? Pure arithmetic.

The four rules of the multi-window method: each fires when the long window says that enough of the budget is
gone to matter and the short window says that it is still going. The factor of a rule follows from the share of
the budget it stands for: ``share * period / long window``, which is 14.4, 6, 3 and 1 for 30 days.

Source: The Site Reliability Workbook, chapter 5, table 5-8.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

from platform_lib.errors import InvalidInput

DAY_S = 86_400.0
MIN_BAD_EVENTS = 10.0
"""Bad events that the long window must hold: three failures out of five requests at night are no page."""

Kind = Literal["availability", "latency"]
State = Literal["firing", "quiet", "silenced", "no_data"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert rule: fire when ``budget_percent`` of the period's budget goes within ``long_s`` seconds."""

    severity: Literal["page", "ticket"]
    budget_percent: float
    long_s: float
    short_s: float
    factor: float

    @property
    def name(self) -> str:
        """Return a name such as ``page 14.4x 1h/5m``."""
        return f"{self.severity} {self.factor:g}x {duration(self.long_s)}/{duration(self.short_s)}"


_TABLE: tuple[tuple[Literal["page", "ticket"], float, float, float], ...] = (
    ("page", 2.0, 3_600.0, 300.0),
    ("page", 5.0, 21_600.0, 1_800.0),
    ("ticket", 10.0, 86_400.0, 7_200.0),
    ("ticket", 10.0, 259_200.0, 21_600.0),
)


@dataclass(frozen=True, slots=True)
class Objective:
    """A service level objective.

    Attributes:
        service: What it is about, for example ``sample-app``.
        name: Name within the service.
        objective: Wanted share of good events, above 0 and below 1.
        percent: The same in per cent, as it was written; rules are computed from it.
        error_query: PromQL of bad events per second; ``{{.window}}`` stands for the look-back.
        total_query: PromQL of all events per second.
        kind: ``latency`` when an event is bad because it was slow.
        threshold_s: Latency: the bucket's upper bound in seconds; else None.
        period_days: Length of the budget's period, before scaling.
        time_scale: 1, or by how much windows and period are shortened for a drill.
        min_bad_events: Bad events the long window must hold before a rule fires; 0 switches the guard off.
        alert: Name of the alerts.
        labels: Labels of every recorded series.
        alert_labels: Labels of every alert.
        page_labels: Labels of the page.
        ticket_labels: Labels of the ticket.
        annotations: Annotations of every alert.
        description: For people.
    """

    service: str
    name: str
    percent: float
    error_query: str
    total_query: str
    kind: Kind = "availability"
    threshold_s: float | None = None
    period_days: float = 30.0
    time_scale: float = 1.0
    min_bad_events: float = MIN_BAD_EVENTS
    alert: str = "ErrorBudgetBurn"
    labels: tuple[tuple[str, str], ...] = ()
    alert_labels: tuple[tuple[str, str], ...] = ()
    page_labels: tuple[tuple[str, str], ...] = ()
    ticket_labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    description: str = ""

    @property
    def objective(self) -> float:
        """Return the wanted share of good events."""
        return self.percent / 100

    @property
    def budget(self) -> float:
        """Return the allowed share of bad events; computed from the percentage, as Sloth does."""
        return (100 - self.percent) / 100

    @property
    def uid(self) -> str:
        """Return ``service-name``, the identity of the objective."""
        return f"{self.service}-{self.name}"

    @property
    def period_s(self) -> float:
        """Return the period in seconds, after scaling."""
        return self.period_days * DAY_S / self.time_scale


# -- budget ------------------------------------------------------------------------------------------------


def error_ratio(bad: float, total: float) -> float:
    """Return the share of bad events; NaN where there was none at all."""
    return bad / total if total > 0 else float("nan")


def burn_rate(bad: float, total: float, objective: float) -> float:
    """Return how many times faster than allowed the budget burns; 1 uses it up in exactly one period.

    Args:
        bad: Bad events.
        total: All events; with none the rate is NaN.
        objective: Wanted share of good events, above 0 and below 1.
    """
    return error_ratio(bad, total) / (1 - _checked(objective))


def budget_burned(bad: float, total: float, objective: float, period_total: float | None = None) -> float:
    """Return the share of the period's budget that these bad events used up (1 is all of it).

    Args:
        bad: Bad events.
        total: All events of the same stretch of time.
        objective: Wanted share of good events, above 0 and below 1.
        period_total: Events of the whole period; None takes ``total``, as if the stretch were the period.

    Returns:
        0 when nothing was bad, also without any event.
    """
    allowed = (1 - _checked(objective)) * (total if period_total is None else period_total)
    if bad <= 0:
        return 0.0
    return bad / allowed if allowed > 0 else inf


def budget_left(bad: float, total: float, objective: float, period_total: float | None = None) -> float:
    """Return the share of the period's budget that is left; below 0 when it is overspent."""
    return 1 - budget_burned(bad, total, objective, period_total)


def time_to_exhaustion_s(left: float, burn: float, period_s: float) -> float:
    """Return how long the budget lasts at this burn rate, in seconds.

    Args:
        left: Share of the budget that is left.
        burn: Present burn rate.
        period_s: Length of the period.

    Returns:
        0 when nothing is left, infinity when nothing burns (or when it is not known).
    """
    if left <= 0:
        return 0.0
    return left * period_s / burn if burn > 0 else inf


# -- rules -------------------------------------------------------------------------------------------------


def alert_rules(period_days: float = 30.0, time_scale: float = 1.0) -> tuple[Rule, ...]:
    """Return the four rules of a period, fastest first.

    Args:
        period_days: Length of the period before scaling; at least the longest window.
        time_scale: Divides every window, for drills; factors stay.

    Raises:
        InvalidInput: A period shorter than its longest window, or a scale that leaves windows under 1 s.
    """
    if period_days * DAY_S < _TABLE[-1][2]:
        raise InvalidInput(f"period - {period_days:g} days, at least 3 are needed", hint="use 28 or 30 days")
    if not 1 <= time_scale <= _TABLE[0][3]:
        limit = _TABLE[0][3]
        raise InvalidInput(f"time scale - {time_scale:g}, wanted 1 to {limit:g}", hint="60 makes an hour a minute")
    return tuple(
        Rule(severity, share, long / time_scale, short / time_scale, share * period_days * 24 / 100 / (long / 3600))
        for severity, share, long, short in _TABLE
    )


def rules_of(objective: Objective) -> tuple[Rule, ...]:
    """Return the rules of an objective, after making sure that each of them can fire.

    Raises:
        InvalidInput: A rule could never fire: its threshold is an error ratio of 1 or more.
    """
    found = alert_rules(objective.period_days, objective.time_scale)
    never = [rule for rule in found if rule.factor * objective.budget >= 1]
    if never:
        worst = max(rule.factor for rule in never)
        raise InvalidInput(
            f"objective {objective.uid} - {objective.percent:g} % allows a burn rate of at most "
            f"{1 / objective.budget:.2f}, but {', '.join(rule.name for rule in never)} "
            f"wants more than {worst:g} and could never fire",
            hint=f"raise the objective above {100 * (1 - 1 / worst):.2f} %",
        )
    return found


def time_to_alert_s(rule: Rule, budget: float, ratio: float) -> float:
    """Return how long a constant error ratio lasts before the long window of a rule crosses its threshold.

    Args:
        rule: The rule.
        budget: Allowed share of bad events.
        ratio: Error ratio from now on, after none at all.

    Returns:
        Seconds; infinity when the ratio stays below the threshold.
    """
    wanted = rule.factor * budget
    return rule.long_s * wanted / ratio if ratio > wanted else inf


@dataclass(frozen=True, slots=True)
class Decision:
    """What one rule says about one moment, and why."""

    rule: Rule
    state: State
    reason: str
    long_burn: float
    short_burn: float


def decide(
    rule: Rule, *, long: tuple[float, float], short: tuple[float, float], budget: float, min_bad: float
) -> Decision:
    """Apply one rule to the counts of its two windows.

    Args:
        rule: The rule.
        long: Bad and all events of the long window.
        short: Bad and all events of the short window.
        budget: Allowed share of bad events.
        min_bad: Bad events that the long window must hold.
    """
    slow, fast = error_ratio(*long) / budget, error_ratio(*short) / budget
    state, reason = _state(rule, slow, fast, long[0], min_bad)
    return Decision(rule, state, reason, slow, fast)


def _state(rule: Rule, slow: float, fast: float, bad: float, min_bad: float) -> tuple[State, str]:
    """Return the state with the value and the limit that led to it."""
    long, short = duration(rule.long_s), duration(rule.short_s)
    if slow != slow or fast != fast:
        window = long if slow != slow else short
        return "no_data", f"no events within {window}: nothing to judge"
    if slow <= rule.factor:
        return "quiet", f"burn {slow:.3g} over {long}, fires above {rule.factor:g}"
    if fast <= rule.factor:
        return "quiet", f"burn {slow:.3g} over {long} but {fast:.3g} over {short}: no longer burning"
    if bad < min_bad:
        return "silenced", f"burn {slow:.3g} over {long}, but {bad:.3g} bad events of the {min_bad:g} needed"
    return "firing", f"burn {slow:.3g} over {long} and {fast:.3g} over {short}, both above {rule.factor:g}"


def check_threshold(text: str, buckets: Sequence[str], *, metric: str) -> float:
    """Return a latency threshold in seconds, if the histogram has a bucket that ends there.

    Args:
        text: The ``le`` label of the query.
        buckets: ``le`` labels that the histogram has.
        metric: Name of the histogram, for the message.

    Raises:
        InvalidInput: No such bucket; the message names those there are.
    """
    there = sorted(buckets, key=float)
    if text in there:
        return float(text)
    same = [found for found in there if float(found) == float(text)]
    hint = f'write le="{same[0]}"' if same else f"choose the next one, {_nearest(float(text), there)}"
    raise InvalidInput(
        f'{metric} - no bucket le="{text}", there are {", ".join(there) or "none"}; the objective would never fire',
        hint=hint if there else "is the application scraped? see apqx metrics",
    )


def duration(seconds: float) -> str:
    """Write seconds as Prometheus does: ``5m``, ``1h30m``, ``3d``, ``1w`` (weeks only when whole)."""
    rest = round(seconds * 1000)
    if rest == 0:
        return "0s"
    text = ""
    for unit, size, whole in _UNITS:
        if whole and rest % size:
            continue
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text


_UNITS = (
    ("y", 31_536_000_000, True),
    ("w", 604_800_000, True),
    ("d", 86_400_000, False),
    ("h", 3_600_000, False),
    ("m", 60_000, False),
    ("s", 1000, False),
    ("ms", 1, False),
)


def _nearest(wanted: float, buckets: Iterable[str]) -> str:
    """Return the bucket nearest to a value."""
    return min(buckets, key=lambda text: abs(float(text) - wanted) if float(text) < inf else inf, default="")


def _checked(objective: float) -> float:
    """Return an objective that leaves a budget."""
    if not 0 < objective < 1:
        raise InvalidInput(f"objective - {objective:g}, wanted above 0 and below 1", hint="99.9 % is 0.999")
    return objective
