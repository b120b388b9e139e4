"""When are two pod templates the same, and which hash names them?

``kubectl rollout undo`` sends a template re-encoded by Go (``creationTimestamp: null``, ``resources: {}``), so
nulls and empty values are taken out before anything is compared or hashed.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from platform_lib.model import Obj

HASH_LABEL = "pod-template-hash"

# The letters of generated names: no vowels and no look-alikes, so that no words appear by chance.
_SAFE = "bcdfghjklmnpqrstvwxz2456789"


def stripped(value: Any) -> Any:
    """Return the value without nulls, empty texts, empty maps and empty lists, at any depth."""
    if isinstance(value, dict):
        inner = {key: stripped(item) for key, item in value.items()}
        return {key: item for key, item in inner.items() if item not in (None, "", {}, [])}
    if isinstance(value, list):
        return [stripped(item) for item in value]
    return value


def normal(template: Obj) -> Obj:
    """Return the template without its hash label, nulls and empty values."""
    labels = dict((template.get("metadata") or {}).get("labels") or {})
    labels.pop(HASH_LABEL, None)
    answer: Obj = stripped({**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}})
    return answer


def same_template(one: Obj, other: Obj) -> bool:
    """Tell whether two templates make the same pods."""
    return normal(one) == normal(other)


def template_hash(template: Obj, collisions: int = 0) -> str:
    """Return the ``pod-template-hash``: ten letters that depend on the normal template only.

    Args:
        template: Pod template of a Deployment.
        collisions: ``status.collisionCount``; gives another hash after a clash of names.
    """
    text = json.dumps([normal(template), collisions], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).digest()
    return "".join(_SAFE[byte % len(_SAFE)] for byte in digest[:10])
