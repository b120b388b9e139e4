"""Which settings does the workbench have? The only reader of the environment and of ``apqx.toml``.

Every field has a unit in its name, a default and the reason for the default. A value comes from the caller,
else from the environment (``APQX_PORT_WEB=18080``), else from ``apqx.toml`` in the working folder, else from
here. What a setting is used for is the business of the module that uses it.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_cache_path, user_state_path
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from platform_lib.errors import SettingsError
from platform_lib.sections import AppEntry, K3dSettings, Port, port_field, seconds_field


class Settings(BaseSettings):
    """All settings of the workbench; each field says what it is for, and why its default is what it is."""

    model_config = SettingsConfigDict(
        env_prefix="APQX_",
        toml_file="apqx.toml",
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        populate_by_name=True,
        env_nested_delimiter="_",
        env_nested_max_split=1,
    )

    # Where things are
    provider: Literal["embedded", "k3d", "existing"] = Field(
        "embedded", description="Who runs the cluster; embedded needs nothing but Python and git."
    )
    cluster_name: str = Field(
        "apqx", pattern=r"^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$", description="Name of cluster and context."
    )
    home: Path = Field(
        default_factory=lambda: user_state_path("apqx"),
        description="State folder; the platform's default follows the XDG base directory specification.",
    )
    project_dir: Path = Field(
        default_factory=lambda: Path(__file__).resolve().parent.parent,
        description="Folder with app/, gitops/ and runbooks/; the checkout this library was installed from.",
    )
    runs_dir: Path = Field(Path("runs"), description="Run folders; relative to the working folder.")
    run_dir: Path | None = Field(None, description="Set by the runbook runner: the folder of the present run.")
    tools_dir: Path = Field(
        default_factory=lambda: user_cache_path("apqx") / "tools",
        description="Programs fetched at set-up; outside the state folder, so several platforms share them.",
    )
    kubeconfig: Path | None = Field(None, description="For provider existing; embedded writes its own.")
    allowed_contexts: tuple[str, ...] = Field(
        default_factory=lambda data: (data.get("cluster_name", "apqx"), f"k3d-{data.get('cluster_name', 'apqx')}"),
        description="Contexts that a change may touch, all others are refused; default: what this workbench makes.",
    )
    read_only: bool = Field(False, description="Refuse every change; the runbook runner sets it for dry runs.")
    approved_plan: str = Field("", description="Set by the runbook runner: hash of the plan that was approved.")
    lease_s: float = seconds_field(
        15, "Age at which a Lease that nobody renews may be taken over; renewed at a third of it."
    )
    lease_namespace: str = Field(
        "kube-system", description="Namespace of the Lease that keeps changing runs apart; empty: none is taken."
    )
    journal_path: Path | None = Field(
        None, alias="APQX_JOURNAL", description="Set by the runbook runner: the journal of the present run."
    )

    # An existing cluster, and the endpoints beside it
    context: str = Field("", description="Context for provider existing; empty: the kubeconfig's current context.")
    existing_write: bool = Field(
        False, description="Let provider existing change its cluster; off, because that cluster is not ours."
    )
    ingress_url: str = Field("", description="Ingress entry point of an existing cluster; empty: looked for.")
    prometheus_url: str = Field(
        "",
        description="Prometheus-compatible endpoint; a query (?dedup=true) goes with each request; empty: looked for.",
    )
    prometheus_headers: dict[str, str] = Field(
        default_factory=dict,
        description="Sent with each query, such as X-Scope-OrgID; secrets as references: 'Bearer env:NAME'.",
    )
    prometheus_ca: Path | None = Field(None, description="Certificate authority of that endpoint; default: system's.")
    prometheus_max_points: int = Field(
        11_000, ge=10, le=1_000_000, description="Points per series in one answer; Prometheus refuses more than 11,000."
    )
    argocd_namespace: str = Field("", description="Namespace of Argo CD on an existing cluster; empty: looked for.")
    gitops_repo: str = Field(
        "", description="Where git pushes to on an existing cluster; empty: the repository of the Application."
    )
    gitops_branch: str = Field("", description="Branch that is pushed; empty: the targetRevision of the Application.")
    argocd_url: str = Field("", description="argocd-server of an existing cluster; empty: looked for in argocd-cm.")
    argocd_token: str = Field(
        "", pattern=r"^((env:|file:/).+)?$", description="Reference (env:NAME, file:/path) to its API token."
    )
    argocd_ca: Path | None = Field(None, description="Certificate authority of argocd-server; default: the system's.")
    argocd_door: Literal["auto", "kubernetes", "rest"] = Field(
        "auto",
        description="How Argo CD is driven: the Application resource, or argocd-server's REST API; auto takes REST "
        "only where its URL is known and there is no kubeconfig.",
    )
    apps: dict[str, AppEntry] = Field(
        default_factory=dict, description="Applications beside the sample: [apps.NAME] in apqx.toml."
    )

    # A k3d cluster
    k3d: K3dSettings = Field(
        default_factory=K3dSettings, description="[k3d] in apqx.toml, or APQX_K3D_SERVERS and so on."
    )

    # Argo CD installation
    argocd_flavor: Literal["full", "core"] = Field(
        "full", description="full has API server and pages; core leaves them out, for users of kubectl and apqx."
    )
    argocd_manifests: Path | None = Field(
        None, description="Manifests of the pinned release as a local file (no network); default: fetched once."
    )
    argocd_reconcile_s: int = Field(
        30, ge=5, le=3600, description="How often the real Argo CD looks at git (its own default 120); seconds."
    )

    # Git source
    git_url: str = Field(
        "", description="Repository Argo CD follows (https://github.com/you/apqx.git); empty: a server in the cluster."
    )
    git_branch: str = Field("main", description="Branch of that repository.")
    git_user: str = Field("git", description="User name sent with git_token; GitHub takes any, GitLab wants oauth2.")
    git_token: str = Field(
        "", description="Reference (env:NAME, file:/path) to a token for git_url; empty: public, or your git's own."
    )
    git_ssh_key: str = Field("", description="Reference to a private key for an ssh git_url; your git uses its own.")

    # Programs (empty: look on PATH, then in the tool cache)
    traefik: str = Field("", description="Path of the Traefik program.")
    prometheus: str = Field("", description="Path of the Prometheus program.")
    bwrap: str = Field("", description="Path of the sandbox program; 'none' runs pods without it, and says so.")

    # Ports, all on 127.0.0.1
    port_api: Port = port_field(7443, "Kubernetes API; 6443 is left to a real cluster beside this one.")
    port_web: Port = port_field(8080, "Ingress HTTP, as in the k3d layout (8080:80).")
    port_websecure: Port = port_field(8443, "Ingress HTTPS, as in the k3d layout (8443:443).")
    port_traefik: Port = port_field(9100, "Traefik's metrics, ping and API, as in its Helm chart.")
    port_prometheus: Port = port_field(9090, "Prometheus's own default.")
    port_scrape: Port = port_field(9101, "Service discovery and object metrics; next to Traefik's.")
    port_kubelet: Port = port_field(10250, "Each node's own server, on the node's address; Kubernetes's default.")
    pod_network: str = Field(
        "127.42.0.0/16",
        description="Loopback network of nodes and pods: node i has .i.1, its pods .i.10 and up.",
    )

    # Cluster
    agents: int = Field(2, ge=0, le=8, description="Worker nodes beside the server; 2 as in the k3d layout.")
    node_cpu: str = Field("2", description="CPU that a node offers to the scheduler (cores).")
    node_memory: str = Field("2Gi", description="Memory that a node offers to the scheduler.")
    node_grace_s: float = seconds_field(4, "Lease age that makes a node NotReady (Kubernetes 40; a drill waits).")
    unreachable_toleration_s: int = Field(
        5, ge=0, description="How long pods stay on an unreachable node (Kubernetes 300; a drill waits)."
    )
    sync_wave_delay_s: float = Field(
        0.1, ge=0, description="Pause between sync waves (Argo CD 2; here health is known at once)."
    )
    reconcile_s: float = seconds_field(3, "How often the GitOps controller looks at the repository (Argo CD 120).")

    # Container images built by an engine
    image_build_timeout_s: float = seconds_field(
        1800, "One build; usual 10 s (application) to 90 s, minutes on a slow line."
    )
    image_push_timeout_s: float = seconds_field(
        900, "One push; usual seconds, minutes for a first push over a slow line."
    )

    # Image promotion
    registry_user: str = Field("apqx", description="User name sent with registry_token; GHCR takes any.")
    registry_token: str = Field(
        "", description="Reference (env:NAME, file:/path) to a token that reads a private registry; empty: anonymous."
    )

    # Runs on the cluster (apqx run --on cluster)
    job_namespace: str = Field("apqx-runs", description="Namespace of the Jobs that execute runbooks.")
    job_image: str = Field("", description="Workbench image by digest; empty: that of the git server in the cluster.")
    job_results: str = Field(
        "", description="Where a Job leaves its evidence: s3://bucket/prefix, gs://..., abs://..., or a mounted folder."
    )
    job_secret: str = Field(
        "", description="Secret in job_namespace whose keys become the Job's environment: the storage's, GIT_TOKEN."
    )
    job_prometheus_url: str = Field(
        "http://prometheus.monitoring.svc:9090", description="Prometheus as pods reach it; empty: as from here."
    )
    job_ingress_url: str = Field(
        "http://traefik.kube-system.svc",
        description="Ingress as pods reach it, through its Service; empty: as from here.",
    )
    job_timeout_s: float = Field(1800, gt=0, le=3600, description="Deadline of a Job; its token lives for an hour.")

    # Waiting, in seconds
    up_timeout_s: float = seconds_field(60, "From nothing to the first answer; usual 2-4, a loaded machine 20.")
    deploy_timeout_s: float = seconds_field(120, "Commit to healthy; progressDeadlineSeconds of the app is below it.")
    rollback_timeout_s: float = seconds_field(120, "Revert to healthy; the same path as a deployment.")
    request_timeout_s: float = seconds_field(10, "One request to the API or Prometheus; usual 0.01.")
    probe_rate_rps: float = Field(
        200, gt=0, le=5000, description="Requests a second of the open-loop probe; two cores serve ten times it."
    )
    probe_timeout_s: float = seconds_field(5, "A probe request without an answer counts as failed after this.")

    @field_validator("pod_network")
    @classmethod
    def _loopback(cls, text: str) -> str:
        """Accept only a /16 inside the loopback network."""
        network = ipaddress.ip_network(text)
        if not network.is_loopback or network.prefixlen != 16:
            raise ValueError("want a /16 inside 127.0.0.0/8, for example 127.42.0.0/16")
        return text

    @field_validator("home", "project_dir", "tools_dir")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        """Resolve ``~`` and relative paths once."""
        return path.expanduser().absolute()

    @model_validator(mode="after")
    def _distinct_ports(self) -> Settings:
        """Refuse two services on one port."""
        seen: dict[int, str] = {}
        for name, port in self.ports().items():
            if port in seen:
                raise ValueError(f"port_{name} and port_{seen[port]} are both {port}; want different ports")
            seen[port] = name
        return self

    def ports(self) -> dict[str, int]:
        """Return the TCP ports on 127.0.0.1 by service."""
        names = ("api", "web", "websecure", "traefik", "prometheus", "scrape")
        return {name: getattr(self, f"port_{name}") for name in names}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: caller, environment, apqx.toml."""
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))


def settings(**overrides: Any) -> Settings:
    """Read the settings in force.

    Args:
        **overrides: Values that win over environment and file.

    Returns:
        A frozen value; read it again to see a changed environment.

    Raises:
        SettingsError: A value cannot be used, or a variable starts with APQX_ and is no setting.

    Example:
        >>> settings(port_web=18080).port_web
        18080
    """
    _refuse_unknown_variables()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise _explained(error) from error
    except ValueError as error:  # a variable is no JSON, or apqx.toml no TOML
        if field := re.search(r'field "(\w+)" from source "EnvSettingsSource"', str(error)):
            name = f"APQX_{field[1].upper()}"
            raise SettingsError(
                f"{name} - not readable as JSON",
                hint='write a list as \'["a"]\', pairs as \'{"name": "value"}\'',
                variable=name,
            ) from error
        raise SettingsError(f"apqx.toml - not readable as TOML: {error}", hint="correct it or remove it") from error


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a copy of the environment for a program we start, with additions."""
    return dict(os.environ) | dict(extra or {})


SECRET_NAME_PARTS = ("TOKEN", "PASSWORD", "PASSWD", "SECRET", "API_KEY", "PRIVATE_KEY")
"""A variable whose name holds one of these holds a secret value."""


def variable(name: str) -> str | None:
    """Return one variable of the environment, for references such as ``env:NAME``; None when it is not set."""
    return os.environ.get(name)


def secret_values() -> list[str]:
    """Return the values of the environment that nobody should see in an output."""
    return [text for name, text in os.environ.items() if any(part in name.upper() for part in SECRET_NAME_PARTS)]


def kubeconfig_files(current: Settings) -> tuple[Path, ...]:
    """Return the kubeconfig files in force, as kubectl finds them: the setting, else KUBECONFIG, else the default.

    A file of the KUBECONFIG list may be absent; the default is returned whether it exists or not.
    """
    if current.kubeconfig is not None:
        return (current.kubeconfig.expanduser().absolute(),)
    listed = [text for text in os.environ.get("KUBECONFIG", "").split(os.pathsep) if text]
    return tuple(Path(text).expanduser().absolute() for text in listed or ["~/.kube/config"])


def search_path() -> str:
    """Return PATH, extended by the folder of this interpreter's own programs."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def _refuse_unknown_variables() -> None:
    """Say it when a variable looks like a setting and is none: a typo would silently change nothing."""
    fields = Settings.model_fields
    known = {field.alias or f"APQX_{name.upper()}" for name, field in fields.items()} | INTERNAL
    known |= {f"APQX_K3D_{name.upper()}" for name in K3dSettings.model_fields}
    for name in sorted(os.environ):
        if name.startswith("APQX_") and name not in known:
            raise SettingsError(
                f"{name} - not a setting, value {os.environ[name]!r}",
                hint=f"did you mean {_closest(name, known)}? unset it otherwise",
                variable=name,
            )


INTERNAL = {"APQX_RUN_ID", "APQX_PROGRESS"}
"""Variables that the runner hands to a kernel; no settings of a person."""


def _closest(name: str, known: set[str]) -> str:
    """Return the known variable that looks most alike."""
    import difflib

    return (difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0) or ["APQX_HOME"])[0]


def _variable_part(location: tuple[int | str, ...]) -> str:
    """Return what follows ``APQX_`` in the variable of a field, or of a field of ``[k3d]``."""
    return "_".join(map(str, location[: 2 if location[:1] == ("k3d",) else 1]))


def _no_key(location: tuple[int | str, ...]) -> SettingsError:
    """Say that a key of the file (or of a table in it) is none, and which one was likely meant."""
    *table, key = map(str, location)
    models: dict[str, type[BaseModel]] = {"k3d": K3dSettings, "apps": AppEntry}
    model = models.get(table[0] if table else "", Settings)
    close = ".".join([*table, _closest(key.lower().removeprefix("apqx_"), set(model.model_fields))])
    return SettingsError(
        f"apqx.toml - {'.'.join(map(str, location))!r} is no key of it",
        hint=f"did you mean {close}? remove it otherwise",
        key=".".join(map(str, location)),
    )


def _explained(error: ValidationError) -> SettingsError:
    """Turn the first validation error into one sentence with variable, value and expectation."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "extra_forbidden":
        return _no_key(first["loc"])
    name = ".".join(map(str, first["loc"]))
    variable = name if name.startswith("APQX_") else f"APQX_{_variable_part(first['loc']).upper()}"
    if not first["loc"]:
        return SettingsError(f"settings - {first['msg']}", hint="change one of the two", variable="")
    telling = "HEADERS" in variable or any(part in variable for part in SECRET_NAME_PARTS)
    value = "(not shown)" if telling else repr(first.get("input"))
    return SettingsError(
        f"{variable} - value {value}: {first['msg'].lower()}",
        hint="set it in the environment or in apqx.toml, or unset it for the default",
        variable=variable,
        value="" if telling else str(first.get("input")),
    )
