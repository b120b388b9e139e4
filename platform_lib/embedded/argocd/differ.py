"""Would applying this target change anything? Asks the API by a dry run, and remembers the answer.

The answer holds until the target or what counts of the live object changes, so a status update costs nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace

import orjson

from platform_lib.embedded.argocd.cluster import Cluster
from platform_lib.embedded.argocd.compare import MANAGER, Pair, normalised
from platform_lib.embedded.argocd.ignore import ignored_paths, rules_for
from platform_lib.errors import ApiError
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

PARALLEL = 20
"""Requests at a time (Argo CD: ``controller.kubectl.parallelism.limit``)."""


class Differ:
    """The differences of one Application's objects."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: dict[m.ObjectKey, tuple[bytes, bytes, bool]] = {}
        self._limit = asyncio.Semaphore(PARALLEL)

    async def judge(self, app: Obj, pairs: Sequence[Pair]) -> list[Pair]:
        """Return the pairs with ``modified`` set.

        Raises:
            Unreachable: The API did not answer.
            ManifestError: An ``ignoreDifferences`` expression is not served.
        """
        keys = {pair.key for pair in pairs}
        self._known = {key: answer for key, answer in self._known.items() if key in keys}
        return list(await asyncio.gather(*(self._judge(app, pair) for pair in pairs)))

    def applied(self, app: Obj, target: Obj, live: Obj) -> None:
        """Remember that a target was just applied: applying it again would change nothing."""
        rules = m.spec(app).get("ignoreDifferences") or []
        self._known[m.key(target)] = (_digest(target, rules), _live_digest(live), False)

    async def _judge(self, app: Obj, pair: Pair) -> Pair:
        """Judge one pair."""
        if pair.target is None or pair.live is None or pair.hook:
            return pair
        ignored = m.spec(app).get("ignoreDifferences") or []
        digests = _digest(pair.target, ignored), _live_digest(pair.live)
        known = self._known.get(pair.key)
        if known is None or known[:2] != digests:
            modified = await self._differs(app, pair.target, pair.live)
            known = (*digests, modified)
            self._known[pair.key] = known
        return replace(pair, modified=known[2])

    async def _differs(self, app: Obj, target: Obj, live: Obj) -> bool:
        """Ask the API what an apply would make of the live object.

        A refusal counts as a difference: the sync will meet the same refusal and report it.
        """
        try:
            async with self._limit:
                predicted = await self._cluster.apply(target, dry_run=True)
                if target["apiVersion"] != live["apiVersion"]:
                    served = await self._cluster.discover(target["apiVersion"], m.kind(target))
                    if served is not None:
                        live = await self._cluster.client.get(served.gvr, m.name(live), m.namespace(live) or None)
        except ApiError:
            return True
        rules = rules_for(app, m.key(target))
        before = normalised(live, ignored_paths(live, live, rules))
        return before != normalised(predicted, ignored_paths(predicted, live, rules))


def _digest(target: Obj, rules: list[Obj]) -> bytes:
    """Identify a target together with the rules it is compared by."""
    return hashlib.blake2b(orjson.dumps([target, rules], option=orjson.OPT_SORT_KEYS), digest_size=16).digest()


def _live_digest(live: Obj) -> bytes:
    """Identify what counts of a live object: its fields without status, and what we own of it."""
    owned = [e.get("fieldsV1") for e in m.metadata(live).get("managedFields") or [] if e.get("manager") == MANAGER]
    return hashlib.blake2b(
        orjson.dumps([normalised(live), m.uid(live), owned], option=orjson.OPT_SORT_KEYS), digest_size=16
    ).digest()
