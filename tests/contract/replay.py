"""Recorded statuses of an Application, replayed through a small API server so that the real wire code runs.

A transcript is a YAML file: what the Application is at the start, what the library is told to do, each write of the
controller (as the merge patch it sends), and what must come of it. The controller's part is played here.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

Obj = dict[str, Any]
FOLDER = Path(__file__).parent / "transcripts"
APPS = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications"
PATH = f"{APPS}/sample-app"
REFRESH = "argocd.argoproj.io/refresh"
STEP_S = 0.06


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> Obj:
    found: Obj = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return found


def merge(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def shape(app: Obj, revisions: dict[str, str]) -> Obj:
    """Return what tells the stages apart, with times and commits taken out."""
    status = app.get("status") or {}
    state = status.get("operationState") or {}
    sync = status.get("sync") or {}
    return {
        "requested": "operation" in app,
        "phase": state.get("phase", ""),
        "message": plain(state.get("message", ""), revisions),
        "retrying": state.get("phase") == "Running" and "finishedAt" in state,
        "retries": int(state.get("retryCount") or 0),
        "history": len(status.get("history") or []),
        "sync": sync.get("status", ""),
        "revision": revisions.get(sync.get("revision", ""), sync.get("revision", "")),
        "conditions": sorted(c["type"] for c in status.get("conditions") or []),
    }


def plain(text: str, revisions: dict[str, str]) -> str:
    for sha, name in revisions.items():
        text = text.replace(sha, f"${name}")
    text = re.sub(r"\bat \d{1,2}:\d{2}[AP]M", "at TIME", text)
    return re.sub(r"\bt-[0-9a-f]{6}\b", "NAMESPACE", text)


@dataclass
class Api:
    """An API server with one Application whose controller follows a script."""

    script: Obj
    values: dict[str, Any]
    objects: dict[str, Obj] = field(default_factory=dict)
    events: list[tuple[int, str, Obj]] = field(default_factory=list)
    writes: list[tuple[str, Any]] = field(default_factory=list)
    shapes: list[tuple[Obj, Obj]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    version: int = 100
    stopped: bool = False
    error: str = ""

    def __post_init__(self) -> None:
        self.changed = threading.Condition()
        app: Obj = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": {"name": "sample-app", "namespace": "argocd", "resourceVersion": "100"},
            "spec": {
                "project": "default",
                "source": self.values["source"],
                "destination": {"server": "https://kubernetes.default.svc", "namespace": "sample-app"},
            },
        }
        self.objects[PATH] = merge(app, self.filled(self.script.get("start") or {}))
        for path, obj in (self.script.get("objects") or {}).items():
            self.objects[path] = self.filled(obj)

    # The script -------------------------------------------------------------------------------------------------

    def filled(self, value: Any) -> Any:
        """Put commits, times and the request into a value of the transcript."""
        if isinstance(value, dict):
            return {key: self.filled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.filled(item) for item in value]
        if not isinstance(value, str):
            return value
        if found := re.fullmatch(r"\$now([+-]\d+)?", value):
            return self.moment(int(found[1] or 0))
        if value == "$operation":
            return copy.deepcopy(self.objects[PATH].get("operation") or {})
        if value in ("$source", "$sources"):
            return copy.deepcopy(self.values[value[1:]])
        return re.sub(r"\$(old|new|image_old|image_new)\b", lambda m: str(self.values[m[1]]), value)

    @staticmethod
    def moment(offset_s: int) -> str:
        return (datetime.now(UTC) + timedelta(seconds=offset_s)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def play(self) -> None:
        """Play the controller's part, step by step."""
        for number, step in enumerate(self.script["steps"]):
            if not self.wait_for(step.get("when", "")):
                if not self.stopped:
                    self.error = f"step {number} never came: {step['when']}"
                return
            time.sleep(step.get("after_s", STEP_S))
            if self.stopped:
                return
            self.take(step)
            self.let_it_be_said(step)

    def let_it_be_said(self, step: Obj) -> None:
        """Give a busy machine the time to look, where the transcript expects this step's message as progress."""
        message = ((step.get("status") or {}).get("operationState") or {}).get("message") or ""
        wanted = [w for w in (self.script.get("expect") or {}).get("progress", []) if message and w[-30:] in message]
        until = time.monotonic() + 5
        while wanted and not self.stopped and time.monotonic() < until:
            wanted = [words for words in wanted if words not in "\n".join(self.lines)]
            time.sleep(0.01)

    def wait_for(self, trigger: str) -> bool:
        """Wait until the library did what a step reacts to."""
        tests = {
            "": lambda app: True,
            "requested": lambda app: "operation" in app and "operationState" not in app.get("status", {}),
            "refresh": lambda app: REFRESH in (app["metadata"].get("annotations") or {}),
            "terminate": lambda app: app["status"].get("operationState", {}).get("phase") == "Terminating",
        }
        with self.changed:
            self.changed.wait_for(lambda: self.stopped or tests[trigger](self.objects[PATH]), timeout=20)
            return not self.stopped and tests[trigger](self.objects[PATH])

    def take(self, step: Obj) -> None:
        """Make one write of the controller, or of somebody else."""
        with self.changed:
            app = self.objects[PATH]
            patch = {"status": self.filled(step["status"])} if step.get("status") else {}
            if step.get("history"):
                rows = list((app.get("status") or {}).get("history") or [])
                row = {"id": rows[-1]["id"] + 1 if rows else 0, **self.filled(step["history"])}
                patch = merge(patch, {"status": {"history": [*rows, row]}})
            patch = merge(patch, self.filled(step.get("patch") or {}))
            app = merge(app, patch)
            for path, obj in (step.get("objects") or {}).items():
                self.put(path, merge(self.objects.get(path, {}), self.filled(obj)))
            if step.get("ended"):
                app.pop("operation", None)
            if "reconciledAt" in (step.get("status") or {}) or step.get("refresh"):
                (app["metadata"].get("annotations") or {}).pop(REFRESH, None)
            for gone in step.get("remove") or []:
                holder, *rest = gone.split(".")
                inner = app[holder]
                for name in rest[:-1]:
                    inner = inner[name]
                inner.pop(rest[-1], None)
            self.put(PATH, app)
            self.shapes.append((step, shape(app, self.values["names"])))

    # The store --------------------------------------------------------------------------------------------------

    def put(self, path: str, obj: Obj) -> Obj:
        """Store an object under the next version and tell the watches; the caller holds the lock."""
        self.version += 1
        obj = copy.deepcopy(obj)
        obj.setdefault("metadata", {})["resourceVersion"] = str(self.version)
        kind = "MODIFIED" if path in self.objects else "ADDED"
        self.objects[path] = obj
        self.events.append((self.version, kind, {"path": path, "object": obj}))
        self.changed.notify_all()
        return obj

    def patch(self, path: str, body: Any, content_type: str) -> tuple[int, Obj]:
        """Patch an object as the API does: versions guard, ``test`` refuses."""
        with self.changed:
            found = self.objects.get(path)
            if found is None:
                return 404, failure(404, "NotFound", f"{path} not found")
            if path == PATH:
                self.writes.append((content_type.partition("+")[0].rpartition("/")[2], copy.deepcopy(body)))
            if content_type.startswith("application/json-patch"):
                result = copy.deepcopy(found)
                for op in body:
                    *parents, last = op["path"].strip("/").split("/")
                    inner = result
                    for name in parents:
                        inner = inner.get(name, {})
                    if op["op"] == "test" and inner.get(last) != op["value"]:
                        return 422, failure(422, "Invalid", "the server rejected our request: testing failed")
                    if op["op"] in ("add", "replace"):
                        inner[last] = op["value"]
            else:
                wanted = (body.get("metadata") or {}).get("resourceVersion")
                if wanted and wanted != found["metadata"]["resourceVersion"]:
                    return 409, failure(409, "Conflict", "the object has been modified")
                result = merge(found, body)
            return 200, self.put(path, result)


def failure(code: int, reason: str, message: str) -> Obj:
    return {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message, "details": {}}


def handler_for(api: Api) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - one short method per verb
    """Return the request handler of an API."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Say nothing: the test asserts."""

        def answer(self, status: int, body: Any) -> None:
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def body(self) -> Any:
            return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            if query.get("watch") == "true":
                self.watch(parts.path, int(query["resourceVersion"]), float(query.get("timeoutSeconds", 5)))
                return
            with api.changed:
                found = api.objects.get(parts.path)
                below = [o for path, o in api.objects.items() if path.rpartition("/")[0] == parts.path]
                version = str(api.version)
            if found is not None:
                self.answer(200, found)
            elif parts.path.rpartition("/")[2] in ("applications", "deployments", "pods", "leases"):
                self.answer(200, {"items": below, "metadata": {"resourceVersion": version}})
            else:
                self.answer(404, failure(404, "NotFound", f"{parts.path} not found") | {"details": {"name": "x"}})

        def watch(self, path: str, version: int, timeout_s: float) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            until = time.monotonic() + timeout_s
            with contextlib.suppress(OSError):
                while time.monotonic() < until and not api.stopped:
                    with api.changed:
                        fresh = [e for e in api.events if e[0] > version]
                        if not fresh:
                            api.changed.wait(0.2)
                            continue
                    for number, kind, item in fresh:
                        version = number
                        if item["path"].rpartition("/")[0] == path:
                            line = json.dumps({"type": kind, "object": item["object"]}).encode() + b"\n"
                            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                    self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")

        def do_POST(self) -> None:
            body = self.body()
            path = f"{urlsplit(self.path).path}/{body['metadata']['name']}"
            with api.changed:
                taken = path in api.objects
                stored = body if taken else api.put(path, body)
            self.answer(409 if taken else 201, failure(409, "AlreadyExists", "is there") if taken else stored)

        def do_PUT(self) -> None:
            body = self.body()
            with api.changed:
                stored = api.put(urlsplit(self.path).path, body)
            self.answer(200, stored)

        def do_PATCH(self) -> None:
            self.answer(*api.patch(urlsplit(self.path).path, self.body(), self.headers["Content-Type"]))

        def do_DELETE(self) -> None:
            self.body()
            with api.changed:
                api.objects.pop(urlsplit(self.path).path, None)
            self.answer(200, {})

    return Handler


@contextlib.contextmanager
def serving(api: Api) -> Iterator[str]:
    """Serve the API on loopback while the block runs, and play the controller's part."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(api))
    server.daemon_threads = True
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,)), threading.Thread(target=api.play)]
    for thread in threads:
        thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        with api.changed:
            api.stopped = True
            api.changed.notify_all()
        server.shutdown()
        server.server_close()
        for thread in threads:
            thread.join(5)


def write_kubeconfig(url: str, folder: Path) -> Path:
    """Write a kubeconfig with context ``apqx`` for a replayed API, which takes any token; return its path."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "apqx", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "apqx",
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path
