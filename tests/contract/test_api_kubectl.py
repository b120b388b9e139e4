"""kubectl, unchanged, against the API process: the verbs an on-call engineer types."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from apiprocess import ApiServer

KUBECTL = shutil.which("kubectl")
pytestmark = [pytest.mark.clients, pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")]

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: c, image: example/app, ports: [{containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""


class Kubectl:
    def __init__(self, server: ApiServer, namespace: str, home: Path) -> None:
        self.manifest = home / "web.yaml"
        self.manifest.write_text(MANIFEST)
        self._namespace = namespace
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "KUBECONFIG": str(server.config.cluster_dir / "kubeconfig"),
            "KUBECACHEDIR": str(home / "kubecache"),
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [KUBECTL or "", "-n", self._namespace, *words]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=60)

    def __call__(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def kubectl(api_server: ApiServer, namespace: str, tmp_path: Path) -> Kubectl:
    return Kubectl(api_server, namespace, tmp_path)


def test_apply_is_idempotent_and_diff_is_empty(kubectl: Kubectl) -> None:
    assert "created" in kubectl("apply", "-f", str(kubectl.manifest))
    assert kubectl("apply", "-f", str(kubectl.manifest)).count("unchanged") == 2
    assert kubectl.run("diff", "-f", str(kubectl.manifest)).returncode == 0
    kubectl.manifest.write_text(MANIFEST.replace("8080", "8081"))
    changed = kubectl.run("diff", "-f", str(kubectl.manifest))
    assert (changed.returncode, "+    targetPort: 8081" in changed.stdout) == (1, True)


def test_server_side_apply_takes_over_from_client_side_apply(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", str(kubectl.manifest))
    done = kubectl.run("apply", "--server-side", "--force-conflicts", "-f", str(kubectl.manifest))
    assert (done.returncode, done.stdout.count("serverside-applied")) == (0, 2)
    assert "Warning" not in done.stderr


def test_an_unknown_field_is_refused_by_the_server(kubectl: Kubectl) -> None:
    kubectl.manifest.write_text(MANIFEST.replace("replicas:", "replicass:"))
    done = kubectl.run("apply", "-f", str(kubectl.manifest))
    assert done.returncode == 1
    assert 'strict decoding error: unknown field "spec.replicass"' in done.stderr


def test_the_rollout_verbs(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", str(kubectl.manifest))
    kubectl("set", "image", "deployment/web", "c=example/app:2")
    kubectl("rollout", "restart", "deployment/web")
    kubectl("scale", "deployment/web", "--replicas=3")
    assert kubectl("get", "deployment/web", "-o", "jsonpath={.spec.replicas}") == "3"
    kubectl("wait", "--for=jsonpath={.status.observedGeneration}=4", "deployment/web", "--timeout=10s")
    assert "rolled back" in kubectl("rollout", "undo", "deployment/web", "--to-revision=1")
    assert kubectl("get", "deployment/web", "-o", "jsonpath={.spec.template.spec.containers[0].image}") == "example/app"


def test_typed_creates_send_protobuf_and_are_understood(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "settings", "--from-literal=color=blue")
    assert kubectl("get", "configmap", "settings", "-o", "jsonpath={.data.color}") == "blue"
    kubectl("create", "secret", "generic", "password", "--from-literal=p=w")
    kubectl("create", "serviceaccount", "bot")
    assert kubectl("create", "token", "bot").count(".") == 2
    kubectl("create", "role", "reader", "--verb=get", "--resource=pods")
    kubectl("create", "rolebinding", "reader", "--role=reader", "--serviceaccount=default:bot")
    kubectl("create", "deployment", "quick", "--image=example/app")
    kubectl("create", "poddisruptionbudget", "pdb", "--min-available=1", "--selector=app=quick")


def test_reading_verbs(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", str(kubectl.manifest))
    assert "deployment.apps/web" in kubectl("get", "all")
    assert "CONTAINERS" in kubectl("get", "deployments", "-o", "wide")
    assert "Replicas:" in kubectl("describe", "deployment", "web")
    assert "FIELD: strategy" in kubectl("explain", "deployments.spec.strategy")
    assert "applications" in kubectl("api-resources", "--api-group=argoproj.io")
    assert kubectl("auth", "can-i", "create", "pods").strip() == "yes"
    assert "kubernetes-admin" in kubectl("auth", "whoami")


def test_delete_waits_until_everything_is_gone(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", str(kubectl.manifest))
    kubectl("delete", "-f", str(kubectl.manifest), "--cascade=foreground", "--timeout=20s")
    assert kubectl("get", "replicasets,pods", "-o", "name") == ""
