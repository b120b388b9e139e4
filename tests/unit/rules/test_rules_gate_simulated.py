"""The gate keeps its promise about false alarms, and the simulation that shows it uses the gate's own formulas."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from platform_lib.rules import sequential, verdict
from platform_lib.rules.downtime import Samples
from platform_lib.rules.sequential import Step
from platform_lib.rules.verdict import Limits, Seen

sys.path.insert(0, str(Path(__file__).parents[3]))

from benchmarks import gate

RUNS = 2000


def allowed(alpha: float, runs: int) -> int:
    """False alarms that a gate with this level exceeds once in 10,000 times; the seed is fixed besides."""
    return int(binom.ppf(0.9999, runs, alpha))


def test_the_simulation_compares_as_the_gate_does() -> None:
    rng = np.random.default_rng(1)
    new, old = rng.poisson(4, (5, 40)), rng.poisson(9, (5, 40))
    new_bad, bad = rng.binomial(new, 0.4), rng.binomial(new + old, 0.2)
    new_bad = np.minimum(new_bad, bad)
    share = np.divide(new, new + old, out=np.zeros(new.shape), where=new + old > 0)
    found = gate.comparing(share, bad, new_bad)
    for run in range(5):
        steps = [Step(float(s), int(b), int(n)) for s, b, n in zip(share[run], bad[run], new_bad[run], strict=True)]
        for upto in (1, 7, 40):
            wanted = sequential.compare(steps[:upto])
            value = found[run, upto - 1]
            assert (np.isfinite(value)) == wanted.worse
            if wanted.worse:
                assert np.exp(value) == pytest.approx(wanted.m)


def test_the_simulation_holds_against_an_objective_as_the_gate_does() -> None:
    rng = np.random.default_rng(2)
    total = rng.poisson(50, (3, 30))
    bad = rng.binomial(total, 0.03)
    found = gate.held_against(bad, total, 0.01)
    for run in range(3):
        wanted = sequential.against_objective(int(bad[run].sum()), int(total[run].sum()), 0.01)
        assert wanted.worse and np.exp(found[run, -1]) == pytest.approx(wanted.m)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_looking_all_the_time_raises_no_more_false_alarms_than_alpha(share: float) -> None:
    rng, alpha = np.random.default_rng(int(share * 10)), 0.05
    seen = gate.canary(rng, runs=RUNS, seconds=1800, share=share, base=0.02)
    alarms = int(np.isfinite(gate.peek_safe(seen, alpha)).sum())
    assert alarms <= allowed(alpha, RUNS), f"{alarms} of {RUNS}"


def test_a_mann_whitney_that_is_looked_at_every_minute_breaks_its_level_and_the_gate_does_not() -> None:
    rng, alpha = np.random.default_rng(3), 0.05
    seen = gate.canary(rng, runs=400, seconds=3600)
    assert np.isfinite(gate.mann_whitney(seen, alpha)).sum() > allowed(alpha, 400)
    assert np.isfinite(gate.peek_safe(seen, alpha)).sum() <= allowed(alpha, 400)


@pytest.mark.parametrize(("bad", "slow"), [(0.0, 0.0), (0.001, 0.01), (0.001, 0.04)])
def test_the_whole_gate_keeps_alpha_over_rolling_updates_to_an_equal_version(bad: float, slow: float) -> None:
    seconds = gate.updates(bad=bad, slow=slow, base=bad, base_slow=slow, runs=RUNS, alpha=0.05)
    assert np.isfinite(seconds).sum() <= allowed(0.05, RUNS)


@pytest.mark.parametrize(("bad", "slow"), [(0.05, 0.01), (0.001, 0.3)], ids=["errors", "slow"])
def test_a_worse_version_is_nearly_always_caught(bad: float, slow: float) -> None:
    assert np.isfinite(gate.updates(bad=bad, slow=slow, runs=500)).mean() > 0.99


def test_equal_latency_is_no_alarm_and_a_large_shift_is() -> None:
    assert gate.latency_alarms(runs=40) == 0
    assert gate.latency_alarms(runs=20, shift_ms=40.0) == 1


def test_all_tests_together_share_alpha() -> None:
    limits = Limits(alpha=0.05)
    assert limits.level * 5 == pytest.approx(limits.alpha)


def samples(count: int, *, rate_rps: float, new_from: float, bad_new: float = 0.0, mixed: bool = True) -> Samples:
    """Requests at a constant rate; from ``new_from`` seconds on every second one is of the new version."""
    at = np.arange(count) / rate_rps
    new = (at >= new_from) & ((np.arange(count) % 2 == 0) | (not mixed))
    rng = np.random.default_rng(4)
    status = np.where(new & (rng.random(count) < bad_new), 500, 200).astype(np.uint16)
    zeros = np.zeros(count, dtype=np.float32)
    return Samples(at, zeros, zeros + 2, status, np.full(count, ""), np.where(new, "2", "1"), np.full(count, "pod"))


def judged(of: Samples) -> dict[str, verdict.Check]:
    seen = Seen("2", "1", of, deployment_done=True, argocd_done=True, finished=True)
    return {check.name: check for check in verdict.judge(seen).checks}


def test_a_slow_probe_still_compares_versions() -> None:
    """At 10 requests/s a quarter of a second holds two or three of them: their share is noise, not evidence."""
    found = judged(samples(700, rate_rps=10, new_from=10, bad_new=0.12))
    assert found["errors against old"].status == "fail", found["errors against old"]


def test_missing_data_comes_with_what_would_be_enough() -> None:
    of = samples(200, rate_rps=20, new_from=5)
    seen = Seen("2", "1", of, deployment_done=True, argocd_done=True, finished=True)
    said = verdict.enough(seen, Limits(), rate_rps=20, settle_s=4)
    assert verdict.judge(seen).status == "not_enough_data"
    assert "after the rollout, or" in said
    longer_s = float(said.split(" s after")[0])
    again = samples(int(20 * (longer_s + 6)), rate_rps=20, new_from=5, mixed=False)
    assert judged(again)["errors of new"].status == "pass"


def failing(*names: str) -> verdict.Verdict:
    checks = tuple(verdict.Check(name, "fail", "", "", "is slow") for name in names)
    return verdict.Verdict("fail", "slow", checks)


@pytest.mark.parametrize(
    ("names", "after_ms", "status"),
    [
        (("slow requests",), 2.0, "fail"),
        (("slow requests",), 200.0, "inconclusive"),
        (("latency",), 2.0, "fail"),
        (("latency",), 190.0, "inconclusive"),
        (("slow requests", "latency"), 200.0, "inconclusive"),
        (("slow requests", "errors of new"), 200.0, "fail"),
    ],
)
def test_a_version_is_not_blamed_where_the_old_one_is_as_slow_after_the_rollback(
    names: tuple[str, ...], after_ms: float, status: str
) -> None:
    limits = Limits(slow_ms=100.0)
    found = verdict.confirmed(failing(*names), np.full(300, 200.0), np.full(300, after_ms), limits)
    assert found.status == status
    assert ("surroundings" in found.reason) == (status == "inconclusive")


def test_latency_is_held_against_the_old_version_at_its_slowest() -> None:
    quiet, busy, limits = np.full(100, 2.0), np.full(100, 90.0), Limits()
    assert verdict.slower(quiet, busy, limits) is busy
    assert verdict.slower(quiet, busy[:10], limits) is quiet
    assert len(verdict.slower(quiet[:20], busy[:40], limits)) == 60


def test_a_machine_that_became_busy_is_not_held_against_the_version() -> None:
    """Both versions slow since the change: no alarm; only the new one: alarm."""
    quiet = samples(4000, rate_rps=200, new_from=5)
    since = quiet.intended >= 5
    for slow_ones, status in ((since, "pass"), (since & (quiet.version == "2"), "fail")):
        of = quiet._replace(latency_ms=np.where(slow_ones, 150, 2).astype(np.float32))
        seen = Seen("2", "1", of, changed_at=5.0, deployment_done=True, argocd_done=True, finished=True)
        found = {check.name: check.status for check in verdict.judge(seen, Limits(slow_ms=100)).checks}
        assert (found["slow requests"], found["latency"]) == (status, status)


@pytest.mark.parametrize(("worse", "status"), [(False, "inconclusive"), (True, "fail")])
def test_a_service_that_failed_before_is_held_against_a_version_only_if_it_is_worse(worse: bool, status: str) -> None:
    of, rng = samples(4000, rate_rps=200, new_from=5), np.random.default_rng(5)
    chance = np.where((of.version == "2") & worse, 0.5, 0.05)
    of = of._replace(status=np.where(rng.random(4000) < chance, 500, 200).astype(np.uint16))
    seen = Seen("2", "1", of, changed_at=5.0, deployment_done=True, argocd_done=True, finished=True)
    assert verdict.judge(seen, Limits()).status == status
