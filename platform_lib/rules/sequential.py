"""Is the new version worse, however often we look? Anytime-valid tests on counts; pure arithmetic.

A test that is repeated every second until it alarms raises false alarms without end unless it is built for
that. These are martingales under "no difference": the chance that one *ever* exceeds 1/alpha is at most alpha.

Source: Lindon & Malek, "Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from math import exp, inf, lgamma, log, log1p
from typing import NamedTuple

_STRENGTH = 2.0
"""Weight of the prior in events: Beta(1, 1) where both versions get half of the requests."""


class Bin(NamedTuple):
    """Requests and bad ones of both versions in one short stretch of time."""

    new: int
    new_bad: int
    old: int
    old_bad: int


class Step(NamedTuple):
    """One comparable stretch: the new version's share of requests, bad events in all, those of the new one."""

    share: float
    bad: int
    new_bad: int


class Evidence(NamedTuple):
    """The value of a test: ``m`` times more likely under "worse" than under "no difference"."""

    m: float
    bad: int
    new_bad: int
    expected_new_bad: float

    @property
    def worse(self) -> bool:
        """Tell whether the new version has more bad events than its share."""
        return self.new_bad > self.expected_new_bad


def beta_binomial(new_bad: int, bad: int, share: float) -> float:
    """Return the martingale for a constant share.

    Args:
        new_bad: Bad events of the new version.
        bad: Bad events of both.
        share: The new version's share of requests, above 0 and below 1.

    Returns:
        4 against 0 at equal traffic gives 3.2 (go on), 8 against 0 gives 28 (alarm at alpha 0.05).
    """
    return compare([Step(share, bad, new_bad)]).m


def compare(steps: Sequence[Step]) -> Evidence:
    """Return the martingale over steps whose share of traffic may change.

    Each bad event is held against the share that was measured when it happened.
    """
    informative = [step for step in steps if 0 < step.share < 1]
    if not informative:
        return Evidence(1.0, 0, 0, 0.0)
    first = min(max(informative[0].share, 0.1), 0.9)
    a, b = _STRENGTH * first, _STRENGTH * (1 - first)
    bad, new_bad = sum(step.bad for step in informative), sum(step.new_bad for step in informative)
    value = _log_beta(a + new_bad, b + bad - new_bad) - _log_beta(a, b)
    for step in informative:
        value -= step.new_bad * log(step.share) + (step.bad - step.new_bad) * log1p(-step.share)
    return Evidence(_exp(value), bad, new_bad, sum(step.bad * step.share for step in informative))


def against_objective(bad: int, total: int, objective: float) -> Evidence:
    """Return the martingale of one version against an allowed ratio of bad requests.

    Args:
        bad: Bad requests.
        total: All requests.
        objective: Allowed ratio, above 0 and below 1.
    """
    a = 0.5
    b = a / objective - a
    value = _log_beta(a + bad, b + total - bad) - _log_beta(a, b)
    value -= bad * log(objective) + (total - bad) * log1p(-objective)
    return Evidence(_exp(value), bad, bad, total * objective)


def pair(bins: Iterable[Bin]) -> list[Step]:
    """Turn bins in order of time into comparable steps.

    While both versions serve, they are compared within the bin. Where only the new one serves, it is held
    against requests of the old one that served before and were not used yet, each only once, so that the
    test stays valid; when they are used up, no more evidence is made of nothing.
    """
    unused: deque[tuple[int, int]] = deque()
    steps = []
    for part in bins:
        if not part.new:
            if part.old:
                unused.append((part.old, part.old_bad))
            continue
        old, old_bad = part.old, part.old_bad
        while old < part.new and unused:
            more, more_bad = unused.popleft()
            old, old_bad = old + more, old_bad + more_bad
        share = part.new / (part.new + old)
        steps.append(Step(share, part.new_bad + old_bad, part.new_bad))
    return steps


def alarms_after(alpha: float, share: float = 0.5) -> int:
    """Return how many bad events of the new version alone raise an alarm; what "enough data" means."""
    count = 1
    while beta_binomial(count, count, share) < 1 / alpha:
        count += 1
    return count


def _log_beta(a: float, b: float) -> float:
    """Return the logarithm of the beta function."""
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _exp(value: float) -> float:
    """Return e to a power, infinity where a float cannot hold it."""
    return exp(value) if value < 700 else inf
