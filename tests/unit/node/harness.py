"""What node tests share: a tiny image builder, an API process, and agents as separate processes."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from platform_lib.embedded import pki
from platform_lib.embedded.config import Config, NodeConfig, Ports
from platform_lib.embedded.kubelet.records import kill_all_pods

Obj = dict[str, Any]

# A small program with every behaviour the tests need: serves, counts, ends well, crashes, ignores.
PROGRAM = """
import http.server, os, signal, sys, threading, time
print("starting", os.getpid(), os.getuid(), flush=True)
if os.environ.get("EXIT_AFTER_S"):
    def leave():
        time.sleep(float(os.environ["EXIT_AFTER_S"])); os._exit(int(os.environ.get("EXIT_CODE", "0")))
    threading.Thread(target=leave, daemon=True).start()
time.sleep(float(os.environ.get("START_DELAY_S", "0")))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/env":
            body, code = repr(dict(os.environ)).encode(), 200
        elif self.path.startswith("/read?"):
            try:
                body, code = open(self.path[6:], "rb").read(), 200
            except OSError as error:
                body, code = repr(error).encode(), 404
        elif self.path.startswith("/write?"):
            try:
                open(self.path[7:], "w").write("x"); body, code = b"written", 200
            except OSError as error:
                body, code = repr(error).encode(), 403
        elif self.path == "/eat":
            self.server.eaten = bytearray(64 * 1024 * 1024); body, code = b"eaten", 200
        elif self.path == "/unready":
            Handler.ready = False; body, code = b"ok", 200
        elif self.path == "/sick":
            Handler.live = False; body, code = b"ok", 200
        elif self.path == "/ready":
            body, code = b"", 200 if Handler.ready else 503
        elif self.path == "/live":
            body, code = b"", 200 if Handler.live else 500
        else:
            body, code = b"%d %d" % (os.getpid(), os.getuid()), 200
        self.send_response(code); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
Handler.ready = Handler.live = True
def stop(*_):
    print("terminated", flush=True); time.sleep(float(os.environ.get("STOP_DELAY_S", "0"))); os._exit(0)
if os.environ.get("IGNORE_TERM"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, stop)
server = http.server.ThreadingHTTPServer((os.environ["POD_IP"], 8080), Handler)
print("serving", flush=True)
server.serve_forever()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_bwrap() -> str:
    """A usable bubblewrap; BWRAP may point to one that is not installed."""
    return os.environ.get("BWRAP") or shutil.which("bwrap") or ""


class Layout:
    """Writes small images into an OCI layout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        (self.root / "blobs" / "sha256" / digest).write_bytes(data)
        return f"sha256:{digest}"

    def path(self, digest: str) -> Path:
        return self.root / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def image(self, *layers: dict[str, str], **config: Any) -> str:
        """Return the reference of an image with these files per layer."""
        digests, described = [], []
        for files in layers:
            data = archive(files)
            digests.append(self.blob(data))
            described.append({"digest": digests[-1], "size": len(data)})
        run = {"Env": ["PYTHONPATH=/app"], "WorkingDir": "/app", "User": "1000", **config}
        document = {"config": run, "rootfs": {"type": "layers", "diff_ids": digests}}
        config_digest = self.blob(json.dumps(document).encode())
        manifest = {"schemaVersion": 2, "config": {"digest": config_digest}, "layers": described}
        return f"registry.test/app@{self.blob(json.dumps(manifest).encode())}"

    def server(self) -> str:
        return self.image({"app/main.py": PROGRAM}, Entrypoint=["python", "/app/main.py"])


def archive(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def make_config(home: Path, cache: Path, *, bwrap: str, node: NodeConfig, python: str = sys.executable) -> Config:
    cluster = home / "cluster"
    (cluster / "logs").mkdir(parents=True, exist_ok=True)
    config = Config(
        name="nodes",
        cluster_dir=cluster,
        images_dir=home / "images",
        cache_dir=cache,
        git_dir=home / "git",
        git_url="http://git.test/gitops.git",
        python=python,
        traefik="traefik",
        prometheus="prometheus",
        bwrap=bwrap,
        ports=Ports(api=free_port(), traefik=free_port(), kubelet=free_port()),
        nodes=(node,),
        node_grace_s=4.0,
        crash_backoff_s=0.8,
    )
    pki.ensure(config)
    config.save(cluster / "config.json")
    return config


class Cluster:
    """An API process with controllers, and one node agent process."""

    def __init__(self, config: Config, *, user: int | None = None, env: dict[str, str] | None = None) -> None:
        self.config, self.layout = config, Layout(config.images_dir)
        self.user, self.env = user, env
        self.interpreter = sys.executable if user is None else config.python
        self.node = config.nodes[0]
        self.tls = ssl.create_default_context(cafile=str(config.ca_file))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def node_dir(self) -> Path:
        return self.config.cluster_dir / "nodes" / self.node.name

    def start(self, role: str) -> None:
        arguments = "config" if role == "server" else f"config, {self.node.name!r}"
        program = (
            "import sys, logging; from pathlib import Path; logging.basicConfig(level='INFO');"
            "from platform_lib.embedded.config import Config; config = Config.load(Path(sys.argv[1]));"
            f"from platform_lib.embedded import {role}; {role}.main({arguments})"
        )
        with self.config.log_file(role).open("ab") as sink:
            self.processes[role] = subprocess.Popen(
                [self.interpreter, "-c", program, str(self.config.cluster_dir / "config.json")],
                stdout=sink,
                stderr=sink,
                cwd="/",
                user=self.user,
                group=self.user,
                extra_groups=None if self.user is None else [],
                env=self.env,
            )

    def up(self) -> None:
        self.start("server")
        self.wait(lambda: self.get("/readyz", raw=True) is not None, 20)
        self.start("node")
        self.wait(lambda: self.condition("/api/v1/nodes/" + self.node.name, "Ready") == "True", 20)

    def kill(self, role: str, number: signal.Signals = signal.SIGKILL) -> None:
        process = self.processes.pop(role)
        process.send_signal(number)
        process.wait(10)

    def down(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(10)
        kill_all_pods(self.node_dir)

    def call(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection("127.0.0.1", self.config.ports.api, context=self.tls, timeout=10)
        headers = {"Authorization": f"Bearer {self.config.token('admin')}", "Content-Type": kind}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path: str, *, raw: bool = False) -> Any:
        try:
            status, body = self.call("GET", path)
        except OSError:
            return None
        return None if status != 200 else body if raw else json.loads(body)

    def ok(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Obj:
        status, answer = self.call(method, path, body, kind)
        assert status < 300, answer
        decoded: Obj = json.loads(answer)
        return decoded

    @staticmethod
    def wait(probe: Callable[[], Any], timeout_s: float = 10) -> Any:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = probe()
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError(f"not within {timeout_s} s; last seen {found!r}")

    def condition(self, path: str, type_: str) -> str:
        found = (self.get(path) or {}).get("status", {}).get("conditions") or []
        return next((c["status"] for c in found if c["type"] == type_), "")

    # pods

    def pod_path(self, name: str) -> str:
        return f"/api/v1/namespaces/default/pods/{name}"

    def run(self, name: str, spec: Obj | None = None, **container: Any) -> Obj:
        """Create a pod on the node with one container ``app`` (defaults to the server program)."""
        env = [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
        env += [{"name": key, "value": value} for key, value in container.pop("env_vars", {}).items()]
        app = {
            "name": "app",
            "image": container.pop("image", None) or self.layout.server(),
            "env": env + container.pop("env", []),
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1},
            **container,
        }
        app = {key: value for key, value in app.items() if value is not None}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                "nodeName": self.node.name,
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 5,
                "containers": [app],
                **(spec or {}),
            },
        }
        return self.ok("POST", "/api/v1/namespaces/default/pods", pod)

    def pod(self, name: str) -> Obj:
        found: Obj = self.get(self.pod_path(name)) or {}
        return found

    def state(self, name: str, index: int = 0) -> Obj:
        found = self.pod(name).get("status", {}).get("containerStatuses") or [{}]
        state: Obj = found[index]
        return state

    def waiting(self, name: str) -> str:
        return str(self.state(name).get("state", {}).get("waiting", {}).get("reason", ""))

    def ready(self, name: str) -> bool:
        return self.condition(self.pod_path(name), "Ready") == "True"

    def wait_ready(self, name: str, timeout_s: float = 10) -> Obj:
        self.wait(lambda: self.ready(name), timeout_s)
        return self.pod(name)

    def delete(self, name: str, **options: Any) -> None:
        self.ok("DELETE", self.pod_path(name), options or None)

    def wait_gone(self, name: str, timeout_s: float = 10) -> None:
        self.wait(lambda: not self.pod(name), timeout_s)

    def ask(self, name: str, path: str = "/") -> tuple[int, str]:
        """One HTTP request to the pod."""
        return self.ask_ip(self.pod(name)["status"]["podIP"], path)

    @staticmethod
    def ask_ip(ip: str, path: str = "/") -> tuple[int, str]:
        connection = http.client.HTTPConnection(ip, 8080, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def events(self, name: str) -> list[tuple[str, str]]:
        path = f"/api/v1/namespaces/default/events?fieldSelector=involvedObject.name={name}"
        return [(event["reason"], event["message"]) for event in (self.get(path) or {"items": []})["items"]]

    def log(self, name: str, query: str = "") -> str:
        return self.call("GET", f"{self.pod_path(name)}/log?{query}")[1].decode()

    def kubelet_answers(self) -> bool:
        try:
            return self.kubelet("/healthz")[0] == 200
        except OSError:
            return False

    def kubelet(self, path: str, token: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.node.address, self.config.ports.kubelet, timeout=5)
        headers = {"Authorization": f"Bearer {token if token is not None else self.config.token('kubelet')}"}
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@contextlib.contextmanager
def running_cluster(home: Path, cache: Path, *, bwrap: str, subnet: int) -> Iterator[Cluster]:
    node = NodeConfig("node-t", "worker", f"127.43.{subnet}.1", f"127.43.{subnet}.0/24", cpu="4", memory="4Gi")
    cluster = Cluster(make_config(home, cache, bwrap=bwrap, node=node))
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()
