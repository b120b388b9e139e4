"""Each check of a drill in both directions."""

import pytest

from platform_lib.drills import scenario
from platform_lib.drills.judge import Evidence, judge
from platform_lib.drills.scenario import Expect
from platform_lib.model import Check

FIGURES = {
    "rto_s": 3.0,
    "requests_sent": 1000,
    "requests_lost": 5,
    "availability_ratio": 0.995,
    "probe_lag_p99_ms": 2.0,
}
STEADY = (Check("health", "pass", "Healthy", "Healthy", ""),)


def verdict(*, expect: dict | None = None, timeout_s: float = 60, figures: dict | None = None, **changes):
    drill = scenario.load("pod-loss").model_copy(update={"expect": Expect(text="It comes back.", **(expect or {}))})
    found = {"noticed": {"kubernetes": "1 of 2"}, "own": True, "blind_s": {}, "timed_out": "", "steady": STEADY}
    return judge(drill, Evidence(figures=FIGURES | (figures or {}), **(found | changes)), timeout_s)


def test_a_platform_that_does_what_is_expected_passes() -> None:
    assert verdict().ok and "recovered in 3.00 s, 5 of 1000" in verdict().reason


@pytest.mark.parametrize(
    ("status", "check", "case"),
    [
        ("inconclusive", "fault struck", {"noticed": {}, "own": False, "figures": {"requests_lost": 0}}),
        ("fail", "recovered", {"timed_out": "1 of 2 ready", "figures": {"rto_s": None}}),
        ("fail", "recovered", {"expect": {"rto_max_s": 2.0}}),
        ("fail", "recovered", {"timeout_s": 2.0}),
        ("fail", "availability", {"expect": {"availability_min": 0.999}}),
        ("fail", "no outage", {"expect": {"outage_allowed": False}}),
        ("fail", "detected by prometheus", {"expect": {"detected_by": ("prometheus",)}}),
        (
            "inconclusive",
            "detected by prometheus",
            {"expect": {"detected_by": ("prometheus",)}, "blind_s": {"prometheus": 4.0}},
        ),
        ("fail", "blindness of prometheus noticed", {"expect": {"blind": ("prometheus",)}}),
        ("inconclusive", "probe honest", {"figures": {"probe_lag_p99_ms": 400.0}}),
        ("fail", "desired state kept", {"figures": {"sentinels_lost": 1, "sentinels_pushed": 4, "rpo_s": 1.0}}),
        ("fail", "steady again: health", {"steady": (Check("health", "fail", "Degraded", "Healthy", ""),)}),
        ("fail", "own", {"extra": (Check("own", "fail", "x", "y", ""),)}),
    ],
)
def test_each_expectation_that_is_not_met_is_named(status: str, check: str, case: dict) -> None:
    found = verdict(**case)
    assert found.status == status and found.reason.startswith(f"{check}:"), found


@pytest.mark.parametrize(
    "case",
    [
        {"expect": {"availability_min": 0.99}},
        {"expect": {"detected_by": ("kubernetes",)}},
        {"expect": {"blind": ("prometheus",)}, "blind_s": {"prometheus": 4.0}},
        {"expect": {"outage_allowed": False}, "figures": {"requests_lost": 0}},
        {"noticed": {}, "figures": {"requests_lost": 0}},
        {"figures": {"sentinels_lost": 0, "sentinels_pushed": 4, "rpo_s": 1.0}},
        {"blind_s": {"prometheus": 4.0}},
    ],
)
def test_each_expectation_that_is_met_passes(case: dict) -> None:
    assert verdict(**case).ok, verdict(**case)


def test_a_failure_outweighs_a_doubt() -> None:
    found = verdict(timed_out="x", figures={"rto_s": None, "probe_lag_p99_ms": 400.0})
    assert found.status == "fail"
