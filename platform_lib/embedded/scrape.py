"""How does the real Prometheus learn what to scrape, and the state of the cluster's objects?

One process that follows the API and serves, on 127.0.0.1: ``/sd/pods`` and ``/sd/nodes`` (HTTP service
discovery), ``/metrics`` (object state and the platform's own processes) and ``/healthz``. It also keeps
Prometheus's configuration equal to the ConfigMaps in the cluster and reloads it when they change.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from aiohttp import web

from platform_lib.embedded import kubestate, promconfig, targets
from platform_lib.embedded.client import Client, Informer
from platform_lib.embedded.config import Config
from platform_lib.embedded.selectors import parse_label_selector
from platform_lib.embedded.syncs import Syncs
from platform_lib.errors import ManifestError
from platform_lib.model import Obj

log = logging.getLogger("apqx.scrape")

FOLLOWED = (
    "v1/pods",
    "v1/nodes",
    "apps/v1/deployments",
    "apps/v1/replicasets",
    "discovery.k8s.io/v1/endpointslices",
    "autoscaling/v2/horizontalpodautoscalers",
    APPLICATIONS := "argoproj.io/v1alpha1/applications",
)
RULE_MAPS = ("prometheus-rules", "prometheus-slo-rules")
CONFIG_MAPS = ("prometheus-config", *RULE_MAPS)
NAMESPACE = "monitoring"


class Scraper:
    """The state that the HTTP handlers and the configuration writer share."""

    def __init__(self, config: Config, client: Client) -> None:
        self._config = config
        self._syncs = Syncs(since=datetime.now(UTC))
        handlers = {APPLICATIONS: self._syncs.observe}
        self._informers = {gvr: Informer(client, gvr, on_event=handlers.get(gvr)) for gvr in FOLLOWED}
        self._maps = Informer(client, "v1/configmaps", namespace=NAMESPACE, on_event=self._on_config_map)
        self._changed = asyncio.Event()
        self._reload_ok = True

    async def run(self) -> None:
        """Follow the API, serve and keep Prometheus configured until cancelled."""
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._config.ports.scrape).start()
        try:
            async with asyncio.TaskGroup() as group:
                for informer in (*self._informers.values(), self._maps):
                    group.create_task(informer.run())
                group.create_task(self._keep_configured())
        finally:
            await runner.cleanup()

    def _application(self) -> web.Application:
        """Return the routes."""
        app = web.Application()
        app.router.add_get("/sd/pods", self._pods)
        app.router.add_get("/sd/nodes", self._nodes)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        return app

    def _objects(self, gvr: str) -> Iterable[Obj]:
        """Return the cached objects of a resource."""
        return self._informers[gvr].cache.values()

    async def _pods(self, request: web.Request) -> web.Response:
        namespaces = request.query.getall("namespace", [])
        chosen = [
            pod
            for pod in _labelled(self._objects("v1/pods"), request)
            if not namespaces or pod["metadata"].get("namespace") in namespaces
        ]
        return self._groups("v1/pods", targets.pod_targets(chosen))

    async def _nodes(self, request: web.Request) -> web.Response:
        return self._groups("v1/nodes", targets.node_targets(_labelled(self._objects("v1/nodes"), request)))

    def _groups(self, gvr: str, groups: list[dict[str, object]]) -> web.Response:
        """Answer with target groups, or 503 before the first list: an empty list would drop all targets."""
        if not self._informers[gvr].synced.is_set():
            raise web.HTTPServiceUnavailable(text=f"{gvr} not read yet")
        return web.json_response(groups)

    async def _metrics(self, _request: web.Request) -> web.Response:
        snapshot = {gvr: informer.cache.values() for gvr, informer in self._informers.items()}
        text = kubestate.render(snapshot) + self._syncs.render() + process_metrics(self._config)
        ok = f"# TYPE apqx_prometheus_config_ok gauge\napqx_prometheus_config_ok {int(self._reload_ok)}\n"
        return web.Response(text=text + ok, headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _healthz(self, _request: web.Request) -> web.Response:
        waiting = [gvr for gvr, informer in self._informers.items() if not informer.synced.is_set()]
        return web.Response(status=503 if waiting else 200, text=", ".join(waiting) or "ok")

    def _on_config_map(self, _kind: str, obj: Obj) -> None:
        """Note that a ConfigMap of interest changed."""
        if obj["metadata"]["name"] in CONFIG_MAPS:
            self._changed.set()

    async def _keep_configured(self) -> None:
        """Write the configuration whenever a ConfigMap changed, and make Prometheus read it."""
        await self._maps.synced.wait()
        async with aiohttp.ClientSession(trust_env=False) as session:
            while True:
                await self._changed.wait()
                self._changed.clear()
                self._reload_ok = await self._configure(session)

    async def _configure(self, session: aiohttp.ClientSession) -> bool:
        """Write files from the ConfigMaps; return whether Prometheus accepted them."""
        maps = {name: obj for (_, name), obj in self._maps.cache.items()}
        text = (maps.get("prometheus-config", {}).get("data") or {}).get("prometheus.yml")
        rules = {key: body for name in RULE_MAPS for key, body in (maps.get(name, {}).get("data") or {}).items()}
        try:
            changed = write_files(self._config, text, rules)
        except ManifestError as error:
            log.error("%s", error)
            return False
        return await self._reload(session) if changed else self._reload_ok

    async def _reload(self, session: aiohttp.ClientSession) -> bool:
        """Ask Prometheus to read its files; when it is down it will read them at its start."""
        url = f"http://127.0.0.1:{self._config.ports.prometheus}/-/reload"
        try:
            async with session.post(url, timeout=aiohttp.ClientTimeout(total=10)) as answer:
                if answer.status == 200:
                    return True
                log.error("prometheus refused its configuration: %s", (await answer.text())[:500])
                return False
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("prometheus not reached for a reload (%r); it reads the files when it starts", error)
            return True


def _labelled(objects: Iterable[Obj], request: web.Request) -> list[Obj]:
    """Return the objects that match every label selector of the query."""
    selectors = [parse_label_selector(text) for text in request.query.getall("label", [])]
    return [o for o in objects if all(match(o["metadata"].get("labels") or {}) for match in selectors)]


def write_files(config: Config, text: str | None, rules: dict[str, str]) -> bool:
    """Write Prometheus's configuration and rule files; return whether anything changed.

    Raises:
        ManifestError: The ConfigMap's text cannot be used; nothing was written.
    """
    token_file = config.cluster_dir / "tokens" / "kubelet"
    wanted = {promconfig.config_file(config): promconfig.render(text, config, token_file=token_file)}
    folder = promconfig.rules_folder(config)
    wanted |= {folder / name: body for name, body in promconfig.rule_files(rules).items()}
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    stale = [path for path in folder.glob("*.yml") if path not in wanted]
    for path in stale:
        path.unlink()
    changed = [path for path, body in wanted.items() if _write_if_different(path, body)]
    return bool(stale or changed)


def _write_if_different(path: Path, body: str) -> bool:
    """Replace a file in one step unless it holds the same text."""
    if path.exists() and path.read_text() == body:
        return False
    scratch = path.with_suffix(".new")
    scratch.write_text(body)
    scratch.rename(path)
    return True


def process_metrics(config: Config) -> str:
    """Return the state of the platform's own processes, as the supervisor recorded it."""
    try:
        components = json.loads((config.cluster_dir / "processes.json").read_text())["components"]
    except (OSError, ValueError, KeyError):
        return ""  # the supervisor has not written it yet: no samples is the honest answer
    lines = ["# TYPE apqx_component_up gauge"]
    lines += [f'apqx_component_up{{component="{n}"}} {int(c["state"] == "running")}' for n, c in components.items()]
    lines += ["# TYPE apqx_component_restarts_total counter"]
    lines += [f'apqx_component_restarts_total{{component="{n}"}} {c["restarts"]}' for n, c in components.items()]
    return "\n".join(lines) + "\n"


async def _serve(config: Config) -> None:
    """Run the scraper until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Client(config.api_url, config.token("scrape"), config.ca_file, user_agent="apqx-scrape") as client:
        task = asyncio.create_task(Scraper(config, client).run())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task  # a failure ends the process; the supervisor starts it again
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def main(config: Config) -> None:
    """Run the scraper; returns after SIGTERM."""
    asyncio.run(_serve(config))
