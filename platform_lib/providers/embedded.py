"""How does the embedded platform come and go? It is a program of its own; this file starts and ends it.

``up`` checks, seeds git on the very first time, starts the guardian, and waits stage by stage until the
application answers through the ingress. A failure is undone. What runs inside is ``platform_lib.embedded``,
which is never imported here.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from platform_lib import journal
from platform_lib.errors import (
    BootstrapFailed,
    InvalidInput,
    PlatformError,
    UndoFailed,
    WaitTimeout,
)
from platform_lib.model import Outcome
from platform_lib.providers import preflight, seed, state
from platform_lib.providers.embedded_look import EmbeddedLook
from platform_lib.providers.readiness import FAST_S, Readiness
from platform_lib.providers.stages import Progress, Stages
from platform_lib.providers.state import Layout
from platform_lib.settings import Settings, child_environment
from platform_lib.wait import Deadline, monotonic, until

DOWN_TIMEOUT_S = 5.0
LOG_LINES = 20


class Embedded(EmbeddedLook):
    """The embedded platform of one state folder.

    Args:
        settings: Where it lives and which ports it takes.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.layout = Layout(settings.home)
        self.platform = state.platform_of(settings)
        self.readiness = Readiness(settings, self.platform, self.layout)

    def left_behind(self) -> list[str]:
        """Return what a ``down`` should have removed: processes, mounts, state, ports."""
        left = state.living(self.layout) + state.mounts(self.layout)
        left += [str(self.layout.cluster)] if self.layout.cluster.exists() else []
        try:
            preflight.ports_free(self.settings, [node["address"] for node in self._nodes()])
        except PlatformError as error:
            left.append(error.message)
        return left

    # -- up ----------------------------------------------------------------------------------------------

    def up(self, *, timeout_s: float | None = None, progress: Progress) -> Outcome:
        """Bring the platform up; a second call changes nothing.

        Args:
            timeout_s: Deadline for everything, seconds; default from the settings.
            progress: Called with one line a stage.

        Returns:
            Outcome with the stages and, when something was started, ``time_to_first_200_s``.

        Raises:
            BootstrapFailed: A stage failed; what was started has been ended again.
            GuardRefused, ToolMissing, UnsupportedSystem: Found before anything was started.
            Locked: Another ``up`` or ``down`` is at it.
        """
        stages = Stages(progress)
        with state.locked(self.settings.home, "up") if self._writable() else contextlib.nullcontext():
            if state.complete(self.layout) and self._same_config():
                with stages.stage("check"):
                    self.readiness.wait_api(Deadline(2.0))
                return stages.outcome("up", "already up; nothing was changed", changed=False)
            with stages.stage("check"):
                programs = self._check()
            deadline = Deadline(timeout_s or self.settings.up_timeout_s)
            fresh = not self.layout.cluster.exists()
            try:
                return self._bring_up(stages, deadline, programs)
            except BaseException as error:
                raise self._undone(error, stages, fresh=fresh) from error

    def _writable(self) -> bool:
        """Make sure of the state folder; always true or an error."""
        preflight.state_folder(self.settings.home)
        return True

    def _check(self) -> dict[str, str]:
        """Refuse what cannot work, before anything is started; return the programs."""
        preflight.system()
        preflight.sources(self.settings)
        programs = preflight.programs(self.settings)
        left = state.living(self.layout)
        if left and not self._same_config():
            raise InvalidInput(
                f"platform {self.platform.name} - runs with other settings than the present ones",
                hint="take it down first: apqx down",
            )
        if not left:
            preflight.ports_free(self.settings, [node["address"] for node in self._nodes()])
        return programs

    def _bring_up(self, stages: Stages, deadline: Deadline, programs: dict[str, str]) -> Outcome:
        """Start everything and wait for the application's first answer."""
        with stages.stage("processes"):
            self._start(programs)
        with stages.stage("repository"):
            self.start_git()  # a drill that was killed may have left it away; a new one would hide its commits
            if not seed.is_seeded(self.layout):
                seed.seed(self.settings, programs["git"])
            state.write_endpoints(self.platform)
        with stages.stage("api"):
            self.readiness.wait_api(deadline)
        with stages.stage("nodes"):
            self.readiness.wait_nodes({node["name"] for node in self._nodes()}, deadline)
        with stages.stage("sync"):
            self.readiness.apply_root()
            self.readiness.wait_app(deadline)
        with stages.stage("first answer"):
            self.readiness.wait_answer(deadline)
        first_s = round(monotonic() - stages.begun, 3)
        with stages.stage("all processes"):
            self.readiness.wait_whole(deadline)
        message = f"{self.platform.name} is up; first answer through the ingress after {first_s:.2f} s"
        return stages.outcome("up", message, changed=True, time_to_first_200_s=first_s)

    def _start(self, programs: dict[str, str]) -> None:
        """Write the configuration and start the guardian, detached from this process."""
        for folder in (self.layout.cluster, self.layout.cache, self.layout.images):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.layout.logs.mkdir(exist_ok=True, mode=0o700)
        state.write_private(self.layout.config, json.dumps(self.document(programs), indent=1))
        state.write_private(self.layout.cluster / "desired.json", json.dumps({"stopped": []}))
        if state.alive(state.processes(self.layout).get("guardian")):
            return
        argv = [sys.executable, "-m", "platform_lib.embedded", str(self.layout.config)]
        self.readiness.guardian_pid = self._spawn(argv, "guardian")

    def _spawn(self, argv: list[str], log: str) -> int:
        """Start a program in a session of its own; return its pid."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self.layout.logs / f"{log}.log"), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        default = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE]
        return os.posix_spawn(
            argv[0], argv, child_environment(), file_actions=actions, setsid=True, setsigdef=default, setsigmask=[]
        )

    def document(self, programs: dict[str, str]) -> dict[str, Any]:
        """Return the configuration of the embedded platform, as ``embedded.config.Config`` reads it."""
        current, layout = self.settings, self.layout
        return {
            "name": current.cluster_name,
            "cluster_dir": str(layout.cluster),
            "images_dir": str(layout.images),
            "cache_dir": str(layout.cache),
            "git_dir": str(layout.git),
            "git_url": self.platform.gitops_url,
            "python": os.path.realpath(sys.executable),
            "traefik": programs["traefik"],
            "prometheus": programs["prometheus"],
            "bwrap": programs["bwrap"],
            "ports": current.ports() | {"kubelet": current.port_kubelet},
            "nodes": self._nodes(),
            "node_grace_s": current.node_grace_s,
            "unreachable_toleration_s": current.unreachable_toleration_s,
            "sync_wave_delay_s": current.sync_wave_delay_s,
            "reconcile_s": current.reconcile_s,
            "companions": {"collector": [sys.executable, "-m", "platform_lib.collect"]},
        }

    def _nodes(self) -> list[dict[str, str]]:
        """Return the nodes: one server and the agents, each with a /24 of the pod network."""
        base = ipaddress.ip_network(self.settings.pod_network).network_address
        names = [("apqx-server-0", "control-plane")]
        names += [(f"apqx-agent-{i}", "worker") for i in range(self.settings.agents)]
        return [
            {
                "name": name,
                "role": role,
                "address": str(base + 256 * i + 1),
                "pod_cidr": f"{base + 256 * i}/24",
                "cpu": self.settings.node_cpu,
                "memory": self.settings.node_memory,
            }
            for i, (name, role) in enumerate(names)
        ]

    def _same_config(self) -> bool:
        """Return whether the platform in the state folder was started with the present settings."""
        try:
            before = json.loads(self.layout.config.read_text())
        except (FileNotFoundError, ValueError):
            return False
        programs = {name: before.get(name, "") for name in ("traefik", "prometheus", "bwrap")}
        return bool(before == self.document(programs))

    # -- down --------------------------------------------------------------------------------------------

    def down(self, *, purge: bool = False, progress: Progress) -> Outcome:
        """Destroy the cluster: no process, port or mount stays; git, images and the record stay unless ``purge``.

        Raises:
            UndoFailed: Something could not be ended.
            Locked: Another ``up`` or ``down`` is at it.
        """
        stages = Stages(progress)
        with state.locked(self.settings.home, "down"):
            with stages.stage("stop"):
                self._stop()
            with stages.stage("delete"):
                shutil.rmtree(self.layout.cluster, ignore_errors=False) if self.layout.cluster.exists() else None
                self.layout.endpoints.unlink(missing_ok=True)
                for folder in self._kept() if purge else ():
                    shutil.rmtree(folder, ignore_errors=True)
        kept = f"git, images and the record are {'deleted too' if purge else 'kept'}"
        return stages.outcome("down", f"{self.platform.name} is gone; {kept}")

    def _kept(self) -> tuple[Path, ...]:
        """Return what survives a cluster: git with its private clones, images, the record and past drills."""
        home = self.settings.home
        return self.layout.git.parent, self.layout.images, home / "clones", home / journal.FOLDER, home / "drills"

    def _stop(self) -> None:
        """End every process in order; kill what does not leave; make sure nothing is left."""
        guardian = state.processes(self.layout).get("guardian")
        if guardian is not None and state.alive(guardian):
            os.kill(guardian["pid"], signal.SIGTERM)
            with contextlib.suppress(WaitTimeout):
                self._wait_gone(DOWN_TIMEOUT_S)
        if state.living(self.layout) or self.layout.config.exists():
            self.sweep()
        _reap(guardian)
        left = state.living(self.layout) + state.mounts(self.layout)
        if left:
            raise UndoFailed(
                f"platform {self.platform.name} - still there after a kill: {', '.join(left)}",
                hint="see ps and /proc/mounts; end them by hand",
            )

    def _wait_gone(self, timeout_s: float) -> None:
        """Wait until no recorded process runs."""

        def gone() -> tuple[bool | None, str]:
            left = state.living(self.layout)
            return (None if left else True), ", ".join(left) or "none"

        until(gone, timeout_s=timeout_s, wanted="no process of the platform", interval_s=FAST_S)

    def sweep(self) -> None:
        """Kill every process of the platform at once, pods included, and release its mounts."""
        if not self.layout.config.exists():
            return
        self.layout.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        argv = [sys.executable, "-m", "platform_lib.embedded", str(self.layout.config), "--sweep"]
        guardian = state.processes(self.layout).get("guardian")
        _, status = os.waitpid(self._spawn(argv, "sweep"), 0)
        _reap(guardian)
        if os.waitstatus_to_exitcode(status):
            raise UndoFailed(
                f"platform {self.platform.name} - the sweep failed: {self._log_tail('sweep')}", hint="see ps"
            )

    def _undone(self, error: BaseException, stages: Stages, *, fresh: bool) -> BaseException:
        """End what a failed ``up`` started; return the error to raise."""
        stages.progress(f"{stages.current or 'start'} failed; undoing")
        tail = self._log_tail("guardian", "supervisor", "api", "gitops")
        undone = True
        try:
            self._stop()
            if fresh:
                shutil.rmtree(self.settings.home / "last-failure", ignore_errors=True)
                self.layout.logs.rename(self.settings.home / "last-failure")
                shutil.rmtree(self.layout.cluster)
                self.layout.endpoints.unlink(missing_ok=True)
        except (PlatformError, OSError) as failed:
            undone, tail = False, f"{failed}\n{tail}"
        if not isinstance(error, Exception):
            return error  # Ctrl-C stays Ctrl-C
        text = error.message if isinstance(error, PlatformError) else repr(error)
        return BootstrapFailed(
            f"stage {stages.current} - {text}; {'everything was ended again' if undone else 'undo FAILED'}",
            hint=f"logs are in {self.settings.home / 'last-failure'}" if fresh else "see the logs",
            stage=stages.current,
            log_tail=tail,
            undone=undone,
        )

    def _log_tail(self, *components: str) -> str:
        """Return the last lines of component logs."""
        parts = []
        for name in components:
            with contextlib.suppress(FileNotFoundError):
                lines = (self.layout.logs / f"{name}.log").read_text(errors="replace").splitlines()
                parts += [f"{name}: {line}" for line in lines[-LOG_LINES:]]
        return "\n".join(parts[-2 * LOG_LINES :])

    # -- breaking it on purpose --------------------------------------------------------------------------

    def stop_node(self, name: str) -> None:
        """Lose a node as in a power cut: its agent and pods are killed and not started again."""
        self._desire(f"node-{name}", stopped=True)

    def start_node(self, name: str) -> None:
        """Let a lost node come back."""
        self._desire(f"node-{name}", stopped=False)

    def stop_component(self, name: str) -> None:
        """Kill a component (``traefik``, ``prometheus``, ``gitops``...) and keep it stopped."""
        self._desire(name, stopped=True)

    def start_component(self, name: str) -> None:
        """Let a stopped component run again."""
        self._desire(name, stopped=False)

    def runs(self, component: str) -> bool:
        """Return whether a component runs now."""
        return state.processes(self.layout).get(component, {}).get("state") == "running"

    def stop_git(self) -> None:
        """Take the repository away: it is a folder, so it gets another name and nobody finds it."""
        if not self._git_away.exists():
            self.layout.git.rename(self._git_away)

    def start_git(self) -> None:
        """Put the repository back where it was taken away."""
        if self._git_away.exists():
            if self.layout.git.exists():
                raise UndoFailed(
                    f"git repository - {self.layout.git} exists although it was moved to {self._git_away.name}",
                    hint="somebody made a new one; keep one of the two by hand",
                )
            self._git_away.rename(self.layout.git)

    @property
    def _git_away(self) -> Path:
        """Name of the repository during an outage."""
        return self.layout.git.with_suffix(".away")

    def _desire(self, component: str, *, stopped: bool) -> None:
        """Change what should run, and wait until the supervisor did it."""
        record = state.processes(self.layout)
        if component not in record:
            known = ", ".join(name for name in record if name not in state.KEEPERS)
            raise InvalidInput(f"component {component} - unknown, expected one of: {known}", hint="see apqx status")
        file = self.layout.cluster / "desired.json"
        names = set(json.loads(file.read_text())["stopped"])
        names = names | {component} if stopped else names - {component}
        state.write_private(file, json.dumps({"stopped": sorted(names)}))
        os.kill(record["supervisor"]["pid"], signal.SIGHUP)
        wanted = "stopped" if stopped else "running"

        def reached() -> tuple[bool | None, str]:
            seen = state.processes(self.layout).get(component, {}).get("state", "absent")
            return (True if seen == wanted else None), seen

        until(reached, timeout_s=5.0, wanted=f"{component} {wanted}", interval_s=FAST_S)

    def destroy_cluster(self) -> None:
        """Lose the whole cluster: every process killed at once, all of its state deleted.

        Git, images and the endpoints stay, so ``rebuild`` can start from them.
        """
        with state.locked(self.settings.home, "destroy"):
            self.sweep()
            shutil.rmtree(self.layout.cluster)

    def rebuild(self, progress: Progress) -> Outcome:
        """Bring the cluster back from git and images alone; the repository is not touched."""
        return self.up(progress=progress)


def _reap(process: dict[str, Any] | None) -> None:
    """Collect the guardian where it is a child of this process; elsewhere its parent does."""
    if process is not None:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process["pid"], os.WNOHANG)
