"""How does a k3d cluster become the platform, and how does it go? Stage by stage; a failed creation is undone.

Five endings, and the reader is told which: created, there already, started again, failed and undone, failed and not
undone. A cluster that this state folder did not make is never touched.
"""

from __future__ import annotations

import contextlib
import shutil
from functools import partial
from typing import Any, ClassVar, Literal

from platform_lib import journal
from platform_lib.errors import BootstrapFailed, InvalidInput, PlatformError, UndoFailed
from platform_lib.model import App, Outcome, Plan, Platform, Step
from platform_lib.providers import preflight, seed, state
from platform_lib.providers.base import Limited, Progress, Rows, ask_ingress
from platform_lib.providers.k3d import access, checks, clusters, config, images, programs
from platform_lib.providers.k3d.clusters import Seen
from platform_lib.providers.k3d.images import K3dImage
from platform_lib.providers.stages import Stages
from platform_lib.providers.state import Layout
from platform_lib.settings import Settings
from platform_lib.wait import Deadline, monotonic, uninterrupted


class K3d(Limited):
    """The k3d cluster of one state folder.

    Args:
        settings: Its name, its ports and what it is made of.
    """

    CANNOT: ClassVar[dict[str, str]] = {
        "stop_component": "its parts are workloads of the cluster: they are scaled, not stopped as processes",
        "stop_git": "its git server is a workload or outside the cluster: it is scaled, or not ours",
    }

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.layout = Layout(settings.home)
        self.platform = access.platform_of(settings)

    # -- looking -----------------------------------------------------------------------------------------

    def present(self) -> bool:
        """Return whether this state folder made a cluster, or began to."""
        return self.layout.k3d_config.exists()

    def whole(self) -> bool:
        """Return whether every container runs and the endpoints are known."""
        return clusters.look(self.platform.name).state == "running" and self.layout.endpoints.exists()

    def components(self) -> Rows:
        """Return every container with its role and state."""
        seen = clusters.look(self.platform.name)
        return tuple((node.name, f"{node.role}, {node.status}") for node in seen.nodes) or (
            (f"cluster {self.platform.name}", "no container of it"),
        )

    def ask(self) -> int | str:
        """Ask the application once through the ingress."""
        return ask_ingress(self.platform.ingress_url)

    def left_behind(self) -> list[str]:
        """Return what a ``down`` should have removed: containers, network, files."""
        left = [f"container {name}" for name in clusters.containers(self.platform.name)]
        left += [f"network {name}" for name in clusters.networks(self.platform.name)]
        return left + [str(path) for path in (self.layout.k3d, self.layout.endpoints) if path.exists()]

    def plan_up(self) -> Plan:
        """Return what ``up`` would do now; looks at Docker and refuses what ``up`` would refuse."""
        preflight.sources(self.settings)
        found = checks.look(self.settings)
        seen = found.cluster
        if self._half_made.exists():  # ``up`` deletes it first, so its settings and its ports are not in the way
            seen = Seen(seen.name, ())
            checks.means(self.settings, self.platform)
        else:
            self._require_possible(seen)
        title = f"bring up platform {self.platform.name}"
        if self._complete(seen):
            return Plan(f"platform {self.platform.name} is up")
        document = config.render(self.settings)
        inputs = {"provider": "k3d", "home": str(self.settings.home), "config": document}
        nodes = f"{document['servers']} server, {document['agents']} agents of {document['image']}"
        steps = {
            "absent": [Step("create", f"cluster {self.platform.name}", f"{nodes}, by k3d {found.k3d}")],
            "running": [],
        }.get(seen.state, [Step("start", f"cluster {self.platform.name}", "it is there and does not run")])
        steps += [
            Step("write", str(self.platform.kubeconfig), "apart from your own kubeconfig"),
            Step("build and push", config.registry_name(self.settings), "the image is named by digest"),
            Step("install", "Argo CD, git source, Application/root", "everything else follows from git"),
            Step("wait", f"http://{App().host}/ answers 200", "only then the platform is of use"),
        ]
        return Plan(title, tuple(steps), inputs)

    def plan_down(self, *, purge: bool = False) -> Plan:
        """Return what ``down`` would do now."""
        seen, steps = clusters.look(self.platform.name), []
        if seen.nodes:
            names = ", ".join(node.name for node in seen.nodes)
            steps.append(Step("delete", f"cluster {seen.name}", f"containers {names}"))
        if self.layout.k3d.exists():
            steps.append(Step("delete", str(self.layout.k3d), "kubeconfig and config go with the cluster"))
        if purge:
            volume = config.registry_volume(self.settings)
            steps.append(Step("delete", f"volume {volume}, git and the record", "purge was asked for"))
        return Plan(f"take down platform {self.platform.name}", tuple(steps), {"purge": purge})

    # -- up ----------------------------------------------------------------------------------------------

    def up(self, *, timeout_s: float | None = None, progress: Progress) -> Outcome:
        """Bring the cluster up; a second call changes nothing.

        Args:
            timeout_s: Deadline for everything, seconds; default ``[k3d] up_timeout_s``.
            progress: Called with one line a stage, and with what k3d says meanwhile.

        Returns:
            Outcome with the stages; ``ending`` is ``created``, ``started`` or ``there``.

        Raises:
            BootstrapFailed: A stage failed; what was made has been taken away again.
            UndoFailed: A stage failed, and what was made could not be taken away.
            GuardRefused, InvalidInput, SettingsError, ToolMissing, Unreachable: Found before anything was made.
            Locked: Another ``up`` or ``down`` is at it.
        """
        stages = Stages(progress)
        preflight.state_folder(self.settings.home)
        with state.locked(self.settings.home, "up"):
            with stages.stage("check"):
                before = self._check()
            if self._complete(before):
                return stages.outcome("up", "already up; nothing was changed", changed=False, ending="there")
            deadline = Deadline(timeout_s or self.settings.k3d.up_timeout_s)
            try:
                return self._bring_up(stages, deadline, before)
            except BaseException as error:
                raise self._undone(error, stages, before) from error

    def _check(self) -> Seen:
        """Refuse what cannot work; return the cluster that is there."""
        preflight.sources(self.settings)
        found = checks.look(self.settings)
        seen = found.cluster
        if self._half_made.exists():  # a creation of ours that was killed: nobody else's, and of no use
            programs.end_orphans(str(self.layout.k3d_config))
            clusters.delete(self.platform.name, config.registry_name(self.settings))
            self._forget()
            seen = clusters.look(self.platform.name)
        self._require_possible(seen)
        return seen

    def _require_possible(self, seen: Seen) -> None:
        """Refuse a cluster that is not ours, and a machine on which none could come up."""
        checks.ours(seen, self.layout, self.settings)
        if seen.state == "absent":
            checks.room(self.settings)
            checks.means(self.settings, self.platform)

    def _bring_up(self, stages: Stages, deadline: Deadline, before: Seen) -> Outcome:
        """Make or start what is missing and wait for the application's first answer."""
        if before.state == "absent":
            self._create(stages, deadline)
        elif before.state != "running":
            with stages.stage("start"):
                clusters.start(self.platform.name, say=stages.progress)
        with stages.stage("kubeconfig"):
            access.fetch_kubeconfig(self.platform)
            state.write_endpoints(self.platform)
        with stages.stage("nodes"):
            seen = clusters.look(self.platform.name)
            access.wait_nodes(self.platform, seen.of("server") | seen.of("agent"), deadline, stages.progress)
            access.open_door(self.platform)
        with stages.stage("images"):
            release = self._build("app", seed.FIRST_VERSION, stages.progress, deadline)
            needed = not self.settings.git_url  # it is the git server in the cluster
            workbench = ""
            if needed:
                workbench = self._build("workbench", seed.FIRST_VERSION, stages.progress, deadline).reference
        self.platform = self._install(stages=stages, deadline=deadline, release=release, workbench=workbench)
        state.write_endpoints(self.platform)
        with stages.stage("first answer"):
            access.wait_answer(self.platform, deadline, stages.progress)
        first_s = round(monotonic() - stages.begun, 3)
        ending, said = (
            ("created", "is created") if before.state == "absent" else ("started", "was there and is complete")
        )
        message = f"{self.platform.name} {said}; first answer through the ingress after {first_s:.1f} s"
        return stages.outcome("up", message, changed=True, ending=ending, time_to_first_200_s=first_s)

    def _create(self, stages: Stages, deadline: Deadline) -> None:
        """Have the nodes' image, then create the cluster."""
        with stages.stage("image"):
            pulled = images.pull(self.settings.k3d.image, timeout_s=max(deadline.left_s, 1.0))
            stages.progress(f"{self.settings.k3d.image}: {'pulled' if pulled else 'is there'}")
        with stages.stage("create"):
            self.layout.k3d.mkdir(parents=True, exist_ok=True, mode=0o700)
            state.write_private(self.layout.k3d_config, config.to_yaml(config.render(self.settings)))
            self._half_made.touch(mode=0o600)
            timeout_s = min(deadline.left_s, self.settings.k3d.create_timeout_s)
            clusters.create(self.layout.k3d_config, timeout_s=timeout_s, say=stages.progress)
            self._half_made.unlink()

    def _install(self, **means: Any) -> Platform:
        """Make a platform of the cluster: Argo CD, the git source, the root Application."""
        from platform_lib.providers.bootstrap import bootstrap

        return bootstrap(self.platform, self.settings, lost=partial(images.lost, self.settings), **means)

    def _complete(self, seen: Seen) -> bool:
        """Return whether nothing is left to do: all containers run, endpoints are known, the application answers."""
        known = self.layout.endpoints.exists() and bool(self.platform.gitops_repo)
        return seen.state == "running" and known and self.ask() == 200

    def _undone(self, error: BaseException, stages: Stages, before: Seen) -> BaseException:
        """Take away what a failed ``up`` made; return the error to raise."""
        failed_in = stages.current or "start"
        stages.progress(f"{failed_in} failed; undoing")
        text = error.message if isinstance(error, PlatformError) else str(error) or type(error).__name__
        try:
            with uninterrupted():
                ending = self._undo(before)
        except (PlatformError, OSError) as failed:
            return UndoFailed(
                f"stage {failed_in} - {text}; undo FAILED: {failed}",
                hint=f"look: docker ps --all --filter label=k3d.cluster={self.platform.name}; then apqx down",
                stage=failed_in,
            )
        if not isinstance(error, Exception):
            stages.progress(ending)
            return error  # Ctrl-C stays Ctrl-C
        return BootstrapFailed(
            f"stage {failed_in} - {text}; {ending}",
            hint=getattr(error, "hint", "") or "run it again; see docker ps and docker logs",
            stage=failed_in,
            log_tail=str(getattr(error, "context", {}).get("log_tail", "")),
            undone=True,
        )

    def _undo(self, before: Seen) -> str:
        """Leave Docker as it was before ``up``; return what that meant."""
        name = self.platform.name
        if before.state == "absent":
            clusters.delete(name, config.registry_name(self.settings))
            self._forget()
            return "the cluster was deleted again"
        if before.state == "stopped":
            clusters.stop(name)
            return "the cluster was stopped again"
        return "the cluster was there before and is left as it is"

    @property
    def _half_made(self) -> Any:
        """Marks a creation that has not ended; its presence later means that it was killed."""
        return self.layout.k3d / "creating"

    def _forget(self) -> None:
        """Delete what the state folder knows of the cluster."""
        if self.layout.k3d.exists():
            shutil.rmtree(self.layout.k3d)
        self.layout.endpoints.unlink(missing_ok=True)

    # -- down --------------------------------------------------------------------------------------------

    def down(self, *, purge: bool = False, progress: Progress) -> Outcome:
        """Delete cluster and registry; images (a volume), git clones and the record stay unless ``purge``.

        Raises:
            UndoFailed: Something could not be deleted.
            ToolMissing, Unreachable: docker or k3d does not answer; nothing was deleted.
            Locked: Another ``up`` or ``down`` is at it.
        """
        stages, home = Stages(progress), self.settings.home
        with state.locked(home, "down"):
            with stages.stage("delete"):
                clusters.delete(self.platform.name, config.registry_name(self.settings))
                self._forget()
            if purge:
                with stages.stage("purge"):
                    self._purge()
            with stages.stage("check"):
                left = self.left_behind()
        if left:
            raise UndoFailed(
                f"platform {self.platform.name} - left behind: {', '.join(left)}", hint="delete them with docker rm"
            )
        kept = f"images, git and the record are {'deleted too' if purge else 'kept'}"
        return stages.outcome("down", f"{self.platform.name} is gone; {kept}")

    def _purge(self) -> None:
        """Delete what survives a cluster."""
        volume = config.registry_volume(self.settings)
        if volume in programs.docker("volume", "ls", "--quiet", "--filter", f"name=^{volume}$").split():
            programs.docker("volume", "rm", volume)
        home = self.settings.home
        for folder in (self.layout.git.parent, home / "clones", home / journal.FOLDER, home / "drills"):
            shutil.rmtree(folder, ignore_errors=True)
        (home / "git-token").unlink(missing_ok=True)  # of the git server in the cluster, see bootstrap.gitserver

    # -- powers ------------------------------------------------------------------------------------------

    def merge_kubeconfig(self) -> None:
        """Add the cluster to the user's own kubeconfig, without choosing its context; k3d removes it on ``down``."""
        options = ("--kubeconfig-merge-default", "--kubeconfig-switch-context=false")
        programs.k3d("kubeconfig", "merge", self.platform.name, *options)

    def build_release(self, version: str) -> K3dImage:
        """Build the application and push it to the cluster's registry."""
        return self._build("app", version)

    def _build(
        self,
        target: Literal["app", "workbench"],
        version: str,
        progress: Progress | None = None,
        deadline: Deadline | None = None,
    ) -> K3dImage:
        """Build one target of the Dockerfile and push it."""
        return images.build(self.settings, target=target, version=version, deadline=deadline, progress=progress)

    def stop_node(self, name: str) -> None:
        """Lose an agent as in a power cut: its container is killed with everything in it.

        Raises:
            InvalidInput: It is no agent of this cluster.
        """
        agents = clusters.look(self.platform.name).of("agent")
        if name not in agents:
            raise InvalidInput(
                f"node {name} - no agent of cluster {self.platform.name}, expected one of: {', '.join(sorted(agents))}",
                hint="a server carries the API: losing it is the scenario cluster-loss",
            )
        programs.docker("stop", "-t", "0", name)

    def start_node(self, name: str) -> None:
        """Let a lost node come back; it rejoins by itself."""
        if name not in clusters.look(self.platform.name).of("agent"):
            raise InvalidInput(f"node {name} - no agent of cluster {self.platform.name}", hint="see apqx status")
        programs.docker("start", name)

    def destroy_cluster(self) -> None:
        """Lose the whole cluster; the registry's volume, git and the endpoints stay, so ``rebuild`` can start there."""
        with state.locked(self.settings.home, "destroy"):
            clusters.delete(self.platform.name, config.registry_name(self.settings))
            with contextlib.suppress(OSError):
                access.forget_kubeconfig(self.platform.kubeconfig)

    def rebuild(self, progress: Progress) -> Outcome:
        """Bring the cluster back from git and images."""
        return self.up(progress=progress)
