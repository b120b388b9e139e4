"""What only Argo CD renders is compared by argocd-server: its recorded answers, read over HTTP on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from platform_lib import inspection
from platform_lib.errors import InvalidInput
from platform_lib.model import App, Platform

COMMIT = "c" * 40
MANAGED = [
    {"manager": "argocd-controller", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
    {"manager": "kubectl-edit", "operation": "Update", "time": "2026-01-01T00:00:00Z",
     "fieldsV1": {"f:spec": {"f:replicas": {}}}},
]  # fmt: skip


def state(kind: str, name: str, **more: Any) -> str:
    version = "apps/v1" if kind == "Deployment" else "v1"
    meta = {"name": name, "namespace": "shop", **more.pop("meta", {})}
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": meta, **more})


def item(
    kind: str, name: str, target: str = "null", live: str = "null", before: str = "", after: str = "", **more: Any
) -> Any:
    group = "apps" if kind == "Deployment" else ""
    where = {"group": group, "kind": kind, "namespace": "shop", "name": name}
    return {**where, "targetState": target, "liveState": live,
            "normalizedLiveState": before or live, "predictedLiveState": after or target, **more}  # fmt: skip


WEB = state("Deployment", "web", spec={"replicas": 3}, meta={"managedFields": MANAGED, "resourceVersion": "7"})
ANSWERS: dict[str, Any] = {
    "/api/v1/applications/shop": {
        "metadata": {"name": "shop", "namespace": "argocd"},
        "spec": {"project": "default", "source": {"repoURL": "x", "path": "chart"}, "destination": {}},
        "status": {"sourceType": "Helm", "sync": {"status": "OutOfSync", "revision": COMMIT}},
    },
    "/api/v1/applications/shop/managed-resources": {
        "items": [
            item("Deployment", "web", state("Deployment", "web", spec={"replicas": 1}), WEB,
                 state("Deployment", "web", spec={"replicas": 3}), state("Deployment", "web", spec={"replicas": 1})),
            item("Secret", "s", state("Secret", "s", data={"p": "+++"}), state("Secret", "s", data={"p": "++++"})),
            item("ConfigMap", "same", state("ConfigMap", "same"), state("ConfigMap", "same")),
            item("ConfigMap", "new", state("ConfigMap", "new")),
            item("Service", "old", live=state("Service", "old")),
            item("Pod", "migrate", state("Pod", "migrate"), hook=True),
        ]
    },
}  # fmt: skip


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """A platform without a kubeconfig, whose argocd-server answers what was recorded."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            allowed = self.headers["Authorization"] == "Bearer opensesame" and "appNamespace=argocd" in query
            body = json.dumps(ANSWERS[path] if allowed and path in ANSWERS else {"code": 7, "message": "no"}).encode()
            self.send_response(200 if allowed and path in ANSWERS else 403)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    token = tmp_path / "token"
    token.write_text("opensesame")
    token.chmod(0o600)
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield Platform(
            "c",
            "existing",
            tmp_path / "absent",
            "x",
            "",
            "",
            "",
            tmp_path,
            argocd_url=url,
            argocd_token=f"file:{token}",
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_chart_is_compared_by_argocd_server_and_the_manager_is_named(platform: Platform) -> None:
    found = inspection.diff(platform, App("shop"))
    assert (found.revision, found.compared, found.differs) == (COMMIT, 6, True)
    changes = {one.object: one for one in found.objects}
    assert {name: one.change for name, one in changes.items()} == {
        "apps/Deployment/web": "change",
        "Secret/s": "change",
        "ConfigMap/new": "create",
        "Service/old": "prune",
    }
    (field,) = changes["apps/Deployment/web"].fields
    assert (field.path, field.live, field.wanted, field.cause) == (".spec.replicas", "3", "1", "drift")
    assert field.managers[0].startswith("kubectl-edit (Update) since 2026-01-01")
    assert changes["Secret/s"].fields[0].live == "(hidden)" and "+" not in changes["Secret/s"].fields[0].wanted
    assert found.hooks == ("Pod/migrate",)


def test_another_revision_is_refused_with_the_tool_that_can(platform: Platform) -> None:
    assert inspection.diff(platform, App("shop"), revision=COMMIT[:7]).differs
    with pytest.raises(InvalidInput, match="compared ccccccc, feature was asked for") as refused:
        inspection.diff(platform, App("shop"), revision="feature")
    assert "argocd app diff shop" in refused.value.hint
