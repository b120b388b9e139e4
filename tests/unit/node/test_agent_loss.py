"""What survives what: the agent dies, the machine dies, the API is away."""

from __future__ import annotations

import http.server
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from harness import Cluster

from platform_lib.embedded.kubelet.records import PodFolder, kill_all_pods, stored_pods


def pid_of(cluster: Cluster, name: str) -> int:
    uid = cluster.pod(name)["metadata"]["uid"]
    app = stored_pods(cluster.node_dir)[uid].containers["app"].app
    assert app is not None
    return app.pid


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_pods_outlive_the_agent_and_are_adopted(cluster: Cluster, number: signal.Signals) -> None:
    name = f"outlives-{number.name.lower()}"
    cluster.run(name, livenessProbe={"httpGet": {"path": "/live", "port": 8080}, "periodSeconds": 1})
    before = cluster.wait_ready(name)["status"]
    pid = pid_of(cluster, name)
    cluster.kill("node", number)
    assert cluster.ask(name)[0] == 200
    cluster.start("node")
    cluster.wait(lambda: cluster.kubelet_answers())
    time.sleep(0.5)
    after = cluster.wait_ready(name)["status"]
    assert pid_of(cluster, name) == pid
    assert after["podIP"] == before["podIP"]
    assert after["containerStatuses"] == before["containerStatuses"]
    ready = [next(c for c in s["conditions"] if c["type"] == "Ready") for s in (before, after)]
    assert ready[0] == ready[1]
    assert cluster.log(name).count("starting") == 1
    cluster.delete(name)
    cluster.wait_gone(name)


def test_exit_while_no_agent_runs_is_reported_with_its_code(cluster: Cluster, pod_name: str) -> None:
    cluster.run(pod_name, {"restartPolicy": "Never"}, env_vars={"EXIT_AFTER_S": "1", "EXIT_CODE": "9"})
    cluster.wait_ready(pod_name)
    cluster.kill("node")
    time.sleep(1.2)
    cluster.start("node")
    ended = cluster.wait(lambda: cluster.state(pod_name)["state"].get("terminated"))
    assert ended["exitCode"] == 9
    cluster.delete(pod_name)
    cluster.wait_gone(pod_name)


def test_deletion_that_an_agent_began_is_finished_by_the_next(cluster: Cluster, pod_name: str) -> None:
    cluster.run(pod_name, {"terminationGracePeriodSeconds": 3}, env_vars={"IGNORE_TERM": "1"})
    cluster.wait_ready(pod_name)
    cluster.delete(pod_name)
    time.sleep(0.5)
    cluster.kill("node")
    cluster.start("node")
    cluster.wait_gone(pod_name)


def test_pod_deleted_while_no_agent_runs_is_cleaned_up(cluster: Cluster, pod_name: str) -> None:
    cluster.run(pod_name)
    cluster.wait_ready(pod_name)
    uid = cluster.pod(pod_name)["metadata"]["uid"]
    ip = cluster.pod(pod_name)["status"]["podIP"]
    cluster.kill("node")
    cluster.delete(pod_name, gracePeriodSeconds=0)
    cluster.start("node")
    cluster.wait(lambda: not (cluster.node_dir / "pods" / uid).exists())
    cluster.run(f"{pod_name}-2")
    assert cluster.wait_ready(f"{pod_name}-2")["status"]["podIP"] != ip or cluster.ask(f"{pod_name}-2")[0] == 200
    cluster.delete(f"{pod_name}-2")


def test_machine_loss_kills_everything_and_pods_restart_when_it_returns(cluster: Cluster, pod_name: str) -> None:
    cluster.run(pod_name)
    cluster.wait_ready(pod_name)
    pid = pid_of(cluster, pod_name)
    cluster.kill("node")
    killed = kill_all_pods(cluster.node_dir)
    assert pid in killed
    with pytest.raises(ConnectionRefusedError):
        cluster.ask(pod_name)
    cluster.wait(lambda: cluster.condition(f"/api/v1/nodes/{cluster.node.name}", "Ready") == "Unknown", 12)
    cluster.start("node")
    cluster.wait(lambda: cluster.condition(f"/api/v1/nodes/{cluster.node.name}", "Ready") == "True")
    cluster.wait(lambda: cluster.state(pod_name).get("restartCount") == 1)
    assert cluster.state(pod_name)["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    cluster.wait_ready(pod_name)
    cluster.delete(pod_name)
    cluster.wait_gone(pod_name)


def test_pods_go_on_while_the_api_is_away(cluster: Cluster, pod_name: str) -> None:
    cluster.run(pod_name)
    pod = cluster.wait_ready(pod_name)
    cluster.kill("server")
    time.sleep(0.5)
    ip = pod["status"]["podIP"]
    assert cluster.ask_ip(ip, "/unready")[0] == 200
    time.sleep(2.5)
    cluster.start("server")
    cluster.wait(lambda: cluster.get("/readyz", raw=True), 20)
    cluster.wait(lambda: not cluster.ready(pod_name))
    assert cluster.state(pod_name)["restartCount"] == 0
    cluster.delete(pod_name)
    cluster.wait_gone(pod_name)


def test_killed_sandbox_process_does_not_leave_the_program_behind(cluster: Cluster, pod_name: str) -> None:
    cluster.run(pod_name)
    cluster.wait_ready(pod_name)
    uid = cluster.pod(pod_name)["metadata"]["uid"]
    monitor = stored_pods(cluster.node_dir)[uid].containers["app"].monitor
    assert monitor is not None
    signal.pidfd_send_signal(os.pidfd_open(monitor.pid), signal.SIGKILL)
    cluster.wait(lambda: cluster.state(pod_name).get("restartCount") == 1)
    cluster.wait_ready(pod_name)
    cluster.delete(pod_name)
    cluster.wait_gone(pod_name)


def forget_processes(cluster: Cluster, name: str) -> int:
    """Leave the record as an agent does that dies right after starting the container; return the pid."""
    folder = PodFolder(cluster.node_dir / "pods" / cluster.pod(name)["metadata"]["uid"])
    record = folder.load()
    assert record is not None
    container = record.containers["app"]
    assert container.app is not None
    pid = container.app.pid
    container.monitor = container.init = container.app = None
    folder.save(record)
    return pid


def test_container_that_is_not_on_record_is_killed_before_it_starts_again(cluster: Cluster, pod_name: str) -> None:
    cluster.run(pod_name)
    cluster.wait_ready(pod_name)
    cluster.kill("node")
    pid = forget_processes(cluster, pod_name)
    cluster.start("node")
    cluster.wait(lambda: not Path(f"/proc/{pid}").exists())
    cluster.wait(lambda: cluster.log(pod_name).count("serving") == 2)
    cluster.delete(pod_name)
    cluster.wait_gone(pod_name)


def test_machine_loss_reaches_containers_that_are_not_on_record(cluster: Cluster, pod_name: str) -> None:
    cluster.run(pod_name)
    cluster.wait_ready(pod_name)
    cluster.kill("node")
    pid = forget_processes(cluster, pod_name)
    assert pid in kill_all_pods(cluster.node_dir)
    cluster.start("node")
    cluster.wait_ready(pod_name)
    cluster.delete(pod_name)
    cluster.wait_gone(pod_name)


class FakeIngress(http.server.ThreadingHTTPServer):
    """Answers Traefik's service list."""

    servers: list[dict[str, Any]]


class _Services(http.server.BaseHTTPRequestHandler):
    server: FakeIngress

    def do_GET(self) -> None:
        body = json.dumps([{"name": "x", "loadBalancer": {"servers": self.server.servers}}]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("fence", [True, False])
def test_term_waits_until_the_ingress_has_let_go(cluster: Cluster, fence: bool) -> None:
    name = f"barrier-{fence}".lower()
    with FakeIngress(("127.0.0.1", cluster.config.ports.traefik), _Services) as ingress:
        ingress.servers = []
        threading.Thread(target=ingress.serve_forever, daemon=True).start()
        try:
            cluster.run(name)
            ip = cluster.wait_ready(name)["status"]["podIP"]
            ingress.servers = [{"url": f"http://{ip}:8080"}]
            cluster.delete(name)
            time.sleep(1.0)
            assert cluster.ask_ip(ip)[0] == 200
            assert cluster.ready(name)
            ingress.servers = [{"url": f"http://{ip}:8080", "fenced": True}] if fence else []
            released = time.monotonic()
            cluster.wait_gone(name)
            assert 0.25 < time.monotonic() - released < 2
        finally:
            ingress.shutdown()
