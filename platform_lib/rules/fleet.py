"""Which objects make a cluster part of the fleet? An account with narrow rights there, a cluster Secret here. Pure.

Argo CD's own ``argocd cluster add`` grants everything; here writing is limited to the kinds of the project
``addon-multi-cluster``. Reading is not: Argo CD compares by watching every kind.

Source: Argo CD v3.5.1, declarative setup (clusters); the label ``apqx.dev/fleet`` is what the ApplicationSet selects.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from typing import Any
from urllib.parse import urlsplit

from platform_lib.errors import InvalidInput
from platform_lib.model import Obj

ACCOUNT, NAMESPACE = "apqx-argocd", "apqx-fleet"
TOKEN = f"{ACCOUNT}-token"
_LABELS = {"app.kubernetes.io/part-of": "apqx"}
_NAME = re.compile(r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$")
_READ, _WRITE = ["get", "list", "watch"], ["create", "update", "patch", "delete"]
_KINDS: tuple[tuple[str, list[str]], ...] = (
    ("", ["namespaces", "services", "serviceaccounts"]),
    ("apps", ["deployments"]),
    ("autoscaling", ["horizontalpodautoscalers"]),
    ("networking.k8s.io", ["ingresses", "networkpolicies"]),
    ("policy", ["poddisruptionbudgets"]),
)
# Whoever may write Roles may grant only what they have; the sample application's Role grants reading.
_ROLES = ("rbac.authorization.k8s.io", ["roles", "rolebindings"])


def check(name: str, server: str, ca_data: str) -> None:
    """Refuse a cluster that Argo CD could not use.

    Raises:
        InvalidInput: Bad name, an address only this machine reaches, no TLS, or no certificate authority.
    """
    if not _NAME.match(name):
        raise InvalidInput(f"cluster name {name!r} - expected lower case letters, digits and dashes, at most 40")
    parts = urlsplit(server)
    if parts.scheme != "https" or not parts.hostname:
        raise InvalidInput(f"cluster {name} - its server is {server!r}, expected an https address")
    if _loopback(parts.hostname):
        raise InvalidInput(
            f"cluster {name} - its server is {server}, which Argo CD's pods cannot reach, expected a routable address",
            hint="name the one by which other clusters reach it: --server https://...",
        )
    if not ca_data:
        raise InvalidInput(
            f"cluster {name} - its context has no certificate authority, expected one (not insecure-skip-tls-verify)",
            hint="add certificate-authority-data to the kubeconfig",
        )


def _loopback(host: str) -> bool:
    """Tell whether a host means the machine that asks."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost") or ".127.0.0.1." in f".{host}."
    return address.is_loopback or address.is_unspecified


def there() -> list[Obj]:
    """Return what the registered cluster gets, in the order of need."""
    rules: list[dict[str, Any]] = [{"apiGroups": ["*"], "resources": ["*"], "verbs": _READ}]
    rules += [{"apiGroups": [group], "resources": names, "verbs": _WRITE} for group, names in (*_KINDS, _ROLES)]
    meta = {"name": ACCOUNT, "labels": _LABELS}
    inside = meta | {"namespace": NAMESPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ACCOUNT}
    rbac = "rbac.authorization.k8s.io/v1"
    note = {"kubernetes.io/service-account.name": ACCOUNT}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": _LABELS}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": inside},
        {"apiVersion": rbac, "kind": "ClusterRole", "metadata": meta, "rules": rules},
        {
            "apiVersion": rbac,
            "kind": "ClusterRoleBinding",
            "metadata": meta,
            "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}],
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/service-account-token",
            "metadata": {"name": TOKEN, "namespace": NAMESPACE, "labels": _LABELS, "annotations": note},
        },
    ]


def here(name: str, *, server: str, ca_data: str, token: str, namespace: str) -> Obj:
    """Return the cluster Secret that Argo CD reads.

    Args:
        name: Name of the cluster in the fleet.
        server: Address of its API.
        ca_data: Its certificate authority, base64.
        token: Of the account there; never shown.
        namespace: Where Argo CD runs.
    """
    config = json.dumps({"bearerToken": token, "tlsClientConfig": {"caData": ca_data}}, sort_keys=True)
    data = {"name": name, "server": server, "config": config}
    labels = {"argocd.argoproj.io/secret-type": "cluster", "apqx.dev/fleet": "true"} | _LABELS
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": f"cluster-{name}", "namespace": namespace, "labels": labels},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


def token_of(secret: Obj | None) -> str:
    """Return the token that the cluster put into the account's Secret; empty while it has not."""
    text = ((secret or {}).get("data") or {}).get("token") or ""
    return base64.b64decode(text).decode() if text else ""
