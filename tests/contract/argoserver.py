"""A stand-in for argocd-server: its REST API, translated into the embedded Kubernetes API.

It plays the server's part only: checks the token, keeps the server's rules, writes operations as the server does. What
becomes of them is the business of the real embedded controller. Errors have the shape of grpc-gateway v1.

Source: Argo CD v3.5.1, server/application/application.go.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from apiprocess import ApiServer

Obj = dict[str, Any]
GROUP = "/apis/argoproj.io/v1alpha1"
REFRESH = "argocd.argoproj.io/refresh"
MERGE = "application/merge-patch+json"
HTTP = {3: 400, 5: 404, 6: 409, 7: 403, 9: 400, 13: 500, 14: 503, 16: 401}


class Refused(Exception):
    """A gRPC status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Server:
    """The rules of argocd-server over one embedded API."""

    def __init__(self, api: ApiServer, token: str) -> None:
        self.api, self.token = api, token
        self.stopped = threading.Event()
        self.asked: list[str] = []
        self.denied: set[str] = set()

    def get(self, path: str) -> Obj | None:
        answer = self.api.call("GET", path)
        return answer.json if answer.status == 200 else None

    def app(self, name: str, query: Obj) -> Obj:
        found = self.get(f"{GROUP}/namespaces/{query.get('appNamespace') or 'argocd'}/applications/{name}")
        if found is None and not query.get("project"):
            raise Refused(7, "permission denied")
        if found is None or (query.get("project") or found["spec"]["project"]) != found["spec"]["project"]:
            raise Refused(5, f'applications.argoproj.io "{name}" not found')
        return found

    def patch(self, app: Obj, body: Obj) -> Obj:
        path = f"{GROUP}/namespaces/{app['metadata']['namespace']}/applications/{app['metadata']['name']}"
        answer = self.api.call("PATCH", path, body, content_type=MERGE)
        if answer.status >= 400:
            raise Refused(13, answer.json["message"])
        return dict(answer.json)

    def set_operation(self, name: str, query: Obj, operation: Obj) -> Obj:
        """Write an operation the way the server does: refuse a second one, clear the state, repeat on conflict."""
        for _ in range(10):
            app = self.app(name, query)
            if app.get("operation"):
                raise Refused(9, "error setting app operation: another operation is already in progress")
            version = {"resourceVersion": app["metadata"]["resourceVersion"]}
            body = {"metadata": version, "operation": operation, "status": {"operationState": None}}
            with contextlib.suppress(Refused):
                return self.patch(app, body)
        raise Refused(13, "too many conflicts")

    def answer(self, method: str, path: str, query: Obj, body: Obj) -> Any:
        """Answer one question."""
        parts = path.removeprefix("/api/v1/").split("/")
        if parts[0] == "projects":
            found = self.get(f"{GROUP}/namespaces/argocd/appprojects/{parts[1]}")
            if found is None:
                raise Refused(5, f'appprojects.argoproj.io "{parts[1]}" not found')
            return found
        if parts == ["applications"]:
            where = f"/namespaces/{query['appNamespace']}" if query.get("appNamespace") else ""
            items = (self.get(f"{GROUP}{where}/applications") or {})["items"]
            return {"items": [i for i in items if query.get("name") in (None, i["metadata"]["name"])] or None}
        name, sub = parts[1], "/".join(parts[2:])
        query = query | {key: body[key] for key in ("appNamespace", "project") if body.get(key)}
        return getattr(self, f"{method}_{sub or 'application'}".replace("-", "_").lower())(name, query, body)

    def get_application(self, name: str, query: Obj, _body: Obj) -> Obj:
        app = self.app(name, query)
        if query.get("refresh"):
            self.patch(app, {"metadata": {"annotations": {REFRESH: query["refresh"]}}})
            until = time.monotonic() + 20
            while REFRESH in (self.app(name, query)["metadata"].get("annotations") or {}) and time.monotonic() < until:
                time.sleep(0.02)
            app = self.app(name, query)
        return {key: value for key, value in app.items() if key not in ("apiVersion", "kind")}

    def patch_application(self, name: str, query: Obj, body: Obj) -> Obj:
        app, patch = self.app(name, query), json.loads(body["patch"])
        assert body["patchType"] == "merge"
        kept = {
            "spec": patch.get("spec") or {},
            "metadata": {"annotations": patch["metadata"].get("annotations") or {}},
        }
        return self.patch(app, kept)

    def post_sync(self, name: str, query: Obj, body: Obj) -> Obj:
        app = self.app(name, query)
        policy, target = app["spec"].get("syncPolicy") or {}, app["spec"]["source"].get("targetRevision") or "HEAD"
        automated = policy.get("automated") is not None and policy["automated"].get("enabled") is not False
        if app["metadata"].get("deletionTimestamp"):
            raise Refused(9, "application is deleting")
        if automated and body.get("revision") and body["revision"] != target:
            raise Refused(9, f"Cannot sync to {body['revision']}: auto-sync currently set to {target}")
        sync = {
            "source": app["spec"]["source"],
            "revision": body.get("revision") or "",
            "prune": body.get("prune") or False,
            "dryRun": body.get("dryRun") or False,
            "syncOptions": policy.get("syncOptions"),
            "syncStrategy": body.get("strategy"),
            "resources": body.get("resources"),
        }
        operation: Obj = {"sync": {key: value for key, value in sync.items() if value}}
        operation |= {"initiatedBy": {"username": "rest"}, "info": body.get("infos") or []}
        retry = body.get("retryStrategy") or policy.get("retry")
        return self.set_operation(name, query, operation | ({"retry": retry} if retry else {}))

    def post_rollback(self, name: str, query: Obj, body: Obj) -> Obj:
        app = self.app(name, query)
        policy = (app["spec"].get("syncPolicy") or {}).get("automated")
        if policy is not None and policy.get("enabled") is not False:
            raise Refused(9, "rollback cannot be initiated when auto-sync is enabled")
        rows = (app.get("status") or {}).get("history") or []
        row = next((row for row in rows if row["id"] == body["id"]), None)
        if row is None:
            raise Refused(3, f"application {name} does not have deployment with id {body['id']}")
        sync = {"revision": row["revision"], "source": row["source"], "syncStrategy": {"apply": {}}}
        sync |= {"prune": True} if body.get("prune") else {}
        return self.set_operation(name, query, {"sync": sync, "initiatedBy": {"username": "rest"}})

    def delete_operation(self, name: str, query: Obj, _body: Obj) -> Obj:
        app = self.app(name, query)
        if not app.get("operation") or not app["status"].get("operationState"):
            raise Refused(3, "Unable to terminate operation. No operation is in progress")
        self.patch(app, {"status": {"operationState": {"phase": "Terminating"}}})
        return {}

    def get_resource_tree(self, name: str, query: Obj, _body: Obj) -> Obj:
        if "tree" in self.denied:
            raise Refused(7, "permission denied")
        namespace = self.app(name, query)["spec"]["destination"]["namespace"]
        pods = (self.get(f"/api/v1/namespaces/{namespace}/pods") or {}).get("items") or []
        return {
            "nodes": [
                {"kind": "Pod", "version": "v1", "namespace": namespace, "name": p["metadata"]["name"]} for p in pods
            ]
        }

    def get_resource(self, name: str, query: Obj, _body: Obj) -> Obj:
        if "tree" in self.denied:
            raise Refused(7, "permission denied")
        self.app(name, query)
        group, kind = query.get("group", ""), query["kind"]
        root = f"/apis/{group}/{query['version']}" if group else f"/api/{query['version']}"
        found = self.get(f"{root}/namespaces/{query['namespace']}/{kind.lower()}s/{query['resourceName']}")
        if found is None:
            raise Refused(3, f"{kind} {group} {query['resourceName']} not found as part of application {name}")
        return {"manifest": json.dumps(found)}


def handler_for(server: Server) -> type[BaseHTTPRequestHandler]:
    """Return the request handler."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Say nothing: the test asserts."""

        def handle_one(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            server.asked.append(f"{self.command} {parts.path}")
            try:
                if self.headers.get("Authorization") != f"Bearer {server.token}":
                    raise Refused(16, "invalid session: token is malformed")
                if parts.path == "/api/v1/stream/applications":
                    self.stream(query)
                    return
                self.reply(200, server.answer(self.command, parts.path, query, body))
            except Refused as refused:
                document = {"error": refused.message, "code": refused.code, "message": refused.message}
                self.reply(HTTP[refused.code], document)

        do_GET = do_POST = do_PATCH = do_DELETE = handle_one

        def reply(self, status: int, document: Any) -> None:
            raw = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def stream(self, query: Obj) -> None:
            """Send an Application as it is and then each change of it; without a time limit, as the server does."""
            server.app(query["name"], query | {"project": ""})
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            last = ""
            with contextlib.suppress(OSError, Refused):
                while not server.stopped.is_set():
                    app = server.app(query["name"], query)
                    if app["metadata"]["resourceVersion"] != last:
                        kind, last = ("MODIFIED" if last else "ADDED"), app["metadata"]["resourceVersion"]
                        line = json.dumps({"result": {"type": kind, "application": app}}).encode() + b"\n"
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                    time.sleep(0.03)
            self.close_connection = True

    return Handler


@contextlib.contextmanager
def serving(server: Server) -> Iterator[str]:
    """Serve with the cluster's certificate on loopback while the block runs."""
    web = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(server))
    web.daemon_threads = True
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pki = server.api.config.pki_dir
    tls.load_cert_chain(pki / "server.crt", pki / "server.key")
    web.socket = tls.wrap_socket(web.socket, server_side=True)
    thread = threading.Thread(target=web.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"https://127.0.0.1:{web.server_port}"
    finally:
        server.stopped.set()
        web.shutdown()
        web.server_close()
        thread.join(5)
