"""APQX workbench: drive a GitOps platform from notebooks, measure it, leave evidence.

Operations are modules, read as sentences: ``deploy.deploy(platform, app, ...)``, ``sync.state(platform, app)``.
Each takes a ``Platform`` first, then an ``App``; the rest is by keyword. The map, top to bottom:

    shelf runbook fanout oncluster scorecard        list and run books, here, everywhere, as Jobs; score drills
    postmortem archive dashboards                   explain an incident, also without its platform; see it all at once
    drills gate                                     rehearse failures; deploy and take back what is worse
    inspection audit                                why it is as it is, and who did what to it
    cluster deploy promotion rollout rollback       change something: look, plan, act
    addons fleet admission                          optional parts, registered clusters, what policies would refuse
    sync metrics slo dora cost collect              see what is, wait for what shall be, write down what was
    operation steps lock approval                   what surrounds each change of a run
    providers image                                 how a cluster and an image come to be
    wire                                            one file per protocol: Kubernetes, Argo CD, Prometheus, git, HTTP
    journal                                         the record of what happened
    guard redact applications                       what may be changed, what must not be written, who is meant
    rules                                           pure decisions: verdicts, objectives, change-points, timelines
    settings wait model errors                      configuration, time, values, failures

``embedded`` is a program of its own, started by ``providers.embedded``. Values, ``start_probe`` and ``fetch``
can be taken from here directly. Everything is loaded on first use: ``import platform_lib`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = frozenset(
    {
        "addons",
        "applications",
        "archive",
        "audit",
        "cluster",
        "cost",
        "dashboards",
        "deploy",
        "doctor",
        "dora",
        "drills",
        "fanout",
        "gate",
        "image",
        "inspection",
        "journal",
        "metrics",
        "notebook",
        "oncluster",
        "parameters",
        "plots",
        "postmortem",
        "promotion",
        "rollback",
        "rollout",
        "runbook",
        "shelf",
        "slo",
        "sync",
    }
)
_HOME = {
    "App": "model",
    "AppState": "model",
    "Outcome": "model",
    "Plan": "model",
    "Platform": "model",
    "PlatformError": "errors",
    "ProbeResult": "model",
    "Revision": "model",
    "Verdict": "model",
    "fetch": "wire.probe",
    "start_probe": "wire.probe",
}
"""Public name to the module that holds it."""

__all__ = [
    "App",
    "AppState",
    "Outcome",
    "Plan",
    "Platform",
    "PlatformError",
    "ProbeResult",
    "Revision",
    "Verdict",
    "addons",
    "applications",
    "archive",
    "audit",
    "cluster",
    "cost",
    "dashboards",
    "deploy",
    "doctor",
    "dora",
    "drills",
    "fanout",
    "fetch",
    "gate",
    "image",
    "inspection",
    "journal",
    "metrics",
    "notebook",
    "oncluster",
    "parameters",
    "plots",
    "postmortem",
    "promotion",
    "rollback",
    "rollout",
    "runbook",
    "shelf",
    "slo",
    "start_probe",
    "sync",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return list(__all__)
