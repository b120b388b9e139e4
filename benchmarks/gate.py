"""How often does the gate cry wolf, and how fast does it see a wolf? Simulated with its own formulas, in seconds.

Two situations. A *canary*: a fifth of 20 requests/s for two hours, 0.5 % of them bad (six a minute), looked at all
the time; beside the gate's test stand two gates that people use. A *rolling update*: the whole gate as ``apqx
deploy --gate`` runs it, four tests looked at every quarter of a second and the latency test at the end.

``tests/unit/rules/test_rules_gate_simulated.py`` holds the formulas here against those of ``platform_lib.rules``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import betaln
from scipy.stats import mannwhitneyu

from platform_lib.rules.verdict import Limits, thinned

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
SEED = 20260101
BASE = 0.005
"""Bad ratio of a healthy version in the canary: six bad requests a minute."""
TIMES = (2, 5, 10)
_CHUNK = 250
_STEP_S = 2
"""The widest bin of the gate, see ``rules.verdict``: 40 requests at 20 requests/s."""


class Canary(NamedTuple):
    """Counts per step of two seconds: one row per run, one column per step."""

    new: Counts
    new_bad: Counts
    old: Counts
    old_bad: Counts


def canary(
    rng: np.random.Generator, *, runs: int, times: float = 1.0, seconds: int = 7200, rate_rps: float = 20.0,
    share: float = 0.2, base: float = BASE,
) -> Canary:  # fmt: skip
    """Draw runs of a canary whose new version is ``times`` as bad as the old one."""
    size, per_step = (runs, seconds // _STEP_S), rate_rps * _STEP_S
    new, old = rng.poisson(per_step * share, size), rng.poisson(per_step * (1 - share), size)
    return Canary(new, rng.binomial(new, min(times * base, 1.0)), old, rng.binomial(old, base))


def comparing(share: Floats, bad: Counts, new_bad: Counts) -> Floats:
    """Return the logarithm of ``sequential.compare`` after every step, for many runs at once.

    Args:
        share: The new version's share of requests per step; 0 or 1 makes a step uninformative.
        bad: Bad requests of both per step.
        new_bad: Bad requests of the new version per step.
    """
    informative = (share > 0) & (share < 1)
    share = np.where(informative, share, 0.5)
    bad, new_bad = np.where(informative, bad, 0), np.where(informative, new_bad, 0)
    first = np.clip(share[np.arange(len(share)), informative.argmax(axis=1)], 0.1, 0.9)[:, None]
    a, b = 2.0 * first, 2.0 * (1 - first)
    hits, misses = new_bad.cumsum(axis=1), (bad - new_bad).cumsum(axis=1)
    null = (new_bad * np.log(share) + (bad - new_bad) * np.log1p(-share)).cumsum(axis=1)
    expected = (bad * share).cumsum(axis=1)
    value: Floats = betaln(a + hits, b + misses) - betaln(a, b) - null
    return np.where(hits > expected, value, -np.inf)


def held_against(bad: Counts, total: Counts, objective: float) -> Floats:
    """Return the logarithm of ``sequential.against_objective`` after every step, for many runs at once."""
    bad, total = bad.cumsum(axis=1), total.cumsum(axis=1)
    a = 0.5
    b = a / objective - a
    value = betaln(a + bad, b + total - bad) - betaln(a, b)
    value -= bad * np.log(objective) + (total - bad) * np.log1p(-objective)
    return np.where(bad > total * objective, value, -np.inf)


def first_alarm(alarm: npt.NDArray[np.bool_]) -> Floats:
    """Return the index of the first alarm of each run, infinity where there is none."""
    return np.where(alarm.any(axis=1), alarm.argmax(axis=1).astype(float), np.inf)


def peek_safe(seen: Canary, alpha: float) -> Floats:
    """The gate's test, looked at after every step; minutes until it alarms."""
    total = seen.new + seen.old
    share = np.divide(seen.new, total, out=np.zeros(total.shape), where=total > 0)
    value = comparing(share, seen.new_bad + seen.old_bad, seen.new_bad)
    return (first_alarm(value >= -np.log(alpha)) + 1) * _STEP_S / 60


def threshold(seen: Canary, *, above: float, strikes: int) -> Floats:
    """A plain gate on the new version's bad ratio of each minute; minutes until it aborts.

    Such a gate has no level that one could choose.
    """
    struck = _minutes(seen.new_bad) > above * _minutes(seen.new)
    return first_alarm(struck.cumsum(axis=1) >= strikes) + 1


def mann_whitney(seen: Canary, alpha: float) -> Floats:
    """Mann-Whitney on the bad ratio of all minutes so far, looked at every minute; minutes until p < alpha."""
    new = _minutes(seen.new_bad) / np.maximum(_minutes(seen.new), 1)
    old = _minutes(seen.old_bad) / np.maximum(_minutes(seen.old), 1)
    looks = range(5, new.shape[1] + 1)
    found = [mannwhitneyu(new[:, :n], old[:, :n], axis=1, alternative="greater", method="asymptotic") for n in looks]
    return first_alarm(np.stack([test.pvalue < alpha for test in found], axis=1)) + 5


def _minutes(counts: Counts) -> Counts:
    """Sum columns of steps to minutes."""
    return counts.reshape(len(counts), -1, 60 // _STEP_S).sum(axis=2)


GATES: dict[str, Callable[[Canary, float], Floats]] = {
    "peek-safe test, every 2 s": peek_safe,
    "above 1 % in a minute, once": lambda seen, _: threshold(seen, above=0.01, strikes=1),
    "above 1 % in a minute, 5 times": lambda seen, _: threshold(seen, above=0.01, strikes=5),
    "above 5 % in a minute, 3 times": lambda seen, _: threshold(seen, above=0.05, strikes=3),
    "Mann-Whitney, every minute": mann_whitney,
}


def canaries(*, runs: int = 2000, alpha: float = 0.05, seed: int = SEED) -> dict[str, dict[str, float]]:
    """Return, per gate, the false-alarm ratio and the median minutes to detection; infinity where most are missed."""
    found: dict[str, dict[str, float]] = {}
    for times in (1, *TIMES):
        rng, parts = np.random.default_rng(seed + times), {name: list[Floats]() for name in GATES}
        # Two hours where a false alarm is asked for; half an hour shows any detection that is of use.
        seconds, count = (7200, runs) if times == 1 else (1800, runs // 4)
        for _ in range(max(count // _CHUNK, 1)):
            seen = canary(rng, runs=min(count, _CHUNK), times=times, seconds=seconds)
            for name, gate in GATES.items():
                parts[name].append(gate(seen, alpha))
        for name, minutes in ((name, np.concatenate(part)) for name, part in parts.items()):
            column = "false_alarms_ratio" if times == 1 else f"detect_{times}x_min"
            value = float(np.isfinite(minutes).mean()) if times == 1 else float(np.median(minutes))
            found.setdefault(name, {})[column] = round(value, 4)
    return found


_BIN_S, _BEFORE, _MIXED, _AFTER = 0.25, 20, 4, 32


def updates(
    *, bad: float, slow: float, runs: int, base: float = 0.001, base_slow: float = 0.01, rate_rps: float = 200.0,
    alpha: float = 0.01, seed: int = SEED,
) -> Floats:  # fmt: skip
    """Run the live part of the gate over rolling updates: 5 s before, 1 s of both, 8 s of the new version alone.

    Args:
        bad, slow: Ratios of the new version.
        runs: How many updates.
        base, base_slow: Ratios of the old version.
        rate_rps: Probe rate.
        alpha: Level of the whole gate.
        seed: Of the draws.

    Returns:
        Seconds from the first answer of the new version to the failing verdict, infinity where it never failed.
    """
    rng, limits, each = np.random.default_rng(seed), Limits(alpha=alpha), int(rate_rps * _BIN_S)
    new = np.tile(np.repeat([each // 2, each], [_MIXED, _AFTER]), (runs, 1))
    old_now = np.tile(np.repeat([each - each // 2, 0], [_MIXED, _AFTER]), (runs, 1))
    # A bin of the new version alone is held against one of the old version from before, each used once.
    lent = np.tile(np.r_[np.zeros(_MIXED), np.full(_BEFORE, each), np.zeros(_AFTER - _BEFORE)].astype(int), (runs, 1))
    share = new / (new + old_now + lent)
    fails, slows = rng.binomial(new, bad), rng.binomial(new, slow)
    old_fails, lent_fails = rng.binomial(old_now, base), rng.binomial(lent, base)
    old_slows = rng.binomial(old_now + lent, base_slow)
    line = -np.log(limits.level)
    slow_enough = slows.cumsum(axis=1) >= limits.slow_ratio * new.cumsum(axis=1)
    alarm = (
        (held_against(fails, new, limits.error_objective) >= line)
        | (held_against(fails + old_fails, new + old_now, limits.lost_objective) >= line)
        | (comparing(share, fails + old_fails + lent_fails, fails) >= line)
        | ((comparing(share, slows + old_slows, slows) >= line) & slow_enough)
    )
    return (first_alarm(alarm) + 1) * _BIN_S


def latency_alarms(*, runs: int, shift_ms: float = 0.0, alpha: float = 0.01, seed: int = SEED) -> float:
    """Return how often the latency test at the end fails a version that is ``shift_ms`` slower.

    Latencies are log-normal with a median of 2 ms and a long tail; 500 of each version.
    """
    rng, limits, alarms = np.random.default_rng(seed), Limits(alpha=alpha), 0
    for _ in range(runs):
        new, old = (thinned(rng.lognormal(0.7, 1.0, 500)) for _ in range(2))
        new = new + shift_ms
        margin = max(limits.latency_margin_ms, limits.latency_margin_ratio * float(np.median(old)))
        if float(np.median(np.subtract.outer(new, old))) > margin:
            alarms += bool(mannwhitneyu(new, old, alternative="greater").pvalue < limits.level)
    return alarms / runs


def simulate() -> dict[str, Any]:
    """Return the figures of both situations and print them as a table."""
    rows = canaries()
    print(f"  {'canary, alpha 5 %':<30} {'false alarms':>12}" + "".join(f"{f'{t}x':>9}" for t in TIMES))
    for name, row in rows.items():
        times = "".join(f"{row[f'detect_{t}x_min']:>5.1f} min" for t in TIMES)
        print(f"  {name:<30} {row['false_alarms_ratio']:>12.1%}{times}")
    good = updates(bad=0.001, slow=0.01, runs=20_000)
    found: dict[str, Any] = {
        "update_false_alarms_ratio": round(float(np.isfinite(good).mean()), 5),
        "update_latency_false_alarms_ratio": latency_alarms(runs=500),
    }
    for ratio in (0.02, 0.05, 0.1, 0.3):
        seconds = updates(bad=ratio, slow=0.01, runs=4000)
        found[f"update_bad_{ratio:.0%}_caught_ratio"] = round(float(np.isfinite(seconds).mean()), 4)
        found[f"update_bad_{ratio:.0%}_detect_s"] = float(np.median(seconds))
    print("  rolling update, whole gate at alpha 1 %: " + ", ".join(f"{k[7:]} {v}" for k, v in found.items()))
    return found | {name.replace(",", ""): row for name, row in rows.items()}
