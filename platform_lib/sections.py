"""What does one table of ``apqx.toml`` hold? The parts that ``settings`` is made of; reads nothing itself."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

Port = int
MIN_PORT, MAX_PORT = 1024, 65535
"""Ports below 1024 need privileges that an ordinary user has not."""


def port_field(default: int, what: str) -> Any:
    """Return a port field."""
    return Field(default, ge=MIN_PORT, le=MAX_PORT, description=what)


def seconds_field(default: float, what: str) -> Any:
    """Return a duration field in seconds."""
    return Field(default, gt=0, le=86400, description=what)


class AppEntry(BaseModel):
    """One ``[apps.NAME]`` of apqx.toml; what is left out follows the convention of the sample application."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    namespace: str = Field("", description="Namespace of its workloads; default: its name.")
    host: str = Field("", description="Host name at the ingress; default: that of the sample application.")
    path: str = Field("", description="Folder of its manifests in the GitOps repository.")
    deployment: str = Field("deployment.yaml", description="File in that folder that names the image digest.")
    application: str = Field("", description="Name of its Argo CD Application; default: its name.")
    argocd_namespace: str = Field("", description="Namespace of that Application; default: the platform's.")

    @field_validator("path", "deployment")
    @classmethod
    def _inside(cls, text: str) -> str:
        """Accept only a path inside the repository."""
        if text.startswith("/") or ".." in text.split("/"):
            raise ValueError("want a relative path inside the GitOps repository, without '..'")
        return text.strip("/")


class K3dSettings(BaseModel):
    """The ``[k3d]`` of apqx.toml, or ``APQX_K3D_*``: what a k3d cluster is made of; ports are those of the platform."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    servers: int = Field(
        default=1, ge=1, le=9, description="Control-plane nodes; more than one keeps its store in etcd."
    )
    agents: int = Field(default=2, ge=0, le=32, description="Worker nodes; a drill takes one away, so two.")
    image: str = Field(
        default="docker.io/rancher/k3s:v1.35.5-k3s1",
        pattern=r"^[a-z0-9][^\s@:]*(:\d+/[^\s@:]+)?:\w[\w.-]*(@sha256:[0-9a-f]{64})?$",
        description="Kubernetes of the nodes: k3d 5.9.0's own default, inside Argo CD 3.5's tested 1.33 to 1.36.",
    )
    registry_port: Port = port_field(5050, "Local registry; 5000 is taken by AirPlay on a Mac.")
    registry_image: str = Field(default="", description="Image of the local registry; empty: the one k3d chooses.")
    servers_memory: str = Field(
        default="", pattern=r"^(\d+[kmgKMG]?)?$", description="Memory limit a server node, such as 2g."
    )
    agents_memory: str = Field(
        default="", pattern=r"^(\d+[kmgKMG]?)?$", description="Memory limit an agent node, such as 2g."
    )
    extra_args: tuple[str, ...] = Field(default=(), description="Arguments for k3s: --disable=metrics-server@server:*.")
    volumes: tuple[str, ...] = Field(
        default=(), description="Mounts of the nodes: /path:/path@agent:*; default: all nodes."
    )
    create_timeout_s: int = Field(
        default=300, ge=30, le=3600, description="k3d cluster create; usual 30 once images are there."
    )
    up_timeout_s: float = seconds_field(900, "From nothing to the first answer; the first time images are pulled.")

    @field_validator("image")
    @classmethod
    def _pinned(cls, text: str) -> str:
        """Accept only a version: with a moving tag two machines would not get the same cluster."""
        if text.endswith((":latest", ":stable")):
            raise ValueError("want a version tag such as v1.35.5-k3s1, not one that moves")
        return text
