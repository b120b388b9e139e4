"""A cluster for tests: the real store, API and controllers; only time and the node agents are simulated."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from platform_lib.embedded.api import Api
from platform_lib.embedded.config import Config, NodeConfig
from platform_lib.embedded.controllers.objects import to_text
from platform_lib.embedded.controllers.roster import roster
from platform_lib.embedded.controllers.runner import Runner
from platform_lib.embedded.schema import Schemas
from platform_lib.embedded.store import Store
from platform_lib.model import Obj

USER = "test"
MERGE = "application/merge-patch+json"
START = datetime(2026, 1, 1, tzinfo=UTC)


class Cluster:
    """Three nodes, a namespace, all controllers; ``settle`` runs them until nothing is left to do now."""

    def __init__(self, folder: Path, schemas: Schemas, *, nodes: int = 3) -> None:
        self.now = START
        self.is_ready: Callable[[Obj], bool] = lambda pod: True
        self.dead: set[str] = set()
        self.after_write: Callable[[], None] = lambda: None
        self._addresses = 0
        self.store = Store(folder / "store.sqlite3")
        self.api = Api(self.store, schemas, clock=lambda: self.now, toleration_s=5)
        self.folder = folder
        self.restart_controllers()
        for name in ("default", "kube-node-lease"):
            self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for number in range(nodes):
            self.add_node(f"node-{number}")

    def restart_controllers(self) -> None:
        """Start the controllers anew: what they remembered is gone, what is stored is not."""
        self.runner = Runner(self.api, self.store, roster(_config(self.folder)), self.monotonic)
        self.runner.resync()

    # --- time

    def monotonic(self) -> float:
        return (self.now - START).total_seconds()

    def settle(self) -> None:
        """Run every reconcile that is due."""
        for _ in range(20_000):
            if not self.runner.step():
                return
            self.after_write()
        raise AssertionError("controllers do not come to rest")

    def advance(self, seconds: float, *, leases: bool = True) -> None:
        """Let time pass in steps of a second, with living nodes renewing their leases."""
        for _ in range(max(1, round(seconds))):
            self.now += timedelta(seconds=min(1.0, seconds))
            if leases:
                self.renew_leases()
            self.settle()

    # --- objects

    def gvr(self, obj: Obj) -> str:
        kind = self.api.registry.find(obj["apiVersion"], obj["kind"])
        assert kind is not None, obj["kind"]
        return kind.gvr

    def create(self, obj: Obj) -> Obj:
        return self.api.create(self.gvr(obj), obj, obj["metadata"].get("namespace"), user=USER)

    def get(self, gvr: str, name: str, namespace: str = "default") -> Obj:
        return self.api.get(gvr, name, namespace)

    def list(self, gvr: str, namespace: str | None = "default") -> list[Obj]:
        return list(self.api.list(gvr, namespace))

    def patch(self, gvr: str, name: str, body: Any, namespace: str | None = "default", sub: str | None = None) -> Obj:
        return self.api.patch(gvr, name, body, namespace, content_type=MERGE, user=USER, sub=sub)

    def delete(self, gvr: str, name: str, namespace: str | None = "default", **options: Any) -> Obj:
        return self.api.delete(gvr, name, namespace, user=USER, options=options)

    def events(self, reason: str, namespace: str = "default") -> list[str]:
        return [item["message"] for item in self.list("v1/events", namespace) if item["reason"] == reason]

    # --- node agents

    def add_node(self, name: str, *, cpu: str = "4", memory: str = "8Gi", labels: dict[str, str] | None = None) -> Obj:
        marks = {"kubernetes.io/hostname": name, **(labels or {})}
        self.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": marks}, "spec": {}})
        lease = {"holderIdentity": name, "leaseDurationSeconds": 4, "renewTime": self._micro()}
        meta = {"name": name, "namespace": "kube-node-lease"}
        self.create({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": lease})
        return self.report_node(name, cpu=cpu, memory=memory)

    def report_node(self, name: str, *, cpu: str = "4", memory: str = "8Gi") -> Obj:
        offered = {"cpu": cpu, "memory": memory, "pods": "110"}
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "lastTransitionTime": to_text(self.now),
            "lastHeartbeatTime": to_text(self.now),
        }
        status = {"capacity": offered, "allocatable": offered, "conditions": [ready]}
        return self.patch("v1/nodes", name, {"status": status}, None, sub="status")

    def renew_leases(self) -> None:
        for lease in self.list("coordination.k8s.io/v1/leases", "kube-node-lease"):
            name = lease["metadata"]["name"]
            if name not in self.dead:
                patch = {"spec": {"renewTime": self._micro()}}
                self.patch("coordination.k8s.io/v1/leases", name, patch, "kube-node-lease")

    def act_as_nodes(self) -> bool:
        """Let the living nodes start, report and finish their pods; returns whether anything changed."""
        before = self.store.version
        for pod in self.list("v1/pods", None):
            node = pod["spec"].get("nodeName")
            if node and node not in self.dead:
                self._run_pod(pod)
        return self.store.version != before

    def _run_pod(self, pod: Obj) -> None:
        meta = pod["metadata"]
        if meta.get("deletionTimestamp"):
            self.delete("v1/pods", meta["name"], meta["namespace"], gracePeriodSeconds=0)
            return
        if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            return
        self.set_ready(pod, self.is_ready(pod))

    def set_ready(self, pod: Obj, ready: bool) -> None:
        """Report a pod as running, ready or not."""
        old = {item["type"]: item for item in pod.get("status", {}).get("conditions", [])}
        value = "True" if ready else "False"
        if old.get("Ready", {}).get("status") == value:
            return
        others = [item for name, item in old.items() if name != "Ready"]
        conditions = [*others, {"type": "Ready", "status": value, "lastTransitionTime": to_text(self.now)}]
        status: Obj = {"phase": "Running", "conditions": conditions}
        if not pod.get("status", {}).get("podIP"):
            self._addresses += 1
            status["podIP"] = f"127.42.{self._addresses // 200}.{self._addresses % 200 + 10}"
        meta = pod["metadata"]
        self.patch("v1/pods", meta["name"], {"status": status}, meta["namespace"], sub="status")

    def finish_pod(self, pod: Obj, phase: str) -> None:
        meta = pod["metadata"]
        self.patch("v1/pods", meta["name"], {"status": {"phase": phase}}, meta["namespace"], sub="status")

    def run_to_rest(self) -> None:
        """Alternate controllers and nodes until nothing changes any more."""
        for _ in range(200):
            self.settle()
            if not self.act_as_nodes():
                return
        raise AssertionError("cluster does not come to rest")

    def _micro(self) -> str:
        return self.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _config(folder: Path) -> Config:
    (folder / "pki").mkdir(exist_ok=True)
    (folder / "pki" / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\ntest\n-----END CERTIFICATE-----\n")
    return Config(
        name="test",
        cluster_dir=folder,
        images_dir=folder,
        cache_dir=folder,
        git_dir=folder,
        git_url="",
        python="python",
        traefik="traefik",
        prometheus="prometheus",
        nodes=(NodeConfig("node-0", "agent", "127.42.0.1", "127.42.0.0/24"),),
    )


def pod_template(app: str = "web", *, version: str = "1", cpu: str = "10m", **spec: Any) -> Obj:
    container = {
        "name": "main",
        "image": f"example/{app}:{version}",
        "ports": [{"name": "http", "containerPort": 8080}],
        "resources": {"requests": {"cpu": cpu, "memory": "16Mi"}},
    }
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [container], **spec}}


def deployment(name: str = "web", *, replicas: int = 3, template: Obj | None = None, **spec: Any) -> Obj:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": template or pod_template(name),
            **spec,
        },
    }


def rolling(surge: int | str, unavailable: int | str) -> Obj:
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}


def service(name: str = "web", **spec: Any) -> Obj:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": name}, "ports": ports, **spec},
    }
