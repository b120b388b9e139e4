"""Do the scrape configuration and the rules fit the metrics that exist?"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from sample_app import create_app
from sample_app.config import Settings

from platform_lib import slo
from platform_lib.providers import tools
from platform_lib.settings import settings

# Names that come from programs other than the sample application, as those document them.
FOREIGN = {
    "traefik_service_requests_total",
    "traefik_router_requests_total",
    "kube_pod_container_status_restarts_total",
    "kube_pod_container_status_waiting_reason",
}
ERROR_BUDGET = 1 - 0.999


def application_metrics():
    client = create_app(Settings(version="1")).test_client()
    client.get("/")
    text = client.get("/metrics").get_data(as_text=True)
    return {re.split(r"[{ ]", line)[0] for line in text.splitlines() if not line.startswith("#")}


def metric_names(expression):
    """Names of series in an expression: words in front of a brace."""
    return set(re.findall(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*[{\[]", re.sub(r'"[^"]*"', '""', expression)))


def test_every_metric_in_a_rule_exists(rules):
    recorded = {rule["record"] for rule in rules if "record" in rule}
    known = application_metrics() | FOREIGN | recorded
    used = set().union(*(metric_names(rule["expr"]) for rule in rules))
    assert used <= known, used - known
    assert {"http_requests_total", "traefik_service_requests_total"} <= used


def test_routes_that_rules_leave_out_exist(rules):
    routes = {rule.rule for rule in create_app(Settings(version="1")).url_map.iter_rules()}
    named = {r for rule in rules for m in re.findall(r'route!~"([^"]+)"', rule["expr"]) for r in m.split("|")}
    assert named == {"/health", "/ready", "/metrics"} <= routes


def test_the_rules_watch_the_service_of_the_ingress(rules, workload):
    service = workload["Service"]
    name = "-".join((service["metadata"]["namespace"], service["metadata"]["name"], "80@kubernetes"))
    assert {s for r in rules for s in re.findall(r'(?<!_)service="([^"]+)"', r["expr"])} == {name}


def test_both_alerts_of_the_architecture_are_there(rules):
    assert {"HighErrorRate", "PodCrashLooping"} <= {rule.get("alert") for rule in rules}


def test_high_error_rate_is_a_ratio(rules):
    (rule,) = [r for r in rules if r.get("alert") == "HighErrorRate"]
    errors, requests = rule["expr"].split("\n  /\n")
    assert 'status=~"5.."' in errors
    assert "status" not in requests
    assert requests.rstrip().endswith("> 0.05")


def test_burn_rate_alerts_are_the_four_of_the_workbook(rules):
    alerts = [rule for rule in rules if rule.get("alert") == "ErrorBudgetBurn"]
    assert [alert["labels"]["severity"] for alert in alerts] == ["page", "ticket"]
    found = [
        (factor, short, long)
        for alert in alerts
        for short, long, factor in zip(
            re.findall(r"ratio_rate(\w+)\{", alert["expr"])[::2],
            re.findall(r"ratio_rate(\w+)\{", alert["expr"])[1::2],
            re.findall(r"> \(([\d.]+) \* ([\d.]+)\)", alert["expr"])[::2],
            strict=True,
        )
    ]
    assert [(float(factor), short, long) for (factor, _), short, long in found] == [
        (14.4, "5m", "1h"),
        (6, "30m", "6h"),
        (3, "2h", "1d"),
        (1, "6h", "3d"),
    ]
    assert all(float(budget) == pytest.approx(ERROR_BUDGET) for (_, budget), _, _ in found)


def test_an_alert_needs_enough_bad_events_of_its_long_window(rules):
    (page, ticket) = [rule for rule in rules if rule.get("alert") == "ErrorBudgetBurn"]
    assert re.findall(r"increase(\w+)\{[^}]*\} >= (\d+)", page["expr"]) == [("1h", "10"), ("6h", "10")]
    assert re.findall(r"increase(\w+)\{[^}]*\} >= (\d+)", ticket["expr"]) == [("1d", "10"), ("3d", "10")]


def test_the_committed_rules_are_those_of_the_specifications(project):
    committed = (project / slo.spec.MANIFEST).read_text()
    assert committed == slo.rules_manifest(project / slo.spec.SPECS), "run: apqx slo rules --write"


def test_a_drill_wakes_nobody(rules):
    drills = [rule for rule in rules if "alert" in rule and "availability-drill" in rule["expr"]]
    assert len(drills) == 2 and {alert["labels"]["severity"] for alert in drills} == {"drill"}
    recorded = [rule for rule in rules if rule.get("labels", {}).get("sloth_slo") == "availability-drill"]
    assert recorded and all(rule["labels"]["apqx_time_scale"] == "60" for rule in recorded)


def test_each_recorded_window_is_the_one_in_its_name(rules):
    for rule in (r for r in rules if "record" in r and "sloth_window" in r["labels"]):
        window = re.search(r"(?:rate|increase)(\w+)$", rule["record"])[1]
        assert window == rule["labels"]["sloth_window"]
        assert set(re.findall(r"\[(\w+)\]", rule["expr"])) == {window}


def test_every_alert_says_what_and_where_next(rules, project):
    for alert in (r for r in rules if "alert" in r):
        assert alert["labels"]["severity"] in {"page", "ticket", "drill"}
        assert alert["annotations"]["summary"]
        assert alert["annotations"]["description"]
        assert re.fullmatch(r"runbooks/\d\d-[a-z-]+\.ipynb", alert["annotations"]["runbook"])


def test_relabelling_gives_the_five_labels_of_a_pod(prometheus_config):
    jobs = {job["job_name"]: job for job in prometheus_config["scrape_configs"]}
    targets = {r["target_label"] for r in jobs["kubernetes-pods"]["relabel_configs"] if "target_label" in r}
    assert {"namespace", "pod", "node", "app", "version"} <= targets


def test_relabelling_reads_the_labels_and_annotations_that_pods_carry(prometheus_config, pod):
    metadata = pod["metadata"]
    (job,) = [j for j in prometheus_config["scrape_configs"] if j["job_name"] == "kubernetes-pods"]
    sources = {label for rule in job["relabel_configs"] for label in rule["source_labels"]}
    for what in ("label", "annotation"):
        prefix = f"__meta_kubernetes_pod_{what}_"
        wanted = {s.removeprefix(prefix) for s in sources if s.startswith(prefix)}
        carried = {re.sub(r"[^a-zA-Z0-9_]", "_", name) for name in metadata[f"{what}s"]}
        assert wanted <= carried, wanted - carried


def test_scrape_timeout_is_below_the_interval(prometheus_config):
    assert prometheus_config["global"]["scrape_interval"] == "1s"
    assert prometheus_config["global"]["scrape_timeout"] == "900ms"


def test_the_embedded_platform_can_run_this_configuration(prometheus_config, tmp_path):
    from platform_lib.embedded.config import Config
    from platform_lib.embedded.promconfig import render

    paths = dict.fromkeys(("cluster_dir", "images_dir", "cache_dir", "git_dir"), tmp_path)
    programs = {"python": "python", "traefik": "traefik", "prometheus": "prometheus"}
    config = Config(name="t", git_url="http://git", **paths, **programs)
    rendered = yaml.safe_load(render(yaml.safe_dump(prometheus_config), config, token_file=tmp_path / "token"))
    jobs = {job["job_name"]: job for job in rendered["scrape_configs"]}
    assert not any("kubernetes_sd_configs" in job for job in jobs.values())
    assert {"kubernetes-pods", "kubelet", "traefik", "kube-state-metrics"} <= jobs.keys()
    shared = {j["job_name"]: j for j in prometheus_config["scrape_configs"]}["kubernetes-pods"]
    assert jobs["kubernetes-pods"]["relabel_configs"] == shared["relabel_configs"]


@pytest.fixture
def promtool():
    server = tools.find("prometheus", settings())
    found = shutil.which("promtool") or (server and shutil.which("promtool", path=str(Path(server).parent)))
    if not found:
        pytest.skip("promtool is neither on PATH nor beside prometheus; make setup fetches both")
    return found


@pytest.mark.clients
def test_promtool_accepts_the_rules_and_they_fire_when_they_should(promtool, rule_texts, project, tmp_path):
    for name, text in rule_texts.items():
        (tmp_path / name).write_text(text)
    cases = (project / "tests" / "gitops" / "rules_cases.yml").read_text()
    (tmp_path / "cases.yml").write_text(cases)
    for command in (["check", "rules", *rule_texts], ["test", "rules", "cases.yml"]):
        done = subprocess.run([promtool, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
