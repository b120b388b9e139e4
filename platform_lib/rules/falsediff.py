"""Why do two values differ, and what is to be done? The likely cause of a difference, in words. Pure.

A difference that a sync would not change is false: the API, a default or another spelling stands behind it. For
these, and for fields that a controller owns on purpose, an ``ignoreDifferences`` entry is offered; what a person
changed by hand is drift and gets none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from platform_lib.rules.diffing import ABSENT, Difference, entry
from platform_lib.rules.manifests import ObjectKey
from platform_lib.rules.ownership import Owner

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i))?")
_SUFFIX = {
    name: Decimal(1000) ** power for power, name in enumerate(["n", "u", "m", "", "k", "M", "G", "T", "P", "E"], -3)
}
_SUFFIX |= {f"{name}i": Decimal(1024) ** power for power, name in enumerate("KMGTPE", 1)}
_AUTOSCALERS = ("kube-controller-manager", "horizontal-pod-autoscaler", "keda")


class Cause(NamedTuple):
    """Why two values differ.

    Attributes:
        kind: ``drift`` (somebody changed it), ``controller`` (another controller owns it), ``change`` (git says
            something new) or ``false`` (a sync would not change it).
        text: The cause and the next step.
        ignore: ``ignoreDifferences`` entry, None where ignoring would hide a change.
    """

    kind: str
    text: str
    ignore: dict[str, Any] | None = None


def quantity(value: Any) -> Decimal | None:
    """Read a quantity of Kubernetes (``500m``, ``1Gi``, ``2e3``); None for anything else.

    Source: Kubernetes API reference, resource.Quantity.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    found = _QUANTITY.fullmatch(str(value).strip())
    if found is None:
        return None
    number, exponent, suffix = found.groups()
    try:
        return Decimal(number + (exponent or "")) * _SUFFIX[suffix or ""]
    except InvalidOperation:
        return None


def spelling(live: Any, wanted: Any) -> str:
    """Say in which way two values mean the same; empty when they do not."""
    empty: tuple[Any, ...] = (None, {}, [], "", ABSENT)
    if any(live is one or live == one for one in empty) and any(wanted is one or wanted == one for one in empty):
        return f"null, empty and absent mean the same here (live {live!r}, git {wanted!r})"
    if live is ABSENT or wanted is ABSENT:
        return ""
    if isinstance(live, list) and isinstance(wanted, list):
        same = sorted(map(repr, live)) == sorted(map(repr, wanted))
        return "the same items in another order" if same else ""
    one, other = quantity(live), quantity(wanted)
    if one is not None and one == other:
        return "the same quantity, written differently"
    if isinstance(live, (dict, list)) or isinstance(wanted, (dict, list)):
        return ""
    if str(live).lower() == str(wanted).lower() and type(live) is not type(wanted):
        return f"the same value as another type ({type(live).__name__} live, {type(wanted).__name__} in git)"
    return "only white space differs" if str(live).split() == str(wanted).split() else ""


def cause_of(key: ObjectKey, found: Difference, owners: Sequence[Owner], *, changes: bool) -> Cause:
    """Say why a field differs.

    Args:
        key: The object.
        found: The difference.
        owners: Who manages the live field, the newest first.
        changes: Whether a sync would change the field, according to a server-side dry run.
    """
    if not changes:
        return _false(key, found)
    if found.live is ABSENT:
        return Cause("change", "git adds it; a sync writes it")
    others = [owner for owner in owners if not owner.argocd]
    if not others:
        what = "removes it" if found.wanted is ABSENT else "says something else"
        return Cause(
            "change", f"git {what}; a sync writes it" if owners else f"git {what}; nobody is noted as its manager"
        )
    newest = others[0]
    if newest.person:
        return Cause("drift", f"changed by hand ({newest}); commit it to git, or sync to take it back")
    if found.path[-1:] == ("replicas",) and (newest.subresource == "scale" or newest.manager in _AUTOSCALERS):
        text = "an autoscaler sets the replicas; leave the field out of git, or ignore it"
        return Cause("controller", text, entry(key, found.path))
    text = f"{newest.manager} writes it too; leave it to one of the two: drop it from git, or ignore it"
    return Cause("controller", text, entry(key, found.path, manager=newest.manager))


def _false(key: ObjectKey, found: Difference) -> Cause:
    """Explain a difference that a sync would not change."""
    same = spelling(found.live, found.wanted)
    if not same and found.live is ABSENT:
        same = "the API does not store it: unknown to this version, or dropped when it is the default"
    same = same or "the API or an admission webhook stores another value"
    text = f"{same}; write in git what the API stores, or ignore it"
    return Cause("false", text, entry(key, found.path))
