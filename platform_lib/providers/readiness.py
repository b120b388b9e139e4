"""Is the platform there yet? Each wait looks from the outside, as a user would, and says what it saw.

Looks at the API, the nodes, the application and its answer through the ingress; starts and ends nothing.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
from collections.abc import Callable

from platform_lib.errors import ApiError, BootstrapFailed, NotFound, Unreachable
from platform_lib.model import App, Obj, Platform
from platform_lib.providers import state
from platform_lib.providers.state import Layout
from platform_lib.rules import manifests
from platform_lib.settings import Settings
from platform_lib.wait import Deadline, until
from platform_lib.wire import kube

ROOT_APP = "gitops/bootstrap/embedded/root.yaml"
MANAGER = "apqx"
FAST_S = 0.02
"""Pause between looks at something that takes a few hundred milliseconds."""


class Readiness:
    """What is waited for while a platform comes up.

    Args:
        settings: For the ingress port and the project folder.
        platform: Its endpoints.
        layout: Its state folder.
    """

    def __init__(self, settings: Settings, platform: Platform, layout: Layout) -> None:
        self._port_web, self._project = settings.port_web, settings.project_dir
        self._platform, self._layout = platform, layout
        self.guardian_pid: int | None = None

    def wait_api(self, deadline: Deadline) -> None:
        """Wait until the API answers."""

        def ready() -> tuple[bool | None, str]:
            self._still_starting()
            if not self._layout.kubeconfig.exists():
                return None, "no kubeconfig yet"
            try:
                kube.connect(self._platform).call("GET", "/readyz", timeout_s=2.0)
            except (Unreachable, ApiError) as error:
                return None, error.message
            return True, "ready"

        self._until(ready, deadline, "the Kubernetes API")

    def wait_nodes(self, wanted: set[str], deadline: Deadline) -> None:
        """Wait until every node is Ready."""

        def ready() -> tuple[bool | None, str]:
            nodes, _ = kube.connect(self._platform).list(kube.NODES)
            found = {n["metadata"]["name"] for n in nodes if is_ready(n)}
            return (True if wanted <= found else None), f"{len(found)} of {len(wanted)} nodes Ready"

        self._until(ready, deadline, "nodes Ready")

    def apply_root(self) -> None:
        """Apply the only object that is not in git's hands: the root Application."""
        text = (self._project / ROOT_APP).read_text()
        root = manifests.parse_manifests(text, ROOT_APP)[0]
        path = kube.path_of(kube.APPLICATIONS, self._platform.argocd_namespace, manifests.name(root))
        kube.connect(self._platform).call(
            "PATCH",
            path,
            body=json.dumps(root),
            params={"fieldManager": MANAGER, "force": "true"},
            content_type="application/apply-patch+yaml",
        )

    def wait_app(self, deadline: Deadline) -> None:
        """Wait until the application is Synced and Healthy."""
        connection, app = kube.connect(self._platform), App()

        def healthy() -> tuple[bool | None, str]:
            try:
                found = connection.get(kube.APPLICATIONS, app.name, self._platform.argocd_namespace)
            except NotFound:
                return None, f"Application/{app.name} not there yet"
            sync, health, why = _application_state(found)
            ok = sync == "Synced" and health == "Healthy"
            return (True if ok else None), f"Application/{app.name} {sync}, {health}{why}"

        self._until(healthy, deadline, f"{app.name} Synced and Healthy")

    def wait_answer(self, deadline: Deadline) -> None:
        """Wait for a 200 of the application through the ingress."""

        def answered() -> tuple[bool | None, str]:
            status = self.ask()
            return (True if status == 200 else None), f"HTTP {status}"

        self._until(answered, deadline, f"http://{App().host}/ answering 200")

    def wait_whole(self, deadline: Deadline) -> None:
        """Wait until both keepers and every component run."""

        def whole() -> tuple[bool | None, str]:
            record = state.processes(self._layout)
            missing = [name for name, process in record.items() if not state.alive(process)]
            return (True if state.complete(self._layout) else None), f"not running: {', '.join(missing) or 'unknown'}"

        self._until(whole, deadline, "every process of the platform")

    def ask(self) -> int | str:
        """Ask the application once through the ingress; return the HTTP status or the name of the error."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port_web, timeout=2)
        try:
            connection.request("GET", "/", headers={"Host": App().host})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
        finally:
            connection.close()

    def _until(self, probe: Callable[[], tuple[bool | None, str]], deadline: Deadline, wanted: str) -> None:
        """Wait, within what is left of the common deadline."""
        until(
            probe,
            timeout_s=max(deadline.left_s, 0.05),
            wanted=wanted,
            hint="see the logs below cluster/logs in the state folder",
            interval_s=FAST_S,
        )

    def _still_starting(self) -> None:
        """Fail at once when the guardian that was just started has ended; nothing is left to wait for."""
        if self.guardian_pid is None:
            return
        with contextlib.suppress(ChildProcessError):
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            if os.waitid(os.P_PID, self.guardian_pid, flags) is not None:
                raise BootstrapFailed("platform - its guardian ended", hint="see the log", stage="api")


def is_ready(node: Obj) -> bool:
    """Return whether a node says that it is Ready."""
    conditions = node.get("status", {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _application_state(application: Obj) -> tuple[str, str, str]:
    """Return sync status, health status and, where there is one, the reason for trouble."""
    status = application.get("status") or {}
    sync = (status.get("sync") or {}).get("status", "Unknown")
    health = (status.get("health") or {}).get("status", "Unknown")
    conditions = [c.get("message", "") for c in status.get("conditions") or ()]
    message = (status.get("operationState") or {}).get("message", "")
    return sync, health, "".join(f" ({text})" for text in [*conditions, message][:1] if text)
