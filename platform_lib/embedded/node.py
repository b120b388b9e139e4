"""What does one node do? The agent process: registers, runs the pods that are bound to it, tells how they are.

The agent may die and come back without touching its pods; ``kill_all_pods`` is for a machine that is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import random
import signal
from pathlib import Path

from platform_lib.embedded.client import Client, Informer
from platform_lib.embedded.config import Config, NodeConfig
from platform_lib.embedded.kubelet import cgroups, nodeobject, sandbox
from platform_lib.embedded.kubelet.backoff import Policy
from platform_lib.embedded.kubelet.imagestore import ImageStore
from platform_lib.embedded.kubelet.nodeevents import Recorder
from platform_lib.embedded.kubelet.nodeobject import Heartbeat
from platform_lib.embedded.kubelet.pod import FINISHED, PodWorker
from platform_lib.embedded.kubelet.records import (
    PodFolder,
    PodRecord,
    await_exit,
    kill_all_pods,
    kill_container,
    kill_strays,
    pods_dir,
    remove_cgroups,
    stored_pods,
)
from platform_lib.embedded.kubelet.server import KubeletServer
from platform_lib.embedded.kubelet.services import PodContext, Services, stamp
from platform_lib.embedded.kubelet.stats import Watchkeeper
from platform_lib.embedded.kubelet.volumes import VolumeError
from platform_lib.errors import ApiError, Unreachable
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

__all__ = ["Agent", "kill_all_pods", "main"]

log = logging.getLogger(__name__)

REFRESH_S = 60.0
STATUS_S = 10.0
FIRST_HOST, LAST_HOST = 10, 250


def main(config: Config, node_name: str) -> None:
    """Run the agent of one node until SIGTERM; its pods stay.

    Args:
        config: The platform.
        node_name: Which of ``config.nodes``.

    Raises:
        KeyError: No such node.
    """
    nodes = {node.name: node for node in config.nodes}
    asyncio.run(_run(config, nodes[node_name]))


async def _run(config: Config, node: NodeConfig) -> None:
    """Run an agent until it is told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    token = config.token(f"node-{node.name}")
    async with Client(config.api_url, token, config.ca_file, user_agent=f"apqx-node/{node.name}") as client:
        agent = Agent(config, node, client)
        running = asyncio.ensure_future(agent.run())
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        stopping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


class Addresses:
    """The pod addresses of a node; one that was freed is used again as late as possible.

    Args:
        cidr: The node's network.
        taken: Addresses of pods that an earlier agent started.
    """

    def __init__(self, cidr: str, taken: set[str]) -> None:
        network = ipaddress.ip_network(cidr)
        last = min(LAST_HOST, network.num_addresses - 2)
        self._all = [str(network[index]) for index in range(FIRST_HOST, last + 1)]
        self._taken, self._next = set(taken), 0

    def take(self) -> str:
        """Return a free address.

        Raises:
            RuntimeError: All are taken.
        """
        for _ in self._all:
            address = self._all[self._next]
            self._next = (self._next + 1) % len(self._all)
            if address not in self._taken:
                self._taken.add(address)
                return address
        raise RuntimeError(f"all {len(self._all)} pod addresses of the node are taken")

    def free(self, address: str) -> None:
        """Give an address back."""
        self._taken.discard(address)


class Agent:
    """One node.

    Args:
        config: The platform.
        node: Which node.
        client: Open client with the node's token.
    """

    def __init__(self, config: Config, node: NodeConfig, client: Client) -> None:
        python = Path(os.path.realpath(config.python))
        found = sandbox.detect(config.bwrap)
        self.services = Services(
            config=config,
            node=node,
            client=client,
            recorder=Recorder(client, node.name),
            images=ImageStore(config.images_dir, config.cache_dir, python=str(python)),
            sandbox=found,
            hierarchy=cgroups.detect(),
            python=python,
            restart_policy=Policy(base_s=config.crash_backoff_s),
        )
        self.folder = config.cluster_dir / "nodes" / node.name
        self.pods: dict[str, PodWorker] = {}
        strays = kill_strays(self.folder)
        if strays:
            log.warning("killed %d processes that no record names", len(strays))
            await_exit(strays, 2.0)
        self._stored = stored_pods(self.folder)
        self._addresses = Addresses(node.pod_cidr, {record.ip for record in self._stored.values()})
        wanted = nodeobject.node_object(config, node, found, self.services.hierarchy)
        self._heartbeat = Heartbeat(client, wanted)
        self._keeper = Watchkeeper(lambda: self.pods.values())
        self._informer = Informer(client, "v1/pods", fields=f"spec.nodeName={node.name}", on_event=self._on_pod)
        self._unready = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled; pods go on."""
        services = self.services
        log.info("sandbox %s %s; control groups v%d %s", services.sandbox.mode, services.sandbox.reason,
                 services.hierarchy.version, services.hierarchy.reason)  # fmt: skip
        pods_dir(self.folder).mkdir(parents=True, exist_ok=True)
        config, node = services.config, services.node
        server = KubeletServer(node.name, self.pods, self._keeper, config.token("kubelet"))
        await server.start(node.address, config.ports.kubelet)
        registered = await self._heartbeat.register()
        own = Informer(services.client, "v1/nodes", fields=f"metadata.name={node.name}", on_event=self._on_node)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._heartbeat.renew(m.uid(registered)))
                group.create_task(self._keep_ready())
                group.create_task(own.run())
                group.create_task(services.recorder.run())
                group.create_task(self._keeper.run())
                group.create_task(self._informer.run())
                group.create_task(self._after_sync())
                group.create_task(self._refresh())
        finally:
            for worker in self.pods.values():
                worker.detach()
            await server.stop()

    def _on_node(self, kind: str, obj: Obj) -> None:
        """Notice that somebody else (the node lifecycle controller) called this node not ready."""
        if kind != "DELETED" and not m.condition_true(obj, "Ready"):
            self._unready.set()

    async def _keep_ready(self) -> None:
        """Tell the node's status every ten seconds, and at once when it is said to be not ready."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STATUS_S):
                    await self._unready.wait()
            self._unready.clear()
            try:
                await self._heartbeat.tell_status()
            except (ApiError, Unreachable) as error:
                log.warning("node status not told: %s", error.message)
                await asyncio.sleep(0.5)

    def _on_pod(self, kind: str, pod: Obj) -> None:
        """React to one event of a pod that is bound to this node."""
        uid = m.uid(pod)
        worker = self.pods.get(uid)
        if kind == "DELETED":
            if worker is not None:
                worker.remove()
        elif worker is not None:
            worker.observe(pod)
        elif uid in self._stored or m.deleting(pod) or m.status(pod).get("phase") not in FINISHED:
            self._begin(pod, self._stored.pop(uid, None))

    def _begin(self, pod: Obj, stored: PodRecord | None) -> None:
        """Take a pod on, or take it over."""
        uid = m.uid(pod)
        record = stored or PodRecord(uid, m.namespace(pod), m.name(pod), self._addresses.take(), stamp())
        folder = PodFolder(pods_dir(self.folder) / uid)
        context = PodContext(self.services, pod, folder, record, lambda: None)

        def finished() -> None:
            self._addresses.free(record.ip)
            self.pods.pop(uid, None)

        worker = PodWorker(context, resumed=stored is not None, on_finished=finished)
        self.pods[uid] = worker
        worker.start()

    async def _after_sync(self) -> None:
        """Remove what is left of pods that the API no longer knows."""
        await self._informer.synced.wait()
        while self._stored:
            uid, record = self._stored.popitem()
            log.info("%s/%s: no longer in the API, removed", record.namespace, record.name)
            killed = [p for c in record.containers.values() for p in kill_container(c)]
            await asyncio.to_thread(await_exit, killed, 2.0)
            for container in record.containers.values():
                remove_cgroups(container.cgroups)
            PodFolder(pods_dir(self.folder) / uid).remove()
            self._addresses.free(record.ip)

    async def _refresh(self) -> None:
        """Bring volumes up to date about once a minute, as the kubelet does."""
        while True:
            await asyncio.sleep(REFRESH_S * random.uniform(0.9, 1.1))  # noqa: S311 - spreads load, no secret
            for worker in list(self.pods.values()):
                if worker.context.volumes and not m.deleting(worker.context.pod):
                    try:
                        await worker.fill_volumes()
                    except (VolumeError, ApiError, Unreachable, OSError) as error:
                        log.warning("%s: volumes not refreshed: %s", worker.context.record.name, error)
