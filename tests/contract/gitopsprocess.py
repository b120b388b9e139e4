"""Starts a real GitOps controller beside a real API process, with a repository of its own to push to."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from apiprocess import ApiServer, write_config

_PROGRAM = (
    "import sys, logging; from pathlib import Path; logging.basicConfig(level='INFO');"
    "from platform_lib.embedded.config import Config; from platform_lib.embedded import gitops;"
    "gitops.main(Config.load(Path(sys.argv[1])))"
)
APPS = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications"
PROJECTS = "/apis/argoproj.io/v1alpha1/namespaces/argocd/appprojects"
MERGE = "application/merge-patch+json"
URL = "http://git.apqx-system.svc/gitops.git"
_GIT_ENV = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    **{f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


@dataclass
class Gitops:
    """One API, one controller, one repository."""

    api: ApiServer
    work: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.api.config.log_file("gitops").open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(self.api.config.cluster_dir / "config.json")],
                stdout=sink,
                stderr=sink,
                cwd=self.api.config.cluster_dir,
            )

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(10)

    def log(self) -> str:
        return self.api.config.log_file("gitops").read_text()

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.work, env=_GIT_ENV, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def push(self, files: dict[str, Any]) -> str:
        """Commit files (text, list of objects, or None to delete) and push; return the commit."""
        for name, content in files.items():
            path = self.work / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else yaml.safe_dump_all(content))
        self.git("add", "-A")
        self.git("commit", "--allow-empty", "-q", "-m", "change")
        self.git("push", "-q", "origin", "HEAD:main")
        return self.git("rev-parse", "HEAD")

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        answer = self.api.call(method, path, body, **options)
        assert answer.status < 400, (answer.status, answer.body)
        return answer.json

    def find(self, path: str) -> Any:
        """Read an object, None when it is not there."""
        answer = self.api.call("GET", path)
        return answer.json if answer.status == 200 else None

    def create(self, app: dict[str, Any]) -> None:
        self.call("POST", APPS, app)

    def app(self, name: str) -> dict[str, Any]:
        return self.call("GET", f"{APPS}/{name}")

    def patch(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        return self.call("PATCH", f"{APPS}/{name}", body, content_type=MERGE)

    def sync(self, name: str, **sync: Any) -> None:
        """Ask for a sync the way a careful client does: guarded, and without the state of the last one."""
        retry = sync.pop("retry", None)
        assert "operation" not in self.app(name)
        operation = {"sync": sync, "initiatedBy": {"username": "test"}, **({"retry": retry} if retry else {})}
        self.guarded(name, {"operation": operation, "status": {"operationState": None}})

    def guarded(self, name: str, body: dict[str, Any]) -> None:
        """Patch exactly what was read; the controller may write in between, so a conflict is read and tried again."""
        for _ in range(20):
            version = self.app(name)["metadata"]["resourceVersion"]
            path, patch = f"{APPS}/{name}", {"metadata": {"resourceVersion": version}, **body}
            answer = self.api.call("PATCH", path, patch, content_type=MERGE)
            if answer.status != 409:
                break
        assert answer.status < 400, (answer.status, answer.body)

    def until(self, name: str, wanted: Callable[[dict[str, Any]], Any], timeout_s: float = 15.0) -> dict[str, Any]:
        """Wait until an Application is as wanted."""
        deadline, app = time.monotonic() + timeout_s, {}
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, self.log()[-3000:]
            app = self.app(name)
            with contextlib.suppress(KeyError):
                if wanted(app):
                    return app
            time.sleep(0.01)
        raise AssertionError(f"not reached: {app.get('operation')} {app.get('status')}\n{self.log()[-3000:]}")

    def eventually(self, wanted: Callable[[], Any], timeout_s: float = 10.0) -> Any:
        """Wait until something is true and return it."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if found := wanted():
                return found
            time.sleep(0.01)
        raise AssertionError("not reached:\n" + self.log()[-3000:])


def application(name: str, namespace: str, *, path: str = "", automated: Any = None, **spec: Any) -> dict[str, Any]:
    policy = spec.pop("syncPolicy", {}) | ({"automated": automated} if automated is not None else {})
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": "argocd", **spec.pop("metadata", {})},
        "spec": {
            "project": "default",
            "source": {"repoURL": URL, "path": path or name, "targetRevision": "main"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": namespace},
            **({"syncPolicy": policy} if policy else {}),
            **spec,
        },
    }


def config_map(
    name: str, wave: int | None = None, api: str = "v1", kind: str = "ConfigMap", **data: str
) -> dict[str, Any]:
    annotations = {"argocd.argoproj.io/sync-wave": str(wave)} if wave is not None else {}
    meta: dict[str, Any] = {"name": name} | ({"annotations": annotations} if annotations else {})
    return {"apiVersion": api, "kind": kind, "metadata": meta, "data": data}


def synced(app: dict[str, Any], revision: str) -> bool:
    """Done, and judged after it was done: rule 4 of the reference."""
    status = app["status"]
    state = status["operationState"]
    return (
        "operation" not in app
        and state["phase"] == "Succeeded"
        and status["reconciledAt"] >= state["finishedAt"]
        and status["sync"]["status"] == "Synced"
        and status["sync"]["revision"] == revision
    )


@contextlib.contextmanager
def running(home: Path, cache: Path) -> Iterator[Gitops]:
    config = replace(write_config(home, cache), sync_wave_delay_s=0.2, reconcile_s=30.0)
    config.save(config.cluster_dir / "config.json")
    config.git_dir.parent.mkdir(parents=True)
    work = home / "work"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(config.git_dir)], check=True, env=_GIT_ENV)
    subprocess.run(["git", "init", "-q", "-b", "main", str(work)], check=True, env=_GIT_ENV)
    subprocess.run(["git", "remote", "add", "origin", str(config.git_dir)], cwd=work, check=True, env=_GIT_ENV)
    gitops = Gitops(ApiServer(config), work)
    gitops.push({"README": "desired state\n"})
    gitops.api.start()
    gitops.start()
    try:
        yield gitops
    finally:
        try:
            if gitops.process is not None and gitops.process.poll() is None:
                gitops.stop()
        finally:
            if gitops.process is not None and gitops.process.poll() is None:
                gitops.process.kill()
            gitops.api.stop()
