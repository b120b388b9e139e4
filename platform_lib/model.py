"""Which values travel between the parts? Frozen data only: no I/O, no policy, no third-party import.

Times are aware UTC datetimes, durations are seconds, ratios are 0 to 1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any, Literal

Obj = dict[str, Any]
"""A Kubernetes object as decoded JSON; read it through ``rules.manifests``."""

Status = Literal["pass", "fail", "not_enough_data", "inconclusive"]


def to_json(value: Any) -> Any:
    """Turn a model value into plain JSON types (datetimes as ISO 8601 UTC, paths as text)."""
    if is_dataclass(value) and not isinstance(value, type):
        return {key: to_json(item) for key, item in asdict(value).items()}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(item) for item in value]
    return value


class _Table:
    """Mixin: a value that shows the same rows as text in a log and as HTML in a notebook."""

    __slots__ = ()

    def rows(self) -> list[tuple[str, str]]:
        """Return the (label, value) rows that both representations show."""
        return [(key.replace("_", " "), str(value)) for key, value in asdict(self).items()]  # type: ignore[call-overload]

    def __str__(self) -> str:
        rows = self.rows()
        width = max((len(label) for label, _ in rows), default=0)
        return "\n".join(f"{label:<{width}}  {value}" for label, value in rows)

    def __init_subclass__(cls) -> None:
        # IPython takes the first class that has a form of its own, and a dataclass always has a ``__repr__``.
        cls._repr_pretty_ = _Table._repr_pretty_  # type: ignore[method-assign]

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show the rows as text where a notebook shows no HTML: the same rows in both."""
        printer.text("..." if cycle else str(self))

    def _repr_html_(self) -> str:
        body = "".join(
            f"<tr><th style='text-align:left'>{escape(label)}</th><td style='text-align:left'>{escape(value)}</td></tr>"
            for label, value in self.rows()
        )
        return f"<table class='apqx'>{body}</table>"


@dataclass(frozen=True, slots=True)
class Platform(_Table):
    """The endpoints of one platform: everything above this value speaks only to them.

    Attributes:
        name: Cluster name, also what a destructive runbook must be told to confirm.
        provider: Which provider brought it up.
        kubeconfig: File with the credentials (mode 0600).
        context: Context inside that file.
        prometheus_url: Base URL of the Prometheus HTTP API.
        ingress_url: Base URL of the ingress entry point (HTTP), without a host name.
        gitops_repo: Where git pushes to: a path or a URL.
        gitops_branch: Branch that Argo CD follows.
        gitops_url: How Argo CD names that repository (``spec.source.repoURL``).
        argocd_namespace: Namespace of the ``Application`` objects.
        home: State folder of the platform.
        argocd_url: Base URL of argocd-server; empty: Argo CD is driven through the Kubernetes API alone.
        argocd_token: Reference (``env:NAME``, ``file:PATH``) to its API token; never the token itself.
        argocd_ca: Certificate authority of argocd-server; None: those of the system.
        prometheus_headers: (name, value) sent with each query, such as a tenant; a value may be a reference.
        prometheus_ca: Certificate authority of the Prometheus endpoint; None: those of the system.
        writable: False: these endpoints are for looking only, and the guard refuses every change.
        gitops_token: Reference to a token for ``gitops_repo``; empty: that of the settings, or git's own.
    """

    name: str
    provider: Literal["embedded", "k3d", "existing"]
    kubeconfig: Path
    context: str
    prometheus_url: str
    ingress_url: str
    gitops_repo: str
    home: Path
    gitops_branch: str = "main"
    gitops_url: str = "http://git.apqx-system.svc/gitops.git"
    argocd_namespace: str = "argocd"
    argocd_url: str = ""
    argocd_token: str = ""
    argocd_ca: Path | None = None
    prometheus_headers: tuple[tuple[str, str], ...] = ()
    prometheus_ca: Path | None = None
    writable: bool = True
    gitops_token: str = ""


@dataclass(frozen=True, slots=True)
class App(_Table):
    """One application: how Kubernetes, Argo CD, git and the ingress name it."""

    name: str = "sample-app"
    namespace: str = "sample-app"
    host: str = "app.127.0.0.1.sslip.io"
    path: str = "gitops/workloads/sample-app"
    """Folder of its manifests in the GitOps repository."""
    deployment: str = "deployment.yaml"
    """File in that folder that names the image digest."""
    application: str = ""
    """Name of its Argo CD ``Application`` where it differs from ``name``."""
    argocd_namespace: str = ""
    """Namespace of that ``Application`` where it differs from the platform's."""

    def rows(self) -> list[tuple[str, str]]:
        """Return what is said of it; where it follows the convention nothing is."""
        return [(label, value) for label, value in _Table.rows(self) if value]

    @property
    def deployment_file(self) -> str:
        """Path, in the GitOps repository, of the manifest that names the image digest."""
        return f"{self.path}/{self.deployment}"

    @property
    def application_name(self) -> str:
        """Name of its Argo CD ``Application``."""
        return self.application or self.name

    def application_namespace(self, platform: Platform) -> str:
        """Return the namespace of its Argo CD ``Application``."""
        return self.argocd_namespace or platform.argocd_namespace


@dataclass(frozen=True, slots=True)
class Revision(_Table):
    """One commit of the GitOps repository, as far as one application is concerned."""

    sha: str
    image: str
    version: str
    committed_at: datetime
    author: str
    message: str


@dataclass(frozen=True, slots=True)
class AppState(_Table):
    """What Argo CD and Kubernetes say of one application at one moment.

    ``operation_phase`` is None when no operation was ever requested.
    """

    app: str
    observed_at: datetime
    sync_status: str
    health_status: str
    revision: str
    operation_phase: str | None
    operation_message: str
    conditions: tuple[str, ...]
    images: tuple[str, ...]
    ready_replicas: int
    desired_replicas: int
    pods: tuple[PodState, ...] = ()

    def rows(self) -> list[tuple[str, str]]:
        """Return sync, health, operation, conditions and one row per pod."""
        rows = [
            ("application", self.app),
            ("sync", f"{self.sync_status} at {self.revision[:7] or 'no revision'}"),
            ("health", self.health_status),
            ("operation", f"{self.operation_phase or 'none'} {self.operation_message}".strip()),
            ("replicas", f"{self.ready_replicas} of {self.desired_replicas} ready"),
            ("images", joined(image[:22] + "..." + image[-12:] for image in self.images)),
        ]
        rows += [("condition", text) for text in self.conditions]
        return rows + [(f"pod {pod.name}", pod.line()) for pod in self.pods]


@dataclass(frozen=True, slots=True)
class PodState(_Table):
    """One pod as an operator looks at it."""

    name: str
    node: str
    version: str
    phase: str
    ready: bool
    restarts: int
    reason: str
    image: str
    started_at: datetime | None = None

    def line(self) -> str:
        """Return one line: version, node, phase, readiness, and what is wrong."""
        ready = "ready" if self.ready else "not ready"
        restarts = f", {self.restarts} restarts" if self.restarts else ""
        place = f"{self.version or 'no version'} on {self.node or 'no node'}"
        return f"{place}, {self.phase}, {ready}{restarts} {self.reason}".strip()


@dataclass(frozen=True, slots=True)
class Outage:
    """A stretch of failed requests.

    With one probe every d seconds and k failures in a row the true outage lies in
    ((k-1)d, (k+1)d): ``lower_s`` and ``upper_s``.
    """

    started_at: datetime
    ended_at: datetime
    failed: int
    lower_s: float
    upper_s: float


@dataclass(frozen=True, slots=True)
class ProbeResult(_Table):
    """What an open-loop probe saw through the ingress.

    Attributes:
        sent: Requests sent by the clock.
        failed: Requests with a connection error, a time-out or a status outside 200 to 399 (the probe asks
            for a page that must exist, so an ingress that answers 404 is down for its users).
        availability: ``1 - failed/sent``; None when nothing was sent.
        failure_upper_bound: Upper 95 % bound of the failure ratio (3/n when nothing failed).
        p50_ms, p95_ms, p99_ms: Latency from the intended send time, successful requests.
        lag_p99_ms: How late the probe itself sent; a large value means the probe was starved.
        worst_window_availability: Lowest availability of any full second.
        outages: Stretches of consecutive failures, as intervals.
        errors: Count per kind of failure (status code or exception name).
    """

    url: str
    rate_rps: float
    started_at: datetime
    duration_s: float
    sent: int
    failed: int
    availability: float | None
    failure_upper_bound: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    lag_p99_ms: float | None
    worst_window_availability: float | None
    outages: tuple[Outage, ...] = ()
    errors: Mapping[str, int] = field(default_factory=dict)

    @property
    def outage_s(self) -> tuple[float, float]:
        """Lower and upper bound of the summed outage in seconds."""
        return (sum(o.lower_s for o in self.outages), sum(o.upper_s for o in self.outages))

    def rows(self) -> list[tuple[str, str]]:
        """Return requests, availability with its bound, outages as an interval, latency and own lag."""
        low, high = self.outage_s
        bound = "" if self.failure_upper_bound is None else f" (true ratio up to {self.failure_upper_bound:.2%})"
        return [
            ("probe", f"{self.url} at {self.rate_rps:g}/s for {self.duration_s:.1f} s"),
            ("requests", f"{self.sent} sent, {self.failed} failed{bound}"),
            ("availability", _ratio(self.availability)),
            ("worst second", _ratio(self.worst_window_availability)),
            ("outages", f"{len(self.outages)}, {low:.3f} to {high:.3f} s in all" if self.outages else "none seen"),
            ("errors", joined(f"{kind}: {count}" for kind, count in self.errors.items())),
            ("latency p50 / p95 / p99", " / ".join(map(_ms, (self.p50_ms, self.p95_ms, self.p99_ms)))),
            ("probe lag p99", _ms(self.lag_p99_ms)),
        ]


@dataclass(frozen=True, slots=True)
class Check:
    """One reason of a verdict: the value that was seen, the rule it was held to, and what follows."""

    name: str
    status: Status
    value: str
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict(_Table):
    """A decision with its evidence."""

    status: Status
    reason: str
    checks: tuple[Check, ...] = ()

    @property
    def ok(self) -> bool:
        """True only for ``pass``."""
        return self.status == "pass"

    def rows(self) -> list[tuple[str, str]]:
        """Return the overall status first, then one row per check."""
        head = [("verdict", f"{self.status}: {self.reason}")]
        return head + [(c.name, f"{c.status}: {c.value} (rule: {c.rule}) {c.reason}".strip()) for c in self.checks]


@dataclass(frozen=True, slots=True)
class Step:
    """One intended change and why it is needed."""

    action: str
    target: str
    why: str


@dataclass(frozen=True, slots=True)
class Plan(_Table):
    """What an operation would do; ``steps`` is empty when there is nothing to do."""

    title: str
    steps: tuple[Step, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Hash that an approval names; equal plans have equal hashes."""
        text = json.dumps(to_json(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def rows(self) -> list[tuple[str, str]]:
        """Return one row per step, or a single row saying that nothing has to change."""
        if not self.steps:
            return [(self.title, "nothing to do")]
        return [(f"{i}. {s.action}", f"{s.target}: {s.why}") for i, s in enumerate(self.steps, 1)]


@dataclass(frozen=True, slots=True)
class Outcome(_Table):
    """What an operation did.

    Attributes:
        operation: Its name, as in the journal.
        ok: Whether its own verification passed.
        started_at, finished_at: UTC.
        figures: Named numbers with the unit in the name (``recover_s``, ``requests_failed``).
        stages: (stage, seconds) in order.
        message: One sentence for a person.
        verdict: The decision, where there was one.
    """

    operation: str
    ok: bool
    started_at: datetime
    finished_at: datetime
    figures: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[tuple[str, float], ...] = ()
    message: str = ""
    verdict: Verdict | None = None

    @property
    def duration_s(self) -> float:
        """Seconds from start to finish."""
        return (self.finished_at - self.started_at).total_seconds()

    def rows(self) -> list[tuple[str, str]]:
        """Return result, duration, stages and figures."""
        rows = [("operation", self.operation), ("result", "ok" if self.ok else "FAILED")]
        rows += [("message", self.message)] if self.message else []
        rows += [("duration", f"{self.duration_s:.2f} s")]
        rows += [(f"stage {name}", f"{seconds:.2f} s") for name, seconds in self.stages]
        rows += [(key.replace("_", " "), _figure(value)) for key, value in self.figures.items()]
        return rows + (self.verdict.rows() if self.verdict else [])


def _ratio(value: float | None) -> str:
    """Format a ratio in per cent, or say that there is no data."""
    return "no data" if value is None else f"{value:.3%}"


def _ms(value: float | None) -> str:
    """Format milliseconds, or say that there is no data."""
    return "no data" if value is None else f"{value:.1f} ms"


def _figure(value: Any) -> str:
    """Format one figure: floats to three significant decimals, the rest as it is."""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def joined(parts: Iterable[str], *, empty: str = "none") -> str:
    """Join names for a sentence, or say that there are none."""
    return ", ".join(parts) or empty
