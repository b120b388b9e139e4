from __future__ import annotations

import json
import math
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_tools import free_port

from platform_lib import metrics
from platform_lib.errors import InvalidInput, NoData, QueryError, Unreachable
from platform_lib.model import App
from platform_lib.wait import until
from platform_lib.wire import prometheus
from platform_lib.wire.prometheus import Client, column_names, frame_of, windows

START = datetime(2026, 1, 1, tzinfo=UTC)


class Transcript(ThreadingHTTPServer):
    """Answers with what a real server was recorded to say, and keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], dict[str, str]]] = []
        self.status, self.extra = 200, {}
        self.error: dict[str, str] | bytes = {}
        self.series = lambda _t: "1"
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Transcript

    def do_GET(self) -> None:
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        self.server.requests.append((query, dict(self.headers)))
        if self.server.status != 200:
            error = self.server.error
            body = error if isinstance(error, bytes) else json.dumps({"status": "error", **error}).encode()
        else:
            body = json.dumps({"status": "success", "data": self._data(query), **self.server.extra}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _data(self, query: dict[str, str]) -> dict:
        start, end, step = (float(query[key]) for key in ("start", "end", "step"))
        times = [start + i * step for i in range(round((end - start) / step) + 1)]
        values = [[t, self.server.series(t)] for t in times]
        return {"resultType": "matrix", "result": [{"metric": {"pod": "a"}, "values": values}]}

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[Transcript]:
    with Transcript() as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


@pytest.fixture
def client(server: Transcript) -> Client:
    return Client(f"http://127.0.0.1:{server.server_port}")


def test_an_answer_is_asked_for_uncompressed_and_with_exact_times(client, server) -> None:
    client.range("up", start=START + timedelta(seconds=0.5), end=START + timedelta(seconds=2), step_s=0.5)
    query, headers = server.requests[0]
    assert headers["Accept-Encoding"] == "identity"
    assert float(query["start"]) == START.timestamp() + 0.5 and float(query["end"]) == START.timestamp() + 2


def test_a_long_range_is_split_without_duplicates_or_gaps(client, server) -> None:
    server.series = lambda t: repr(t)
    frame = client.range("up", start=START, end=START + timedelta(seconds=25_000), step_s=1)
    assert len(server.requests) == 3
    seconds = (frame.index - START).total_seconds()
    assert list(seconds) == list(range(25_001)) and frame.index.is_unique
    assert np.array_equal(frame["a"].to_numpy(), START.timestamp() + np.arange(25_001))


@given(st.integers(0, 10**6), st.integers(0, 60_000), st.sampled_from([0.5, 1, 15, 60]))
def test_windows_cover_the_range_exactly_once(start: int, points: int, step: float) -> None:
    parts = windows(float(start), start + points * step, step)
    stamps = [round(first / step) + i for first, last in parts for i in range(round((last - first) / step) + 1)]
    assert stamps == sorted(set(stamps)) and stamps == list(range(stamps[0], stamps[-1] + 1))
    assert stamps[0] * step <= start < stamps[0] * step + step
    assert all(round((last - first) / step) + 1 <= prometheus.MAX_POINTS for first, last in parts)


def test_values_are_bit_identical_to_what_was_sent(client, server) -> None:
    wild = ["NaN", "+Inf", "-Inf", "4.9e-324", "1.7976931348623157e+308", "-0", "0.1", "1e-7"]
    server.series = lambda t: wild[int(t) % len(wild)]
    values = client.range("x", start=START, end=START + timedelta(seconds=7), step_s=1)["a"].to_numpy()
    wanted = np.array([float(wild[int(START.timestamp() + i) % len(wild)]) for i in range(8)])
    assert values.tobytes() == wanted.tobytes() or (
        np.array_equal(values, wanted, equal_nan=True) and [math.copysign(1, v) for v in values if v == v] ==
        [math.copysign(1, v) for v in wanted if v == v]
    )  # fmt: skip


def test_a_refusal_keeps_the_servers_words_and_is_not_repeated(client, server) -> None:
    server.status, server.error = 400, {"errorType": "bad_data", "error": 'parse error: unexpected ")"'}
    with pytest.raises(QueryError, match="bad_data: parse error") as caught:
        client.range("up)", start=START, end=START + timedelta(seconds=5))
    assert caught.value.promql == "up)" and len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble_is_asked_once_and_quoted(client, server, status) -> None:
    server.status, server.error = status, {"errorType": "timeout", "error": "query timed out"}
    began = time.monotonic()
    with pytest.raises(QueryError, match="query timed out"):
        client.instant("up")
    assert len(server.requests) == 1 and time.monotonic() - began < 2


def test_an_answer_of_something_else_is_quoted(client, server) -> None:
    server.status, server.error = 502, b"<html>Bad Gateway</html>"
    with pytest.raises(QueryError, match="Bad Gateway"):
        client.instant("up")


def test_warnings_are_kept(client, server) -> None:
    server.extra = {"warnings": ["partial result"], "infos": ["metric might not be a counter"]}
    frame = client.range("up", start=START, end=START + timedelta(seconds=5), step_s=1)
    assert frame.attrs["warnings"] == ["partial result", "metric might not be a counter"]


def test_nobody_there_is_said_quickly() -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable, match="is it running"):
        Client(f"http://127.0.0.1:{free_port()}").instant("up")
    assert time.monotonic() - began < 2


def test_series_of_different_windows_are_joined_by_labels() -> None:
    first = [{"metric": {"v": "1"}, "values": [[0, "1"], [1, "2"]]}, {"metric": {"v": "2"}, "values": [[1, "9"]]}]
    second = [{"metric": {"v": "2"}, "values": [[2, "10"]]}, {"metric": {"v": "1"}, "values": [[3, "4"]]}]
    frame = frame_of([first, second], 1.0)
    assert frame["1"].tolist()[:2] == [1, 2] and math.isnan(frame["1"].iloc[2]) and frame["1"].iloc[3] == 4
    assert frame["2"].dropna().tolist() == [9, 10]


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([{"__name__": "up"}], ["up"]),
        ([{}], ["value"]),
        ([{"version": "1"}], ["1"]),
        ([{"job": "a", "version": "1"}, {"job": "a", "version": "2"}], ["1", "2"]),
        ([{"a": "1", "b": "1"}, {"a": "2", "b": "2"}], ["a=1,b=1", "a=2,b=2"]),
        ([{"__name__": "x"}, {"__name__": "y"}], ["__name__=x", "__name__=y"]),
    ],
)
def test_columns_are_named_by_what_differs(labels, names) -> None:
    assert column_names(labels) == names


def test_every_named_query_has_unit_help_source_and_renders() -> None:
    assert {"request_rate", "error_ratio", "latency_p99", "cpu", "memory", "restarts"} <= set(metrics.queries())
    for query in metrics.queries().values():
        assert query.unit and query.help.endswith(".") and query.source
        assert "$" not in query.render(App())
    assert list(metrics.catalogue().columns) == ["unit", "help", "promql", "source", "elsewhere"]


def test_a_range_is_given_one_way(platform) -> None:
    with pytest.raises(InvalidInput, match="both given"):
        metrics.frame(platform, "up", start=START, window_s=5)
    with pytest.raises(InvalidInput, match="expected to end later"):
        metrics.frame(platform, "up", start=START, end=START)


def answered(url: str, promql: str) -> None:
    """Wait until the server answers the query with a sample."""

    def probe() -> tuple[object | None, str]:
        try:
            found = Client(url).instant(promql)
        except (Unreachable, QueryError) as error:
            return None, str(error)
        return found or None, "no sample"

    until(probe, timeout_s=30, wanted=f"a sample of {promql}")


@pytest.fixture(scope="module")
def real_prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real program; it scrapes itself ten times a second."""
    from platform_lib.providers import tools
    from platform_lib.settings import settings

    program = tools.find("prometheus", settings())
    if program is None:
        pytest.skip("no prometheus program here; make setup fetches it")
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 100ms, scrape_timeout: 100ms}\n"
        f"scrape_configs: [{{job_name: self, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
    )
    command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with subprocess.Popen(
        [*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL, cwd=folder
    ) as process:
        url = f"http://127.0.0.1:{port}"
        answered(url, "count_over_time(up[1s]) >= 8")
        yield url
        process.terminate()
        process.wait(10)


@pytest.mark.clients
def test_the_real_server_answers_frames_and_refusals(real_prometheus, platform) -> None:
    moved = replace(platform, prometheus_url=real_prometheus)
    frame = metrics.frame(moved, "rate(prometheus_http_requests_total[1s])", window_s=1, step_s=0.1)
    assert frame.attrs["step_s"] == 0.1 and len(frame) >= 3 and str(frame.index.tz) == "UTC"
    tidy = metrics.frame(moved, "up", window_s=1, step_s=0.1, tidy=True)
    assert list(tidy.columns)[:1] == ["time"] and set(tidy["value"]) == {1.0} and set(tidy["job"]) == {"self"}
    assert metrics.value(moved, "up") == {"up": 1.0}
    with pytest.raises(NoData, match="no sample between"):
        metrics.frame(moved, "there_is_no_such_metric")
    with pytest.raises(QueryError, match="bad_data"):
        metrics.frame(moved, "rate(up")
    with pytest.raises(NoData):
        metrics.frame(moved, "request_rate", app=App())


@pytest.mark.clients
def test_the_frame_equals_the_package_own_frame(real_prometheus) -> None:
    from prometheus_api_client import MetricRangeDataFrame, PrometheusConnect

    # The window ends a second ago and lies where there are samples already: both clients see the same.
    name = "prometheus_http_requests_total"
    answered(real_prometheus, f"{name} offset 4s")
    end = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)
    start = end - timedelta(seconds=2)
    theirs = MetricRangeDataFrame(PrometheusConnect(real_prometheus).custom_query_range(name, start, end, "1"))
    ours = Client(real_prometheus).range(name, start=start, end=end, step_s=1)
    assert sorted(theirs["value"].astype(float)) == sorted(ours.to_numpy()[~np.isnan(ours.to_numpy())])


HISTOGRAMS = [{"metric": {"le": "x"}, "histograms": [[1, {"count": "1", "sum": "1"}]]}]


def test_native_histograms_are_refused_with_what_to_do(client, server, monkeypatch) -> None:
    monkeypatch.setattr(Handler, "_data", lambda *_: {"resultType": "matrix", "result": HISTOGRAMS})
    with pytest.raises(QueryError, match=r"1 native histograms, numbers were expected; .*histogram_quantile"):
        client.range("x", start=START, end=START + timedelta(seconds=3), step_s=1)


def test_histograms_among_numbers_are_left_out_aloud(client, server, monkeypatch) -> None:
    mixed = [*HISTOGRAMS, {"metric": {}, "values": [[START.timestamp(), "4"]]}]
    monkeypatch.setattr(Handler, "_data", lambda *_: {"resultType": "matrix", "result": mixed})
    frame = client.range("x", start=START, end=START + timedelta(seconds=3), step_s=1)
    assert frame.to_numpy().tolist() == [[4.0]] and "1 series left out" in frame.attrs["warnings"][0]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ([{"metric": {}, "values": [[1, "2"]]}], "answered with a range"),
        ([{"metric": {}, "histogram": [1, {}]}], "answered with native histograms"),
    ],
)
def test_an_instant_answer_that_is_no_number_is_refused(client, server, monkeypatch, result, text) -> None:
    monkeypatch.setattr(Handler, "_data", lambda *_: {"resultType": "any", "result": result})
    with pytest.raises(QueryError, match=text):
        client.instant("x")


def test_a_scalar_is_a_number_without_labels(client, server, monkeypatch) -> None:
    monkeypatch.setattr(Handler, "_data", lambda *_: {"resultType": "scalar", "result": [1.0, "42"]})
    assert client.instant("42") == [{"metric": {}, "value": [1.0, "42"]}]


def test_a_misspelt_name_is_told_the_right_one(server, platform, monkeypatch) -> None:
    monkeypatch.setattr(Handler, "_data", lambda *_: {"resultType": "matrix", "result": []})
    moved = replace(platform, prometheus_url=f"http://127.0.0.1:{server.server_port}")
    with pytest.raises(NoData, match="did you mean the named query error_ratio"):
        metrics.frame(moved, "eror_ratio")
    with pytest.raises(NoData, match="without processor quota"):
        metrics.frame(moved, "cpu_throttled")


def test_an_own_query_carries_its_unit(server, platform) -> None:
    moved = replace(platform, prometheus_url=f"http://127.0.0.1:{server.server_port}")
    frame = metrics.frame(moved, "up", start=START, end=START + timedelta(seconds=2), unit="targets")
    assert frame.attrs["unit"] == "targets" and frame.attrs["name"] == "up"
