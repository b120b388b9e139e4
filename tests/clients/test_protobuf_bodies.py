"""The numbers in ``embedded/protobuf.py`` against the kubectl at hand: what it sends equals what it prints."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import ssl
import subprocess
import threading

import pytest
import trustme

from platform_lib.embedded import discovery
from platform_lib.embedded.kinds import KINDS, by_kind
from platform_lib.embedded.protobuf import decode
from platform_lib.embedded.schema import Schemas, cache_name

KUBECTL = shutil.which("kubectl")
pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(KUBECTL is None, reason="kubectl is not on PATH"),
]

CREATES = [
    ["namespace", "shop"],
    ["configmap", "cm", "--from-literal=a=b", "-n", "shop"],
    ["secret", "generic", "s", "--from-literal=a=b", "--type=x"],
    ["serviceaccount", "sa"],
    ["deployment", "web", "--image=nginx", "--replicas=3", "--port=8080"],
    ["deployment", "none", "--image=nginx", "--replicas=0"],
    ["job", "j", "--image=busybox", "--", "sleep", "3"],
    ["cronjob", "c", "--image=busybox", "--schedule=1 * * * *", "--restart=OnFailure", "--", "sleep", "3"],
    ["service", "clusterip", "svc", "--tcp=80:8080"],
    ["service", "clusterip", "svc", "--clusterip=None"],
    ["service", "nodeport", "svc", "--tcp=80:web", "--node-port=31000"],
    ["service", "externalname", "svc", "--external-name=a.example.com"],
    ["ingress", "i", "--class=traefik", "--rule=a.example.com/*=svc:8080,tls=sec", "--annotation=x=y"],
    ["ingress", "i", "--default-backend=svc:http"],
    ["role", "r", "--verb=get,list", "--resource=pods", "--resource-name=a"],
    ["clusterrole", "r", "--verb=get", "--non-resource-url=/x"],
    ["clusterrole", "r", "--aggregation-rule=a=b"],
    ["rolebinding", "rb", "--role=r", "--user=u", "--group=g", "--serviceaccount=ns:sa"],
    ["clusterrolebinding", "rb", "--clusterrole=r", "--user=u"],
    ["poddisruptionbudget", "p", "--selector=app=web", "--min-available=1"],
    ["poddisruptionbudget", "p", "--selector=app=web", "--max-unavailable=50%"],
    ["quota", "q", "--hard=cpu=1,memory=2Gi", "--scopes=BestEffort"],
    ["priorityclass", "pc", "--value=1000", "--description=x", "--preemption-policy=Never", "--global-default=true"],
]


class Recorder(http.server.BaseHTTPRequestHandler):
    """Answers discovery, keeps the body of every write and refuses it."""

    bodies: list[tuple[str, bytes]]

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == "/version":
            self._answer(200, {"major": "1", "minor": "33", "gitVersion": "v1.33.0"})
            return
        found = discovery.document(path, KINDS)
        self._answer(200 if found else 404, found or {"kind": "Status", "reason": "NotFound", "code": 404})

    def do_POST(self):
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        self.bodies.append((self.headers.get("Content-Type", ""), raw))
        self._answer(400, {"kind": "Status", "apiVersion": "v1", "reason": "BadRequest", "code": 400})

    def _answer(self, code, document):
        raw = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args):
        """Stay quiet."""


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kubectl")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    handler = type("Bound", (Recorder,), {"bodies": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "KUBECACHEDIR": str(folder / "cache")}
    url = f"https://127.0.0.1:{server.server_address[1]}"
    head = [KUBECTL, f"--server={url}", f"--certificate-authority={folder}/ca.pem", "--token=none"]

    def run(*arguments):
        handler.bodies.clear()
        answer = subprocess.run([*head, *arguments], env=environment, capture_output=True, text=True, timeout=60)
        return answer.stdout, list(handler.bodies)

    yield run
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def schemas(tmp_path_factory):
    return Schemas.load(tmp_path_factory.mktemp("cache") / cache_name())


def options_first(arguments, *options):
    """Put options before ``--``, so that they are not taken for the container's command."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    return [*arguments[:cut], *options, *arguments[cut:]]


def tidy(value):
    """Drop what is empty: Go prints empty structs that the wire does not tell from absent ones."""
    if isinstance(value, dict):
        kept = {key: tidy(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in ({}, [], None)}
    return [tidy(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("arguments", CREATES, ids=lambda arguments: " ".join(arguments[:3]))
def test_what_kubectl_sends_is_what_it_prints(kubectl, schemas, arguments):
    printed, _ = kubectl("create", *options_first(arguments, "--dry-run=client", "-o", "json"))
    _, bodies = kubectl("create", *arguments)
    content_type, raw = bodies[-1]
    if "protobuf" not in content_type:
        pytest.skip("this kubectl sends JSON")
    sent, twin = decode(raw), json.loads(printed)
    twin.pop("status", None)
    kind = by_kind(sent["apiVersion"], sent["kind"])
    for obj in (sent, twin):
        schemas.prune(kind, obj)
    assert tidy(sent) == tidy(twin)


@pytest.mark.parametrize(
    ("arguments", "spec"),
    [
        (
            ["auth", "can-i", "get", "deployments.apps/web", "--subresource=log", "-n", "shop"],
            {
                "resourceAttributes": {
                    "namespace": "shop", "verb": "get", "group": "apps",
                    "resource": "deployments", "subresource": "log", "name": "web",
                }
            },
        ),
        (["auth", "can-i", "get", "/healthz"], {"nonResourceAttributes": {"path": "/healthz", "verb": "get"}}),
        (["auth", "can-i", "--list"], {"namespace": "default"}),
        (
            ["create", "token", "sa", "--duration=10m", "--audience=a", "--bound-object-kind=Pod",
             "--bound-object-name=x", "--bound-object-uid=y"],
            {
                "audiences": ["a"], "expirationSeconds": 600,
                "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "x", "uid": "y"},
            },
        ),
    ],
    ids=["can-i", "can-i path", "can-i list", "token"],
)  # fmt: skip
def test_reviews_and_token_requests(kubectl, arguments, spec):
    _, bodies = kubectl(*arguments)
    content_type, raw = bodies[-1]
    if "protobuf" not in content_type:
        pytest.skip("this kubectl sends JSON")
    assert decode(raw)["spec"] == spec
