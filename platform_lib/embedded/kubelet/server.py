"""What does a node answer? Logs, readings and health, by HTTP on its own address, with a bearer token."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterator, Mapping

from aiohttp import web

from platform_lib.embedded.kubelet import stats
from platform_lib.embedded.kubelet.container import Container
from platform_lib.embedded.kubelet.pod import PodWorker
from platform_lib.embedded.kubelet.podlogs import LogOptions, read_log
from platform_lib.embedded.kubelet.services import epoch, parse_stamp, stamp
from platform_lib.model import Obj

Pods = Mapping[str, PodWorker]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class KubeletServer:
    """The HTTP server of one node.

    Args:
        node: Its name.
        pods: The pods by uid; read at each request.
        keeper: Knows when log lines were written.
        token: What callers must present; ``/healthz`` is open.
    """

    def __init__(self, node: str, pods: Pods, keeper: stats.Watchkeeper, token: str) -> None:
        self._node, self._pods, self._keeper, self._token = node, pods, keeper, token
        self._runner: web.AppRunner | None = None

    async def start(self, address: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: The address is taken.
        """
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        app.router.add_get("/metrics/cadvisor", self._metrics)
        app.router.add_get("/stats/summary", self._summary)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, address, port, reuse_address=True).start()

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse callers without the token."""
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if request.path != "/healthz" and not hmac.compare_digest(given.encode(), self._token.encode()):
            return web.Response(status=401, text="Unauthorized\n")
        return await handler(request)

    async def _health(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text="ok")

    def _find(self, namespace: str, pod: str, container: str) -> Container | None:
        """Return a container by names."""
        for worker in self._pods.values():
            if (worker.context.record.namespace, worker.context.record.name) == (namespace, pod):
                return next((c for c in worker.containers if c.name == container), None)
        return None

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        """Stream a container's output."""
        where = request.match_info
        container = self._find(where["namespace"], where["pod"], where["container"])
        if container is None:
            text = f'container "{where["container"]}" of pod "{where["pod"]}" is not on node {self._node}\n'
            return web.Response(status=404, text=text)
        query = request.query
        previous = query.get("previous") in ("true", "1")
        run = container.record.restarts - (1 if previous else 0)
        file = container.context.folder.log(container.name, run)
        if previous and (run < 0 or not file.exists()):
            pod = f"{where['pod']} in namespace {where['namespace']}"
            text = f'previous terminated container "{container.name}" in pod "{pod}" not found\n'
            return web.Response(status=400, text=text)
        if not previous and container.running is None and not container.record.exit and not file.exists():
            reason = container.view().state.get("waiting", {}).get("reason", "ContainerCreating")
            text = f'container "{container.name}" in pod "{where["pod"]}" is waiting to start: {reason}\n'
            return web.Response(status=400, text=text)
        try:
            options = _options(query, follow=not previous and query.get("follow") in ("true", "1"))
        except ValueError as error:
            return web.Response(status=400, text=f"invalid log option: {error}\n")
        answer = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        await answer.prepare(request)
        running = container.running
        async for piece in read_log(file, options, self._keeper, lambda: running is None or running.ended):
            await answer.write(piece)
        await answer.write_eof()
        return answer

    def _readings(self) -> Iterator[stats.Reading]:
        """Measure every running container."""
        for worker in list(self._pods.values()):
            for container in worker.containers:
                reading = stats.read(container)
                if reading is not None:
                    yield reading

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        text = stats.exposition(self._readings())
        return web.Response(body=text.encode(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _summary(self, request: web.Request) -> web.StreamResponse:
        """Answer the part of the stats summary that metrics pipelines read; CPU as a running total."""
        pods: dict[tuple[str, str], Obj] = {}
        now = stamp()
        for r in self._readings():
            reference = {"name": r.pod, "namespace": r.namespace}
            pod = pods.setdefault((r.namespace, r.pod), {"podRef": reference, "containers": []})
            cpu = {"time": now, "usageCoreNanoSeconds": int(r.cpu_s * 1e9)}
            memory = {"time": now, "workingSetBytes": r.memory_bytes}
            pod["containers"].append({"name": r.container, "cpu": cpu, "memory": memory})
        return web.json_response({"node": {"nodeName": self._node}, "pods": list(pods.values())})


def _options(query: Mapping[str, str], *, follow: bool) -> LogOptions:
    """Read the log options of a request.

    Raises:
        ValueError: Not a number or not a time.
    """
    since = None
    if query.get("sinceSeconds"):
        since = epoch() - float(query["sinceSeconds"])
    elif query.get("sinceTime"):
        since = parse_stamp(query["sinceTime"])
    return LogOptions(
        tail_lines=int(query["tailLines"]) if query.get("tailLines") else None,
        since=since,
        limit_bytes=int(query["limitBytes"]) if query.get("limitBytes") else None,
        timestamps=query.get("timestamps") in ("true", "1"),
        follow=follow,
    )
