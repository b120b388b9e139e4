"""How is a cluster used that somebody else runs? It is looked at, never made and never destroyed.

``up`` makes sure that the cluster can be used, finds the endpoints beside it and keeps them. It changes nothing unless
``install`` names something that is missing and the context may be written to. ``down`` forgets the endpoints; only
with ``purge`` does it remove what this workbench installed itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from platform_lib import guard
from platform_lib.errors import InvalidInput, PlatformError, Unreachable
from platform_lib.model import Outcome, Plan, Platform, Step, joined
from platform_lib.providers import endpoints, state
from platform_lib.providers.base import Limited, Progress, Rows, ask_ingress
from platform_lib.providers.stages import Stages
from platform_lib.settings import Settings, kubeconfig_files
from platform_lib.wait import Deadline
from platform_lib.wire import access, kubeconfig

INSTALLABLE = ("argocd",)
"""What ``up --install`` can bring; the rest of a platform comes through git."""
UP_TIMEOUT_S = 600.0
"""Installing pulls images; looking takes a second."""
_NOT_OURS = "the cluster belongs to somebody else"


class Existing(Limited):
    """A cluster behind a context of the user's kubeconfig.

    Args:
        settings: Which context, and what is known of its endpoints.
        install: What to install where it is missing; names of ``INSTALLABLE``.

    Raises:
        InvalidInput: ``install`` names something else.
    """

    CANNOT: ClassVar[Mapping[str, str]] = {
        "merge_kubeconfig": "its context is in your kubeconfig already",
        "build_release": "its registry is not known here; build and push there, then deploy the image by digest",
        "stop_node": f"{_NOT_OURS}, and so do its machines",
        "stop_component": f"{_NOT_OURS}; only faults through the Kubernetes API are possible",
        "stop_git": "its repository belongs to somebody else",
        "destroy_cluster": f"{_NOT_OURS}, and nothing here destroys it",
    }

    def __init__(self, settings: Settings, *, install: tuple[str, ...] = ()) -> None:
        unknown = [name for name in install if name not in INSTALLABLE]
        if unknown:
            raise InvalidInput(
                f"install {joined(unknown)} - unknown, expected some of: {', '.join(INSTALLABLE)}",
                hint="other parts come as Argo CD Applications through git",
            )
        self.settings, self._install = settings, install
        self._layout = state.Layout(settings.home)

    @cached_property
    def platform(self) -> Platform:  # type: ignore[override]
        """The endpoints on record, else what the kubeconfig says before anything was looked at."""
        recorded = self._recorded()
        if recorded is not None and self.settings.context in ("", recorded.context):
            return recorded
        return self.guess()

    def guess(self) -> Platform:
        """Return the endpoints as far as settings and kubeconfig know them; asks nobody, ignores what is on record.

        Raises:
            SettingsError: The kubeconfig cannot be used, or has no such context.
        """
        found = self._entry()
        return endpoints.first_guess(self.settings, found, kubeconfig.usable_file(found, self._home(found)))

    def _entry(self) -> kubeconfig.Entry:
        """Return the context that is meant."""
        return kubeconfig.entry(kubeconfig_files(self.settings), self.settings.context)

    def _home(self, found: kubeconfig.Entry) -> Path:
        """Return the state folder; it is made only where a merged kubeconfig has to be kept in it."""
        if len(set(found.files)) > 1:
            self.settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self.settings.home

    def _recorded(self) -> Platform | None:
        """Return the endpoints that an earlier ``up`` kept."""
        try:
            found = state.read_endpoints(self.settings.home)
        except Unreachable:
            return None
        return found if found.provider == "existing" else None

    # -- up and down -----------------------------------------------------------------------------------------

    def up(self, *, timeout_s: float | None = None, progress: Progress) -> Outcome:
        """Look at the cluster, install what was asked for and is missing, find the endpoints and keep them.

        Raises:
            SettingsError, Unreachable, Forbidden, UnsupportedSystem: The cluster cannot be used; nothing was changed.
            GuardRefused: Something should be installed, and the context may not be changed.
            Locked: Another ``up`` or ``down`` is at it.
        """
        stages, deadline = Stages(progress), Deadline(timeout_s or UP_TIMEOUT_S)
        first = self._fresh()
        with state.locked(self.settings.home, "up"):
            with stages.stage("check"):
                kubeconfig.check(kubeconfig.entry([first.kubeconfig], first.context))
                seen = access.preflight(first)
            installed = self._installed(first, stages, deadline, progress)
            with stages.stage("endpoints"):
                found, notes = endpoints.discover(self.settings, first)
                for note in notes:
                    progress(note)
                before = self._recorded()
                state.write_endpoints(found)
            self.__dict__.pop("platform", None)
        mode = "may be changed" if found.writable else "for looking only"
        message = f"connected to {found.context} ({seen.version}), {mode}"
        return stages.outcome("up", message, changed=bool(installed) or before != found, endpoints_missing=len(notes))

    def _fresh(self) -> Platform:
        """Return what the kubeconfig says now, whatever is on record: a new login may use another file."""
        fresh = self.guess()
        before = self._recorded()
        if before is not None and before.context != fresh.context:
            raise InvalidInput(
                f"state folder {self.settings.home} - is connected to context {before.context!r}, "
                f"not to {fresh.context!r}",
                hint="forget that one first: apqx down; or set APQX_HOME to another folder",
            )
        return fresh

    def _installed(self, platform: Platform, stages: Stages, deadline: Deadline, progress: Progress) -> list[str]:
        """Install what was asked for and is missing; return what was installed."""
        if not self._install:
            return []
        from platform_lib.providers.bootstrap import argocd

        if argocd.installed(platform) is None:  # refused before a manifest is fetched
            guard.check(platform, "install argocd")
        with stages.stage("plan"):
            steps = argocd.plan(platform, self.settings).steps
        if not steps:
            return []
        guard.check(platform, f"install {joined(self._install)}")
        with stages.stage("install argocd"):
            self._remember([*self._ours(), "argocd"])
            argocd.install(platform, self.settings, deadline=deadline, progress=progress)
            argocd.wait_ready(platform, deadline=deadline, progress=progress)
        return ["argocd"]

    def down(self, *, purge: bool = False, progress: Progress) -> Outcome:
        """Forget the endpoints; with ``purge`` also remove what this workbench installed. The cluster stays.

        Raises:
            GuardRefused: Something should be removed, and it may not be changed, or is in use.
        """
        stages, platform = Stages(progress), self.platform
        with state.locked(self.settings.home, "down"):
            removed = self._ours() if purge else []
            if removed:
                guard.check(platform, f"remove {joined(removed)}")
                with stages.stage("remove argocd"):
                    endpoints.remove_argocd(platform, self.settings, progress)
            with stages.stage("forget"):
                for path in (self._layout.endpoints, self._notes, self.settings.home / kubeconfig.COPY):
                    path.unlink(missing_ok=True)
        kept = f"; {joined(removed)} was removed" if removed else "; the cluster is as it was"
        return stages.outcome("down", f"endpoints of {platform.context} are forgotten{kept}")

    def plan_up(self) -> Plan:
        """Return what ``up`` would do now: what is on the cluster already is not installed again."""
        first = self._fresh()
        access.preflight(first)
        steps: list[Step] = []
        if self._install:
            from platform_lib.providers.bootstrap import argocd

            steps += argocd.plan(first, self.settings).steps
        found, _ = endpoints.discover(self.settings, first)
        if self._recorded() != found:
            steps.append(Step("write", str(self._layout.endpoints), "endpoints of the cluster, mode 0600"))
        inputs = {"provider": "existing", "context": first.context, "write": found.writable}
        return Plan(f"connect to context {first.context}", tuple(steps), inputs)

    def plan_down(self, *, purge: bool = False) -> Plan:
        """Return what ``down`` would do now."""
        steps = [Step("remove", name, "this workbench installed it") for name in (self._ours() if purge else [])]
        if self.present():
            steps.append(Step("delete", str(self._layout.endpoints), "the cluster itself is not touched"))
        return Plan(f"forget context {self.platform.context}", tuple(steps), {"purge": purge})

    # -- how it is -------------------------------------------------------------------------------------------

    def present(self) -> bool:
        """Return whether endpoints of an existing cluster are on record."""
        return self._recorded() is not None

    def whole(self) -> bool:
        """Return whether the cluster answers and serves Argo CD's Applications."""
        access.preflight(self.platform, argocd=True)
        return True

    def components(self) -> Rows:
        """Return nothing: others run its parts; ``apqx doctor --context`` looks at them."""
        return ()

    def left_behind(self) -> list[str]:
        """Return what ``down`` should have deleted."""
        return [str(path) for path in (self._layout.endpoints, self._notes) if path.exists()]

    def ask(self) -> int | str:
        """Ask the application once through the ingress."""
        if not self.platform.ingress_url:
            return "no ingress URL is known; set APQX_INGRESS_URL"
        return ask_ingress(self.platform.ingress_url)

    # -- what we installed -----------------------------------------------------------------------------------

    @property
    def _notes(self) -> Path:
        """File that says what this workbench installed."""
        return self.settings.home / "existing.json"

    def _ours(self) -> list[str]:
        """Return what this workbench installed."""
        try:
            return list(json.loads(self._notes.read_text()).get("installed", []))
        except FileNotFoundError:
            return []
        except (ValueError, AttributeError) as error:
            raise PlatformError(
                f"{self._notes} - not readable, expected what was installed", hint="look at it, then delete it"
            ) from error

    def _remember(self, names: list[str]) -> None:
        """Keep what this workbench installs, before it does."""
        state.write_private(self._notes, json.dumps({"installed": sorted(set(names))}))
