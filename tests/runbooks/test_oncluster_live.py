"""Runs on the cluster: the Job's life on real nodes, and the worker's work on a real platform with a real S3 API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from platform_lib import Platform, cluster, evidence, fanout, image, oncluster
from platform_lib.errors import GuardRefused, InvalidInput, WaitTimeout
from platform_lib.oci import Layout, to_json
from platform_lib.oncluster import order, submit
from platform_lib.settings import settings
from platform_lib.wire import kube

pytestmark = [pytest.mark.platform, pytest.mark.slow]

# What stands in the pod in place of the workbench image, which no node of the embedded platform can run: it reads its
# order and its token as the worker does, waits for the word, and leaves a termination message.
STAND_IN = """
import json, pathlib, signal, sys, time
order = json.loads(pathlib.Path(sys.argv[1]).read_text())
token = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount/token").read_text()
print("order", order["book"], "with a token of", token.count("."), "dots", flush=True)
def ended(*_):
    print("undoing", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, ended)
if order["parameters"].get("version") == "9.9.9":
    time.sleep(600)
said = {"run": "r-1", "status": "passed", "exit_code": 0, "results": order["results"] + "/r-1"}
if order["parameters"].get("version") == "6.6.6":
    sys.exit("no result")
print(json.dumps(said), flush=True)
"""


@pytest.fixture(scope="module")
def platform(live: dict[str, str]) -> Platform:
    return cluster.connect()


@pytest.fixture(scope="module")
def workbench(platform: Platform) -> str:
    """An image whose ``python -m platform_lib.oncluster.worker`` is the stand-in."""
    layout = Layout(settings().home / "images")
    files = {f"app/platform_lib/{name}": b"" for name in ("__init__.py", "oncluster/__init__.py")}
    files["app/platform_lib/oncluster/worker.py"] = STAND_IN.encode()
    with layout.writing():
        layer = layout.write_blob(image._tar(files))
        document = image._config("1", [layer], {})
        document["config"] |= {"Env": ["PYTHONPATH=/app", "PYTHONUNBUFFERED=1"], "Entrypoint": ["python"]}
        config = layout.write_blob(to_json(document))
        blob = layout.write_blob(to_json(image._manifest("1", config, [layer])))
        layout.publish(image._index_entry(blob, "1", "ghcr.io/apqx/workbench"))
    return f"ghcr.io/apqx/workbench@{blob['digest']}"


def left(platform: Platform) -> list[str]:
    """What of any run on the cluster is still there."""
    api = kube.connect(platform)
    return [
        f"{kind}/{one['metadata']['name']}"
        for kind, gvr in submit._GVR.items()
        for one in api.list(gvr, labels="apqx.dev/run")[0]
    ]


RESULTS = "s3://evidence/runs"
APP_IMAGE = "ghcr.io/apqx/sample-app@sha256:" + "1" * 64


def told(version: str, **other: Any) -> dict[str, Any]:
    """Parameters of book 02; the version is the stand-in's word for what to do."""
    return {"version": version, "image": APP_IMAGE, **other}


def test_a_job_runs_with_the_least_rights_and_leaves_nothing(platform: Platform, workbench: str) -> None:
    lines: list[str] = []
    allowed: dict[str, bool] = {}

    def may(verb: str, group: str, resource: str, namespace: str, name: str) -> bool:
        spec = {
            "user": f"system:serviceaccount:apqx-runs:{name}",
            "resourceAttributes": {"verb": verb, "group": group, "resource": resource, "namespace": namespace},
        }
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        return bool(kube.connect(platform).json("POST", path, body=body)["status"]["allowed"])

    def watch(line: str) -> None:
        lines.append(line)
        if line.startswith("Job/"):
            name = line.split()[0].removeprefix("Job/")
            allowed["patch applications"] = may("patch", "argoproj.io", "applications", "argocd", name)
            allowed["list pods"] = may("list", "", "pods", "sample-app", name)
            allowed["delete namespaces"] = may("delete", "", "namespaces", "", name)
            allowed["get secrets"] = may("get", "", "secrets", "sample-app", name)

    found = oncluster.run(
        platform, "02", told("2.0.0", dry_run=False), image=workbench, results=RESULTS, progress=watch
    )
    assert found.ok and found.run_id == "r-1" and found.results == f"{RESULTS}/r-1"
    assert "order 02-deploy with a token of 2 dots" in lines
    assert allowed == {"patch applications": True, "list pods": True, "delete namespaces": False, "get secrets": False}
    assert left(platform) == []


def test_a_dry_run_gets_no_right_to_change_anything(platform: Platform, workbench: str) -> None:
    plan, objects = oncluster.plan(platform, "02", told("2.0.0"), image=workbench, results=RESULTS)
    verbs = {verb for one in objects for rule in one.get("rules", ()) for verb in rule["verbs"]}
    assert verbs == {"get", "list", "watch"}
    assert [step.action for step in plan.steps][-2:] == ["follow", "delete"]
    assert left(platform) == []


def test_a_worker_that_leaves_no_result_is_a_failed_run(platform: Platform, workbench: str) -> None:
    found = oncluster.run(platform, "02", told("6.6.6"), image=workbench, results=RESULTS)
    assert not found.ok and "it left no result" in found.message and "no result" in " ".join(found.log_tail)
    assert left(platform) == []


def test_an_interrupted_submitter_ends_the_pod_and_removes_everything(platform: Platform, workbench: str) -> None:
    def stop(line: str) -> None:
        if line.startswith("order"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        oncluster.run(platform, "02", told("9.9.9"), image=workbench, results=RESULTS, progress=stop)
    assert left(platform) == []


def test_a_fan_out_over_jobs_has_one_summary(platform: Platform, workbench: str) -> None:
    """Two Jobs side by side on one cluster: dry runs take no turns, and neither sweeps the other's rights."""
    targets = [fanout.Target(name=name, home=platform.home) for name in ("one", "two")]
    options = ["--image", workbench, "--results", RESULTS]
    found = fanout.run("02", targets, told("2.0.0"), on="cluster", options=options)
    assert found.ok, found
    assert [(row.status, row.evidence) for row in found.results] == [("passed", f"{RESULTS}/r-1")] * 2
    assert left(platform) == []


def test_an_image_that_is_not_there_is_said_before_the_deadline(platform: Platform) -> None:
    absent = "ghcr.io/apqx/workbench@sha256:" + "0" * 64
    with pytest.raises(WaitTimeout, match=r"ErrImage|ImagePull"):
        oncluster.run(platform, "02", told("2.0.0"), image=absent, results=RESULTS)
    assert left(platform) == []


def test_rights_that_a_dead_submitter_left_are_swept(
    platform: Platform, workbench: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "BEGUN_S", -1.0)  # what was made a moment ago is old enough here
    api = kube.connect(platform)
    labels = {"apqx.dev/run": "dead"}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "rules": []}
    api.create(submit._GVR["ClusterRole"], role | {"metadata": {"name": "apqx-run-dead", "labels": labels}})
    lines: list[str] = []
    oncluster.run(platform, "02", told("2.0.0"), image=workbench, results=RESULTS, progress=lines.append)
    assert "removing apqx-run-dead, left by a run that died" in lines and left(platform) == []


@pytest.mark.parametrize(
    ("book", "options", "words"),
    [
        ("01", {}, "cannot run on that cluster"),
        ("02", {"image": "ghcr.io/apqx/workbench:latest"}, "expected a reference by digest"),
        ("02", {"results": "runs"}, "expected object storage"),
        ("02", {"secret": "nobody"}, "Secret nobody - absent in namespace apqx-runs"),
        ("02", {"parameters": {"versoin": "1"}}, "'versoin' is not a parameter"),
        ("02", {"parameters": {"version": "2.0.0"}}, "builds an image, which a pod cannot"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_created(
    platform: Platform, workbench: str, book: str, options: dict, words: str
) -> None:
    given = {"parameters": told("2.0.0") if book == "02" else {}, "image": workbench, "results": RESULTS, **options}
    with pytest.raises(InvalidInput, match=words):
        oncluster.run(platform, book, **given)
    assert left(platform) == []


def test_a_context_that_is_not_on_the_allow_list_is_left_alone(
    platform: Platform, workbench: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APQX_ALLOWED_CONTEXTS", '["other"]')
    with pytest.raises(GuardRefused):
        oncluster.run(platform, "02", told("2.0.0"), image=workbench, results=RESULTS)


# -- the worker itself: a real book on the real platform, its evidence through papermill's handler into S3 -----------


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, str]]:
    """An S3 API on loopback with one bucket; yields the variables of its users."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    _, port = server.get_host_and_port()
    url = f"http://127.0.0.1:{port}"
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-the-store", "AWS_DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**keys, "BOTO3_ENDPOINT_URL": url}.items():
            patch.setenv(name, value)
        boto3.client("s3", endpoint_url=url).create_bucket(Bucket="evidence")
        yield {**keys, "BOTO3_ENDPOINT_URL": url}
    server.stop()


def work(platform: Platform, folder: Path, book: str, parameters: dict, results: str) -> subprocess.CompletedProcess:
    """Run the worker as the pod does: the mounted order, the environment of the container."""
    made = order.make(
        settings(), platform, id="t", book=book, parameters=parameters, image="x@sha256:" + "0" * 64, results=results
    )
    document = json.loads(made.document())
    # As seen from here: the order's own addresses are those of pods.
    document["platform"] |= {
        "kubeconfig": str(platform.kubeconfig),
        "context": platform.context,
        "prometheus_url": platform.prometheus_url,
        "ingress_url": platform.ingress_url,
        "gitops_repo": platform.gitops_repo,
    }
    folder.mkdir()
    (folder / "order.json").write_text(json.dumps(document))
    env = {name: value for name, value in os.environ.items() if not name.startswith("APQX_")}
    env |= {"APQX_HOME": str(folder / "state"), "APQX_RUNS_DIR": str(folder / "state" / "runs")}
    env |= {"APQX_ALLOWED_CONTEXTS": json.dumps([platform.context])}
    program = [sys.executable, "-m", "platform_lib.oncluster.worker", str(folder / "order.json")]
    return subprocess.run(program, env=env, capture_output=True, text=True, timeout=200, check=False, cwd=folder)


def test_the_worker_runs_a_book_and_its_evidence_comes_back_from_s3(
    platform: Platform, store: dict[str, str], tmp_path: Path
) -> None:
    parameters = {"scenario": "pod-loss", "dry_run": False, "rate_rps": 20.0}
    done = work(platform, tmp_path / "pod", "05-dr-drill", parameters, "s3://evidence/runs")
    said = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, said["status"]) == (0, "passed"), done.stdout + done.stderr
    assert said["results"] == f"s3://evidence/runs/{said['run']}"
    assert store["AWS_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr

    import boto3

    client = boto3.client("s3", endpoint_url=store["BOTO3_ENDPOINT_URL"])
    keys = [one["Key"] for one in client.list_objects_v2(Bucket="evidence")["Contents"]]
    names = ["bundle.tar.gz.b64", "output.ipynb", "params.json", "report.html", "result.json"]
    assert sorted(key.rsplit("/", 1)[1] for key in keys) == names
    back = oncluster.fetch(said["results"], tmp_path / "runs")
    assert evidence.verify_manifest(back) == [] and (back / "figures").is_dir()
    with pytest.raises(InvalidInput, match="is there already"):
        oncluster.fetch(said["results"], tmp_path / "runs")
    # Somebody changes the evidence in the store: it is refused when it comes back.
    bundle = f"runs/{said['run']}/bundle.tar.gz.b64"
    client.put_object(Bucket="evidence", Key=bundle, Body=b"AAAA")
    with pytest.raises(InvalidInput, match="no readable bundle"):
        oncluster.fetch(said["results"], tmp_path / "elsewhere")
    assert not list((tmp_path / "elsewhere").glob("*"))


def test_a_store_that_refuses_is_a_failed_run_whose_book_passed(
    platform: Platform, store: dict[str, str], tmp_path: Path
) -> None:
    done = work(platform, tmp_path / "pod", "05-dr-drill", {"scenario": "drift"}, "s3://nobody-has-this/runs")
    said = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, said["status"]) == (1, "passed")
    assert "s3://nobody-has-this" in said["lost"] and "results" not in said


def test_a_deploy_by_digest_whose_evidence_goes_to_a_mounted_folder(platform: Platform, tmp_path: Path) -> None:
    built = cluster.build_image(platform, version="3.0.0")
    parameters = {"version": "3.0.0", "image": built.reference, "dry_run": False}
    done = work(platform, tmp_path / "pod", "02-deploy", parameters, str(tmp_path / "store"))
    said = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert evidence.verify_manifest(oncluster.fetch(said["results"], tmp_path / "runs")) == []


def test_an_order_that_cannot_be_read_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text("{")
    program = [sys.executable, "-m", "platform_lib.oncluster.worker", str(tmp_path / "order.json")]
    done = subprocess.run(program, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 2 and "written by apqx run --on cluster" in done.stdout
