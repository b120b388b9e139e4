"""How is a k3d cluster reached from the host? Its kubeconfig, its nodes, and the door to its Prometheus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from platform_lib.errors import ApiError, PlatformError, Unreachable
from platform_lib.model import App, Obj, Platform
from platform_lib.providers import state
from platform_lib.providers.base import Progress, ask_ingress
from platform_lib.providers.bootstrap.apply import Applier
from platform_lib.providers.k3d import config, programs
from platform_lib.providers.readiness import is_ready
from platform_lib.settings import Settings
from platform_lib.wait import Deadline, until
from platform_lib.wire import kube

MANAGER = "apqx-k3d"
LOOK_S = 0.5
DOOR: tuple[Obj, ...] = (
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "monitoring"}},
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "prometheus-host", "namespace": "monitoring"},
        "spec": {
            "type": "LoadBalancer",
            "selector": {"app.kubernetes.io/name": "prometheus"},
            "ports": [{"name": "http", "port": config.PROMETHEUS_PORT_INSIDE, "targetPort": "http", "protocol": "TCP"}],
        },
    },
)
"""Prometheus on the nodes' port 9090, which k3d publishes on the host: a way beside the ingress, so that a drill that
takes the ingress away can still be measured."""


def platform_of(current: Settings) -> Platform:
    """Return the endpoints that the settings give a k3d cluster; those on record where there are any."""
    layout = state.Layout(current.home)
    try:
        there = state.read_endpoints(current.home)
    except Unreachable:
        there = None
    if there is not None and (there.provider, there.name) == ("k3d", current.cluster_name):
        return there
    return Platform(
        name=current.cluster_name,
        provider="k3d",
        kubeconfig=layout.k3d / "kubeconfig",
        context=f"k3d-{current.cluster_name}",
        prometheus_url=f"http://{config.LOOPBACK}:{current.port_prometheus}",
        ingress_url=f"http://{config.LOOPBACK}:{current.port_web}",
        gitops_repo="",
        home=current.home,
    )


def fetch_kubeconfig(platform: Platform) -> None:
    """Write the cluster's kubeconfig into the state folder, mode 0600.

    Raises:
        PlatformError: What k3d printed is no kubeconfig with the cluster's context.
    """
    text = programs.k3d("kubeconfig", "get", platform.name).removeprefix("---\n")
    document = yaml.safe_load(text)
    contexts = document.get("contexts") if isinstance(document, dict) else None
    if platform.context not in [one.get("name") for one in contexts or ()]:
        raise PlatformError(
            f"k3d kubeconfig get {platform.name} - printed no context {platform.context}", hint="see k3d version"
        )
    state.write_private(platform.kubeconfig, text)


def forget_kubeconfig(path: Path) -> None:
    """Delete the kubeconfig: its keys are worth nothing without the cluster."""
    path.unlink(missing_ok=True)


def wait_nodes(platform: Platform, wanted: set[str], deadline: Deadline, progress: Progress) -> None:
    """Wait until every node is Ready.

    Raises:
        WaitTimeout: Names how many were.
    """

    def ready() -> tuple[bool | None, str]:
        try:
            nodes, _ = kube.connect(platform).list(kube.NODES)
        except (Unreachable, ApiError) as error:
            return None, error.message
        missing = sorted(wanted - {node["metadata"]["name"] for node in nodes if is_ready(node)})
        return (None if missing else True), f"not Ready: {', '.join(missing) or 'none'}"

    hint = f"see docker logs {min(wanted)}" if wanted else "see docker ps"
    _until(ready, deadline, "all nodes Ready", hint, progress)


def open_door(platform: Platform) -> None:
    """Apply the Service that puts Prometheus on a port of the host."""
    applier = Applier(kube.connect(platform), manager=MANAGER)
    for thing in DOOR:
        applier.apply(thing)


def wait_answer(platform: Platform, deadline: Deadline, progress: Progress) -> None:
    """Wait for a 200 of the application through the ingress.

    Raises:
        WaitTimeout: Says what came instead.
    """

    def answered() -> tuple[bool | None, str]:
        status = ask_ingress(platform.ingress_url)
        return (True if status == 200 else None), f"HTTP {status}"

    _until(answered, deadline, f"http://{App().host}/ answering 200", "see apqx status and apqx logs", progress)


def _until(probe: Any, deadline: Deadline, wanted: str, hint: str, progress: Progress) -> None:
    """Wait, within what is left of the common deadline."""
    left = max(deadline.left_s, 0.05)
    until(probe, timeout_s=left, wanted=wanted, hint=hint, interval_s=LOOK_S, progress=progress)
