"""A cluster to install Argo CD on: a real API process, a small release with its own checksum, and hands for pods."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from apiprocess import ApiServer

from platform_lib.model import Platform
from platform_lib.providers.bootstrap.release import Manifests

MERGE = "application/merge-patch+json"
PART = {"app.kubernetes.io/part-of": "argocd"}


def _workload(kind: str, name: str, version: str, *, reads: str = "") -> dict[str, Any]:
    labels = PART | {"app.kubernetes.io/name": name}
    env = [{"name": "SETTING", "valueFrom": {"configMapKeyRef": {"name": reads, "key": "k", "optional": True}}}]
    container = {"name": name, "image": f"quay.io/argoproj/argocd:{version}", "env": env if reads else []}
    spec: dict[str, Any] = {
        "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    if kind == "StatefulSet":
        spec |= {"serviceName": name, "replicas": 1}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec}


def small_release(version: str = "v3.5.1", flavor: str = "full") -> str:
    """The shape of Argo CD's own file in miniature: a definition, settings, roles, and its programs."""
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "applicationsets.argoproj.io", "labels": PART},
        "spec": {
            "group": "argoproj.io",
            "names": {"kind": "ApplicationSet", "plural": "applicationsets", "singular": "applicationset"},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": "v1alpha1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    },
                }
            ],
        },
    }
    maps = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": PART}, "data": {"own": "kept"}}
        for name in ("argocd-cm", "argocd-cmd-params-cm")
    ]
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "argocd-server", "labels": PART}}
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "argocd-server", "labels": PART},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get"]}],
    }
    programs = [
        _workload("StatefulSet", "argocd-application-controller", version, reads="argocd-cm"),
        _workload("Deployment", "argocd-repo-server", version, reads="argocd-cmd-params-cm"),
        _workload("Deployment", "argocd-redis", version),
    ]
    if flavor == "full":
        programs.append(_workload("Deployment", "argocd-server", version, reads="argocd-cmd-params-cm"))
        programs.append(_workload("Deployment", "argocd-dex-server", version))
    return yaml.safe_dump_all([definition, *maps, account, role, *programs])


def pinned(text: str, *, version: str = "v3.5.1", flavor: str = "full", url: str = "") -> dict[str, Manifests]:
    """A release of its own, by its real hash."""
    raw = text.encode()
    made = Manifests(version, flavor, url or "http://127.0.0.1:9/x.yaml", hashlib.sha256(raw).hexdigest(), len(raw))
    return {"full": made, "core": made}


def platform_of(api: ApiServer, home: Path, **more: Any) -> Platform:
    """The endpoints of an API process."""
    kubeconfig = home / "kubeconfig"
    cluster = {"server": f"https://127.0.0.1:{api.config.ports.api}", "certificate-authority": str(api.config.ca_file)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "apqx",
        "contexts": [{"name": "apqx", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": api.config.token("admin")}}],
    }
    kubeconfig.write_text(yaml.safe_dump(document))
    defaults: dict[str, Any] = {
        "name": "apqx",
        "provider": "k3d",
        "context": "apqx",
        "prometheus_url": "http://127.0.0.1:9",
        "ingress_url": "http://127.0.0.1:9",
        "gitops_repo": "",
    }
    return Platform(kubeconfig=kubeconfig, home=home, **defaults | more)


def set_pod(api: ApiServer, pod: dict[str, Any], **status: Any) -> None:
    """Write a pod's status, as its node's agent would."""
    meta = pod["metadata"]
    path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/status"
    answer = api.call("PATCH", path, {"status": status}, content_type=MERGE)
    assert answer.status in (200, 404, 409), answer.body


def _running(pod: dict[str, Any]) -> dict[str, Any]:
    now = pod["metadata"]["creationTimestamp"]
    names = [(c["name"], c["image"]) for c in pod["spec"]["containers"]]
    return {
        "phase": "Running",
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")
        ],
        "containerStatuses": [
            {
                "name": name,
                "image": image,
                "imageID": "",
                "ready": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
            for name, image in names
        ],
    }


@contextlib.contextmanager
def hands(api: ApiServer) -> Iterator[None]:
    """Let every pod run, and every StatefulSet be complete: what nodes and their controller do elsewhere."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.1):
            for pod in api.call("GET", "/api/v1/pods").json["items"]:
                if pod.get("status", {}).get("phase") != "Running":
                    set_pod(api, pod, **_running(pod))
            for item in api.call("GET", "/apis/apps/v1/statefulsets").json["items"]:
                meta, wanted = item["metadata"], item["spec"].get("replicas", 1)
                status = {"observedGeneration": meta["generation"], "readyReplicas": wanted, "replicas": wanted}
                if (item.get("status") or {}).get("observedGeneration") != meta["generation"]:
                    path = f"/apis/apps/v1/namespaces/{meta['namespace']}/statefulsets/{meta['name']}/status"
                    api.call("PATCH", path, {"status": status}, content_type=MERGE)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join(10)
