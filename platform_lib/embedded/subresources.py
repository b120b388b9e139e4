"""What happens below an object: ``scale``, ``binding``, ``eviction`` and ``token``?

``status`` and ``finalize`` are plain writes and live in ``admission``; ``log`` is streamed by ``podlog``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from platform_lib.embedded import patching, refusals
from platform_lib.embedded.copying import clone
from platform_lib.embedded.kinds import Kind
from platform_lib.embedded.metadata import check_preconditions, timestamp
from platform_lib.embedded.options import WriteOptions
from platform_lib.embedded.selectors import match_labels
from platform_lib.errors import ApiError
from platform_lib.model import Obj

if TYPE_CHECKING:
    from platform_lib.embedded.api import Api

BUDGETS = "policy/v1/poddisruptionbudgets"
SCALE_GVR = "autoscaling/v1/scales"
SUCCESS = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}


class Subresources:
    """The subresources that are more than a part of the object."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def read(self, kind: Kind, obj: Obj, sub: str) -> Obj:
        """Return the object for ``status``, a Scale for ``scale``."""
        if sub not in kind.subresources:
            raise refusals.no_route()
        if sub == "scale":
            return scale_of(obj)
        if sub == "status":
            return obj
        raise refusals.method_not_allowed(kind.gvr, "get")

    def post(
        self,
        kind: Kind,
        name: str,
        namespace: str | None,
        sub: str,
        body: Obj,
        user: str,
        options: WriteOptions,
    ) -> Obj:
        """Post to ``binding``, ``eviction`` or ``token``."""
        if sub not in kind.subresources:
            raise refusals.no_route()
        obj = self._api.get(kind.gvr, name, namespace)
        if sub == "binding":
            return self._bind(kind, obj, body, user, options)
        if sub == "eviction":
            return self._evict(kind, obj, body, user, options)
        if sub == "token":
            if self._api.tokens is None:
                raise refusals.no_route()
            return self._api.tokens.request(obj, body, self._api.clock())
        raise refusals.method_not_allowed(kind.gvr, "create")

    def update_scale(self, kind: Kind, scale: Obj, namespace: str | None, user: str, options: WriteOptions) -> Obj:
        """Set the number of replicas from a Scale object."""
        metadata = scale.get("metadata") or {}
        obj = self._api.get(kind.gvr, str(metadata.get("name") or ""), namespace or metadata.get("namespace"))
        return self._scale(kind, obj, scale, user, options)

    def patch_scale(self, kind: Kind, obj: Obj, body: Any, content_type: str, user: str, options: WriteOptions) -> Obj:
        """Patch the Scale of an object; a Scale has no lists, so strategic and merge patches are the same."""
        if content_type in (patching.STRATEGIC, patching.APPLY):
            content_type = patching.MERGE
        wanted = patching.patched(scale_of(obj), body, content_type, self._api.schemas, kind)
        return self._scale(kind, obj, wanted, user, options)

    def _scale(self, kind: Kind, obj: Obj, wanted: Obj, user: str, options: WriteOptions) -> Obj:
        if "scale" not in kind.subresources:
            raise refusals.no_route()
        check_preconditions(kind, obj, wanted, demand_version=False)
        replicas = (wanted.get("spec") or {}).get("replicas", 0)
        if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
            text = f"Invalid value: {replicas!r}: must be greater than or equal to 0"
            name = obj["metadata"]["name"]
            raise refusals.invalid(SCALE_GVR, "Scale", name, [("spec.replicas", "FieldValueInvalid", text)])
        new = clone(obj)
        new.setdefault("spec", {})["replicas"] = replicas
        namespace = obj["metadata"].get("namespace")
        return scale_of(self._api.update(kind.gvr, new, namespace, user=user, params=options))

    def _bind(self, kind: Kind, pod: Obj, body: Obj, user: str, options: WriteOptions) -> Obj:
        """Give a pod to a node, once."""
        name, node = pod["metadata"]["name"], str((body.get("target") or {}).get("name") or "")
        if not node:
            causes = [("target.name", "FieldValueRequired", "Required value")]
            raise refusals.invalid("v1/bindings", "Binding", name, causes)
        assigned = (pod.get("spec") or {}).get("nodeName")
        if assigned:
            why = f'pod {name} is already assigned to node "{assigned}"'
            raise refusals.conflict("v1/pods/binding", name, why)
        if pod["metadata"].get("deletionTimestamp"):
            raise refusals.conflict("v1/pods/binding", name, f"pod {name} is being deleted, cannot be assigned")
        new = clone(pod)
        new["spec"]["nodeName"] = node
        status = new.setdefault("status", {})
        kept = [item for item in status.get("conditions") or () if item.get("type") != "PodScheduled"]
        scheduled = {
            "type": "PodScheduled",
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": timestamp(self._api.clock()),
        }
        status["conditions"] = [*kept, scheduled]
        if not options.dry_run:
            self._api.store.put(kind.gvr, new)
        return {**SUCCESS, "code": 201}

    def _evict(self, kind: Kind, pod: Obj, body: Obj, user: str, options: WriteOptions) -> Obj:
        """Delete a pod unless a disruption budget forbids it now."""
        metadata = pod["metadata"]
        delete_options = body.get("deleteOptions") or {}
        dry_run = options.dry_run or "All" in (delete_options.get("dryRun") or ())
        budgets = [
            budget
            for budget in self._api.store.list(BUDGETS, metadata["namespace"])
            if match_labels((budget.get("spec") or {}).get("selector"), metadata.get("labels"))
        ]
        if budgets and not _is_free_to_go(pod):
            self._spend(pod, budgets, dry_run=dry_run)
        params = WriteOptions(dry_run=dry_run)
        name, namespace = metadata["name"], metadata["namespace"]
        self._api.delete(kind.gvr, name, namespace, user=user, options=delete_options, params=params)
        return {**SUCCESS, "code": 201}

    def _spend(self, pod: Obj, budgets: list[Obj], *, dry_run: bool) -> None:
        """Take one disruption from the pod's budget.

        Raises:
            ApiError: 429, none is left or the budget is not counted yet; 500 with more than one budget.
        """
        if len(budgets) > 1:
            text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            raise refusals.other(500, "InternalError", text)
        budget = budgets[0]
        name, status = budget["metadata"]["name"], budget.get("status") or {}
        if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
            message = f"The disruption budget {name} is still being processed by the server."
            raise _budget_refusal(message, retry_after_s=10)
        if _unready_may_go(pod, budget, status):
            return
        allowed = status.get("disruptionsAllowed", 0)
        if allowed <= 0:
            desired, healthy = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
            text = f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
            raise _budget_refusal(text)
        if dry_run:
            return
        new = clone(budget)
        new["status"]["disruptionsAllowed"] = allowed - 1
        disrupted = new["status"].setdefault("disruptedPods", {})
        disrupted[pod["metadata"]["name"]] = timestamp(self._api.clock())
        self._api.store.put(BUDGETS, new)


def scale_of(obj: Obj) -> Obj:
    """Return the Scale of an object: wanted and present replicas and the selector as text."""
    metadata = obj["metadata"]
    names = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in names if name in metadata},
        "spec": {"replicas": spec.get("replicas", 0)},
        "status": {
            "replicas": status.get("replicas", 0),
            "selector": selector_text(spec.get("selector") or {}),
        },
    }


def selector_text(selector: Obj) -> str:
    """Write a LabelSelector the way the ``labelSelector`` query parameter reads it."""
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for item in selector.get("matchExpressions") or ():
        values = ",".join(item.get("values") or ())
        operator = item.get("operator")
        terms.append(
            {
                "In": f"{item['key']} in ({values})",
                "NotIn": f"{item['key']} notin ({values})",
                "Exists": item["key"],
                "DoesNotExist": f"!{item['key']}",
            }.get(str(operator), item["key"])
        )
    return ",".join(terms)


def _is_free_to_go(pod: Obj) -> bool:
    """Return whether a pod counts for no budget: it is over, has not started, or is going already."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or bool(pod["metadata"].get("deletionTimestamp"))


def _unready_may_go(pod: Obj, budget: Obj, status: Obj) -> bool:
    """Return whether an unready pod may go without spending anything (``unhealthyPodEvictionPolicy``)."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    if any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions):
        return False
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    return bool(healthy >= desired and desired > 0)


def _budget_refusal(message: str, retry_after_s: int = 0) -> ApiError:
    """429 with the cause that ``kubectl drain`` looks for."""
    causes = [{"reason": "DisruptionBudget", "message": message}]
    text = "Cannot evict pod as it would violate the pod's disruption budget."
    return refusals.too_many_requests(text, causes, retry_after_s)
