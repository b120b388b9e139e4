"""What does the provider tell the embedded platform? One JSON file, read by every process of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """One node: its name, role and loopback network.

    ``address`` carries the agent's own server (logs, readings); pods get the addresses of ``pod_cidr``.
    """

    name: str
    role: str
    address: str
    pod_cidr: str
    cpu: str = "2"
    memory: str = "2Gi"


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports; all but the kubelet's are on 127.0.0.1, the kubelet's on each node's address."""

    api: int = 7443
    web: int = 8080
    websecure: int = 8443
    traefik: int = 9100
    prometheus: int = 9090
    scrape: int = 9101
    kubelet: int = 10250


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the embedded platform needs to know.

    Attributes:
        name: Cluster name.
        cluster_dir: State that is lost with the cluster (store, keys, logs, pods, time series).
        images_dir: OCI layout that plays the registry; survives the cluster.
        cache_dir: Derived files (API schemas, unpacked image layers); may be deleted when nothing runs.
        git_dir: Bare repository that plays the git server; survives the cluster.
        git_url: The URL under which Applications name that repository.
        project_dir: Folder that holds ``gitops/`` of this installation.
        python: Interpreter that pods run on (the base image's interpreter).
        traefik, prometheus: Programs.
        bwrap: Sandbox program, or an empty string when there is none.
        node_grace_s: A node is NotReady when its lease is older (Kubernetes: 40, shorter here so that a
            drill takes seconds; same rule).
        unreachable_toleration_s: Default toleration of the unreachable taint that admission adds
            (Kubernetes: 300).
        crash_backoff_s: First pause of a crashing container or a failing image pull; doubles up to 300 s
            (Kubernetes: 10).
        sync_wave_delay_s: Pause between sync waves (Argo CD: 2).
        reconcile_s: Poll interval of the git repository (Argo CD: 120).
        companions: Further programs to keep running beside the cluster, by name: their command lines.
    """

    name: str
    cluster_dir: Path
    images_dir: Path
    cache_dir: Path
    git_dir: Path
    git_url: str
    python: str
    traefik: str
    prometheus: str
    bwrap: str = ""
    ports: Ports = field(default_factory=Ports)
    nodes: tuple[NodeConfig, ...] = ()
    node_grace_s: float = 4.0
    unreachable_toleration_s: int = 5
    crash_backoff_s: float = 10.0
    sync_wave_delay_s: float = 2.0
    reconcile_s: float = 3.0
    companions: dict[str, list[str]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the configuration, mode 0600."""
        path.touch(mode=0o600, exist_ok=True)
        path.write_text(json.dumps(asdict(self), default=str, indent=1))

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read what ``save`` wrote."""
        data: dict[str, Any] = json.loads(path.read_text())
        for key in ("cluster_dir", "images_dir", "cache_dir", "git_dir"):
            data[key] = Path(data[key])
        data["ports"] = Ports(**data["ports"])
        data["nodes"] = tuple(NodeConfig(**node) for node in data["nodes"])
        return cls(**data)

    @property
    def api_url(self) -> str:
        """Base URL of the Kubernetes API."""
        return f"https://127.0.0.1:{self.ports.api}"

    @property
    def pki_dir(self) -> Path:
        """Folder of the cluster's own certificate authority and server keys."""
        return self.cluster_dir / "pki"

    @property
    def ca_file(self) -> Path:
        """Certificate that clients verify the API with."""
        return self.pki_dir / "ca.crt"

    def token(self, component: str) -> str:
        """Read the bearer token of a component (``admin``, ``node-NAME``, ``gitops``, ``scrape``, ``traefik``)."""
        return (self.cluster_dir / "tokens" / component).read_text().strip()

    def log_file(self, component: str) -> Path:
        """Path of a component's log."""
        return self.cluster_dir / "logs" / f"{component}.log"
