"""Objectives from files, their state from counts, and the back-test from a frame alone."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from platform_lib import cli, journal, slo
from platform_lib.errors import InvalidInput, NoData
from platform_lib.model import Platform
from platform_lib.rules.backtest import Incident
from platform_lib.rules.slo import rules_of
from platform_lib.slo import live

ROOT = Path(__file__).resolve().parents[3]
SPEC = """
version: prometheus/v1
service: shop
labels: {team: till}
slos:
  - name: orders
    objective: 99.9
    labels: {apqx_min_bad_events: "25"}
    sli:
      events:
        error_query: sum(rate(bad[{{.window}}]))
        total_query: sum(rate(all[{{.window}}]))
    alerting:
      name: OrdersBurn
      page_alert: {labels: {severity: page}}
"""
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    places = {"kubeconfig": tmp_path, "home": tmp_path, "gitops_repo": "", "ingress_url": "", "context": "shop"}
    return Platform(name="shop", provider="existing", prometheus_url="http://127.0.0.1:1", **places)


def changed(**more) -> str:
    document = yaml.safe_load(SPEC)
    document["slos"][0] |= more
    return yaml.safe_dump(document)


def counts(hours: float = 8.0, *, outage: tuple[float, float] = (0, 0)) -> pd.DataFrame:
    """300 requests every 15 s; all of them fail between two moments (seconds after the start)."""
    seconds = np.arange(1, int(hours * 240) + 1) * 15.0
    index = pd.DatetimeIndex(pd.Timestamp(START) + pd.to_timedelta(seconds, unit="s"), name="time")
    down = (seconds > outage[0]) & (seconds <= outage[1])
    return pd.DataFrame({"bad": np.where(down, 300.0, 0.0), "total": 300.0}, index=index)


def test_a_specification_of_sloth_is_read() -> None:
    (orders,) = slo.parse(SPEC)
    assert (orders.uid, orders.objective, orders.kind, orders.alert) == (
        "shop-orders",
        pytest.approx(0.999),
        "availability",
        "OrdersBurn",
    )
    assert orders.labels == (("team", "till"),) and orders.min_bad_events == 25


def test_a_bucket_in_the_query_makes_a_latency_objective() -> None:
    events = {"error_query": 'a[{{.window}}] - b{le="0.25"}[{{.window}}]', "total_query": "a[{{.window}}]"}
    (orders,) = slo.parse(changed(sli={"events": events}))
    assert (orders.kind, orders.threshold_s) == ("latency", 0.25)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "no YAML"),
        ("version: v2", "version 'v2', expected 'prometheus/v1'"),
        (changed(objective=100), "objective 100, expected per cent"),
        (changed(objektive=1), "unknown key objektive"),
        (changed(sli={"raw": {"error_ratio_query": "x"}}), "sli has raw, events"),
        (changed(sli={"events": {"error_query": "x[5m]", "total_query": "y"}}), "query without"),
        (changed(labels={"apqx_time_scale": "fast"}), "apqx_time_scale is 'fast', a number"),
        (changed(plugins={"chain": [{"id": "x"}]}), "programs of Sloth"),
        (changed(alerting={}), "name is None"),
    ],
)
def test_a_specification_that_cannot_be_used_is_refused_with_its_place(text, words) -> None:
    with pytest.raises(InvalidInput, match=words):
        slo.parse(text, source="shop.yaml")


def test_the_committed_objectives_are_sound() -> None:
    found = slo.load(ROOT / "gitops/slo")
    assert {"sample-app-availability", "sample-app-latency", "sample-app-availability-drill"} <= set(found)
    assert all(len(rules_of(one)) == 4 for one in found.values())
    with pytest.raises(InvalidInput, match="sample-app-latency"):
        slo.one("nothing", ROOT / "gitops/slo")


def test_the_same_objective_twice_is_refused(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text(SPEC)
    with pytest.raises(InvalidInput, match="defined twice"):
        slo.load(tmp_path)


class Answers:
    """A Prometheus that knows bad and all events of every window."""

    def __init__(self, bad: float, total: float) -> None:
        self.bad, self.total = bad, total

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def instant(self, promql: str) -> list[dict]:
        if "count by (le)" in promql:
            return [{"metric": {"le": le}, "value": [0, "1"]} for le in ("0.1", "0.5", "+Inf")]
        if promql.startswith("slo:objective:ratio"):
            return [{"metric": {}, "value": [0, "0.999"]}]
        value = self.bad if "bad" in promql else self.total
        names = re.findall(r'"window", "(\w+)"', promql)
        return [{"metric": {"window": name}, "value": [0, repr(value)]} for name in names if self.total]


@pytest.mark.parametrize(
    ("bad", "total", "state", "left"), [(500, 10_000, "firing", -49), (20, 400, "silenced", -49), (0, 9, "quiet", 1)]
)
def test_the_state_names_the_budget_and_the_rules(platform, monkeypatch, bad, total, state, left) -> None:
    monkeypatch.setattr(live.prometheus, "connect", lambda *_a, **_k: Answers(bad, total))
    (orders,) = slo.parse(SPEC)
    found = slo.status(platform, orders)
    assert [one.state for one in found.decisions] == [state] * 4 and found.budget_left == pytest.approx(left)
    assert all(label in found._repr_html_() for label, _ in found.rows()) and json.dumps(found.facts())


def test_without_events_nothing_is_claimed(platform, monkeypatch) -> None:
    monkeypatch.setattr(live.prometheus, "connect", lambda *_a, **_k: Answers(0, 0))
    found = slo.status(platform, slo.parse(SPEC)[0])
    assert found.budget_left is None and {one.state for one in found.decisions} == {"no_data"}
    assert [one.status for one in slo.check(platform, slo.parse(SPEC)[0])] == ["pass", "not_enough_data", "pass"]


def test_a_threshold_between_buckets_and_a_rule_that_never_fires_are_found(platform, monkeypatch) -> None:
    monkeypatch.setattr(live.prometheus, "connect", lambda *_a, **_k: Answers(1, 9))
    events = {
        "error_query": 'a[{{.window}}] - a_bucket{x="bad",le="0.25"}[{{.window}}]',
        "total_query": "a[{{.window}}]",
    }
    (orders,) = slo.parse(changed(sli={"events": events}, objective=80))
    never, bucket, answers, older = slo.check(platform, orders)
    assert never.status == "fail" and "never fire" in never.reason
    assert bucket.status == "fail" and 'no bucket le="0.25", there are 0.1, 0.5, +Inf' in bucket.reason
    assert answers.status == "pass" and "older objective" in older.reason


def test_an_outage_is_paged_and_scored() -> None:
    (orders,) = slo.parse(SPEC)
    begin = START.timestamp() + 4 * 3600
    outage = Incident("inc-1", begin, begin + 600)
    missed = Incident("unseen", START.timestamp() + 7 * 3600, START.timestamp() + 7 * 3600 + 60)
    found = slo.backtest(counts(outage=(4 * 3600, 4 * 3600 + 600)), orders, [outage, missed])
    assert (found.pages.precision, found.pages.recall) == (1, 0.5)
    row = found.frame().set_index("incident").loc["inc-1"]
    assert 50 < row["page_s"] <= 75 and 0 < row["reset_s"] <= 1800
    text = str(found)
    assert "missed" in text and "unseen" in text and "history shorter than its 1d" in text
    assert json.dumps(found.facts())


def test_a_good_day_pages_nobody() -> None:
    found = slo.backtest(counts(), slo.parse(SPEC)[0], [])
    assert found.pages.episodes == () and found.pages.precision is None and "not measurable" in str(found)


def test_too_little_history_is_refused() -> None:
    (orders,) = slo.parse(SPEC)
    with pytest.raises(NoData, match="history of 29m45s with 36000 events, at least 1h"):
        slo.backtest(counts(0.5), orders)
    with pytest.raises(NoData, match="with 0 events"):
        slo.backtest(counts() * 0, orders)
    with pytest.raises(InvalidInput, match="steps of 600 s, at most 300 s"):
        slo.backtest(counts().iloc[::40], orders)
    with pytest.raises(InvalidInput, match="bad and total are needed"):
        slo.backtest(counts().rename(columns={"bad": "evil"}), orders)


def written(path: Path) -> Path:
    record = journal.Journal(path)
    record.append("incident", "opened", "shop", incident="inc-1", service="shop")
    record.append("incident", "mitigated", "shop", incident="inc-1", service="shop")
    record.append("drill", "fault", "pod-loss", cause="drill-7")
    record.append("incident", "opened", "shop", cause="drill-7", incident="drill-7", service="shop")
    record.append("drill", "fault", "pod-loss", cause="drill-8")
    record.append("incident", "opened", "other", cause="drill-8", incident="drill-8", service="other")
    record.append("drill", "recovered", "pod-loss", cause="drill-8")
    return path


def test_incidents_and_drills_of_the_record_are_labels_each_once(tmp_path: Path) -> None:
    record = journal.read(written(tmp_path / "journal.jsonl"))
    found = slo.incidents(record, "shop")
    assert [(one.name, one.end_s is None) for one in found] == [("inc-1", False), ("drill-7", True)]
    everything = slo.incidents(record)
    assert [(one.name, one.end_s is None) for one in everything] == [
        ("inc-1", False),
        ("drill-7", True),
        ("drill-8", False),
    ]


def test_the_command_works_from_files_alone(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("APQX_HOME", str(tmp_path / "home"))
    exported, record = tmp_path / "counts.csv", written(tmp_path / "journal.jsonl")
    counts(outage=(7000, 7600)).to_csv(exported)
    command = [
        "slo",
        "backtest",
        "sample-app-availability",
        "--frame",
        str(exported),
        "--journal",
        str(record),
        "--json",
    ]
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.output)["pages"]["episodes"]) == 1
    assert CliRunner().invoke(cli.app, ["slo", "rules", "--check"]).exit_code == 0
