"""What does the cluster hold that Applications care about? A cache that follows the API, kind by kind.

It reads its own writes: what an apply or delete answered counts at once, before the watch tells it.
Decisions belong elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from platform_lib.embedded.argocd.compare import MANAGER
from platform_lib.embedded.client import MERGE, Client, Informer, resource_path
from platform_lib.errors import NotFound
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

OnChange = Callable[[m.ObjectKey, Obj | None, Obj | None], None]


@dataclass(frozen=True, slots=True)
class ApiKind:
    """How the API serves a kind."""

    gvr: str
    namespaced: bool


class Cluster:
    """The followed kinds of one cluster.

    Args:
        client: Open client.
        on_change: Called with (key, old, new) after the view changed; ``new`` is None after a deletion.
    """

    def __init__(self, client: Client, on_change: OnChange) -> None:
        self.client = client
        self._on_change = on_change
        self._kinds: dict[tuple[str, str], ApiKind] = {}
        self._discovered: set[str] = set()
        self._objects: dict[m.ObjectKey, Obj] = {}
        self._tracked: dict[str, set[m.ObjectKey]] = {}
        self._gone: dict[str, int] = {}
        self._moved = asyncio.Event()
        self._informers: dict[tuple[str, str], tuple[Informer, asyncio.Task[None]]] = {}

    async def discover(self, api_version: str, kind: str) -> ApiKind | None:
        """Return how a kind is served; None when the API does not know it (asked again every time)."""
        found = self._kinds.get((api_version, kind))
        if found is None:
            await self._read_group(api_version)
            found = self._kinds.get((api_version, kind))
        return found

    def known(self, obj: Obj) -> ApiKind | None:
        """Return how the kind of an object is served, as far as it was discovered."""
        return self._kinds.get((str(obj.get("apiVersion") or ""), m.kind(obj)))

    async def _read_group(self, api_version: str) -> None:
        """Read the resource list of one group version."""
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        try:
            answer = await self.client.request("GET", root)
        except NotFound:
            return
        for resource in answer.get("resources") or []:
            if "/" not in resource["name"]:
                gvr = f"{api_version}/{resource['name']}"
                self._kinds[api_version, resource["kind"]] = ApiKind(gvr, bool(resource["namespaced"]))

    async def follow(self, api_version: str, kind: str) -> bool:
        """Follow a kind from now on and wait for its first list; False when the API does not serve it."""
        served = await self.discover(api_version, kind)
        if served is None:
            return False
        group = api_version.rpartition("/")[0]
        if (group, kind) not in self._informers:
            informer = Informer(self.client, served.gvr, on_event=self._handler(api_version, kind))
            task = asyncio.create_task(informer.run(), name=f"follow {served.gvr}")
            self._informers[group, kind] = (informer, task)
        await self._informers[group, kind][0].synced.wait()
        return True

    def _handler(self, api_version: str, kind: str) -> Callable[[str, Obj], None]:
        """Build the event handler of one kind; list items do not say what they are, so it is added."""

        def handle(event: str, obj: Obj) -> None:
            obj.setdefault("apiVersion", api_version)
            obj.setdefault("kind", kind)
            if event == "DELETED":
                self._drop(obj)
            else:
                self.observe(obj)

        return handle

    def observe(self, obj: Obj) -> None:
        """Take a reading of an object into the view, unless a newer one is there."""
        key, version = m.key(obj), _version(obj)
        old = self._objects.get(key)
        if version <= self._gone.get(m.uid(obj), -1) or (old is not None and _version(old) >= version):
            return
        self._objects[key] = obj
        self._index(key, old, obj)
        self._tell(key, old, obj)

    def _drop(self, obj: Obj) -> None:
        """Take note that an object is gone."""
        key = m.key(obj)
        self._gone.pop(m.uid(obj), None)
        old = self._objects.get(key)
        if old is not None and m.uid(old) == m.uid(obj):
            del self._objects[key]
            self._index(key, old, None)
            self._tell(key, old, None)

    def _tell(self, key: m.ObjectKey, old: Obj | None, new: Obj | None) -> None:
        """Tell everybody that the view changed."""
        self._moved.set()
        self._on_change(key, old, new)

    def _index(self, key: m.ObjectKey, old: Obj | None, new: Obj | None) -> None:
        """Keep the list of objects of each application."""
        before, after = m.tracked_by(old) if old else "", m.tracked_by(new) if new else ""
        if before and before != after:
            self._tracked[before].discard(key)
        if after:
            self._tracked.setdefault(after, set()).add(key)

    def get(self, key: m.ObjectKey) -> Obj | None:
        """Return the newest known form of an object of a followed kind."""
        return self._objects.get(key)

    def tracked(self, app: str) -> list[Obj]:
        """Return the live objects that are tracked to an application."""
        return [self._objects[key] for key in self._tracked.get(app, ())]

    def of_kind(self, group: str, kind: str) -> list[Obj]:
        """Return every known object of a followed kind."""
        return [obj for key, obj in self._objects.items() if (key.group, key.kind) == (group, kind)]

    async def apply(self, obj: Obj, *, dry_run: bool = False) -> Obj:
        """Server-side apply with force; the answer counts at once.

        Raises:
            NotFound: The API does not serve the kind, or the namespace is missing.
            ApiError: The API refused the object.
        """
        served = await self._served(obj)
        answer = await self.client.apply(
            served.gvr, obj, m.namespace(obj) or None, manager=MANAGER, force=True, dry_run=dry_run
        )
        if not dry_run:
            self.observe(answer)
        return answer

    async def replace(self, obj: Obj, *, dry_run: bool = False) -> Obj:
        """Create an object, or replace the one that is there."""
        served = await self._served(obj)
        params = {"fieldManager": MANAGER} | ({"dryRun": "All"} if dry_run else {})
        exists = self.get(m.key(obj)) is not None
        path = resource_path(served.gvr, m.namespace(obj) or None, m.name(obj) if exists else None)
        answer = await self.client.request("PUT" if exists else "POST", path, body=obj, params=params)
        if not dry_run:
            self.observe(answer)
        return answer

    async def merge(self, obj: Obj, patch: Obj) -> Obj:
        """Merge-patch an object that is known to be there."""
        served = await self._served(obj)
        answer = await self.client.patch(
            served.gvr,
            m.name(obj),
            patch,
            m.namespace(obj) or None,
            content_type=MERGE,
            params={"fieldManager": MANAGER},
        )
        self.observe(answer)
        return answer

    async def delete(self, obj: Obj, propagation: str) -> None:
        """Delete one object (by uid, so that a new one of the same name stays); a missing one is fine.

        Args:
            obj: Live object.
            propagation: ``Foreground``, ``Background`` or ``Orphan``.
        """
        served = await self._served(obj)
        options = {"propagationPolicy": propagation, "preconditions": {"uid": m.uid(obj)}}
        try:
            answer = await self.client.delete(served.gvr, m.name(obj), m.namespace(obj) or None, options=options)
        except NotFound:
            self._drop(obj)
            return
        if m.deleting(answer) and m.uid(answer) == m.uid(obj):
            self.observe({**answer, "apiVersion": obj["apiVersion"], "kind": obj["kind"]})
        else:
            self._gone[m.uid(obj)] = max(_version(answer), _version(obj))
            self._drop_quietly(obj)

    def _drop_quietly(self, obj: Obj) -> None:
        """Forget an object that was just deleted; the watch tells the rest of its story."""
        key = m.key(obj)
        old = self._objects.pop(key, None)
        if old is not None:
            self._index(key, old, None)
            self._tell(key, old, None)

    async def _served(self, obj: Obj) -> ApiKind:
        """Return how the kind of an object is served, or refuse."""
        api_version, kind = str(obj.get("apiVersion") or ""), m.kind(obj)
        served = await self.discover(api_version, kind)
        if served is None:
            raise NotFound(f'no matches for kind "{kind}" in version "{api_version}"', status=404, reason="NotFound")
        return served

    async def changed(self, key: m.ObjectKey, deadline: float) -> None:
        """Wait until an object changes, or until a moment of the loop's clock."""
        before = self._objects.get(key)
        while self._objects.get(key) is before:
            self._moved.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._moved.wait()
            except TimeoutError:
                return

    async def close(self) -> None:
        """Stop following."""
        tasks = [task for _, task in self._informers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _version(obj: Obj) -> int:
    """Read a resource version as a number (Kubernetes versions are comparable since 1.35, ours always)."""
    text = m.resource_version(obj)
    return int(text) if text.isdigit() else 0
