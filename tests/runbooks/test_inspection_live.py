"""What users of Argo CD ask for, on a real platform: a stuck hook, drift, a hidden crash loop, an audit."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from platform_lib import App, cluster, deploy, image, inspection, sync
from platform_lib.cli import app as cli
from platform_lib.errors import GuardRefused, SyncFailed, WaitTimeout
from platform_lib.inspection.blockers import Explanation
from platform_lib.inspection.objecttree import Node
from platform_lib.model import Platform
from platform_lib.wait import until
from platform_lib.wire import argocd, kube

pytestmark = [pytest.mark.platform, pytest.mark.slow]
SHOP = App("shop", namespace="shop", path="gitops/workloads/shop")
SAFE = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
SIZE = {"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "0.010", "memory": "32Mi"}}
APPLICATION = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Application",
    "metadata": {"name": "shop", "namespace": "argocd"},
    "spec": {
        "project": "default",
        "source": {"repoURL": "http://git.apqx-system.svc/gitops.git", "targetRevision": "main", "path": SHOP.path},
        "destination": {"server": "https://kubernetes.default.svc", "namespace": "shop"},
    },
}


class Shop:
    """An application of its own beside the sample: pushed, synced by hand, and changed by hand."""

    def __init__(self, platform: Platform, clone: Path) -> None:
        self.platform, self.clone, self.kube = platform, clone, kube.connect(platform)
        (found, _) = self.kube.list(kube.DEPLOYMENTS, "sample-app")
        self.image = found[0]["spec"]["template"]["spec"]["containers"][0]["image"]

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-C", str(self.clone), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def push(self, subject: str, *, branch: str = "main", **files: Any) -> str:
        folder = self.clone / SHOP.path
        self.git("fetch", "-q", "origin", "main")
        self.git("checkout", "-q", "-B", branch, "origin/main")
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            path = folder / f"{name}.yaml"
            path.unlink(missing_ok=True) if content is None else path.write_text(yaml.safe_dump(content))
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject)
        self.git("push", "-q", "origin", f"HEAD:{branch}")
        return self.git("rev-parse", "HEAD")

    def pod(self, code: str, **spec: Any) -> dict[str, Any]:
        container = {"name": "main", "image": self.image, "command": ["python", "-u", "-c", code], "resources": SIZE}
        return {"securityContext": SAFE, "containers": [container], **spec}

    def job(self, code: str) -> dict[str, Any]:
        template = {"spec": self.pod(code, restartPolicy="Never")}
        meta = {"name": "migrate", "annotations": {"argocd.argoproj.io/hook": "PreSync"}}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": meta,
            "spec": {"backoffLimit": 0, "template": template},
        }

    def deployment(self, code: str) -> dict[str, Any]:
        labels = {"app.kubernetes.io/name": "shop"}
        template = {"metadata": {"labels": labels}, "spec": self.pod(code)}
        spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}, "spec": spec}

    def compared(self, commit: str) -> None:
        argocd.request_refresh(self.platform, SHOP)
        self.until(lambda found: found["status"].get("sync", {}).get("revision") == commit, f"compared at {commit[:7]}")

    def sync(self, commit: str) -> None:
        self.compared(commit)
        argocd.request_sync(self.platform, SHOP, user="ann")

    def until(self, wanted: Callable[[dict[str, Any]], bool], what: str) -> None:
        def probe() -> tuple[bool | None, str]:
            found = argocd.read(self.platform, SHOP)
            return wanted({"status": {}, **found}) or None, str(found.get("status", {}).get("operationState"))

        until(probe, timeout_s=40, wanted=what)


@pytest.fixture(scope="module")
def shop(live: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    platform, clone = cluster.connect(), tmp_path_factory.mktemp("shop") / "clone"
    subprocess.run(["git", "clone", "-q", str(Path(live["APQX_HOME"]) / "git" / "gitops.git"), str(clone)], check=True)
    world = Shop(platform, clone)
    world.kube.create("v1/namespaces", {"metadata": {"name": "shop"}})
    world.kube.create(kube.APPLICATIONS, APPLICATION, "argocd")
    try:
        yield world
    finally:
        world.push("Remove the shop", **{path.stem: None for path in (clone / SHOP.path).glob("*.yaml")})
        world.kube.delete(kube.APPLICATIONS, "shop", "argocd")
        world.kube.delete("v1/namespaces", "shop")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["app", *arguments])


def test_a_hook_that_never_ends_is_explained_ended_and_on_record(shop: Shop) -> None:
    hook = shop.job("import time; print('waiting for the lock of table orders'); time.sleep(3600)")
    commit = shop.push("Migrate", hook=hook, config={**MAP, "metadata": {"name": "config"}})
    shop.sync(commit)
    shop.until(lambda found: "hook batch/Job/migrate" in _message(found), "waiting for the hook")

    def explained() -> tuple[Explanation | None, str]:
        found = inspection.explain(shop.platform, SHOP)
        return (found if any(one.logs for one in found.blockers) else None), str(found)

    found = until(explained, timeout_s=20, wanted="the log of the hook")
    (blocker,) = found.blockers
    assert (blocker.object, blocker.role) == ("batch/Job/migrate", "PreSync hook")
    assert "1 active, 0 of 1 tries failed, no deadline" in blocker.state and blocker.since is not None
    assert any("waiting for the lock of table orders" in line for line in blocker.logs)
    assert any("Started" in line for line in blocker.events) and "Running" in blocker.pods[0]
    assert any("terminate" in finding.way_out for finding in found.findings)

    with pytest.raises(WaitTimeout, match="in the way: batch/Job/migrate") as late:
        inspection.wait(shop.platform, SHOP, revision=commit, timeout_s=1)
    assert "apqx app explain shop" in late.value.hint

    plan = inspection.plan_terminate(shop.platform, SHOP, clean_hooks=True)
    assert [step.action for step in plan.steps] == ["terminate", "delete hook"]
    outcome = inspection.terminate(shop.platform, SHOP, clean_hooks=True)
    assert outcome.figures["terminated"] and outcome.figures["phase"] == "Failed"
    assert shop.kube.find("batch/v1/jobs", "migrate", "shop") is None
    assert inspection.plan_terminate(shop.platform, SHOP, clean_hooks=True).steps == ()

    def recorded() -> tuple[dict[str, Any] | None, str]:
        rows = json.loads(run("audit", "shop", "--json").output)["operations"]
        failed = [row for row in rows if row["phase"] == "Failed"]
        return (failed[-1] if failed else None), str(rows)

    row = until(recorded, timeout_s=10, wanted="the failed operation on record")
    assert (row["by"], row["revision"], row["message"]) == ("ann", commit, "Operation terminated")
    assert (row["author"], row["subject"]) == ("Ann", "Migrate")
    assert any(text.startswith("Job/migrate") for text in row["failed"])


MAP: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}}


def _message(application: dict[str, Any]) -> str:
    return str(application["status"].get("operationState", {}).get("message"))


def test_a_crash_loop_is_seen_below_a_progressing_deployment(shop: Shop) -> None:
    crashing = shop.deployment("print('cannot read configuration'); raise SystemExit(3)")
    commit = shop.push("Crash", hook=None, web=crashing, creds={**SECRET, "metadata": {"name": "creds"}})
    shop.sync(commit)

    def looped() -> tuple[Node | None, str]:
        found = inspection.tree(shop.platform, SHOP)
        return (found if "CrashLoopBackOff" in found.rows()[0][1] else None), str(found)

    found = until(looped, timeout_s=40, wanted="a crash loop on top of the tree")
    deployment = next(node for _, node in found.walk() if node.object == "Deployment/shop")
    assert deployment.health == "Progressing", "Argo CD does not see it"
    (_, worst), *_ = found.worst()
    assert worst.object.startswith("Pod/shop-") and "exit 3" in worst.reason and "restarts" in worst.note
    assert any("BackOff" in event for event in worst.events)
    assert any("cannot read configuration" in line for line in inspection.explain(shop.platform, SHOP).blockers[0].logs)


SECRET: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "stringData": {"password": "correct-horse"}}


def test_a_drifted_field_names_its_manager_and_the_exit_code_says_so(shop: Shop) -> None:
    commit = shop.push("Serve", hook=None, web=shop.deployment("import time; time.sleep(3600)"),
                       creds={**SECRET, "metadata": {"name": "creds"}})  # fmt: skip
    shop.sync(commit)
    assert inspection.wait(shop.platform, SHOP, revision=commit, timeout_s=40).ok
    assert run("diff", "shop").exit_code == 0

    edit = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 7}}, "replicas": 2}}
    by_hand = {"fieldManager": "kubectl-edit"}
    where = kube.path_of(kube.DEPLOYMENTS, "shop", "shop")
    shop.kube.json("PATCH", where, body=edit, content_type=kube.MERGE_PATCH, params=by_hand)
    where = kube.path_of("v1/secrets", "shop", "creds")
    shop.kube.json(
        "PATCH", where, body={"data": {"password": "aGFja2Vk"}}, content_type=kube.MERGE_PATCH, params=by_hand
    )

    found = inspection.diff(shop.platform, SHOP, every=True)
    fields = {field.path: field for one in found.objects for field in one.fields}
    replicas = fields[".spec.replicas"]
    assert (replicas.live, replicas.wanted, replicas.cause) == ("2", "1", "drift")
    assert replicas.managers[0].startswith("kubectl-edit (Update) since 20")
    assert ".spec.template.spec.terminationGracePeriodSeconds" not in fields, "git does not name it, so it is no drift"
    assert fields[".data.password"].live == "(hidden)" and "aGFja2Vk" not in str(found)
    false = fields[".spec.template.spec.containers[name=main].resources.requests.cpu"]
    assert (false.cause, false.live, false.wanted) == ("false", '"10m"', '"0.010"')
    assert "quantity" in false.why and false.ignore is not None

    shown = run("diff", "shop")
    assert shown.exit_code == 1 and "kubectl-edit" in shown.output
    assert run("diff", "nobody").exit_code == 2
    assert run("diff", "shop", "--revision", "no-such-branch").exit_code == 2
    assert json.loads(run("diff", "shop", "--json").output)["revision"] == commit


def test_a_branch_is_previewed_without_the_drift_that_is_there_anyway(shop: Shop) -> None:
    shop.push("More", branch="feature", extra={**MAP, "metadata": {"name": "extra"}}, creds=None)
    found = inspection.preview(shop.platform, SHOP, revision="feature")
    assert {(one.object, one.change) for one in found.objects} == {
        ("ConfigMap/extra", "create"),
        ("Secret/creds", "prune"),
    }
    assert any("there without" in note for note in found.notes)
    assert run("preview", "shop", "--revision", "feature").exit_code == 1
    assert shop.kube.find("v1/configmaps", "extra", "shop") is None, "a preview changes nothing"


def test_looking_is_allowed_in_a_read_only_run_and_ending_is_not(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APQX_READ_ONLY", "true")
    assert inspection.diff(shop.platform, SHOP).compared
    assert run("tree", "shop").exit_code == run("explain", "shop").exit_code == 0
    with pytest.raises(GuardRefused):
        inspection.terminate(shop.platform, SHOP)


def test_a_wait_that_settles_notices_what_breaks_after_the_commit_was_reached(shop: Shop) -> None:
    commit = shop.push("Serve again", web=shop.deployment("import time; time.sleep(3601)"))
    shop.sync(commit)
    seen: list[str] = []

    def somebody_interferes(line: str) -> None:
        seen.append(line)
        if line.startswith("reached; watching") and not any("is not any more" in one for one in seen):
            edit, params = {"spec": {"replicas": 2}}, {"fieldManager": "kubectl-edit"}
            where = kube.path_of(kube.DEPLOYMENTS, "shop", "shop")
            shop.kube.json("PATCH", where, body=edit, content_type=kube.MERGE_PATCH, params=params)

    with pytest.raises((WaitTimeout, SyncFailed), match="shop"):
        inspection.wait(shop.platform, SHOP, revision=commit, timeout_s=30, settle_s=20, progress=somebody_interferes)
    assert any("was well and is not any more: OutOfSync" in line for line in seen), seen


def test_the_tree_of_the_root_holds_every_application_and_its_pods(live: dict[str, str]) -> None:
    found = inspection.tree(cluster.connect(), "root")
    objects = {node.object for _, node in found.walk()}
    assert {"Application/sample-app", "Deployment/sample-app", "Application/monitoring"} <= objects
    assert sum(name.startswith("Pod/sample-app-") for name in objects) >= 2
    assert inspection.app_of(cluster.connect(), "sample-app").path == App().path
    assert sync.state(cluster.connect(), App()).sync_status == "Synced"


def test_one_command_rolls_back_under_automation_reverts_git_and_resumes(live: dict[str, str]) -> None:
    platform, app = cluster.connect(), App()
    start = sync.state(platform, app)
    before, was = start.images, start.pods[0].version
    deploy.deploy(platform, app, image=image.build(version="1.0.9").reference, version="1.0.9")
    said = json.loads(
        CliRunner().invoke(cli, ["rollback", app.name, "--method", "history", "--dry-run", "--json"]).output
    )
    assert [step["action"] for step in said["plan"]["steps"]] == ["pause", "rollback", "wait", "keep paused"]
    (changed,) = [one for one in said["diff"]["objects"] if one["change"] == "change"]
    paths = [field["path"] for field in changed["fields"]]
    assert ".spec.template.spec.containers[name=sample-app].image" in paths
    done = CliRunner().invoke(cli, ["rollback", app.name, "--method", "history", "--then", "revert"])
    assert done.exit_code == 0, done.output
    found = argocd.read(platform, app)
    assert found["spec"]["syncPolicy"]["automated"].get("enabled") is not False, "automation is on again"
    assert sync.state(platform, app).images == before
    rows = json.loads(run("history", app.name, "--json").output)["operations"]
    assert [row["because"].split(" (")[0] for row in rows[-3:]] == [
        "deploy of 1.0.9",
        f"rollback to {was}",
        f"rollback to {was}",
    ]
    assert rows[-1]["current"] and rows[-1]["version"] == was
