"""What would a switch change, and may it be turned? Asked before anything is changed; nothing is written here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from platform_lib.addons.look import catalogue, documents
from platform_lib.errors import GuardRefused, NotFound
from platform_lib.model import Plan, Platform, Step, joined
from platform_lib.rules import addons as rules
from platform_lib.rules import manifests
from platform_lib.rules.addons import Addon, Secret
from platform_lib.settings import settings
from platform_lib.wire import argocd
from platform_lib.wire.git import repository
from platform_lib.wire.kube import DEPLOYMENTS, connect

ROOT = "root"
"""Name of the Application that reads ``gitops/apps``; both bootstraps call it so."""


def _enabled(tree: Path, known: Iterable[Addon]) -> list[str]:
    """Return the names of the add-ons that are on in a work tree."""
    return [addon.name for addon in known if (tree / addon.switch).is_file()]


def plan_enable(platform: Platform, *, addon: str) -> Plan:
    """Say what switching an add-on on would change.

    Args:
        platform: Where.
        addon: Name in the catalogue.

    Returns:
        A plan without steps when git has exactly these Applications already.

    Raises:
        InvalidInput: There is no such add-on.
        GuardRefused: The platform cannot have it, another add-on is needed first, or a Secret is absent.
    """
    known = catalogue()
    wanted = rules.one(known, addon)
    reason = rules.unsupported(wanted, platform.provider)
    if reason:
        raise GuardRefused(f"add-on {addon} - {reason}", hint=f"instead: {wanted.instead}")
    require_root(platform)
    with repository(platform).current() as tree:
        on, same = _enabled(tree, known.values()), _switched_on(platform, tree, wanted)
        text = wanted_text(platform, tree, wanted)
    title = f"enable add-on {addon}"
    if same:
        return Plan(title, inputs={"addon": addon})
    problems = rules.why_not_enable(wanted, on, _missing(platform, wanted))
    if problems:
        raise GuardRefused(f"add-on {addon} - {joined(problems)}", hint="then enable it again")
    names = rules.applications(manifests.parse_manifests(text, wanted.source))
    return Plan(
        title,
        (
            Step("commit", wanted.switch, f"its Applications: {joined(names)}"),
            Step("push", platform.gitops_branch, "Argo CD reads desired state from this branch only"),
            Step("refresh", f"Application/{ROOT}", "look at git now instead of at the next poll"),
            Step("wait", joined(names), "until each is Synced and Healthy"),
        ),
        {"addon": addon},
    )


def _missing(platform: Platform, addon: Addon) -> list[Secret]:
    """Return the Secrets that are absent or lack a key; values are not looked at."""
    found = []
    for secret in rules.secrets(addon):
        obj = connect(platform).find("v1/secrets", secret.name, secret.namespace)
        if obj is None or not set(secret.keys) <= set(obj.get("data") or {}):
            found.append(secret)
    return found


def wanted_text(platform: Platform, tree: Path, addon: Addon) -> str:
    """Return the Applications as the repository's own copy has them, else as the project does."""
    own = tree / addon.source
    source = own if own.is_file() else settings().project_dir / addon.source
    return rules.localised(source.read_text(), url=platform.gitops_url, branch=platform.gitops_branch)


def _switched_on(platform: Platform, tree: Path, addon: Addon) -> bool:
    """Tell whether the repository asks for exactly this."""
    switch = tree / addon.switch
    return switch.is_file() and switch.read_text() == wanted_text(platform, tree, addon)


def plan_disable(platform: Platform, *, addon: str) -> Plan:
    """Say what switching an add-on off would remove, and what would stay.

    Raises:
        InvalidInput: There is no such add-on.
        GuardRefused: Another add-on needs it, or nobody would serve afterwards.
    """
    known = catalogue()
    wanted = rules.one(known, addon)
    require_root(platform)
    with repository(platform).current() as tree:
        on = _enabled(tree, known.values())
        names = rules.applications(documents(tree / wanted.switch)) if addon in on else []
    title = f"disable add-on {addon}"
    if addon not in on:
        return Plan(title, inputs={"addon": addon})
    problems = rules.why_not_disable(wanted, known, on, _ready(platform, wanted))
    if problems:
        raise GuardRefused(f"add-on {addon} - {joined(problems)}", hint="then disable it again")
    return Plan(
        title,
        (
            Step("commit", wanted.switch, "removed"),
            Step("push", platform.gitops_branch, "Argo CD reads desired state from this branch only"),
            Step("refresh", f"Application/{ROOT}", "look at git now instead of at the next poll"),
            Step("wait", joined(reversed(names)), "until each is gone with everything it made"),
            *(Step("stays", item, "is not removed by this") for item in wanted.stays),
        ),
        {"addon": addon},
    )


def _ready(platform: Platform, addon: Addon) -> int | None:
    """Return the ready pods of the Deployment that an add-on takes over."""
    namespace, _, name = addon.takes_over.partition("/")
    found = connect(platform).find(DEPLOYMENTS, name, namespace) if name else None
    return None if found is None else int(manifests.status(found).get("readyReplicas") or 0)


def require_root(platform: Platform) -> None:
    """Make sure that somebody reads ``gitops/apps``.

    Raises:
        NotFound: There is no root Application.
    """
    try:
        argocd.read(platform, ROOT)
    except NotFound as error:
        raise NotFound(
            f"Application {ROOT} - absent in namespace {platform.argocd_namespace}, add-ons are read through it",
            hint="kubectl apply -f gitops/bootstrap/k3d/root.yaml, or apqx up",
            status=404,
            reason="NotFound",
        ) from error
