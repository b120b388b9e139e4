"""The driver against recorded statuses of Argo CD: what the library makes of each, over real requests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import replay

from platform_lib import errors, rollback, sync
from platform_lib.model import App, Platform
from platform_lib.wire import argocd

URL = "http://git.apqx-system.svc/gitops.git"
IMAGES = {"old": "example.org/web@sha256:" + "1" * 64, "new": "example.org/web@sha256:" + "2" * 64}
MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: sample-app}}
spec:
  template:
    metadata: {{labels: {{app.kubernetes.io/version: "{version}"}}}}
    spec: {{containers: [{{name: web, image: {image}}}]}}
"""


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A repository with the two commits that transcripts speak of; ``new`` is the newest."""
    folder = tmp_path_factory.mktemp("git")
    bare, tree = folder / "gitops.git", folder / "tree"
    (tree / App().path).mkdir(parents=True)
    git(folder, "init", "-q", "--bare", "-b", "main", str(bare))
    git(folder, "init", "-q", "-b", "main", str(tree))
    found = {"path": str(bare)}
    for version, name in (("1.0.0", "old"), ("2.0.0", "new")):
        (tree / App().deployment_file).write_text(MANIFEST.format(version=version, image=IMAGES[name]))
        git(tree, "add", "-A")
        git(tree, "commit", "-q", "-m", f"Deploy {version}")
        found[name] = git(tree, "rev-parse", "HEAD")
    git(tree, "push", "-q", str(bare), "main")
    return found


@dataclass
class Run:
    """One replay: where the library points, and what was said."""

    platform: Platform
    api: replay.Api
    lines: list[str] = field(default_factory=list)


@pytest.fixture
def run(request: pytest.FixtureRequest, remote: dict[str, str], tmp_path: Path, monkeypatch: Any) -> Iterator[Run]:
    monkeypatch.setenv("APQX_HOME", str(tmp_path / "home"))
    script = replay.load(request.param)
    source = {"repoURL": URL, "path": App().path, "targetRevision": "main"}
    values: dict[str, Any] = {
        "old": remote["old"],
        "new": remote["new"],
        "image_old": IMAGES["old"],
        "image_new": IMAGES["new"],
        "source": source,
        "sources": [source, {"repoURL": "https://example.org/values.git", "path": ".", "targetRevision": "main"}],
        "names": {remote["old"]: "old", remote["new"]: "new"},
    }
    api = replay.Api(script, values)
    with replay.serving(api) as url:
        path = replay.write_kubeconfig(url, tmp_path)
        yield Run(Platform("c", "k3d", path, "apqx", "", "", remote["path"], tmp_path / "home"), api, api.lines)


def carry_out(run: Run, do: str, options: dict[str, Any]) -> Any:
    """Do what the transcript says, as a user of the library would."""
    known: dict[str, Any] = {"timeout_s": 6.0, **options, "progress": run.lines.append}
    if do == "wait":
        return sync.wait_synced(run.platform, App(), **known)
    if do == "rollback":
        return rollback.to_row(run.platform, App(), **known)
    calls = {"sync": sync.sync, "reach": sync.reach, "compare": sync.compare, "stop": sync.stop}
    return calls[do](run.platform, App(), **known)


def test_every_situation_of_the_reference_is_recorded() -> None:
    assert len(replay.names()) >= 24
    for name in replay.names():
        script = replay.load(name)
        assert script["source"].startswith("reference "), name
        assert script["says"] and script["steps"], name


@pytest.mark.parametrize("run", replay.names(), indirect=True)
def test_the_library_draws_the_right_conclusion(run: Run) -> None:
    script, expect = run.api.script, run.api.script["expect"]
    options = run.api.filled(script.get("with") or {})
    text = ""
    if expect["outcome"] == "done":
        carry_out(run, script["do"], options)
    else:
        with pytest.raises(getattr(errors, expect["outcome"])) as caught:
            carry_out(run, script["do"], options)
        text = str(caught.value)
        assert type(caught.value).__name__ == expect["outcome"], text
    assert not run.api.error, run.api.error
    said = replay.plain("\n".join(run.lines), run.api.values["names"])
    for words in expect.get("text", []):
        assert words in replay.plain(text, run.api.values["names"]), text
    for words in expect.get("progress", []):
        assert words in said, said
    for words in expect.get("silent", []):
        assert words not in said + text
    if "changes" in expect:
        changes = [body for kind, body in run.api.writes if kind != "merge-patch" or "operation" in body]
        assert len(changes) == expect["changes"], run.api.writes


@pytest.mark.parametrize("run", ["manual-sync"], indirect=True)
def test_a_request_is_guarded_and_nulls_the_old_state(run: Run) -> None:
    """Reference 3.1 and 3.2: guarded by version, state nulled, options and retry copied, our id inside."""
    seen = run.api.objects[replay.PATH]["metadata"]["resourceVersion"]
    sync.sync(run.platform, App(), timeout_s=6.0)
    body = next(body for _, body in run.api.writes if "operation" in body)
    assert body["metadata"]["resourceVersion"] == seen
    assert body["status"] == {"operationState": None}
    operation = body["operation"]
    assert operation["sync"]["syncOptions"] == ["CreateNamespace=true"]
    assert operation["retry"] == {"limit": 2, "backoff": {"duration": "1s"}}
    assert [item["name"] for item in operation["info"]] == ["apqx.dev/operation"]
    assert operation["sync"]["prune"] is False
    assert argocd.history(argocd.read(run.platform, App()))[-1]["revision"] == run.api.values["new"]
