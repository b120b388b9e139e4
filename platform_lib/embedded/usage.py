"""How much CPU and memory do the pods use? Read from the node agents, served as metrics.k8s.io.

The part of metrics-server: a reading of every node each few seconds, kept in memory only. Processor use is the
difference of two readings, so a pod appears with its second one. A node counts what its pods use.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

import aiohttp
import orjson

from platform_lib.embedded.kubelets import NODES, Kubelets
from platform_lib.embedded.metadata import timestamp
from platform_lib.embedded.store import Store
from platform_lib.errors import ApiError
from platform_lib.model import Obj

log = logging.getLogger(__name__)

POD_METRICS, NODE_METRICS = "metrics.k8s.io/v1beta1/pods", "metrics.k8s.io/v1beta1/nodes"
PODS = "v1/pods"
PERIOD_S = 5.0
"""Seconds between readings (metrics-server: 15); the window of every figure."""

Place = tuple[str, str, str]
"""(namespace, pod, container)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of one container: when, processor time so far, memory now."""

    at_s: float
    cpu_ns: int
    memory_bytes: int


class Usage:
    """Keeps the metrics objects of pods and nodes up to date."""

    def __init__(self, store: Store, kubelets: Kubelets, clock: Callable[[], datetime]) -> None:
        self._store, self._kubelets, self._clock = store, kubelets, clock
        self._samples: dict[str, dict[Place, Sample]] = {}

    async def run(self) -> None:
        """Read all nodes again and again until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            names = [node["metadata"]["name"] for node in self._store.list(NODES)]
            await asyncio.gather(*(self._read(name) for name in names))
            self._forget()
            await asyncio.sleep(max(0.1, PERIOD_S - (loop.time() - began)))

    async def _read(self, node: str) -> None:
        """Read one node; one that does not answer keeps no figures."""
        try:
            async with self._kubelets.get(node, "/stats/summary", total_s=PERIOD_S) as answer:
                answer.raise_for_status()
                summary = orjson.loads(await answer.read())
        except (ApiError, aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
            log.debug("no readings of %s: %s", node, error)
            self._samples.pop(node, None)
            return
        samples = dict(read_samples(summary, asyncio.get_running_loop().time()))
        self._publish(node, self._samples.get(node, {}), samples)
        self._samples[node] = samples

    def _publish(self, node: str, before: dict[Place, Sample], after: dict[Place, Sample]) -> None:
        """Turn two readings into the metrics objects of a node and its pods."""
        pods: dict[tuple[str, str], list[Obj]] = {}
        cpu_n = memory = 0
        for place, sample in after.items():
            old = before.get(place)
            if old is None or sample.cpu_ns < old.cpu_ns or sample.at_s <= old.at_s:
                continue
            rate = int((sample.cpu_ns - old.cpu_ns) / (sample.at_s - old.at_s))
            cpu_n, memory = cpu_n + rate, memory + sample.memory_bytes
            pods.setdefault(place[:2], []).append({"name": place[2], "usage": _usage(rate, sample.memory_bytes)})
        for (namespace, name), containers in pods.items():
            pod = self._store.get(PODS, namespace, name)
            if pod is not None:
                metadata = {"name": name, "namespace": namespace, "labels": pod["metadata"].get("labels") or {}}
                self._put(POD_METRICS, "PodMetrics", metadata, {"containers": containers})
        if before:
            self._put(NODE_METRICS, "NodeMetrics", {"name": node}, {"usage": _usage(cpu_n, memory)})

    def _put(self, gvr: str, kind: str, metadata: Obj, rest: Obj) -> None:
        now = timestamp(self._clock())
        head = {"apiVersion": "metrics.k8s.io/v1beta1", "kind": kind}
        metadata = {**metadata, "creationTimestamp": now}
        self._store.put_transient(gvr, {**head, "metadata": metadata, "timestamp": now, "window": _WINDOW, **rest})

    def _forget(self) -> None:
        """Drop the figures of pods and nodes that are not read any more."""
        known = {place[:2] for samples in self._samples.values() for place in samples}
        for gvr in (POD_METRICS, NODE_METRICS):
            for obj in list(self._store.list(gvr)):
                namespace, name = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
                if (namespace, name) not in known and name not in self._samples:
                    self._store.delete(gvr, namespace, name)


_WINDOW = f"{PERIOD_S:.0f}s"


def read_samples(summary: Obj, now_s: float) -> Iterable[tuple[Place, Sample]]:
    """Yield the readings in an agent's summary."""
    for pod in summary.get("pods") or ():
        reference = pod["podRef"]
        for container in pod.get("containers") or ():
            place = (reference["namespace"], reference["name"], container["name"])
            cpu = int(container["cpu"]["usageCoreNanoSeconds"])
            yield place, Sample(now_s, cpu, int(container["memory"]["workingSetBytes"]))


def _usage(cpu_n: int, memory_bytes: int) -> Obj:
    return {"cpu": f"{cpu_n}n", "memory": f"{memory_bytes // 1024}Ki"}
