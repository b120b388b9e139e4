"""How does the API learn of a pod's status? At once, in order, and again until it has it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from platform_lib.embedded.client import STRATEGIC, Client
from platform_lib.embedded.kubelet.podstatus import differs
from platform_lib.errors import ApiError, Conflict, Invalid, NotFound, Unreachable
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

log = logging.getLogger(__name__)


class StatusPusher:
    """Keeps one pod's status in the API equal to what the node says.

    Args:
        client: Open client.
        pod: The pod, for its name and uid.
        compute: Returns the wanted status; computed again for every push.
        observed: Returns the newest object that is known.
        accepted: Called with the object that the API answered.
    """

    def __init__(
        self,
        client: Client,
        pod: Obj,
        compute: Callable[[], Obj],
        observed: Callable[[], Obj],
        accepted: Callable[[Obj], None],
    ) -> None:
        self._client, self._compute, self._observed, self._accepted = client, compute, observed, accepted
        self._name, self._namespace, self._uid = m.name(pod), m.namespace(pod), m.uid(pod)
        self._dirty = asyncio.Event()
        self._clean = asyncio.Event()
        self.gone = False

    def mark(self) -> None:
        """Have the status pushed as soon as possible."""
        self._clean.clear()
        self._dirty.set()

    async def flush(self, *, timeout_s: float) -> bool:
        """Wait until the API has the status; False when it took longer."""
        if self.gone:
            return True
        self.mark()
        try:
            async with asyncio.timeout(timeout_s):
                await self._clean.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Push until cancelled or the pod is gone."""
        delay_s = 0.05
        while not self.gone:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._push()
                delay_s = 0.05
            except NotFound:
                self.gone = True
            except Conflict as error:
                self.gone = "uid" in error.message.lower()
                self._dirty.set()
            except Invalid:
                log.exception("%s/%s - the API refuses the status", self._namespace, self._name)
                delay_s = await self._pause(delay_s)
            except (Unreachable, ApiError) as error:
                log.warning("%s/%s - status not told yet: %s", self._namespace, self._name, error.message)
                delay_s = await self._pause(delay_s)
            if not self._dirty.is_set():
                self._clean.set()
        self._clean.set()

    async def _pause(self, delay_s: float) -> float:
        """Wait before the next try; return the pause after that."""
        self._dirty.set()
        await asyncio.sleep(delay_s)
        return min(delay_s * 2, 2.0)

    async def _push(self) -> None:
        """Patch the status where it differs."""
        wanted = self._compute()
        if not differs(wanted, m.status(self._observed())):
            return
        body = {"metadata": {"uid": self._uid}, "status": wanted}
        answer = await self._client.patch(
            "v1/pods", self._name, body, self._namespace, content_type=STRATEGIC, sub="status"
        )
        self._accepted(answer)
