"""How do Applications follow git on the embedded platform? The process of the GitOps controller.

It starts one worker for each Application, passes changes of git and of the cluster on to them, and stops in
order. It speaks only the Kubernetes wire protocol and git; the behaviour is Argo CD's (``embedded.argocd``).
"""

from __future__ import annotations

import asyncio
import logging
import signal

from platform_lib.embedded.argocd.cluster import Cluster
from platform_lib.embedded.argocd.observer import API_VERSION
from platform_lib.embedded.argocd.repository import Repository
from platform_lib.embedded.argocd.worker import FORCED, RECENT, Worker
from platform_lib.embedded.client import Client
from platform_lib.embedded.config import Config
from platform_lib.errors import ApiError, Unreachable
from platform_lib.model import Obj
from platform_lib.rules import health as h
from platform_lib.rules import manifests as m

GIT_POLL_S = 0.2
"""How often the refs of the bare repository are looked at (a few ``stat`` calls)."""

NAMESPACE = "argocd"

log = logging.getLogger(__name__)


class Controller:
    """All Applications of one cluster.

    Args:
        config: Configuration of the platform.
        client: Open client.
    """

    def __init__(self, config: Config, client: Client) -> None:
        self._config = config
        self._repository = Repository(config.git_dir, config.git_url)
        self._cluster = Cluster(client, self._changed)
        self._workers: dict[m.ObjectKey, tuple[Worker, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Follow Applications until cancelled, or until a worker fails in a way nobody foresaw."""
        await self._start_following()
        seen = self._repository.signature()
        try:
            while True:
                await asyncio.sleep(GIT_POLL_S)
                now = self._repository.signature()
                if now != seen:
                    seen = now
                    for worker, _ in self._workers.values():
                        worker.wake(FORCED)
                self._raise_failures()
        finally:
            await self._stop()

    async def _start_following(self) -> None:
        """Follow what every Application needs; the API may still be starting."""
        pause_s = 0.05
        while True:
            try:
                for kind in ("Application", "AppProject"):
                    await self._cluster.discover(API_VERSION, kind)
                await self._cluster.follow("v1", "Namespace")
                served = [await self._cluster.follow(API_VERSION, kind) for kind in ("AppProject", "Application")]
                if all(served):
                    return
            except (Unreachable, ApiError) as error:
                log.info("waiting for the API: %s", error)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 1.0)

    def _changed(self, key: m.ObjectKey, old: Obj | None, new: Obj | None) -> None:
        """Pass a change of the cluster on to the workers it concerns."""
        if (key.group, key.kind) == ("argoproj.io", "Application"):
            self._application_changed(key, new)
        elif (key.group, key.kind) == ("argoproj.io", "AppProject"):
            for worker, _ in self._workers.values():
                worker.wake(FORCED)
        if not _matters(old, new):
            return
        for worker, _ in self._workers.values():
            if worker.key != key and worker.concerns(key, old, new):
                worker.wake(RECENT)

    def _application_changed(self, key: m.ObjectKey, new: Obj | None) -> None:
        """Start, wake or stop the worker of an Application."""
        if key.namespace != NAMESPACE:
            return  # like Argo CD, unless it is told to look at other namespaces
        found = self._workers.get(key)
        if new is None:
            if found is not None:
                found[1].cancel()
                del self._workers[key]
        elif found is not None:
            found[0].wake()
        else:
            delay_s, reconcile_s = self._config.sync_wave_delay_s, self._config.reconcile_s
            worker = Worker(key, self._cluster, self._repository, wave_delay_s=delay_s, reconcile_s=reconcile_s)
            self._workers[key] = (worker, asyncio.create_task(worker.run(), name=f"application {key.name}"))

    def _raise_failures(self) -> None:
        """Raise what ended a worker, so that the supervisor starts the process again."""
        for _, task in self._workers.values():
            if task.done() and not task.cancelled():
                task.result()

    async def _stop(self) -> None:
        """Stop all workers and the view of the cluster."""
        tasks = [task for _, task in self._workers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._cluster.close()


def _matters(old: Obj | None, new: Obj | None) -> bool:
    """Tell whether a change can change a comparison: more than status, or health."""
    if old is None or new is None:
        return True
    if _without_status(old) != _without_status(new):
        return True
    return h.health_of(old) != h.health_of(new)


def _without_status(obj: Obj) -> Obj:
    """Return what of an object is specification."""
    meta = {k: v for k, v in m.metadata(obj).items() if k not in ("resourceVersion", "managedFields")}
    return {k: v for k, v in obj.items() if k not in ("status", "metadata")} | {"metadata": meta}


async def _serve(config: Config) -> None:
    """Run the controller until the process is told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    client = Client(config.api_url, config.token("gitops"), config.ca_file, user_agent="argocd-application-controller")
    async with client:
        work = asyncio.create_task(Controller(config, client).run())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if work.done():
            work.result()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def main(config: Config) -> None:
    """Run the GitOps controller until SIGTERM.

    Args:
        config: Configuration of the platform; its ``tokens/gitops`` must exist.
    """
    asyncio.run(_serve(config))
