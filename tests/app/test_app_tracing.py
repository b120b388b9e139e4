"""Spans of the running application, received by a collector that speaks real OTLP."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sample_app.config import ConfigError, load

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Receives OTLP over HTTP as a collector does."""

    def __init__(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        self.received: list[tuple[dict, object]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                assert self.path == "/v1/traces"
                for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                    resource = {a.key: a.value.string_value for a in group.resource.attributes}
                    collector.received += [(resource, span) for scope in group.scope_spans for span in scope.spans]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Keep the test's output quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


class App:
    """The application as a process of its own."""

    def __init__(self, project, **variables: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        env |= {"PYTHONPATH": str(project / "app"), "BIND_ADDRESS": "127.0.0.1", "PORT": str(self.port)}
        env |= {"POD_NAME": "pod-1", "DRAIN_S": "0", **variables}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sample_app"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def get(self, path: str, **headers: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    def wait(self) -> App:
        for _ in range(200):
            try:
                self.get("/health")
                return self
            except OSError:
                threading.Event().wait(0.05)
        raise AssertionError("the application did not start")

    def stop(self) -> tuple[int, list[dict]]:
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=30)
        lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        return self.process.returncode, [line for line in lines if line["message"] == "request"]


def test_each_request_is_a_span_and_its_log_line_names_it(project, collector):
    app = App(project, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url).wait()
    assert app.get("/", traceparent=f"00-{TRACE}-{PARENT}-01") == 200
    assert app.get("/work?ms=x") == 400
    assert app.get("/ready") == 200
    code, lines = app.stop()
    assert code == 0
    spans = {span.name: (resource, span) for resource, span in collector.received}
    # What was in flight at SIGTERM was sent; probes are no spans.
    assert set(spans) == {"GET /", "GET /work"}
    resource, span = spans["GET /"]
    assert span.trace_id.hex() == TRACE and span.parent_span_id.hex() == PARENT
    assert resource["service.name"] == "sample-app" and resource["k8s.pod.name"] == "pod-1"
    attributes = {a.key: a.value.string_value or a.value.int_value for a in span.attributes}
    assert attributes["http.route"] == "/" and attributes["http.response.status_code"] == 200
    logged = next(line for line in lines if line["path"] == "/")
    assert logged["trace_id"] == TRACE and logged["span_id"] == span.span_id.hex()
    assert all("trace_id" not in line for line in lines if line["path"] in ("/ready", "/health"))


def test_a_server_error_is_an_error_span(project, collector):
    where = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces", "OTEL_SERVICE_NAME": "shop"}
    app = App(project, FAULT_ERROR_RATIO="1", **where).wait()
    assert app.get("/") == 500
    app.stop()
    ((resource, span),) = collector.received
    assert resource["service.name"] == "shop"
    from opentelemetry.proto.trace.v1.trace_pb2 import Status

    assert span.status.code == Status.STATUS_CODE_ERROR


def test_a_collector_that_is_away_costs_no_request_and_no_graceful_end(project):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = App(project, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}").wait()
    assert [app.get("/") for _ in range(20)] == [200] * 20
    code, lines = app.stop()
    assert code == 0 and sum(line["path"] == "/" for line in lines) == 20


def test_nothing_is_loaded_without_an_endpoint(project):
    program = (
        "import sys; from sample_app import create_app; from sample_app.config import Settings;"
        "app = create_app(Settings(version='1')); app.extensions['sample_app'].tracing.start();"
        "assert app.test_client().get('/').status_code == 200;"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    env = {"PYTHONPATH": str(project / "app"), "PATH": os.environ["PATH"]}
    assert subprocess.run([sys.executable, "-c", program], env=env, stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.parametrize("url", ["collector:4318", "grpc://collector:4317", "http://user:secret@collector:4318"])
def test_an_endpoint_that_cannot_be_used_is_refused_at_the_start(url):
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_ENDPOINT is"):
        load({"OTEL_EXPORTER_OTLP_ENDPOINT": url})


def test_the_sdk_can_be_switched_off():
    assert load({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}).otlp_endpoint == ""
    assert load({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}).otlp_endpoint == "http://c:4318/v1/traces"
