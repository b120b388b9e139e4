"""Who keeps the parts of the embedded platform running? The supervisor: start, restart, adopt, stop.

Python components are forked from this process after the heavy modules were imported, so their memory is
shared; Traefik and Prometheus are executed. Every start and exit is on record in ``processes.json``, from
which a new supervisor adopts what its killed predecessor left running. What a component does is its own
business.
"""

from __future__ import annotations

import fcntl
import gc
import http.client
import importlib
import json
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platform_lib.embedded import identity as ids
from platform_lib.embedded import ingress, launch, pki, promconfig
from platform_lib.embedded.config import Config
from platform_lib.embedded.identity import Identity
from platform_lib.embedded.loop import Loop
from platform_lib.embedded.record import BACKOFF_S, SETTLED_S, desired_stopped, read_record, record_file

log = logging.getLogger("apqx.supervisor")

READY_RETRY_S = 0.01
STOP_GRACE_S = 0.8
"""Time for components to leave on SIGTERM; ``down`` has to stay under three seconds."""


@dataclass(slots=True)
class Component:
    """One supervised process."""

    name: str
    body: Callable[[], Callable[[], object]]
    """Prepares a start (writes files); returns what the child runs."""
    identity: Identity | None = None
    restarts: int = 0
    failures: int = 0
    started_at: float = 0.0
    state: str = "waiting"

    def to_json(self) -> dict[str, Any]:
        """Return the record for ``processes.json``."""
        record = self.identity.to_json() if self.identity else {"pid": None, "create_time": None}
        return record | {"restarts": self.restarts, "state": self.state}


@dataclass(slots=True)
class Supervisor:
    """Keeps every component of one platform running until it is told to stop.

    Args:
        config: The platform.
        config_file: Where the configuration was read from; a new guardian gets the same file.
        guardian: The process that watches this one.
    """

    config: Config
    config_file: Path
    guardian: Identity | None
    components: dict[str, Component] = field(default_factory=dict)
    stopping: bool = False
    _loop: Loop = field(init=False)
    _guardians: int = 0
    _guarded_at: float = 0.0

    def __post_init__(self) -> None:
        self._loop = Loop((signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD), self._on_signal)
        self.components = {c.name: c for c in _components(self.config)}

    def run(self) -> None:
        """Bring everything up, keep it up, and take it down in order on SIGTERM."""
        lock = os.open(self.config.cluster_dir / "supervisor.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another supervisor holds the cluster; leaving")
            return
        ids.become_subreaper()
        pki.ensure(self.config)
        self._adopt()
        self._watch_guardian()
        self._start_all()
        self._loop.run(lambda: self.stopping)
        self._stop_all()

    # -- bringing up -------------------------------------------------------------------------------------

    def _adopt(self) -> None:
        """Take over the components that a predecessor left running."""
        recorded = read_record(self.config).get("components", {})
        for name, component in self.components.items():
            before = recorded.get(name, {})
            component.restarts = before.get("restarts", 0)
            known = Identity.from_json(before)
            if known is not None and ids.alive(known):
                component.identity, component.state = known, "running"
                component.started_at = time.monotonic()
                self._loop.on_exit(known, lambda c=component, i=known: self._exited(c, i))  # type: ignore[misc]
                log.info("adopted %s (pid %d)", name, known.pid)

    def _start_all(self) -> None:
        """Start the API, then, when it answers, all others."""
        stopped = desired_stopped(self.config)
        _load("server")
        self._start_missing(["api"], stopped)
        for module in ("node", "gitops", "scrape"):
            _load(module)  # while the API starts: forked children share these pages
        self._loop.run(lambda: self.stopping or self._api_ready_or_retry())
        others = [name for name in self.components if name != "api"]
        self._start_missing(others, stopped)

    def _api_ready_or_retry(self) -> bool:
        """Return whether the API answers; otherwise wake the loop soon."""
        if api_ready(self.config):
            return True
        self._loop.after(READY_RETRY_S, lambda: None)
        return False

    def _start_missing(self, names: list[str], stopped: set[str]) -> None:
        """Start the named components that are neither running nor wanted stopped."""
        for name in names:
            component = self.components[name]
            if name in stopped:
                component.state = "stopped"
            elif component.state in ("waiting", "stopped") and not self.stopping:
                self._start(component)
        self._record()

    def _start(self, component: Component) -> None:
        """Start one component: fork, put on record, let go."""
        gc.freeze()
        started = launch.start(component.name, component.body(), self.config.log_file(component.name))
        component.identity, component.state = started.identity, "running"
        component.started_at = time.monotonic()
        self._record()
        started.release()
        self._loop.on_exit(started.identity, lambda: self._exited(component, started.identity))

    # -- keeping up --------------------------------------------------------------------------------------

    def _exited(self, component: Component, who: Identity) -> None:
        """React to the end of a component: start it again unless it is meant to be stopped."""
        ids.reap()
        if self.stopping or component.state == "stopped" or component.identity != who:
            return
        if time.monotonic() - component.started_at > SETTLED_S:
            component.failures = 0
        delay_s = BACKOFF_S[min(component.failures, len(BACKOFF_S) - 1)]
        component.failures += 1
        component.restarts += 1
        component.identity, component.state = None, "backoff"
        log.warning("%s ended (pid %d); start %d in %g s", component.name, who.pid, component.restarts, delay_s)
        self._record()
        self._loop.after(delay_s, lambda: self._restart(component))

    def _restart(self, component: Component) -> None:
        """Start a component whose pause is over, unless somebody stopped it meanwhile."""
        if component.state == "backoff" and not self.stopping:
            self._start(component)

    def _on_signal(self, number: signal.Signals) -> None:
        """SIGTERM stops, SIGHUP reads the desired state again, SIGCHLD collects orphans."""
        if number == signal.SIGTERM:
            self.stopping = True
        elif number == signal.SIGHUP:
            self._follow_desired()
        else:
            ids.reap()

    def _follow_desired(self) -> None:
        """Make running what should run, and lose what should be lost, as a machine is lost: at once."""
        stopped = desired_stopped(self.config)
        for component in self.components.values():
            if component.name in stopped and component.state != "stopped":
                component.state = "stopped"
                ids.send(component.identity, signal.SIGKILL)
                if component.name.startswith("node-"):
                    kill_pods(self.config, component.name.removeprefix("node-"))
                component.identity = None
        self._start_missing(list(self.components), stopped)

    def _watch_guardian(self) -> None:
        """Start a new guardian when the present one ends."""
        if not ids.alive(self.guardian) and not self.stopping:
            argv = [sys.executable, "-m", "platform_lib.embedded", str(self.config_file)]
            argv.append(f"--guard={os.getpid()}")
            started = launch.start("guardian", launch.python(argv), self.config.log_file("guardian"))
            self.guardian = started.identity
            self._record()
            started.release()
            log.warning("started a guardian (pid %d)", started.identity.pid)
        if self.guardian is not None:
            self._loop.on_exit(self.guardian, self._guardian_ended)

    def _guardian_ended(self) -> None:
        """Replace the guardian, at once the first time, unless the platform is stopping."""
        ids.reap()
        if not self.stopping:
            delay_s = BACKOFF_S[min(self._guardians, len(BACKOFF_S) - 1)]
            self._guardians = 0 if time.monotonic() - self._guarded_at > SETTLED_S else self._guardians + 1
            self._guarded_at = time.monotonic()
            self._loop.after(delay_s, self._watch_guardian)

    # -- going down --------------------------------------------------------------------------------------

    def _stop_all(self) -> None:
        """Stop everything: what changes the cluster first, then pods, then the API."""
        log.info("stopping")
        last = [self.components["api"]]
        first = [c for c in self.components.values() if c.name != "api"]
        self._end(first)
        for node in self.config.nodes:
            kill_pods(self.config, node.name)
        self._end(last)
        for component in self.components.values():
            component.identity, component.state = None, "stopped"
        self._record()

    def _end(self, components: list[Component]) -> None:
        """Ask processes to leave; kill those that take too long."""
        who = [c.identity for c in components if c.identity is not None]
        for identity in who:
            ids.send(identity, signal.SIGTERM)
        if not self._loop.run(lambda: not any(map(ids.alive, who)), timeout_s=STOP_GRACE_S):
            for identity in who:
                ids.send(identity, signal.SIGKILL)
            self._loop.run(lambda: not any(map(ids.alive, who)), timeout_s=STOP_GRACE_S)

    def _record(self) -> None:
        """Write ``processes.json`` in one step."""
        me = ids.identify(os.getpid())
        record = {
            "state": "stopping" if self.stopping else "running",
            "guardian": self.guardian.to_json() if self.guardian else None,
            "supervisor": me.to_json() if me else None,
            "components": {name: c.to_json() for name, c in self.components.items()},
        }
        pki.write_private(record_file(self.config), json.dumps(record, indent=1).encode())


def api_ready(config: Config) -> bool:
    """Return whether the API answers ``/readyz`` with 200."""
    try:
        with socket.create_connection(("127.0.0.1", config.ports.api), timeout=1):
            pass
        context = ssl.create_default_context(cafile=str(config.ca_file))
        api = http.client.HTTPSConnection("127.0.0.1", config.ports.api, timeout=2, context=context)
        api.request("GET", "/readyz")
        return api.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def kill_pods(config: Config, node: str) -> None:
    """Kill every process of a node's pods at once."""
    module = _load("node")
    module.kill_all_pods(config.cluster_dir / "nodes" / node)


def _load(name: str) -> Any:
    """Import a role's module; late, so that the guardian and tests do not pay for it."""
    return importlib.import_module(f"platform_lib.embedded.{name}")


def _role(module: str, config: Config, *args: str) -> Callable[[], Callable[[], object]]:
    """Return a component body that runs a role's ``main``."""
    return lambda: lambda: _load(module).main(config, *args)


def _components(config: Config) -> list[Component]:
    """Return every component in the order of starting."""
    home = config.cluster_dir
    roles = [Component("api", _role("server", config))]
    roles += [Component(f"node-{n.name}", _role("node", config, n.name)) for n in config.nodes]
    roles += [Component(name, _role(name, config)) for name in ("gitops", "scrape")]
    roles.append(Component("traefik", lambda: launch.execute(ingress.prepare(config), home=home)))
    roles.append(Component("prometheus", lambda: launch.execute(_prometheus(config), home=home)))
    return roles + [Component(name, _companion(argv)) for name, argv in config.companions.items()]


def _companion(argv: list[str]) -> Callable[[], Callable[[], object]]:
    """Return a component body that becomes a program the provider asked for, with this environment."""
    return lambda: launch.python(argv)


def _prometheus(config: Config) -> list[str]:
    """Write a first configuration when there is none; return Prometheus's command line."""
    from platform_lib.embedded import scrape

    if not promconfig.config_file(config).exists():
        scrape.write_files(config, None, {})
    return promconfig.command(config)
