"""Does a pod put up with a taint?

Source: kubernetes staging/src/k8s.io/component-helpers/scheduling/corev1/helpers.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from platform_lib.model import Obj
from platform_lib.rules.manifests import spec


def tolerates(pod: Obj, taint: Mapping[str, Any]) -> bool:
    """Tell whether one of the pod's tolerations matches the taint."""
    return any(toleration_matches(item, taint) for item in spec(pod).get("tolerations") or ())


def toleration_matches(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Tell whether a toleration matches a taint: effect, key, then operator and value."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and toleration.get("value", "") == taint.get("value", "")
