"""What the API asks of node agents: logs and readings, from a small HTTP server that plays one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from apiprocess import ApiServer, free_port

MERGE = "application/merge-patch+json"


class Agent(ThreadingHTTPServer):
    """Answers like a node agent; remembers the query of the last log request."""

    daemon_threads = True

    def __init__(self, token: str, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.token, self.query, self.pods = token, {}, []
        self.began = time.monotonic()


class _Handler(BaseHTTPRequestHandler):
    server: Agent

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self._answer(401, b"Unauthorized")
        elif url.path == "/stats/summary":
            self._answer(200, json.dumps(self._summary()).encode())
        elif url.path.endswith("/waiting"):
            self._answer(400, b'container "waiting" in pod "p" is waiting to start: ContainerCreating\n')
        else:
            self.server.query = parse_qs(url.query)
            self._answer(200, f"first {url.path}\nsecond\n".encode())

    def _summary(self) -> dict[str, Any]:
        busy_ns = int((time.monotonic() - self.server.began) * 0.25e9)  # a quarter of a processor
        container = {
            "name": "c",
            "cpu": {"usageCoreNanoSeconds": busy_ns},
            "memory": {"workingSetBytes": 64 * 1024 * 1024},
        }
        return {"pods": [{"podRef": pod, "containers": [container]} for pod in self.server.pods]}

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def agent(api_server: ApiServer, namespace: str) -> Iterator[Agent]:
    """A node whose agent runs, with a pod ``p`` bound to it."""
    port = free_port()
    server = Agent(api_server.config.token("kubelet"), port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    name = f"node-{namespace}"
    node = {"metadata": {"name": name}, "spec": {"unschedulable": True}, "status": status}
    assert api_server.call("POST", "/api/v1/nodes", node).status == 201
    pods = f"/api/v1/namespaces/{namespace}/pods"
    containers = [{"name": name, "image": "example/app"} for name in ("c", "waiting")]
    pod = {"metadata": {"name": "p"}, "spec": {"containers": containers, "nodeName": name}}
    assert api_server.call("POST", pods, pod).status == 201
    yield server
    api_server.call("DELETE", f"{pods}/p?gracePeriodSeconds=0")
    api_server.call("DELETE", f"/api/v1/nodes/{name}")
    server.shutdown()
    server.server_close()


def test_logs_are_passed_on_with_their_options(api_server: ApiServer, namespace: str, agent: Agent) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods/p/log"
    answer = api_server.call("GET", f"{path}?container=c&tailLines=5&timestamps=true&pretty=x")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.body.decode() == f"first /containerLogs/{namespace}/p/c\nsecond\n"
    assert agent.query == {"tailLines": ["5"], "timestamps": ["true"]}


def test_a_log_that_cannot_be_shown_says_why(api_server: ApiServer, namespace: str, agent: Agent) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods/p/log"
    many = api_server.call("GET", path)
    assert (many.status, many.json["reason"]) == (400, "BadRequest")
    assert "choose one of: [c waiting]" in many.json["message"]
    assert api_server.call("GET", f"{path}?container=x").json["message"] == "container x is not valid for pod p"
    waiting = api_server.call("GET", f"{path}?container=waiting")
    assert waiting.json["message"] == 'container "waiting" in pod "p" is waiting to start: ContainerCreating'
    agent.shutdown()
    agent.server_close()
    gone = api_server.call("GET", f"{path}?container=c")
    assert (gone.status, gone.json["reason"]) == (500, "InternalError")
    assert "does not answer" in gone.json["message"]


@pytest.mark.slow
def test_readings_become_metrics_of_pods_and_nodes(api_server: ApiServer, namespace: str, agent: Agent) -> None:
    agent.pods = [{"namespace": namespace, "name": "p"}]
    path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods"
    items: list[Any] = []
    deadline = time.monotonic() + 20
    while not items and time.monotonic() < deadline:
        time.sleep(0.2)
        items = api_server.call("GET", path).json["items"]
    usage = items[0]["containers"][0]["usage"]
    assert usage["memory"] == "65536Ki"
    assert 0.2e9 < int(usage["cpu"].removesuffix("n")) < 0.3e9
    assert api_server.call("GET", f"{path}/p").json["kind"] == "PodMetrics"
    node = api_server.call("GET", f"/apis/metrics.k8s.io/v1beta1/nodes/node-{namespace}").json
    assert node["usage"] == usage
    for method, body in (("POST", {}), ("DELETE", None)):
        assert api_server.call(method, path, body).status == 405
    assert api_server.call("GET", f"{path}?watch=1").status == 405
