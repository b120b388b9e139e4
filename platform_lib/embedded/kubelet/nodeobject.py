"""What does a node tell of itself? The Node object and the lease that proves it is alive.

Source: Kubernetes documentation, "Nodes" and "Node heartbeats".
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import platform
from pathlib import Path

from platform_lib.embedded.client import MERGE, STRATEGIC, Client
from platform_lib.embedded.config import Config, NodeConfig
from platform_lib.embedded.kubelet.cgroups import Hierarchy
from platform_lib.embedded.kubelet.sandbox import Sandbox
from platform_lib.embedded.kubelet.services import stamp
from platform_lib.errors import AlreadyExists, ApiError, NotFound, Unreachable
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

log = logging.getLogger(__name__)

RENEW_S = 1.0
LEASE_S = 4
LEASE_NAMESPACE = "kube-node-lease"
MAX_PODS = 110
NOT_ENFORCED = "apqx.dev/not-enforced"
KUBELET_VERSION = "v1.32.0+apqx"


def node_object(config: Config, node: NodeConfig, sandbox: Sandbox, hierarchy: Hierarchy) -> Obj:
    """Build the Node as this machine would register it."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    labels = {
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine,
        "topology.kubernetes.io/zone": "local",
    }
    if "control-plane" in node.role or "server" in node.role:
        labels["node-role.kubernetes.io/control-plane"] = "true"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.name,
            "labels": labels,
            "annotations": {NOT_ENFORCED: "; ".join(not_enforced(sandbox, hierarchy))},
        },
        "spec": {"podCIDR": node.pod_cidr, "podCIDRs": [node.pod_cidr], "providerID": f"apqx://{node.name}"},
        "status": node_status(config, node, machine),
    }


def not_enforced(sandbox: Sandbox, hierarchy: Hierarchy) -> list[str]:
    """Name what no pod of this node gets, whatever it asks for."""
    missing = ["network policies and network namespaces (pods are loopback addresses of one host)"]
    missing += [f"sandbox: {sandbox.reason}"] if sandbox.reason else []
    missing += [f"CPU limits: {hierarchy.reason}"] if hierarchy.reason else []
    return missing


def node_status(config: Config, node: NodeConfig, machine: str) -> Obj:
    """Build the status: what the node has and that it is ready."""
    amounts = {"cpu": node.cpu, "memory": node.memory, "pods": str(MAX_PODS), "ephemeral-storage": "10Gi"}
    return {
        "capacity": amounts,
        "allocatable": amounts,
        "addresses": [{"type": "InternalIP", "address": node.address}, {"type": "Hostname", "address": node.name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.ports.kubelet}},
        "conditions": conditions(),
        "nodeInfo": {
            "architecture": machine,
            "operatingSystem": "linux",
            "kernelVersion": platform.release(),
            "osImage": _os_name(),
            "containerRuntimeVersion": "apqx://0.1",
            "kubeletVersion": KUBELET_VERSION,
            "kubeProxyVersion": KUBELET_VERSION,
            "machineID": _read("/etc/machine-id"),
            "systemUUID": _read("/etc/machine-id"),
            "bootID": _read("/proc/sys/kernel/random/boot_id"),
        },
    }


def _os_name() -> str:
    """Return the distribution's own name."""
    for line in _read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "Linux"


def _read(path: str) -> str:
    """Read a small system file; empty when there is none."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def conditions() -> list[Obj]:
    """Return the conditions of a healthy node; pressures are read from the machine."""
    now = stamp()
    available, total = memory_bytes()
    pressed = total > 0 and available < 100 * 1024 * 1024
    found = [
        ("MemoryPressure", pressed, "KubeletHasInsufficientMemory" if pressed else "KubeletHasSufficientMemory"),
        ("DiskPressure", False, "KubeletHasNoDiskPressure"),
        ("PIDPressure", False, "KubeletHasSufficientPID"),
        ("Ready", True, "KubeletReady"),
    ]
    return [
        {
            "type": type_,
            "status": "True" if true else "False",
            "reason": reason,
            "message": "node agent is posting ready status" if type_ == "Ready" else reason,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        for type_, true, reason in found
    ]


def memory_bytes() -> tuple[int, int]:
    """Return (available, total) memory of the machine."""
    fields = dict(line.split(":", 1) for line in _read("/proc/meminfo").splitlines() if ":" in line)

    def number(key: str) -> int:
        return int(fields.get(key, "0 kB").split()[0]) * 1024

    return number("MemAvailable"), number("MemTotal")


class Heartbeat:
    """Keeps the Node object and its lease.

    Args:
        client: Open client.
        wanted: From ``node_object``.
    """

    def __init__(self, client: Client, wanted: Obj) -> None:
        self._client, self._wanted = client, wanted
        self._name = m.name(wanted)

    async def register(self) -> Obj:
        """Create the Node, or bring an existing one up to date; waits for the API."""
        delay_s = 0.05
        while True:
            try:
                return await self._register()
            except (ApiError, Unreachable) as error:
                log.info("waiting for the API: %s", error.message)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 1.5, 0.5)

    async def _register(self) -> Obj:
        """Create or update, then tell the status."""
        try:
            await self._client.create("v1/nodes", self._wanted)
        except AlreadyExists:
            meta = {key: self._wanted["metadata"][key] for key in ("labels", "annotations")}
            body = {"metadata": meta, "spec": self._wanted["spec"]}
            await self._client.patch("v1/nodes", self._name, body, content_type=MERGE)
        return await self.tell_status()

    async def tell_status(self) -> Obj:
        """Say that the node is ready and what it has; condition times that did not change stay."""
        live = await self._client.get("v1/nodes", self._name)
        status = {**self._wanted["status"], "conditions": conditions()}
        old = m.conditions(live)
        for condition in status["conditions"]:
            before = old.get(condition["type"], {})
            if before.get("status") == condition["status"]:
                condition["lastTransitionTime"] = before.get("lastTransitionTime") or condition["lastTransitionTime"]
        body = {"status": status}
        return await self._client.patch("v1/nodes", self._name, body, content_type=STRATEGIC, sub="status")

    async def renew(self, owner_uid: str) -> None:
        """Renew the lease every second until cancelled."""
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._renew(owner_uid)
            except (ApiError, Unreachable) as error:
                log.warning("lease not renewed: %s", error.message)
            await asyncio.sleep(max(0.05, RENEW_S - (asyncio.get_running_loop().time() - began)))

    async def _renew(self, owner_uid: str) -> None:
        """Renew the lease, creating it when it is missing."""
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": self._name, "leaseDurationSeconds": LEASE_S, "renewTime": now}
        try:
            await self._client.patch(
                "coordination.k8s.io/v1/leases", self._name, {"spec": spec}, LEASE_NAMESPACE, content_type=MERGE
            )
        except NotFound:
            owner = {"apiVersion": "v1", "kind": "Node", "name": self._name, "uid": owner_uid}
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]},
                "spec": spec,
            }
            await self._client.create("coordination.k8s.io/v1/leases", lease, LEASE_NAMESPACE)
