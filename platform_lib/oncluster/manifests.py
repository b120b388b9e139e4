"""Which objects make a run on the cluster? A service account with the least rights, the order, and the Job; pure.

Source: Kubernetes API, Job (batch/v1), Pod Security Standards (restricted).
"""

from __future__ import annotations

from collections.abc import Mapping

from platform_lib.doctor import needs
from platform_lib.model import App, Obj
from platform_lib.oncluster.order import MOUNT, Order

LABEL = "apqx.dev/run"
KEPT_S = 3600
"""How long a finished Job is kept when nobody is there to remove it."""
_LOOK = ("status", "rollout", "logs", "metrics through the API")
_CHANGE = (*_LOOK, "lock", "sync")
FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "02-deploy": (*_CHANGE, "deploy"),
    "03-observe-rollout": (*_CHANGE, "deploy", "rollback"),
    "04-rollback": (*_CHANGE, "deploy", "rollback"),
    "05-dr-drill": (*_CHANGE, "drills (all)"),
}
"""What each book does, in the words of the permissions table; a dry run only looks."""


def functions(order: Order) -> tuple[str, ...]:
    """Return what the order's book needs; the drill's own faults are added by the name of its scenario."""
    if order.parameters.get("dry_run", True):
        return (*_LOOK, *(("drills (all)",) if order.book == "05-dr-drill" else ()))
    found = FUNCTIONS.get(order.book, _CHANGE)
    if order.book == "05-dr-drill":
        scenario = str(order.parameters.get("scenario", ""))
        # A scenario without an entry works by what every drill and deploy may do: bad deploys, slow dependencies.
        drills = [name for name in needs.functions() if name.startswith("drill ")]
        found = (*found, "deploy", "rollback", *(name for name in drills if scenario in name))
    return found


def objects(order: Order, *, app: App, lock_namespace: str, account: str = "") -> list[Obj]:
    """Return the objects in the order of their creation.

    Args:
        order: The run.
        app: Whose namespace the book works in.
        lock_namespace: Namespace of the Lease.
        account: Service account that an administrator prepared; then no rights are created.
    """
    rights = [] if account else _rights(order, app, lock_namespace)
    return [*rights, _config_map(order), _job(order, account or order.name)]


def rights(order: Order, *, app: App, lock_namespace: str) -> list[Obj]:
    """Return service account, roles and bindings alone, for an administrator to apply."""
    return _rights(order, app, lock_namespace)


def _meta(order: Order, name: str, namespace: str = "") -> Obj:
    """Return metadata that tells whose object it is."""
    labels = {LABEL: order.id, "app.kubernetes.io/managed-by": "apqx"}
    return {"name": name, "labels": labels} | ({"namespace": namespace} if namespace else {})


def _rights(order: Order, app: App, lock_namespace: str) -> list[Obj]:
    """Return the service account, and for each place a role and its binding."""
    places: dict[needs.Place, str] = {
        "app": app.namespace,
        "argocd": order.platform.argocd_namespace,
        "lock": lock_namespace,
        "prometheus": "monitoring",
    }
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _meta(order, order.name, order.namespace),
        "automountServiceAccountToken": False,
    }
    found: list[Obj] = [account]
    for role in needs.roles(places, subject=order.name, only=functions(order)):
        space = role["metadata"].get("namespace", "")
        role["metadata"] = _meta(order, order.name, space)
        binding = {
            "apiVersion": role["apiVersion"],
            "kind": f"{role['kind']}Binding",
            "metadata": _meta(order, order.name, space),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role["kind"], "name": order.name},
            "subjects": [{"kind": "ServiceAccount", "name": order.name, "namespace": order.namespace}],
        }
        found += [role, binding]
    return found


def _config_map(order: Order) -> Obj:
    """Return the order as files."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _meta(order, order.name, order.namespace),
        "data": {"order.json": order.document(), "kubeconfig": order.kubeconfig()},
    }


def _job(order: Order, account: str) -> Obj:
    """Return the Job: one attempt, because a runbook that failed is looked at and not repeated."""
    env = [
        {"name": "APQX_HOME", "value": "/state"},
        {"name": "APQX_RUNS_DIR", "value": "/state/runs"},
        {"name": "APQX_ALLOWED_CONTEXTS", "value": f'["{order.platform.context}"]'},
    ]
    source = [{"secretRef": {"name": order.secret}}] if order.secret else []
    container = {
        "name": "workbench",
        "image": order.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "platform_lib.oncluster.worker", f"{MOUNT}/order.json"],
        "env": env,
        **({"envFrom": source} if source else {}),
        "resources": {
            "requests": {"cpu": "200m", "memory": "384Mi"},
            "limits": {"cpu": "2", "memory": "1Gi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "order", "mountPath": MOUNT, "readOnly": True},
            {"name": "state", "mountPath": "/state"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod
        ],
    }
    pod = {
        "serviceAccountName": account,
        "automountServiceAccountToken": True,
        "restartPolicy": "Never",
        # The book's own clean-up runs on SIGTERM: an undo may take this long.
        "terminationGracePeriodSeconds": 120,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "order", "configMap": {"name": order.name}},
            {"name": "state", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "512Mi"}},
        ],
    }
    labels = {LABEL: order.id, "app.kubernetes.io/name": "apqx-run", "app.kubernetes.io/managed-by": "apqx"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _meta(order, order.name, order.namespace),
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(order.timeout_s),
            "ttlSecondsAfterFinished": KEPT_S,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
