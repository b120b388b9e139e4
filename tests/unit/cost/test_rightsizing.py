"""Advice on requests, spot readiness and room: pure rules."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_lib import cost
from platform_lib.rules import rightsizing, spot
from platform_lib.rules.capacity import Need, Room, fits, fits_without_any_node

WEEK_S = 7 * 86_400.0
LEAST = rightsizing.LEAST_CPU_CORES
STEADY = [0.2] * 100


def test_the_target_is_the_busy_tenth_plus_the_margin_of_the_autoscaler() -> None:
    used = [n / 100 for n in range(1, 101)]
    advice = rightsizing.advise(used, request=5.0, history_s=WEEK_S, least=LEAST)
    assert advice.direction == "lower"
    assert advice.target == pytest.approx(1.15 * 0.901)


@pytest.mark.parametrize(
    ("request_", "history_s", "direction"),
    [
        (0.05, WEEK_S, "raise"),
        (0.23, WEEK_S, "keep"),
        (2.0, WEEK_S, "lower"),
        (2.0, 3600.0, "keep"),  # an hour is no reason to take away what a busy day may need
        (None, WEEK_S, "set"),
    ],
)
def test_a_request_is_kept_inside_bounds_that_a_short_history_widens(request_, history_s, direction) -> None:
    assert rightsizing.advise(STEADY, request=request_, history_s=history_s, least=LEAST).direction == direction


def test_a_few_readings_are_no_advice() -> None:
    advice = rightsizing.advise([0.2] * 29, request=1.0, history_s=WEEK_S, least=LEAST)
    assert (advice.direction, advice.target) == ("not enough data", None) and "30 would be enough" in advice.reason


@given(
    st.lists(st.floats(0, 1e3), min_size=30, max_size=80),
    st.floats(1e-3, 1e3) | st.none(),
    st.floats(60, 1e7),
)
def test_the_target_lies_within_the_bounds_and_following_the_advice_ends_it(used, request_, history_s) -> None:
    advice = rightsizing.advise(used, request=request_, history_s=history_s, least=LEAST)
    assert advice.lower <= advice.target <= advice.upper and advice.target >= LEAST
    again = rightsizing.advise(used, request=advice.target, history_s=history_s, least=LEAST)
    assert again.direction == "keep"


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_a_quantile_lies_between_the_ends(values, q) -> None:
    assert min(values) - 1e-6 <= rightsizing.quantile(values, q) <= max(values) + 1e-6


LABELS = {"app": "web"}
POD = {
    "terminationGracePeriodSeconds": 30,
    "containers": [{"name": "web", "lifecycle": {"preStop": {"sleep": {"seconds": 2}}}}],
    "topologySpreadConstraints": [{"topologyKey": "kubernetes.io/hostname"}],
    "volumes": [{"name": "tmp", "emptyDir": {}}],
}
GOOD = {
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {"replicas": 2, "template": {"metadata": {"labels": LABELS}, "spec": POD}},
}
BUDGET = {
    "metadata": {"name": "web"},
    "spec": {"selector": {"matchLabels": LABELS}},
    "status": {"disruptionsAllowed": 1},
}


EXCLUDING = {"key": "app", "operator": "NotIn", "values": ["web"]}


def failing(deployment, budgets, notice_s=30):
    return [check.name for check in spot.checks(deployment, budgets, notice_s=notice_s) if check.status != "pass"]


def test_a_ready_workload_passes() -> None:
    assert failing(GOOD, [BUDGET]) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda d: d["spec"].update(replicas=1), "replicas"),
        (lambda d: d["spec"]["template"]["spec"].pop("topologySpreadConstraints"), "spread"),
        (lambda d: d["spec"]["template"]["spec"].update(terminationGracePeriodSeconds=120), "graceful end"),
        (lambda d: d["spec"]["template"]["spec"]["containers"][0].pop("lifecycle"), "graceful end"),
        (lambda d: d["spec"]["template"]["spec"]["volumes"].append({"name": "d", "hostPath": {}}), "state"),
    ],
)
def test_each_lack_is_found_and_names_the_next_step(change, name) -> None:
    deployment = copy.deepcopy(GOOD)
    change(deployment)
    assert failing(deployment, [BUDGET]) == [name]
    assert all(c.reason for c in spot.checks(deployment, [BUDGET]) if c.status == "fail")


@pytest.mark.parametrize(
    "budgets",
    [
        [],
        [BUDGET | {"status": {"disruptionsAllowed": 0}}],
        [BUDGET, BUDGET],
        [BUDGET | {"spec": {"selector": {"matchLabels": {"app": "other"}}}}],
        [BUDGET | {"spec": {"selector": {"matchExpressions": [EXCLUDING]}}}],
    ],
    ids=["none", "exhausted", "two", "of another", "excluding"],
)  # fmt: skip
def test_a_budget_must_cover_and_allow(budgets) -> None:
    assert failing(GOOD, budgets) == ["disruption budget"]


ROOMS = [Room("a", 1.0, 1e9, 10), Room("b", 0.35, 1e9, 10)]


def test_room_is_counted_as_the_scheduler_counts() -> None:
    assert fits(ROOMS, Need(0.1, 1e8)) == 10 + 3
    assert fits(ROOMS, Need(0.1, 9e8)) == 2
    assert fits([Room("full", -0.1, 1e9, 10)], Need(0.1, 1)) == 0


def test_displaced_pods_come_first_after_a_loss() -> None:
    need = Need(0.1, 1e6)
    assert fits_without_any_node(ROOMS, need, on_node={"a": 1, "b": 1}) == 3 - 1
    assert fits_without_any_node(ROOMS, need, on_node={"a": 5}) == 3 - 5
    assert fits_without_any_node([], need, on_node={}) == 0


def test_requests_are_those_of_every_container_or_none() -> None:
    def pod(*requests):
        return {"kind": "Pod", "spec": {"containers": [{"resources": {"requests": one}} for one in requests]}}

    assert cost.requests_of(pod({"cpu": "100m", "memory": "128Mi"}, {"cpu": 1, "memory": "1Gi"})) == (
        1.1,
        float(2**30 + 2**27),
    )
    assert cost.requests_of(pod({"cpu": "100m"}, {})) == (None, None)


def test_a_price_is_a_month_of_what_is_reserved() -> None:
    assert cost.Prices(1.0, 2.0).month(0.5, 2**30) == pytest.approx(730 * 2.5)
