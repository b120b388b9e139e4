"""Starts a real API process for contract and fault tests: own folder, own port, own keys."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import yaml

from platform_lib.embedded import pki
from platform_lib.embedded.config import Config, NodeConfig, Ports

_PROGRAM = (
    "import sys, logging; from pathlib import Path; logging.basicConfig(level='INFO');"
    "from platform_lib.embedded.config import Config; from platform_lib.embedded import server;"
    "server.main(Config.load(Path(sys.argv[1])))"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_config(home: Path, cache: Path, nodes: tuple[NodeConfig, ...] = ()) -> Config:
    cluster = home / "cluster"
    (cluster / "logs").mkdir(parents=True, exist_ok=True)
    config = Config(
        name="contract",
        cluster_dir=cluster,
        images_dir=home / "images",
        cache_dir=cache,
        git_dir=home / "git" / "gitops.git",
        git_url="http://git.apqx-system.svc/gitops.git",
        python=sys.executable,
        traefik="traefik",
        prometheus="prometheus",
        ports=Ports(api=free_port()),
        nodes=nodes or (NodeConfig("node-a", "worker", "127.42.9.1", "127.42.9.0/24"),),
        unreachable_toleration_s=5,
    )
    pki.ensure(config)
    config.save(cluster / "config.json")
    return config


@dataclass
class Answer:
    status: int
    body: bytes
    headers: Any

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class ApiServer:
    config: Config
    process: subprocess.Popen[bytes] | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.config.log_file("api")
        self.tls = ssl.create_default_context(cafile=str(self.config.ca_file))

    def start(self, timeout_s: float = 20.0) -> float:
        began = time.monotonic()
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(self.config.cluster_dir / "config.json")],
                stderr=sink,
                stdout=sink,
                cwd=self.config.cluster_dir,
            )
        while time.monotonic() - began < timeout_s:
            if self.process.poll() is not None:
                raise RuntimeError(self.log.read_text()[-3000:])
            with contextlib.suppress(ConnectionError):
                if self.call("GET", "/readyz", token="").status == 200:
                    return time.monotonic() - began
            time.sleep(0.02)
        raise RuntimeError("not ready: " + self.log.read_text()[-3000:])

    def kill(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> float:
        assert self.process is not None
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
        return time.monotonic() - began

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        content_type: str | None = "application/json",
        accept: str = "application/json",
        timeout_s: float = 10.0,
    ) -> Answer:
        raw = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        headers = {"Accept": accept}
        token = self.config.token("admin") if token is None else token
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if raw is not None and content_type:
            headers["Content-Type"] = content_type
        port = self.config.ports.api
        with contextlib.closing(
            http.client.HTTPSConnection("127.0.0.1", port, context=self.tls, timeout=timeout_s)
        ) as connection:
            connection.request(method, path, raw, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), answer.headers)


@contextlib.contextmanager
def running(home: Path, cache: Path) -> Iterator[ApiServer]:
    server = ApiServer(write_config(home, cache))
    server.start()
    try:
        yield server
    finally:
        server.stop()


def write_kubeconfig(config: Config, folder: Path, *, user: str = "admin") -> Path:
    """Write a kubeconfig with context ``apqx`` for one of the API's own users; return its path."""
    cluster = {"server": config.api_url, "certificate-authority": str(config.ca_file)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": config.token(user)}}],
        "contexts": [{"name": "apqx", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "apqx",
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path
