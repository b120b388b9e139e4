"""What makes the controllers run? Store events become keys, keys become reconciles, writes go through the API.

One asyncio task in the API process, no threads, no polling: it sleeps until something changed or a time came
that a controller asked for. A refused write never ends the task; its key comes back with a growing delay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from platform_lib.embedded.controllers.execute import execute
from platform_lib.embedded.controllers.index import Index
from platform_lib.embedded.controllers.queue import Item, WorkQueue
from platform_lib.embedded.controllers.recorder import Recorder
from platform_lib.embedded.controllers.roster import Controller, roster
from platform_lib.embedded.controllers.writes import Change, Result, Write
from platform_lib.errors import ApiError, Conflict, NotFound
from platform_lib.model import Obj
from platform_lib.rules import manifests

if TYPE_CHECKING:
    from platform_lib.embedded.api import Api
    from platform_lib.embedded.config import Config
    from platform_lib.embedded.store import Event, Store

log = logging.getLogger(__name__)

FIRST_DELAY_S = 0.005
LONGEST_DELAY_S = 30.0
QUICK_RETRIES = 5
"""Times a key is tried again at once after a Conflict, before it waits like any other failure."""

STALL_S = 0.5
"""A timer this late means that the whole process stood still."""

LONGEST_PARDON_S = 2.0
FORGIVE_EVERY_S = 5.0


class Runner:
    """Connects controllers, store and API.

    Args:
        api: Carries writes out.
        store: Tells changes.
        controllers: Who runs.
        clock: Monotonic seconds, for delays; times in objects come from the API's clock.
    """

    def __init__(self, api: Api, store: Store, controllers: Sequence[Controller], clock: Callable[[], float]) -> None:
        self._api, self._clock = api, clock
        self._controllers = {item.name: item for item in controllers}
        self._by_gvr: dict[str, list[Controller]] = {}
        self._recorder = Recorder(api, api.clock)
        self._failures: dict[Item, int] = {}
        self._memory: dict[Item, Any] = {}
        self._wake = asyncio.Event()
        self._forgiven_until = 0.0
        self.index = Index()
        self.queue = WorkQueue()
        self._unsubscribe = store.subscribe(self._follow)
        for gvr in store.resources():
            for obj in store.list(gvr):
                self.index.apply(Change("ADDED", gvr, obj))

    def resync(self) -> None:
        """Queue everything there is, as if it had just appeared."""
        for gvr, obj in list(self.index.everything()):
            self._enqueue(Change("ADDED", gvr, obj))

    def step(self) -> bool:
        """Reconcile one key; returns False when none is waiting or due."""
        item = self.queue.pop(self._clock())
        if item is None:
            return False
        self._process(item)
        return True

    async def run(self) -> None:
        """Reconcile until cancelled."""
        self.resync()
        try:
            while True:
                await self._breathe()
                self.forgive_stall()
                self.step()
        finally:
            self._unsubscribe()

    async def _breathe(self) -> None:
        """Let the rest of the process run; sleep when there is nothing to do."""
        if len(self.queue):
            await asyncio.sleep(0)
            return
        self._wake.clear()
        due = self.queue.next_due()
        loop = asyncio.get_running_loop()
        timer = None if due is None else loop.call_later(max(0.0, due - self._clock()), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()

    def forgive_stall(self) -> None:
        """Let timers wait a little after the whole process stood still, so that what arrived meanwhile is read first.

        Otherwise every node would look lost after a pause of the machine.
        """
        now, due = self._clock(), self.queue.next_due()
        late_s = 0.0 if due is None else now - due
        if late_s > STALL_S and now > self._forgiven_until:
            log.warning("stood still for %.1f s, reading what arrived meanwhile first", late_s)
            self.queue.postpone(now, min(late_s, LONGEST_PARDON_S))
            self._forgiven_until = now + FORGIVE_EVERY_S

    def _follow(self, event: Event) -> None:
        """Take a change of the store in (called inside the write, so it only notes what to do)."""
        change = Change(event.type, event.gvr, event.obj, event.old)
        self.index.apply(change)
        self._enqueue(change)
        self._wake.set()

    def _enqueue(self, change: Change) -> None:
        for controller in self._interested(change.gvr):
            for key in controller.keys_for(self.index, change):
                self.queue.add(Item(controller.name, key), controller.priority)

    def _interested(self, gvr: str) -> list[Controller]:
        found = self._by_gvr.get(gvr)
        if found is None:
            found = [one for one in self._controllers.values() if one.watches is None or gvr in one.watches]
            self._by_gvr[gvr] = found
        return found

    # --- one key

    def _process(self, item: Item) -> None:
        controller = self._controllers[item.controller]
        try:
            result = controller.reconcile(self.index, item.key, self._api.clock(), self._memory.get(item))
            self._remember(item, result)
            for write in result.writes:
                self._carry_out(controller, write)
        except (Conflict, NotFound) as error:
            self._try_again(item, controller, error)
        except ApiError as error:
            self._back_off(item, controller, error)
        except Exception as error:  # one wrong object must not stop the control plane of all others
            log.exception("%s - unexpected %s", item, type(error).__name__)
            self._back_off(item, controller, error)
        else:
            self._failures.pop(item, None)
            wait_s = result.requeue_after_s
            due = None if wait_s is None else self._clock() + wait_s
            self.queue.set_due(item, controller.priority, due)

    def _remember(self, item: Item, result: Result) -> None:
        if result.memory is None:
            self._memory.pop(item, None)
        else:
            self._memory[item] = result.memory

    def _carry_out(self, controller: Controller, write: Write) -> None:
        """Execute a write with its announcement, or report its refusal and pass it on."""
        if write.verb == "event":
            self._announce(controller, write, "")
            return
        try:
            done = execute(self._api, write, controller.user)
        except ApiError as error:
            for further in write.on_error(error) if write.on_error else ():
                self._carry_out(controller, further)
            raise
        if write.announce is not None:
            self._announce(controller, write.announce, write.name or _name(done))

    def _announce(self, controller: Controller, write: Write, name: str) -> None:
        """Record an event; a refusal is logged only, because events are not part of the state."""
        body = {**write.body, "message": write.body["message"].replace("{name}", name)}
        try:
            told = Write("event", write.gvr, write.namespace, "", body)
            self._recorder.record(told, controller.name, controller.user)
        except ApiError as error:
            log.info("event %s for %s not recorded: %s", body["reason"], body["involvedObject"].get("name"), error)

    def _try_again(self, item: Item, controller: Controller, error: ApiError) -> None:
        """Look again at once with the present state; a key that keeps clashing waits."""
        failures = self._failures.get(item, 0) + 1
        if failures > QUICK_RETRIES:
            self._back_off(item, controller, error)
            return
        self._failures[item] = failures
        self.queue.add(item, controller.priority)

    def _back_off(self, item: Item, controller: Controller, error: Exception) -> None:
        failures = self._failures.get(item, 0) + 1
        self._failures[item] = failures
        delay_s = min(FIRST_DELAY_S * 2**failures, LONGEST_DELAY_S)
        log.warning("%s - failed %d times: %s; next try in %.2f s", item, failures, error, delay_s)
        self.queue.set_due(item, controller.priority, self._clock() + delay_s)


def start(api: Api, store: Store, config: Config) -> asyncio.Task[None]:
    """Run all controllers in the present event loop; cancel the task to stop them."""
    loop = asyncio.get_running_loop()
    runner = Runner(api, store, roster(config), loop.time)
    return loop.create_task(runner.run(), name="controllers")


def _name(obj: Obj) -> str:
    return manifests.name(obj)
