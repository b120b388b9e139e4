"""How is Argo CD set for a laptop? Written into the objects before they are applied. Pure.

Argo CD's defaults serve a company: two minutes between looks at git, health of an Ingress that waits for a load
balancer, no health of resources in the Application. Workloads that read a changed setting only at their start
get the hash of the settings into their pod template, so a change of settings is a rollout, and nothing else is.

Source: reference of argocd-cm and argocd-cmd-params-cm, Argo CD v3.5.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping

from platform_lib.model import Obj
from platform_lib.rules import manifests

SETTINGS_ANNOTATION = "apqx.dev/argocd-settings"
IDLE = ("argocd-dex-server", "argocd-notifications-controller")
"""Single sign-on and notifications: nobody uses them on a laptop, their images and memory cost a minute of start."""

_INGRESS_HEALTHY = """\
-- Without a load balancer the status of an Ingress stays empty, and Progressing would never end.
return {status = "Healthy", message = ""}
"""
_APPLICATION_HEALTH = """\
-- An app of apps is as healthy as its children; Argo CD itself does not look at them.
local health = {status = "Progressing", message = "not compared yet"}
if obj.status ~= nil and obj.status.health ~= nil and obj.status.health.status ~= nil then
  health.status = obj.status.health.status
  health.message = obj.status.health.message or ""
end
return health
"""


def values(reconcile_s: int) -> dict[str, dict[str, str]]:
    """Return ConfigMap name -> settings.

    Args:
        reconcile_s: Time between two looks at git, seconds.
    """
    return {
        "argocd-cm": {
            "timeout.reconciliation": f"{reconcile_s}s",
            # Jitter spreads the load of hundreds of Applications; here it would only make waiting longer.
            "timeout.reconciliation.jitter": "0s",
            "resource.customizations.health.networking.k8s.io_Ingress": _INGRESS_HEALTHY,
            "resource.customizations.health.argoproj.io_Application": _APPLICATION_HEALTH,
        },
        "argocd-cmd-params-cm": {
            # So that the health of each resource stands in the Application, for those who only speak Kubernetes.
            "controller.resource.health.persist": "true",
        },
    }


def applied_to(objects: Iterable[Obj], wanted: Mapping[str, Mapping[str, str]]) -> list[Obj]:
    """Return the objects with the settings in them; the given ones stay as they are."""
    stamp = _stamp(wanted)
    return [_set(obj, wanted, stamp) for obj in objects]


def _stamp(wanted: Mapping[str, Mapping[str, str]]) -> str:
    """Return a short hash of the settings."""
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]


def _set(obj: Obj, wanted: Mapping[str, Mapping[str, str]], stamp: str) -> Obj:
    """Return one object with what concerns it."""
    kind, name = manifests.kind(obj), manifests.name(obj)
    if kind == "ConfigMap" and name in wanted:
        return obj | {"data": (obj.get("data") or {}) | dict(wanted[name])}
    if kind not in ("Deployment", "StatefulSet"):
        return obj
    changed = copy.deepcopy(obj)
    if name in IDLE:
        changed["spec"]["replicas"] = 0
    if _reads(obj) & wanted.keys():
        metadata = changed["spec"]["template"].setdefault("metadata", {})
        metadata["annotations"] = (metadata.get("annotations") or {}) | {SETTINGS_ANNOTATION: stamp}
    return changed


def _reads(workload: Obj) -> set[str]:
    """Return the ConfigMaps that the containers of a workload read into their environment, once, at their start."""
    return {
        str(((entry.get("valueFrom") or {}).get("configMapKeyRef") or {}).get("name", ""))
        for container in manifests.containers(workload)
        for entry in container.get("env") or ()
    }
