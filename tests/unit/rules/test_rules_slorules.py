"""The generated rules hold what Sloth makes of the same specification; recorded for one objective of ours."""

import re
from dataclasses import replace

import pytest

from platform_lib.errors import InvalidInput
from platform_lib.rules.slo import Objective
from platform_lib.rules.slorules import groups

ID = '{sloth_id="shop-orders", sloth_service="shop", sloth_slo="orders"}'
ORDERS = Objective(
    "shop",
    "orders",
    99.9,
    'sum(rate(orders_total{ok="no"}[{{.window}}]))',
    "sum(rate(orders_total[{{.window}}]))",
    min_bad_events=0,
    alert="OrdersBurn",
    labels=(("team", "till"),),
    page_labels=(("severity", "page"),),
)


def rules(objective: Objective = ORDERS) -> dict[str, list[dict]]:
    return {group["name"]: group["rules"] for group in groups(objective)}


def test_group_names_and_records_are_those_of_sloth() -> None:
    found = rules()
    assert list(found) == [
        "sloth-slo-sli-recordings-shop-orders",
        "sloth-slo-meta-recordings-shop-orders",
        "sloth-slo-alerts-shop-orders",
    ]
    windows = ("5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d")
    recorded, meta, _ = found.values()
    assert [rule["record"] for rule in recorded] == [f"slo:sli_error:ratio_rate{window}" for window in windows]
    assert [rule["record"] for rule in meta] == [
        "slo:objective:ratio",
        "slo:error_budget:ratio",
        "slo:time_period:days",
        "slo:current_burn_rate:ratio",
        "slo:period_burn_rate:ratio",
        "slo:period_error_budget_remaining:ratio",
        "sloth_slo_info",
    ]


def test_ratios_are_bad_by_all_and_the_period_is_their_mean() -> None:
    recorded = rules()["sloth-slo-sli-recordings-shop-orders"]
    assert recorded[2] == {
        "record": "slo:sli_error:ratio_rate1h",
        "expr": '(sum(rate(orders_total{ok="no"}[1h])))\n/\n(sum(rate(orders_total[1h])))\n',
        "labels": {
            "sloth_id": "shop-orders",
            "sloth_service": "shop",
            "sloth_slo": "orders",
            "sloth_window": "1h",
            "team": "till",
        },
    }
    assert recorded[-1]["expr"] == (
        f"sum_over_time(slo:sli_error:ratio_rate5m{ID}[30d])\n"
        "/ ignoring (sloth_window)\n"
        f"count_over_time(slo:sli_error:ratio_rate5m{ID}[30d])\n"
    )


def test_the_budget_is_computed_from_the_percentage() -> None:
    meta = {rule["record"]: rule["expr"] for rule in rules()["sloth-slo-meta-recordings-shop-orders"]}
    assert meta["slo:objective:ratio"] == "vector(0.9990000000000001)"
    assert meta["slo:error_budget:ratio"] == "vector(1-0.9990000000000001)"
    assert meta["slo:current_burn_rate:ratio"] == (
        f"slo:sli_error:ratio_rate5m{ID}\n/ on(sloth_id, sloth_slo, sloth_service) group_left\n"
        f"slo:error_budget:ratio{ID}\n"
    )


def test_the_page_is_the_expression_of_sloth() -> None:
    page, ticket = rules()["sloth-slo-alerts-shop-orders"]
    budget = "0.0009999999999999432"

    def side(window: str, factor: str) -> str:
        return f"    max(slo:sli_error:ratio_rate{window}{ID} > ({factor} * {budget})) without (sloth_window)\n"

    assert page["expr"] == (
        f"(\n{side('5m', '14.4')}    and\n{side('1h', '14.4')})\nor\n(\n{side('30m', '6')}    and\n{side('6h', '6')})\n"
    )
    assert (page["alert"], page["labels"]) == ("OrdersBurn", {"severity": "page", "sloth_severity": "page"})
    assert ticket["labels"] == {"sloth_severity": "ticket"}
    assert re.findall(r"\((\d+) \* ", ticket["expr"]) == ["3", "3", "1", "1"]


def test_28_days_have_the_factors_of_sloth() -> None:
    page, ticket = rules(replace(ORDERS, period_days=28))["sloth-slo-alerts-shop-orders"]
    factors = [*re.findall(r"\(([\d.]+) \* ", page["expr"]), *re.findall(r"\(([\d.]+) \* ", ticket["expr"])]
    assert factors[::2] == ["13.44", "5.6000000000000005", "2.8000000000000003", "0.9333333333333333"]


def test_the_guard_records_bad_events_and_asks_for_enough_of_them() -> None:
    found = rules(replace(ORDERS, min_bad_events=25))
    events = found["apqx-slo-bad-events-shop-orders"]
    assert [rule["record"].removeprefix("slo:bad_events:increase") for rule in events] == ["1h", "6h", "1d", "3d"]
    assert events[0]["expr"] == '(sum(rate(orders_total{ok="no"}[1h]))) * 3600'
    page, _ = found["sloth-slo-alerts-shop-orders"]
    assert page["expr"].count(">= 25)") == 2 and f"(slo:bad_events:increase6h{ID} >= 25)" in page["expr"]


def test_a_drill_says_so_everywhere() -> None:
    found = rules(replace(ORDERS, time_scale=60.0))
    recorded = [rule for name, group in found.items() if "alerts" not in name for rule in group]
    assert {rule["labels"]["apqx_time_scale"] for rule in recorded} == {"60"}
    assert "[12h]" in found["sloth-slo-sli-recordings-shop-orders"][-1]["expr"]
    page, _ = found["sloth-slo-alerts-shop-orders"]
    assert "a drill" in page["annotations"]["description"] and "ratio_rate5s" in page["expr"]


def test_rules_that_can_never_fire_are_not_made() -> None:
    with pytest.raises(InvalidInput, match="never fire"):
        groups(replace(ORDERS, percent=90.0))
