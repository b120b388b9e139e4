"""Which process serves the API? HTTPS on loopback, the store, and the controllers, in one event loop.

``main`` is the role that the supervisor starts. Whatever was acknowledged is in the database before the answer
leaves, so this process may be killed at any moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import ssl
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from platform_lib.embedded import bootstrap
from platform_lib.embedded.api import Api
from platform_lib.embedded.auth import Authenticator, Authorizer
from platform_lib.embedded.config import Config
from platform_lib.embedded.handlers import BODY_LIMIT, Handlers
from platform_lib.embedded.kubelets import Kubelets
from platform_lib.embedded.podlog import PodLog
from platform_lib.embedded.schema import Schemas
from platform_lib.embedded.schemacache import cache_name
from platform_lib.embedded.store import Store
from platform_lib.embedded.tokens import Tokens
from platform_lib.embedded.usage import Usage
from platform_lib.errors import ApiError

log = logging.getLogger(__name__)

SHUTDOWN_S = 0.1
"""How long open watches may hold up the end; their clients resume elsewhere."""

CHECKPOINT_WRITES = 500
"""Writes after which the log is moved into the database file."""

CHECKPOINT_S = 2.0


def main(config: Config) -> None:
    """Serve the API until SIGTERM or SIGINT."""
    _run(serve(config))


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


async def serve(config: Config) -> None:
    """Open the store, create what every cluster has, listen, run the controllers, stop on a signal."""
    from platform_lib.embedded.controllers import runner

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running_api(config) as (api, kubelets):
        log.info("API serves at %s, version %s", config.api_url, api.store.version)
        gc.freeze()
        tasks = [
            asyncio.create_task(_checkpoints(api.store), name="checkpoints"),
            asyncio.create_task(Usage(api.store, kubelets, api.clock).run(), name="usage"),
            runner.start(api, api.store, config),
        ]
        await stop.wait()
        await _end(tasks)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks until they are over.

    Once is not enough on Python 3.11: ``asyncio.wait_for`` loses a cancellation that meets the event it waits
    for (python/cpython#86296, fixed in 3.12).
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.1)


@contextlib.asynccontextmanager
async def running_api(config: Config) -> AsyncIterator[tuple[Api, Kubelets]]:
    """Serve the API without controllers while the block runs."""
    schema_file = config.cache_dir / cache_name()
    store = Store(config.cluster_dir / "store.sqlite3")
    tokens = Tokens(config.pki_dir / "sa.key")
    api = Api(
        store,
        Schemas.load(schema_file),
        toleration_s=config.unreachable_toleration_s,
        tokens=tokens,
    )
    bootstrap.ensure(api)
    kubelets = Kubelets(store, config.token("kubelet"))
    handlers = Handlers(api, Authenticator.of(config, store, tokens), Authorizer(store), PodLog(kubelets), schema_file)
    listener = await _listen(config, handlers)
    try:
        yield api, kubelets
    finally:
        await listener.cleanup()
        await kubelets.close()
        store.close()


async def _listen(config: Config, handlers: Handlers) -> web.ServerRunner:
    """Open the TLS port."""
    loop = asyncio.get_running_loop()

    def limited(
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=BODY_LIMIT)

    server = web.Server(
        handlers.handle,
        request_factory=limited,
        handler_cancellation=True,
        access_log=None,
        keepalive_timeout=300,
    )
    listener = web.ServerRunner(server, handle_signals=False, shutdown_timeout=SHUTDOWN_S)
    await listener.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(config.pki_dir / "server.crt", config.pki_dir / "server.key")
    context.set_alpn_protocols(["http/1.1"])
    await web.TCPSite(listener, "127.0.0.1", config.ports.api, ssl_context=context, backlog=1024).start()
    return listener


async def _checkpoints(store: Store) -> None:
    """Move the log into the database now and then, in a thread, so that no write waits for the disk."""
    while True:
        await asyncio.sleep(CHECKPOINT_S)
        if store.pending_writes < CHECKPOINT_WRITES:
            continue
        try:
            await asyncio.to_thread(store.checkpoint)
        except ApiError as error:
            log.warning("%s", error)
