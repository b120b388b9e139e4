"""What is k3d told? The workbench's settings become one complete ``k3d.io/v1alpha5`` Simple document; pure.

Everything is bound to 127.0.0.1, the user's own kubeconfig is left alone, and the registry keeps its blobs in a named
volume, so that images survive the cluster as they do on the embedded platform.

Source: k3d pkg/config/v1alpha5/schema.json and pkg/config/transform.go at v5.9.0; the Traefik values are those of its
Helm chart (``ports.metrics``), which k3s bundles and which a HelmChartConfig of the same name amends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from platform_lib.errors import SettingsError
from platform_lib.settings import Settings

LOOPBACK = "127.0.0.1"
REGISTRY_PORT_INSIDE = 5000
"""Where the registry listens in the cluster's network, whatever port it has on the host (k3d's DefaultRegistryPort)."""
PROMETHEUS_PORT_INSIDE = 9090
TRAEFIK_FILE = "/var/lib/rancher/k3s/server/manifests/apqx-traefik.yaml"
TRAEFIK = """\
apiVersion: helm.cattle.io/v1
kind: HelmChartConfig
metadata:
  name: traefik
  namespace: kube-system
spec:
  valuesContent: |-
    ports:
      metrics:
        port: 9100
        exposedPort: 9100
        expose:
          default: true
    metrics:
      prometheus:
        entryPoint: metrics
        addRoutersLabels: true
"""
"""k3s's bundled Traefik serves metrics on 9100 inside its pod only; this puts the port on its Service too."""
NOT_COMPARED = ("options.k3d.timeout",)
"""What may differ from the cluster that is there: it says how to wait, not what to make."""


def registry_name(current: Settings) -> str:
    """Return the name of the registry's container, which is its host name inside the cluster."""
    return f"k3d-{current.cluster_name}-registry"


def registry_volume(current: Settings) -> str:
    """Return the name of the volume with the images; it survives the cluster."""
    return f"k3d-{current.cluster_name}-registry-data"


def host_ports(current: Settings) -> dict[str, int]:
    """Return every port the cluster takes on the host, by the variable that moves it.

    Raises:
        SettingsError: Two of them are the same.
    """
    names = ("api", "web", "websecure", "traefik", "prometheus")
    ports = {f"APQX_PORT_{name.upper()}": current.ports()[name] for name in names}
    ports["APQX_K3D_REGISTRY_PORT"] = current.k3d.registry_port
    taken: dict[int, str] = {}
    for variable, port in ports.items():
        if port in taken:
            raise SettingsError(
                f"{variable} - {port} is also {taken[port]}, expected different ports", hint="change one of the two"
            )
        taken[port] = variable
    return ports


def render(current: Settings) -> dict[str, Any]:
    """Return the complete document.

    Raises:
        SettingsError: Two ports are the same, or an argument or volume names no usable node filter.
    """
    ports, wanted = host_ports(current), current.k3d
    registry: dict[str, Any] = {
        "name": registry_name(current),
        "host": LOOPBACK,
        "hostPort": str(ports["APQX_K3D_REGISTRY_PORT"]),
        "volumes": [f"{registry_volume(current)}:/var/lib/registry"],
    }
    if wanted.registry_image:
        registry["image"] = wanted.registry_image
    document: dict[str, Any] = {
        "apiVersion": "k3d.io/v1alpha5",
        "kind": "Simple",
        "metadata": {"name": current.cluster_name},
        "servers": wanted.servers,
        "agents": wanted.agents,
        "kubeAPI": {"hostIP": LOOPBACK, "hostPort": str(ports["APQX_PORT_API"])},
        "image": wanted.image,
        "ports": [
            _published(ports["APQX_PORT_WEB"], 80),
            _published(ports["APQX_PORT_WEBSECURE"], 443),
            _published(ports["APQX_PORT_TRAEFIK"], 9100),
            _published(ports["APQX_PORT_PROMETHEUS"], PROMETHEUS_PORT_INSIDE),
        ],
        "registries": {"create": registry},
        "files": [
            {
                "description": "metrics port of the bundled Traefik",
                "source": TRAEFIK,
                "destination": TRAEFIK_FILE,
                "nodeFilters": ["server:*"],
            }
        ],
        "options": _options(current),
    }
    if wanted.volumes:
        document["volumes"] = [
            {"volume": value, "nodeFilters": filters} for value, filters in map(_all, wanted.volumes)
        ]
    return document


def _published(host: int, inside: int) -> dict[str, Any]:
    """Return a port of the load balancer in front of the nodes."""
    return {"port": f"{LOOPBACK}:{host}:{inside}", "nodeFilters": ["loadbalancer"]}


def _options(current: Settings) -> dict[str, Any]:
    """Return how k3d waits, what it leaves alone, and what k3s is told."""
    wanted = current.k3d
    options: dict[str, Any] = {
        "k3d": {"wait": True, "timeout": f"{wanted.create_timeout_s}s"},
        "kubeconfig": {"updateDefaultKubeconfig": False, "switchCurrentContext": False},
    }
    if wanted.extra_args:
        args = [_filtered(text, "server:*") for text in wanted.extra_args]
        options["k3s"] = {"extraArgs": [{"arg": value, "nodeFilters": filters} for value, filters in args]}
    memory = {"serversMemory": wanted.servers_memory, "agentsMemory": wanted.agents_memory}
    if any(memory.values()):
        options["runtime"] = {name: value for name, value in memory.items() if value}
    return options


def _all(text: str) -> tuple[str, list[str]]:
    """Split a volume from its node filters; all nodes where it has none."""
    return _filtered(text, "all")


def _filtered(text: str, default: str) -> tuple[str, list[str]]:
    """Split ``VALUE@FILTER;FILTER`` as k3d's own flags do.

    Raises:
        SettingsError: Nothing is left in front of the filter.
    """
    value, at, filters = text.rpartition("@")
    value, names = (value, filters.split(";")) if at else (text, [default])
    if not value or not all(names):
        raise SettingsError(
            f"k3d setting {text!r} - expected VALUE or VALUE@FILTER, such as --disable=metrics-server@server:*",
            hint="correct extra_args or volumes in [k3d] of apqx.toml",
        )
    return value, names


def to_yaml(document: dict[str, Any]) -> str:
    """Return the document as k3d reads it."""
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120))


def differences(before: Any, after: Any) -> list[str]:
    """Say in which fields two documents differ, old value first; what only says how to wait does not count."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name) and name not in NOT_COMPARED]
    return [f"{name} is {old.get(name, 'absent')}, wanted {new.get(name, 'absent')}" for name in sorted(names)]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, value) of everything that is no container."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, value
