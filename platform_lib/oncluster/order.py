"""What is a Job told? The book, its parameters, the endpoints as pods reach them, and where the evidence goes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from platform_lib.errors import InvalidInput
from platform_lib.model import Platform, to_json
from platform_lib.settings import Settings

CONTEXT = "in-cluster"
API_URL = "https://kubernetes.default.svc"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
MOUNT = "/etc/apqx"
"""Where the order lies in the pod."""
GIT_TOKEN = "GIT_TOKEN"  # noqa: S105 - the name of a variable
"""Key of the Secret that holds the token for pushes."""
RESULTS = re.compile(r"(?:(?:s3|gs|abs|adl|hdfs)://\S+|/\S+)")
"""Where evidence can go: object storage that papermill knows, or an absolute folder."""
_IMAGE = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")
_DEPLOYS = frozenset({"02-deploy", "03-observe-rollout", "04-rollback"})
_NOT_ON_ITSELF = frozenset({"01-setup", "06-teardown"})


@dataclass(frozen=True, slots=True)
class Order:
    """One run on the cluster.

    Attributes:
        id: Names the Job and everything beside it: ``apqx-run-<id>``.
        book: Runbook.
        parameters: Checked values by name.
        platform: Endpoints as pods reach them.
        image: Workbench image by digest.
        results: Prefix of the evidence, without a slash at the end.
        secret: Secret whose keys become environment; may be empty.
        namespace: Where the Job runs.
        timeout_s: Its deadline in seconds.
    """

    id: str
    book: str
    parameters: dict[str, Any]
    platform: Platform
    image: str
    results: str
    secret: str
    namespace: str
    timeout_s: float

    @property
    def name(self) -> str:
        """Name of the Job."""
        return f"apqx-run-{self.id}"

    def document(self) -> str:
        """Return what is mounted into the pod; no secret is in it."""
        told = {
            "id": self.id,
            "book": self.book,
            "parameters": self.parameters,
            "platform": to_json(self.platform),
            "results": self.results,
        }
        return json.dumps(told, indent=1, sort_keys=True)

    def kubeconfig(self) -> str:
        """Return the kubeconfig of the pod: its own service account, read from its own files."""
        import yaml

        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {"name": CONTEXT, "cluster": {"server": API_URL, "certificate-authority": f"{ACCOUNT}/ca.crt"}}
                ],
                "users": [{"name": CONTEXT, "user": {"tokenFile": f"{ACCOUNT}/token"}}],
                "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT}}],
                "current-context": CONTEXT,
            },
            sort_keys=False,
        )


def make(
    current: Settings,
    platform: Platform,
    *,
    id: str,
    book: str,
    parameters: dict[str, Any],
    image: str,
    results: str = "",
    secret: str = "",
) -> Order:
    """Check what was asked for and return the order.

    Args:
        current: Settings; the arguments win.
        platform: The cluster as it is reached from here.
        id: Lower-case letters, digits and dashes.
        book: Runbook; those that bring a cluster up or down cannot run on it.
        parameters: Checked values.
        image: Workbench image by digest.
        results: Where the evidence goes.
        secret: Secret for storage and git.

    Raises:
        InvalidInput: The book cannot run on the cluster it changes, an image is missing or has no digest, or there is
            no place for the evidence.
    """
    where, keys = (results or current.job_results).rstrip("/"), secret or current.job_secret
    if book in _NOT_ON_ITSELF:
        raise InvalidInput(
            f"{book} - brings a cluster up or down, so it cannot run on that cluster", hint=f"apqx run {book}"
        )
    if book in _DEPLOYS and not parameters.get("image"):
        raise InvalidInput(
            f"{book} - builds an image, which a pod cannot; expected one that is there already",
            hint="-p image=NAME@sha256:..., as make image REGISTRY=... or your pipeline pushed it",
        )
    if not _IMAGE.fullmatch(image):
        raise InvalidInput(
            f"workbench image {image or 'none'} - expected a reference by digest (name@sha256:...)",
            hint="make image REGISTRY=... builds and pushes it; then --image, or APQX_JOB_IMAGE",
        )
    if not RESULTS.fullmatch(where):
        raise InvalidInput(
            f"results {where or 'nowhere'!r} - expected object storage such as s3://bucket/prefix",
            hint="pass --results, or set APQX_JOB_RESULTS; a pod's own disk is gone with the pod",
        )
    there = inside(platform, current, token=f"env:{GIT_TOKEN}" if keys else "")
    return Order(id, book, parameters, there, image, where, keys, current.job_namespace, current.job_timeout_s)


def inside(platform: Platform, current: Settings, *, token: str = "") -> Platform:
    """Return a platform's endpoints as pods of its cluster reach them; ``token`` refers to that of git."""
    return replace(
        platform,
        provider="existing",
        context=CONTEXT,
        kubeconfig=Path(MOUNT) / "kubeconfig",
        prometheus_url=current.job_prometheus_url or platform.prometheus_url,
        prometheus_headers=() if current.job_prometheus_url else platform.prometheus_headers,
        prometheus_ca=None,
        ingress_url=current.job_ingress_url or platform.ingress_url,
        gitops_repo=platform.gitops_url,
        gitops_token=token,
        argocd_url="",
        argocd_token="",
        argocd_ca=None,
        home=Path("/state"),
    )
