"""The k3d provider from check to first answer, against stand-ins for k3d and docker and a real API server of ours."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from apiprocess import free_port

from platform_lib import cluster, errors, providers
from platform_lib.model import App, Platform
from platform_lib.providers import state
from platform_lib.providers.k3d import K3d
from platform_lib.settings import settings
from platform_lib.wait import until
from platform_lib.wire import kube

STANDIN = Path(__file__).parent / "k3dstandin.py"
ROOT = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Application",
    "metadata": {"name": "root", "namespace": "argocd"},
    "spec": {
        "project": "default",
        "source": {"repoURL": "http://git.apqx-system.svc/gitops.git", "path": "gitops/apps", "targetRevision": "main"},
        "destination": {"server": "https://kubernetes.default.svc", "namespace": "argocd"},
    },
}
PORT_TAKEN = (
    "ERRO[0021] Failed Cluster Start: Failed to add one or more helper nodes: runtime failed to start node "
    "'k3d-lab-serverlb': docker failed to start container for node 'k3d-lab-serverlb': Error response from daemon: "
    "driver failed programming external connectivity on endpoint k3d-lab-serverlb (c58c): Bind for 127.0.0.1:8080 "
    "failed: port is already allocated"
)


class Machine:
    """A machine with docker and k3d, as far as the provider can tell."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"

    def faults(self, **how: Any) -> None:
        (self.folder / "faults.json").write_text(
            json.dumps({key.replace("_", " "): value for key, value in how.items()})
        )

    @property
    def state(self) -> dict[str, Any]:
        path = self.folder / "state.json"
        return json.loads(path.read_text()) if path.exists() else {"containers": [], "networks": [], "volumes": []}

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [" ".join(json.loads(line)) for line in lines]

    def names(self) -> set[str]:
        return {one["name"] for one in self.state["containers"]}

    def end(self) -> None:
        for pids in self.state.get("processes", {}).values():
            for pid in pids:
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def machine(tmp_path: Path, schema_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Both programs on PATH, a state folder and ports of its own, and a git source that needs no Argo CD."""
    made = Machine(tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("k3d", "docker"):
        (programs / name).write_text(f"#!/bin/sh\nexec '{sys.executable}' -S '{STANDIN}' {name} \"$@\"\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("STANDIN_DIR", str(tmp_path))
    monkeypatch.setenv("STANDIN_CACHE", str(schema_cache))
    monkeypatch.setenv("APQX_HOME", str(made.home))
    monkeypatch.setenv("APQX_CLUSTER_NAME", "lab")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "own-kubeconfig"))
    for name in ("PORT_API", "PORT_WEB", "PORT_WEBSECURE", "PORT_TRAEFIK", "PORT_PROMETHEUS", "K3D_REGISTRY_PORT"):
        monkeypatch.setenv(f"APQX_{name}", str(free_port()))
    monkeypatch.setattr(K3d, "_install", install)
    yield made
    made.end()


def install(self: K3d, *, stages: Any, deadline: Any, release: Any, workbench: str) -> Platform:
    """Stand in for Argo CD, which needs images: the root Application is applied to the real API."""
    with stages.stage("argocd"):
        assert not deadline.expired()
        assert release.reference.startswith("k3d-lab-registry:5000/apqx/sample-app@sha256:")
        assert workbench.startswith("k3d-lab-registry:5000/apqx/workbench@sha256:")
        api = kube.connect(self.platform)
        for kind, name in (("v1/namespaces", "argocd"),):
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            path = kube.path_of(kind, None, name)
            options = {"params": {"fieldManager": "test"}, "content_type": "application/apply-patch+yaml"}
            api.call("PATCH", path, body=json.dumps(body), **options)
        path = kube.path_of(kube.APPLICATIONS, "argocd", "root")
        api.call("PATCH", path, body=json.dumps(ROOT), **options)
    return dataclasses.replace(self.platform, gitops_repo=str(self.settings.home / "git"))


def up(**options: Any) -> tuple[Any, list[str]]:
    lines: list[str] = []
    options = {"timeout_s": 30.0, **options}
    return cluster.up(provider="k3d", progress=lines.append, **options), lines


def test_up_status_again_and_down(machine: Machine) -> None:
    outcome, lines = up()
    names = [name for name, _ in outcome.stages]
    assert names == ["check", "image", "create", "kubeconfig", "nodes", "images", "argocd", "first answer"]
    assert outcome.figures["ending"] == "created" and outcome.figures["time_to_first_200_s"] > 0
    assert all(seconds >= 0 for _, seconds in outcome.stages)
    assert "Cluster 'lab' created successfully!" in lines, "what k3d says is told as it comes"
    wanted = {"k3d-lab-server-0", "k3d-lab-agent-0", "k3d-lab-agent-1", "k3d-lab-serverlb", "k3d-lab-registry"}
    assert machine.names() == wanted

    platform = cluster.connect("lab")
    assert (platform.provider, platform.context) == ("k3d", "k3d-lab")
    assert stat.S_IMODE(platform.kubeconfig.stat().st_mode) == 0o600
    assert not (machine.folder / "own-kubeconfig").exists(), "the user's own kubeconfig is left alone"
    door = kube.connect(platform).get("v1/services", "prometheus-host", "monitoring")
    assert door["spec"]["type"] == "LoadBalancer" and door["spec"]["ports"][0]["port"] == 9090

    before = len(machine.calls)
    second, _ = up()
    assert second.figures == {"changed": False, "ending": "there"}
    assert not [call for call in machine.calls[before:] if "create" in call or "push" in call]

    seen = cluster.status()
    assert ("k3d-lab-agent-1", "agent, running") in seen.components
    assert dict(seen.nodes) == dict.fromkeys(["k3d-lab-server-0", "k3d-lab-agent-0", "k3d-lab-agent-1"], "Ready")
    assert [name for name, _ in seen.apps] == ["root"]
    assert dict(seen.urls)["application"] == f"http://{App().host}:{settings().port_web}/"

    assert not cluster.plan_up(provider="k3d").steps
    plan = cluster.plan_down()
    assert "k3d-lab-registry" in str(plan)
    gone = cluster.down(confirm="lab")
    assert gone.ok and machine.names() == set() and machine.state["networks"] == []
    assert machine.state["volumes"] == ["k3d-lab-registry-data"], "images survive the cluster"
    cluster.verify_gone()
    assert not (machine.home / "k3d").exists() and not (machine.home / "platform.json").exists()
    assert cluster.status().state == "down"


def test_purge_takes_the_images_too(machine: Machine) -> None:
    up()
    cluster.down(purge=True)
    assert machine.state["volumes"] == []


def test_a_dry_run_refuses_what_up_would_refuse(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = cluster.plan_up(provider="k3d", merge_kubeconfig=True)
    assert [plan.steps[0].action, plan.steps[-1].action] == ["create", "merge"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("APQX_PORT_WEB", str(taken.getsockname()[1]))
        with pytest.raises(errors.GuardRefused, match=f"{taken.getsockname()[1]} - "):
            cluster.plan_up(provider="k3d")
    monkeypatch.setenv("APQX_ARGOCD_MANIFESTS", str(machine.folder / "absent.yaml"))
    with pytest.raises(errors.InvalidInput, match=r"absent\.yaml"):
        cluster.plan_up(provider="k3d")
    assert machine.names() == set() and not machine.home.exists(), "a look changes nothing"


def test_the_own_kubeconfig_is_merged_when_asked(machine: Machine) -> None:
    up(merge_kubeconfig=True)
    merged = yaml.safe_load((machine.folder / "own-kubeconfig").read_text())
    assert merged["contexts"][0]["name"] == "k3d-lab"


def test_an_image_that_is_there_is_not_pulled_again(machine: Machine) -> None:
    up()
    cluster.down()
    up()
    assert len([call for call in machine.calls if call.startswith("docker pull")]) == 1


def test_a_stopped_cluster_is_started_and_a_lost_agent_comes_back(machine: Machine) -> None:
    up()
    subprocess.run(["k3d", "cluster", "stop", "lab"], check=True)
    assert cluster.status().state.startswith("degraded") and not providers.recorded().whole()
    outcome, _ = up()
    assert outcome.figures["ending"] == "started"
    assert [name for name, _ in outcome.stages][1] == "start"
    found = providers.of(cluster.connect())
    found.stop_node("k3d-lab-agent-1")
    assert "docker stop -t 0 k3d-lab-agent-1" in machine.calls
    assert not found.whole()
    found.start_node("k3d-lab-agent-1")
    assert found.whole()
    for other in ("k3d-lab-server-0", "k3d-lab-registry", "somebody-elses"):
        with pytest.raises(errors.InvalidInput, match="no agent of cluster lab"):
            found.stop_node(other)


def test_a_lost_cluster_is_made_again(machine: Machine) -> None:
    up()
    found = providers.of(cluster.connect())
    found.destroy_cluster()
    assert machine.names() == set() and not found.platform.kubeconfig.exists()
    assert cluster.connect().name == "lab", "the endpoints outlive the cluster: the drill measures against them"
    outcome = found.rebuild(lambda _line: None)
    assert outcome.figures["ending"] == "created"
    assert kube.connect(cluster.connect()).list(kube.APPLICATIONS, "argocd")[0]


@pytest.mark.parametrize("rolls_back", [True, False], ids=["k3d rolled back", "k3d left it"])
def test_a_failed_create_is_undone(machine: Machine, rolls_back: bool) -> None:
    machine.faults(cluster_create={"stderr": PORT_TAKEN, "rolls_back": rolls_back})
    with pytest.raises(errors.BootstrapFailed) as caught:
        up()
    assert caught.value.stage == "create" and caught.value.undone is True
    assert "port 127.0.0.1:8080 - taken" in caught.value.message
    assert "the cluster was deleted again" in caught.value.message
    assert "docker ps --filter publish=8080" in caught.value.hint
    assert machine.names() == set() and machine.state["networks"] == []
    assert not (machine.home / "k3d").exists()
    machine.faults()
    assert up()[0].figures["ending"] == "created"


def test_a_failed_undo_is_said(machine: Machine) -> None:
    said = "FATA[0000] Failed to delete 1 nodes: Try to delete them manually"
    machine.faults(cluster_create={"stderr": PORT_TAKEN, "rolls_back": False}, cluster_delete=said)
    with pytest.raises(errors.UndoFailed, match=r"undo FAILED: k3d cluster delete lab - failed with 1") as caught:
        up()
    assert caught.value.exit_code == 4
    assert "docker ps --all --filter label=k3d.cluster=lab" in caught.value.hint
    assert machine.names() != set()
    machine.faults()
    assert up()[0].figures["ending"] == "created", "what is known to be half made is made anew"


def test_a_stage_behind_the_create_is_undone_too(machine: Machine) -> None:
    machine.faults(build="#9 ERROR: failed to solve: process did not complete successfully: exit code: 1")
    with pytest.raises(errors.BootstrapFailed, match=r"(?s)stage images - .*the cluster was deleted again"):
        up()
    assert machine.names() == set()


def test_a_cluster_that_was_there_is_left_when_a_later_stage_fails(machine: Machine) -> None:
    up()
    platform = cluster.connect()
    state.write_endpoints(dataclasses.replace(platform, gitops_repo=""))  # as after a bootstrap that was killed
    machine.faults(build="#9 ERROR: exit code: 1")
    with pytest.raises(errors.BootstrapFailed, match="was there before and is left as it is"):
        up()
    assert "k3d-lab-server-0" in machine.names()


def test_ctrl_c_undoes(machine: Machine) -> None:
    machine.faults(cluster_create={"hang": True, "stderr": ""})
    command = [str(Path(sys.executable).parent / "apqx"), "up", "--provider", "k3d"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    hanging = machine.folder / "hanging"
    until(lambda: (hanging.exists() or None, "not yet"), timeout_s=30, wanted="k3d at work")
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=40)
    assert child.returncode == 130, err  # as a shell says it of Ctrl-C
    assert "create failed; undoing" in err and "the cluster was deleted again" in err
    assert machine.names() == set() and not (machine.home / "k3d").exists()


def test_a_create_that_hangs_is_ended_at_its_deadline(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.faults(cluster_create={"hang": True, "stderr": ""})
    monkeypatch.setattr("platform_lib.providers.k3d.clusters.GRACE_S", 0.5)
    with pytest.raises(errors.BootstrapFailed, match="k3d cluster create --config not finished after") as caught:
        up(timeout_s=4)
    assert "last seen" in caught.value.message and machine.names() == set()


def test_what_a_killed_create_left_is_made_anew(machine: Machine) -> None:
    machine.faults(cluster_create={"hang": True, "stderr": ""})
    command = [str(Path(sys.executable).parent / "apqx"), "up", "--provider", "k3d"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    hanging = machine.folder / "hanging"
    until(lambda: (hanging.exists() or None, "not yet"), timeout_s=30, wanted="k3d at work")
    child.kill()
    child.wait(10)
    assert machine.names() and providers.recorded().platform.provider == "k3d"
    machine.faults()
    assert up()[0].figures["ending"] == "created"
    left = [one.info["cmdline"] for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"]]
    assert not [words for words in left if str(machine.home / "k3d" / "config.yaml") in words], "the old k3d was ended"


def test_a_cluster_that_was_stopped_can_be_taken_down(machine: Machine) -> None:
    up()
    subprocess.run(["k3d", "cluster", "stop", "lab"], check=True)
    assert cluster.down().ok and machine.names() == set()


def test_a_cluster_of_somebody_else_is_not_touched(machine: Machine) -> None:
    up()
    (machine.home / "k3d").rename(machine.folder / "elsewhere")
    (machine.home / "platform.json").unlink()
    with pytest.raises(errors.GuardRefused, match="cluster lab - exists already, and not from state folder"):
        up()
    assert "k3d-lab-server-0" in machine.names()


def test_other_settings_are_refused_with_both_values(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    up()
    monkeypatch.setenv("APQX_K3D_AGENTS", "3")
    with pytest.raises(errors.InvalidInput, match="agents is 2, wanted 3") as caught:
        up()
    assert "apqx down" in caught.value.hint


def refused(machine: Machine, kind: type[errors.PlatformError], match: str) -> errors.PlatformError:
    with pytest.raises(kind, match=match) as caught:
        up()
    assert not [call for call in machine.calls if "create" in call], "refused before anything was made"
    return caught.value


def test_a_daemon_that_does_not_run(machine: Machine) -> None:
    machine.faults(daemon="down")
    assert "systemctl start docker" in refused(machine, errors.Unreachable, "no answer at unix://").hint


def test_a_socket_of_others(machine: Machine) -> None:
    machine.faults(daemon="forbidden")
    assert "usermod" in refused(machine, errors.GuardRefused, "permission denied").hint


@pytest.mark.parametrize("name", ["docker", "k3d"])
def test_a_program_that_is_absent(machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (machine.folder / "bin" / name).unlink()
    monkeypatch.setattr("platform_lib.providers.k3d.programs.search_path", lambda: str(machine.folder / "bin"))
    assert "install" in refused(machine, errors.ToolMissing, f"{name} - not found on PATH").hint


def test_a_k3d_that_is_too_old(machine: Machine) -> None:
    machine.faults(k3d_version="v5.6.3")
    refused(machine, errors.ToolMissing, r"k3d - this is 5\.6\.3, expected 5\.7\.0 or newer")


def test_a_build_of_k3d_without_a_version_is_taken(machine: Machine) -> None:
    machine.faults(k3d_version="v5-dev")
    assert up()[0].ok


def test_a_port_that_a_program_holds(machine: Machine) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", settings().port_web))
        taken.listen()
        error = refused(machine, errors.GuardRefused, rf"port 127.0.0.1:{settings().port_web} - held by \S+ \(pid")
    assert "APQX_PORT_WEB" in error.hint


def test_a_port_that_a_container_holds(machine: Machine) -> None:
    import socket

    machine.faults(**{f"publish_{settings().port_web}": "grafana"})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", settings().port_web))
        taken.listen()
        error = refused(machine, errors.GuardRefused, "held by container grafana")
    assert "docker stop grafana" in error.hint


def test_a_disk_without_room(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform_lib.providers.k3d.checks.FREE_BYTES", 10**18)
    assert "docker system df" in refused(machine, errors.BootstrapFailed, "GiB free, want").hint


def test_a_docker_that_cannot_build_the_images(machine: Machine) -> None:
    machine.faults(buildx="absent")
    assert "docker-buildx-plugin" in refused(machine, errors.ToolMissing, "has no buildx").hint


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("APQX_GIT_URL", "https://localhost/you/apqx.git", "unknown inside a cluster"),
        ("APQX_GIT_URL", "git@git.example.com:you/apqx.git", "expected a key for Argo CD"),
        ("APQX_ARGOCD_MANIFESTS", "/nonexistent/install.yaml", "No such file"),
    ],
)
def test_what_the_bootstrap_would_refuse_is_refused_before_there_is_a_cluster(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    refused(machine, errors.InvalidInput, said)


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        ("Error response from daemon: manifest for rancher/k3s:v9 not found: manifest unknown", "not found"),
        ("Error response from daemon: toomanyrequests: You have reached your pull rate limit", "rate limit"),
        ("Error response from daemon: failed to register layer: no space left on device", "no space left"),
    ],
)
def test_a_pull_that_fails_stops_before_k3d_would_try_for_ever(machine: Machine, stderr: str, said: str) -> None:
    machine.faults(pull=stderr)
    with pytest.raises(errors.BootstrapFailed, match=f"stage image - .*{said}"):
        up()
    assert not [call for call in machine.calls if "cluster create" in call]


def test_down_asks_the_daemon_first_because_k3d_would_say_that_all_is_gone(machine: Machine) -> None:
    up()
    machine.faults(daemon="down")
    with pytest.raises(errors.Unreachable, match="docker daemon - no answer"):
        cluster.down()
    assert (machine.home / "k3d" / "config.yaml").exists(), "what is known of it is kept for the next try"
    assert cluster.status().state.startswith("degraded: docker daemon")
    machine.faults()
    assert cluster.down().ok


def test_two_platforms_in_one_state_folder_are_refused(machine: Machine) -> None:
    up()
    with pytest.raises(errors.InvalidInput, match="holds k3d platform lab, expected none or one of embedded"):
        cluster.up(provider="embedded")


def test_the_guard_looks_at_the_context_that_would_change(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APQX_ALLOWED_CONTEXTS", '["lab"]')
    refused(machine, errors.GuardRefused, "context 'k3d-lab' - not on the allow-list")


@pytest.mark.parametrize("act", [lambda k: k.stop_component("traefik"), lambda k: k.stop_git()], ids=["part", "git"])
def test_what_it_cannot_do_it_says(machine: Machine, act: Callable[[K3d], None]) -> None:
    with pytest.raises(errors.InvalidInput, match="scaled"):
        act(K3d(settings()))


def test_a_release_is_built_pushed_and_named_as_the_nodes_pull_it(machine: Machine) -> None:
    up()
    built = cluster.build_image(cluster.connect(), version="2.0.0")
    host = f"127.0.0.1:{settings().k3d.registry_port}/apqx/sample-app:2.0.0"
    assert built.reference == f"k3d-lab-registry:5000/apqx/sample-app@{machine.state['pushed'][host]}"
    with pytest.raises(errors.InvalidInput, match="version"):
        cluster.build_image(cluster.connect(), version="no good")
