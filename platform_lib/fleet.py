"""How does a cluster join the fleet? From a kubeconfig context to an Argo CD cluster Secret; no secret is shown.

Which objects that takes is decided in ``rules.fleet``. Both clusters are changed through the guard: the context of
the new one has to be on the allow-list too.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from platform_lib import guard
from platform_lib.errors import SettingsError
from platform_lib.model import Outcome, Plan, Platform, Step
from platform_lib.operation import operation
from platform_lib.providers.bootstrap.apply import Applier, Change, label
from platform_lib.rules import fleet as rules
from platform_lib.rules import manifests
from platform_lib.wait import Deadline, now
from platform_lib.wire.follow import Follow, Topic
from platform_lib.wire.kube import Kube, connect

Progress = Callable[[str], None]
_SECRETS = "v1/secrets"


@dataclass(frozen=True, slots=True)
class _Member:
    """A cluster that wants to join: how this machine and Argo CD reach it."""

    platform: Platform
    server: str
    ca_data: str


def _member(platform: Platform, name: str, context: str, kubeconfig: Path, server: str) -> _Member:
    """Read a context of a kubeconfig.

    Raises:
        SettingsError: No such file or context.
        InvalidInput: Argo CD could not use the cluster.
    """
    try:
        document = yaml.safe_load(kubeconfig.read_text()) or {}
        contexts = {item["name"]: item["context"] for item in document.get("contexts") or []}
        clusters = {item["name"]: item["cluster"] for item in document.get("clusters") or []}
        cluster = clusters[contexts[context]["cluster"]]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise SettingsError(
            f"kubeconfig {kubeconfig.name} - context {context!r} not readable in it: {type(error).__name__}",
            hint="see kubectl config get-contexts",
        ) from error
    ca_data = cluster.get("certificate-authority-data") or ""
    if not ca_data and cluster.get("certificate-authority"):
        path = kubeconfig.parent / cluster["certificate-authority"]
        ca_data = base64.b64encode(path.read_bytes()).decode() if path.is_file() else ""
    server = (server or str(cluster.get("server") or "")).rstrip("/")
    rules.check(name, server, ca_data)
    target = replace(platform, name=name, kubeconfig=kubeconfig, context=context)
    return _Member(target, server, ca_data)


def plan_register(platform: Platform, *, name: str, context: str, kubeconfig: Path, server: str = "") -> Plan:
    """Say what registering a cluster would change on both sides.

    Args:
        platform: Where Argo CD runs.
        name: Name of the cluster in the fleet; the Application there is called ``sample-app-NAME``.
        context: Context of the cluster to register.
        kubeconfig: File with that context.
        server: Address by which Argo CD reaches it, where that is another than the one in the context.

    Returns:
        A plan without steps when it is registered already with exactly this.

    Raises:
        SettingsError, InvalidInput: See ``register``.
    """
    member = _member(platform, name, context, kubeconfig, server)
    there, hub = connect(member.platform), connect(platform)
    changes = _changes(there)
    steps = [Step(change.action, f"{name}: {change.target}", "what Argo CD may do there") for change in changes]
    token = rules.token_of(there.find(_SECRETS, rules.TOKEN, rules.NAMESPACE)) if not changes else ""
    if not token or not _same(hub, platform, member, name, token):
        steps.append(Step("write", f"Secret/cluster-{name}", f"address, authority and token of {member.server}"))
    return Plan(f"register cluster {name}", tuple(steps), {"name": name, "server": member.server})


def _changes(there: Kube) -> list[Change]:
    """Ask the cluster what its own objects would become; what is inside a namespace that is absent cannot be asked."""
    applier, placed = Applier(there), there.find("v1/namespaces", rules.NAMESPACE) is not None
    found = [
        applier.change(obj) if placed or manifests.namespace(obj) != rules.NAMESPACE else Change("create", label(obj))
        for obj in rules.there()
    ]
    return [change for change in found if change is not None]


def _same(hub: Kube, platform: Platform, member: _Member, name: str, token: str) -> bool:
    """Tell whether the cluster Secret is there and right."""
    live = hub.find(_SECRETS, f"cluster-{name}", platform.argocd_namespace)
    wanted = _secret(platform, member, name, token)
    return live is not None and live.get("data") == wanted["data"] and _labelled(live, wanted)


def _labelled(live: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Tell whether all wanted labels are there; others are left alone."""
    return bool(wanted["metadata"]["labels"].items() <= (live["metadata"].get("labels") or {}).items())


def _secret(platform: Platform, member: _Member, name: str, token: str) -> dict[str, Any]:
    """Build the cluster Secret."""
    return rules.here(
        name, server=member.server, ca_data=member.ca_data, token=token, namespace=platform.argocd_namespace
    )


@operation("register cluster")
def register(
    platform: Platform,
    *,
    name: str,
    context: str,
    kubeconfig: Path,
    server: str = "",
    timeout_s: float = 60.0,
    progress: Progress | None = None,
) -> Outcome:
    """Make a cluster part of the fleet; the ApplicationSet of the add-on multi-cluster does the rest.

    Args:
        platform: Where Argo CD runs.
        name: Name of the cluster in the fleet.
        context: Context of the cluster; must be on the allow-list.
        kubeconfig: File with that context.
        server: Address by which Argo CD reaches it, where that is another than the one in the context.
        timeout_s: Deadline for the cluster to issue the account's token.
        progress: Called with each step.

    Raises:
        SettingsError: No such file or context.
        InvalidInput: Argo CD could not use the cluster (loopback address, no TLS, no authority).
        GuardRefused: The context is not on the allow-list; nothing was changed.
        WaitTimeout: No token came; what was made there stays and is used the next time.
    """
    started, say = now(), progress or (lambda _line: None)
    member = _member(platform, name, context, kubeconfig, server)
    guard.check(member.platform, f"register cluster {name}")
    there, hub = connect(member.platform), connect(platform)
    applier = Applier(there)
    for obj in rules.there():
        applier.apply(obj)
        say(f"{name}: {label(obj)} applied")
    token = _token(there, name, timeout_s)
    changed = not _same(hub, platform, member, name, token)
    if changed:
        Applier(hub).apply(_secret(platform, member, name, token))
    said = "is registered" if changed else "is registered already"
    return Outcome(
        "register cluster",
        True,
        started,
        now(),
        {"changed": changed, "server": member.server},
        message=f"{name} {said}",
    )


def _token(there: Kube, name: str, timeout_s: float) -> str:
    """Wait until the cluster has put a token into the account's Secret."""
    deadline = Deadline(timeout_s)
    topic = Topic(_SECRETS, rules.NAMESPACE, fields=f"metadata.name={rules.TOKEN}")
    with Follow(there, [topic]) as view:
        while not (token := rules.token_of(view.find(_SECRETS, rules.TOKEN))):
            if deadline.expired():
                seen = view.trouble() or f"Secret {rules.NAMESPACE}/{rules.TOKEN} without a token"
                raise deadline.fail(f"token of {name}", seen, hint="is its token controller running?")
            view.wait(min(1.0, max(deadline.left_s, 0.01)))
    return token
