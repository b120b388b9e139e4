from __future__ import annotations

import json
import logging
import re
import time
from datetime import datetime

import pytest
from sample_app import create_app, telemetry
from sample_app.config import Faults, Settings
from sample_app.faults import RequestFaults
from sample_app.web import state


def samples(client):
    """Metric name with labels -> value, as a scrape would read it."""
    lines = client.get("/metrics").get_data(as_text=True).splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


def test_index_says_which_instance_and_image_answers(make_client):
    body = make_client().get("/").get_json()
    assert body | {"time": None} == {
        "version": "1.2.3",
        "image_digest": f"sha256:{'ab' * 32}",
        "pod": "pod-1",
        "namespace": "ns",
        "node": "node-1",
        "time": None,
    }
    assert datetime.fromisoformat(body["time"]).tzinfo is not None


def test_health_and_readiness_answer_200(make_client):
    client = make_client()
    assert client.get("/health").status_code == 200
    assert client.get("/ready").status_code == 200


def test_a_draining_instance_refuses_readiness_and_still_serves(make_client):
    client = make_client()
    state(client.application).lifecycle.drain()
    response = client.get("/ready")
    assert (response.status_code, response.get_json()["reason"]) == (503, "draining")
    assert client.get("/").status_code == 200
    assert client.get("/health").status_code == 200, "a draining pod must not be restarted"


def test_requests_are_counted_by_method_route_and_status_only(make_client):
    client = make_client()
    client.get("/")
    client.get("/")
    client.post("/")
    client.get("/no/such/page")
    found = {k: v for k, v in samples(client).items() if k.startswith("http_requests_total")}
    assert found == {
        'http_requests_total{method="GET",route="/",status="200"}': 2,
        'http_requests_total{method="POST",route="unmatched",status="405"}': 1,
        'http_requests_total{method="GET",route="unmatched",status="404"}': 1,
    }


def test_unknown_paths_and_methods_cannot_create_series(make_client):
    client = make_client()
    before = None
    for i in range(5):
        client.get(f"/{i}")
        client.open("/", method=f"VERB{i}")
        now = {key for key in samples(client) if key.startswith("http_requests_total") and "/metrics" not in key}
        assert before in (None, now)
        before = now


def test_duration_histogram_puts_a_slow_request_into_a_later_bucket(make_client):
    client = make_client(latency_ms=30)
    client.get("/")
    found = samples(client)
    bucket = 'http_request_duration_seconds_bucket{{le="{}",method="GET",route="/"}}'
    assert found[bucket.format("0.025")] == 0
    assert found[bucket.format("+Inf")] == 1
    assert 0.03 <= found['http_request_duration_seconds_sum{method="GET",route="/"}'] < 1


def test_build_info_carries_the_version(make_client):
    assert samples(make_client())['app_build_info{version="1.2.3"}'] == 1


def test_two_applications_do_not_share_metrics(make_client):
    first, second = make_client(), make_client()
    first.get("/")
    assert not any(key.startswith("http_requests_total") for key in samples(second))


@pytest.mark.parametrize(
    ("faults", "name"),
    [
        ({"error_ratio": 0.5}, "error_ratio"),
        ({"latency_ms": 1}, "latency_ms"),
        ({"never_ready": True}, "never_ready"),
        ({"crash_after_s": 60}, "crash_after_s"),
        ({"leak_mb_per_s": 1}, "leak_mb_per_s"),
    ],
)
def test_a_fault_that_is_on_shows_in_the_metrics(make_client, faults, name):
    found = {k: v for k, v in samples(make_client(**faults)).items() if k.startswith("sample_app_fault_enabled")}
    assert len(found) == 5
    assert {key for key, value in found.items() if value} == {f'sample_app_fault_enabled{{fault="{name}"}}'}


def test_no_fault_is_on_by_default(make_client):
    assert not any(v for k, v in samples(make_client()).items() if k.startswith("sample_app_fault_enabled"))


def test_error_fault_hits_users_and_spares_probes_and_scrapes(make_client):
    client = make_client(error_ratio=1)
    assert client.get("/").status_code == 500
    assert client.get("/work?ms=0").status_code == 500
    assert [client.get(path).status_code for path in ("/health", "/ready", "/metrics")] == [200, 200, 200]


def test_error_fault_fails_the_wanted_share():
    draws = iter(i / 100 for i in range(100))
    faults = RequestFaults(Faults(error_ratio=0.3), draw=lambda: next(draws))
    assert sum(faults.apply() for _ in range(100)) == 30


def test_never_ready_fault_keeps_the_process_healthy(make_client):
    client = make_client(never_ready=True)
    response = client.get("/ready")
    assert (response.status_code, response.get_json()["reason"]) == (503, "fault never_ready")
    assert client.get("/health").status_code == 200


def test_work_burns_cpu_time(make_client):
    client = make_client()
    before = time.thread_time()
    assert client.get("/work?ms=40").get_json()["worked_ms"] == 40
    assert time.thread_time() - before >= 0.04


@pytest.mark.parametrize("ms", ["-1", "5001", "abc", "", "1.5", "９", "9" * 5000])
def test_work_refuses_what_is_not_a_time(make_client, ms):
    response = make_client().get("/work", query_string={"ms": ms})
    assert response.status_code == 400
    assert "0 to 5000" in response.get_json()["detail"]


def test_errors_are_json_without_a_traceback(make_client, caplog):
    client = make_client()

    @client.application.get("/boom")
    def boom():
        raise RuntimeError("secret detail")

    response = client.get("/boom")
    assert response.status_code == 500
    assert response.get_json() == {"error": "internal server error"}
    assert client.get("/nowhere").get_json()["error"] == "not found"


@pytest.fixture
def log_lines(capsys):
    """Return a function: the JSON lines written since the application was built."""

    def read():
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return read


def test_each_request_writes_one_json_line_with_its_id(make_client, log_lines):
    client = make_client()
    response = client.get("/work?ms=0", headers={"X-Request-Id": "abc-123"})
    assert response.headers["X-Request-Id"] == "abc-123"
    (line,) = log_lines()
    assert line["request_id"] == "abc-123"
    assert (line["method"], line["route"], line["status"], line["pod"], line["version"]) == (
        "GET",
        "/work",
        200,
        "pod-1",
        "1.2.3",
    )
    assert line["duration_ms"] >= 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])


@pytest.mark.parametrize("given", [None, "", "a b", 'x"y', "z" * 129, "ü"])
def test_a_missing_or_unsafe_request_id_is_replaced(make_client, given):
    headers = {} if given is None else {"X-Request-Id": given}
    assert re.fullmatch(r"[0-9a-f]{32}", make_client().get("/", headers=headers).headers["X-Request-Id"])


def test_an_unexpected_error_leaves_its_traceback_in_one_log_line(make_client, log_lines):
    client = make_client()

    @client.application.get("/boom")
    def boom():
        raise RuntimeError("what happened")

    client.get("/boom")
    error, request = log_lines()
    assert (error["level"], request["status"]) == ("error", 500)
    assert "what happened" in error["exception"]


def test_error_responses_name_version_and_pod_too(make_client):
    response = make_client(error_ratio=1).get("/")
    assert (response.headers["X-App-Version"], response.headers["X-App-Pod"]) == ("1.2.3", "pod-1")


def test_logging_twice_does_not_write_twice():
    for _ in range(2):
        create_app(Settings(version="1"))
    assert len(logging.getLogger(telemetry.LOGGER).handlers) == 1
