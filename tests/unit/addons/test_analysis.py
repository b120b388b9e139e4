"""A canary is judged by the objectives; silence is no failure, a burning budget is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from platform_lib.errors import InvalidInput
from platform_lib.model import App
from platform_lib.rules import analysis
from platform_lib.rules.slo import Objective

GOOD = Objective("sample-app", "availability", 99.9, "sum(rate(bad[{{.window}}]))", "sum(rate(all[{{.window}}]))")
QUERY = 'sum(rate(e{app="${app}",namespace="${namespace}"}[${window}]))'


def test_each_objective_becomes_a_metric_and_drills_and_others_do_not() -> None:
    others = [replace(GOOD, service="other"), replace(GOOD, name="drill", time_scale=60.0)]
    slow = replace(GOOD, name="latency", kind="latency", percent=99.0)
    metrics = analysis.template(App(), [GOOD, slow, *others], version_query=QUERY)["spec"]["metrics"]
    assert [m["name"] for m in metrics] == ["availability", "latency", "canary-errors"]
    limits = [m["successCondition"].rpartition("< ")[2] for m in metrics]
    assert limits == ["0.0144", "0.144", "0.0144"], "14.4 times the budget: the fastest page"
    assert metrics[0]["provider"]["prometheus"]["query"] == "(sum(rate(bad[1m])))\n/\n(sum(rate(all[1m])))\n"
    assert all(m["successCondition"].startswith("len(result) == 0 || isNaN(result[0])") for m in metrics)


def test_the_new_pods_are_asked_about_alone() -> None:
    found = analysis.canary_only(App(), QUERY)
    assert found == (
        'sum(rate(e{app="sample-app",pod=~"sample-app-{{args.canary-hash}}-.*",namespace="sample-app"}[1m]))\n'
    )


@pytest.mark.parametrize(
    ("objectives", "query", "words"),
    [([], QUERY, "no availability objective"), ([GOOD], "sum(e)", "does not contain app=")],
)
def test_what_cannot_be_judged_is_refused(objectives: list[Objective], query: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        analysis.template(App(), objectives, version_query=query)
