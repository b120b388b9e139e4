"""The embedded GitOps controller against the same recorded statuses that the driver is tested with.

Each scenario is carried out for real; the states that a watcher sees, with times and commits taken out, must hold
those of the transcript in their order. Where the embedded platform differs on purpose the step says so, and so does
``docs/embedded-scope.md``.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import replay
from gitopsprocess import APPS, MERGE, PROJECTS, Gitops, application, running

Obj = dict[str, Any]
DRIVEN = [name for name in replay.names() if "none" not in replay.load(name)["embedded"]]
OPEN: Obj = {
    "sourceRepos": ["*"],
    "destinations": [{"server": "*", "namespace": "*"}],
    "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
}


@pytest.fixture(scope="module")
def gitops(tmp_path_factory: pytest.TempPathFactory, schema_cache: Path) -> Iterator[Gitops]:
    with running(tmp_path_factory.mktemp("transcripts"), schema_cache) as started:
        yield started


class Scenario:
    """One Application that goes through the actions of a transcript."""

    def __init__(self, gitops: Gitops, script: Obj) -> None:
        self.gitops, self.script, self.how = gitops, script, script["embedded"]
        self.name = f"t-{uuid.uuid4().hex[:6]}"
        self.names: dict[str, str] = {}
        self.since = "0"

    def start(self) -> None:
        """Make namespace, project, files and the Application."""
        self.gitops.call("POST", "/api/v1/namespaces", {"metadata": {"name": self.name}})
        options = dict(self.how.get("app") or {})
        if "project" in self.how:
            spec = OPEN | self.how["project"]
            body = {"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": {"name": self.name}}
            self.gitops.call("POST", PROJECTS, body | {"spec": spec})
            options["project"] = self.name
        first = self.push(self.how["files"])
        later = any("push" in action for action in self.how["act"])
        self.names[first] = "old" if later else "new"
        made = self.gitops.call("POST", APPS, application(self.name, self.name, **options))
        self.since = made["metadata"]["resourceVersion"]

    def push(self, files: Obj) -> str:
        return self.gitops.push({f"{self.name}/{path}": content for path, content in files.items()})

    def act(self, action: Obj) -> None:
        """Carry out one action."""
        ((what, value),) = action.items()
        getattr(self, f"do_{what}")(value)

    def do_push(self, files: Obj) -> None:
        self.names[self.push(files)] = "new"

    def do_sync(self, options: Obj) -> None:
        self.gitops.until(self.name, lambda app: "operation" not in app)
        self.gitops.sync(self.name, **options)

    def do_rollback(self, history_id: int) -> None:
        row = next(r for r in self.gitops.app(self.name)["status"]["history"] if r["id"] == history_id)
        self.gitops.sync(self.name, revision=row["revision"], source=row["source"], syncStrategy={"apply": {}})

    def do_terminate(self, _yes: bool) -> None:
        self.gitops.guarded(self.name, {"status": {"operationState": {"phase": "Terminating"}}})

    def do_status(self, value: Obj) -> None:
        path = value["path"].replace("NAMESPACE", self.name)
        self.gitops.eventually(lambda: self.gitops.find(path))
        self.gitops.call("PATCH", f"{path}/status", {"status": value["body"]}, content_type=MERGE)

    def do_edit(self, value: Obj) -> None:
        path = value["path"].replace("NAMESPACE", self.name)
        self.gitops.call("PATCH", f"{path}?fieldManager=kubectl-edit", value["body"], content_type=MERGE)

    def do_mark(self, _start: str) -> None:
        """Begin here: what happened before belongs to the preparation."""
        self.gitops.until(self.name, lambda app: "operation" not in app)
        self.since = self.gitops.app(self.name)["metadata"]["resourceVersion"]

    def do_until(self, wanted: Obj) -> None:
        self.gitops.until(self.name, lambda app: wanted.items() <= replay.shape(app, self.names).items())

    def observed(self) -> list[Obj]:
        """Return the states that a watcher saw."""
        query = f"watch=true&resourceVersion={self.since}&fieldSelector=metadata.name={self.name}&timeoutSeconds=1"
        answer = self.gitops.api.call("GET", f"{APPS}?{query}")
        lines = [orjson.loads(line)["object"] for line in answer.body.splitlines()]
        return [replay.shape(app, self.names) for app in lines if app.get("kind", "Application") == "Application"]

    def required(self) -> list[Obj]:
        """Return the states of the transcript, from its own replay, without those that differ on purpose."""
        values: Obj = {"old": "o" * 40, "new": "n" * 40, "image_old": "", "image_new": "", "source": {}, "sources": []}
        values["names"] = {"o" * 40: "old", "n" * 40: "new"}
        api = replay.Api(self.script, values)
        found = []
        for step in self.script["steps"]:
            if step.get("when") == "requested":
                app = replay.merge(api.objects[replay.PATH], {"operation": {"sync": {}}})
                (app.get("status") or {}).pop("operationState", None)
                api.objects[replay.PATH] = app
            api.take(step)
            if "embedded" not in step:
                found.append(api.shapes[-1][1])
        return found


def fits(seen: Obj, wanted: Obj) -> bool:
    """Compare two states; what the transcript leaves open about the start does not count."""
    ignored = {"history"} if wanted["history"] == 0 else set()
    ignored |= {"revision"} if not wanted["revision"] else set()
    pairs = [(seen[key], value) for key, value in wanted.items() if key not in ignored]
    return all(_same(have, want) for have, want in pairs)


def _same(have: Any, want: Any) -> bool:
    """Compare one value; a message may go on where the embedded platform says more."""
    if isinstance(want, str) and isinstance(have, str) and len(want) > 40:
        return re.sub(r"\s+", " ", have).startswith(want[:40])
    return bool(have == want)


@pytest.mark.parametrize("transcript", DRIVEN)
def test_the_embedded_controller_writes_what_the_transcript_says(gitops: Gitops, transcript: str) -> None:
    scenario = Scenario(gitops, replay.load(transcript))
    scenario.start()
    try:
        for action in scenario.how["act"]:
            scenario.act(action)
        seen, wanted = scenario.observed(), scenario.required()
        assert wanted, "every step differs on purpose: then the transcript is not about the embedded platform"
        left = iter(seen)
        for number, state in enumerate(wanted):
            if scenario.how.get("never_compared"):
                state["revision"] = ""
            assert any(fits(one, state) for one in left), (
                f"state {number} not seen in order: {state}\nseen:\n" + "\n".join(map(str, dict_runs(seen)))
            )
    finally:
        gitops.api.call("PATCH", f"{APPS}/{scenario.name}", {"metadata": {"finalizers": None}}, content_type=MERGE)
        gitops.api.call("DELETE", f"{APPS}/{scenario.name}")


def dict_runs(states: list[Obj]) -> list[Obj]:
    """Leave out repetitions, for a reader."""
    return [state for index, state in enumerate(states) if index == 0 or states[index - 1] != state]


def test_what_differs_on_purpose_is_in_the_scope_document() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "embedded-scope.md").read_text()
    for words in ("several sources", "old operation fields leaking", "rehearses"):
        assert words in text, words
    assert len(DRIVEN) >= 17
    for name in set(replay.names()) - set(DRIVEN):
        assert len(replay.load(name)["embedded"]["none"]) > 20, name
