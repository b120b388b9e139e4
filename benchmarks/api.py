"""How fast is the API? Real HTTPS requests to the real process; client and server share this machine."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import yaml

from platform_lib import Platform

NAMESPACE = "bench"
OBJECTS = 500
AT_ONCE = 8
Call = Callable[[int], Awaitable[Any]]


def measure(platform: Platform) -> dict[str, Any]:
    """Return rate (per second) and latencies (ms) of each verb, and of a watch."""
    return asyncio.run(_measure(platform))


async def _measure(platform: Platform) -> dict[str, Any]:
    async with _session(platform) as session:
        await _json(session, "POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        try:
            return await _verbs(session)
        finally:
            await _json(session, "DELETE", f"/api/v1/namespaces/{NAMESPACE}")


async def _verbs(session: aiohttp.ClientSession) -> dict[str, Any]:
    maps, pods = (f"/api/v1/namespaces/{NAMESPACE}/{plural}" for plural in ("configmaps", "pods"))
    merge = "application/merge-patch+json"
    found = {
        "create": await _timed(lambda i: _json(session, "POST", maps, _map(i)), OBJECTS),
        "get": await _timed(lambda i: _json(session, "GET", f"{maps}/map-{i % OBJECTS}"), 2000),
        "patch": await _timed(
            lambda i: _json(session, "PATCH", f"{maps}/map-{i % OBJECTS}", {"data": {"n": str(i)}}, merge), 1000
        ),
        "create_pod": await _timed(lambda i: _json(session, "POST", pods, _pod(i)), OBJECTS),
        "list_500_pods": await _timed(lambda _: _json(session, "GET", pods), 50, at_once=1),
        "watch": await _watch(session, maps),
    }
    listed = await _json(session, "GET", pods)
    assert len(listed["items"]) == OBJECTS, len(listed["items"])
    return found


async def _timed(call: Call, count: int, *, at_once: int = AT_ONCE) -> dict[str, float]:
    """Make ``count`` calls, ``at_once`` in flight."""
    times: list[float] = []
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            began = time.perf_counter()
            await call(number)
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return {"per_s": round(count / (time.perf_counter() - began), 1), "in_flight": at_once, **_latency(times)}


async def _watch(session: aiohttp.ClientSession, maps: str, changes: int = 200) -> dict[str, float]:
    """From sending a change to reading its event, one change at a time."""
    version = (await _json(session, "GET", maps))["metadata"]["resourceVersion"]
    times = []
    url = f"{maps}?watch=1&resourceVersion={version}&timeoutSeconds=60"
    async with session.get(url) as stream:
        for number in range(changes):
            began = time.perf_counter()
            body = {"data": {"watched": f"value-{number}"}}
            change = asyncio.create_task(_json(session, "PATCH", f"{maps}/map-0", body, "application/merge-patch+json"))
            event = json.loads(await stream.content.readline())
            times.append(time.perf_counter() - began)
            assert event["object"]["data"]["watched"] == f"value-{number}"
            await change
    return _latency(times)


def _latency(times: list[float]) -> dict[str, float]:
    """Return median and 99th percentile in milliseconds."""
    times = sorted(times)
    p50, p99 = times[len(times) // 2], times[min(int(len(times) * 0.99), len(times) - 1)]
    return {"p50_ms": round(p50 * 1000, 2), "p99_ms": round(p99 * 1000, 2)}


def _map(number: int) -> dict[str, Any]:
    return {"metadata": {"name": f"map-{number}"}, "data": {"n": str(number), "text": "x" * 200}}


def _pod(number: int) -> dict[str, Any]:
    """A pod that nobody schedules, like the ones of the application otherwise."""
    digest = "ghcr.io/apqx/sample-app@sha256:" + "0" * 64
    limits = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}
    container = {"name": "app", "image": digest, "ports": [{"containerPort": 8080}], "resources": limits}
    return {
        "metadata": {"name": f"pod-{number}", "labels": {"app": "bench", "version": "1.0.0"}},
        "spec": {"schedulerName": "nobody", "containers": [container]},
    }


def _session(platform: Platform) -> aiohttp.ClientSession:
    """Return an authenticated session, from the kubeconfig as any client would."""
    config = yaml.safe_load(platform.kubeconfig.read_text())
    server, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    if "certificate-authority" in server:
        tls = ssl.create_default_context(cafile=server["certificate-authority"])
    else:
        tls = ssl.create_default_context(cadata=base64.b64decode(server["certificate-authority-data"]).decode())
    return aiohttp.ClientSession(
        server["server"],
        connector=aiohttp.TCPConnector(ssl=tls),
        headers={"Authorization": f"Bearer {user['token']}"},
    )


async def _json(
    session: aiohttp.ClientSession, method: str, path: str, body: Any = None, content_type: str = "application/json"
) -> Any:
    data = None if body is None else json.dumps(body)
    async with session.request(method, path, data=data, headers={"Content-Type": content_type}) as answer:
        text = await answer.read()
        assert answer.status < 300, f"{method} {path}: {answer.status} {text[:300]!r}"
        return json.loads(text)
