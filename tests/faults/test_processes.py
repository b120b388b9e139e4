"""The embedded platform under fire: every one of its processes is killed, and it comes back by itself.

One platform, on ports of its own, serves this module; traffic goes through the real Traefik.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from platform_lib.errors import BootstrapFailed, GuardRefused, InvalidInput, Locked, UnsupportedSystem
from platform_lib.providers import preflight, state, tools
from platform_lib.providers.embedded import Embedded
from platform_lib.settings import Settings, settings
from platform_lib.wait import monotonic, until
from platform_lib.wire import kube

pytestmark = [pytest.mark.platform, pytest.mark.slow]
COMPONENTS = ("api", "gitops", "scrape", "prometheus", "node-apqx-agent-0", "node-apqx-server-0")


def _say(_line: str) -> None:
    """Tell nobody."""


def _own_settings(home: Path, third: int) -> Settings:
    """Return settings with free ports and a pod network of their own."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(7)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        numbers = [each.getsockname()[1] for each in sockets]
    names = ("api", "web", "websecure", "traefik", "prometheus", "scrape", "kubelet")
    ports = {f"port_{name}": number for name, number in zip(names, numbers, strict=True)}
    return settings(home=home, pod_network=f"127.{third}.0.0/16", **ports)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    found = Embedded(_own_settings(tmp_path_factory.mktemp("faults"), 91))
    with contextlib.suppress(Exception):
        tools.require("prometheus", found.settings)
    found.up(progress=_say)
    yield found
    found.down(purge=True, progress=_say)
    assert found.left_behind() == []


def _entry(platform: Embedded, name: str) -> dict[str, Any]:
    return state.processes(platform.layout).get(name, {})


def _kill(platform: Embedded, *names: str) -> list[int]:
    pids = [_entry(platform, name)["pid"] for name in names]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return pids


def _wait(wanted: str, probe: Callable[[], bool], timeout_s: float = 15) -> None:
    until(lambda: (True if probe() else None, "not yet"), timeout_s=timeout_s, wanted=wanted, interval_s=0.02)


def _back(platform: Embedded, name: str, old: int) -> Callable[[], bool]:
    def back() -> bool:
        entry = _entry(platform, name)
        return entry.get("pid") not in (None, old) and state.alive(entry)

    return back


@contextlib.contextmanager
def _traffic(platform: Embedded) -> Iterator[list[int | str]]:
    """Ask the application 100 times a second while the block runs; yields the answers."""
    answers: list[int | str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.01):
            answers.append(platform.readiness.ask())

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


def _pods(platform: Embedded) -> dict[str, str]:
    found, _ = kube.connect(platform.platform).list(kube.PODS, "sample-app")
    return {pod["metadata"]["uid"]: pod["metadata"]["name"] for pod in found}


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_killed_process_is_started_again_and_traffic_goes_on(platform: Embedded, name: str) -> None:
    before = _pods(platform)
    with _traffic(platform) as answers:
        (old,) = _kill(platform, name)
        _wait(f"{name} started again", _back(platform, name, old))
        _wait("API ready", lambda: _api_answers(platform))
        _wait("enough answers", lambda: len(answers) > 50)
    assert set(answers) == {200}
    assert _pods(platform) == before


def _api_answers(platform: Embedded) -> bool:
    with contextlib.suppress(Exception):
        kube.connect(platform.platform).call("GET", "/readyz", timeout_s=1)
        return True
    return False


def test_a_killed_ingress_is_back_at_once(platform: Embedded) -> None:
    (old,) = _kill(platform, "traefik")
    _wait("traefik started again", _back(platform, "traefik", old), timeout_s=3)
    _wait("an answer through the ingress", lambda: platform.readiness.ask() == 200, timeout_s=5)


def test_an_acknowledged_write_survives_the_death_of_the_api(platform: Embedded) -> None:
    for i in range(5):
        name = f"kept-{i}"
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"n": str(i)}}
        kube.connect(platform.platform).create("v1/configmaps", body, "default")
        (old,) = _kill(platform, "api")
        _wait("api started again", _back(platform, "api", old))
        _wait("API ready", lambda: _api_answers(platform))
        assert kube.connect(platform.platform).get("v1/configmaps", name, "default")["data"] == {"n": str(i)}


@pytest.mark.parametrize("keeper", state.KEEPERS)
def test_guardian_and_supervisor_repair_each_other(platform: Embedded, keeper: str) -> None:
    components = {n: e["pid"] for n, e in state.processes(platform.layout).items() if n not in state.KEEPERS}
    with _traffic(platform) as answers:
        (old,) = _kill(platform, keeper)
        _wait(f"{keeper} replaced", _back(platform, keeper, old))
        _wait("everything runs", lambda: state.complete(platform.layout))
    assert set(answers) == {200}
    after = {n: e["pid"] for n, e in state.processes(platform.layout).items() if n not in state.KEEPERS}
    assert after == components  # adopted, not started again


def test_both_keepers_replaced_one_after_the_other_still_restart_a_component(platform: Embedded) -> None:
    for keeper in ("supervisor", "guardian", "supervisor"):
        (old,) = _kill(platform, keeper)
        _wait(f"{keeper} replaced", _back(platform, keeper, old))
    _wait("everything runs", lambda: state.complete(platform.layout))
    (old,) = _kill(platform, "scrape")
    _wait("scrape started again", _back(platform, "scrape", old))


def test_after_losing_both_keepers_the_next_up_adopts_what_runs(platform: Embedded) -> None:
    api = _entry(platform, "api")["pid"]
    os.kill(_entry(platform, "guardian")["pid"], signal.SIGSTOP)
    _kill(platform, "supervisor", "guardian")
    _wait("both gone", lambda: not any(state.alive(_entry(platform, name)) for name in state.KEEPERS))
    outcome = platform.up(progress=_say)
    assert outcome.figures["changed"] is True
    assert _entry(platform, "api")["pid"] == api
    assert state.complete(platform.layout)


def test_a_second_up_changes_nothing_and_is_quick(platform: Embedded) -> None:
    before = state.processes(platform.layout)
    start = monotonic()
    assert platform.up(progress=_say).figures == {"changed": False}
    assert monotonic() - start < 0.5
    assert state.processes(platform.layout) == before


def test_up_with_other_settings_beside_a_running_platform_is_refused(platform: Embedded) -> None:
    other = Embedded(platform.settings.model_copy(update={"agents": 1}))
    with pytest.raises(InvalidInput, match="other settings"):
        other.up(progress=_say)


def test_a_lost_node_stays_lost_until_it_is_started(platform: Embedded) -> None:
    platform.stop_node("apqx-agent-1")
    _wait("node not ready", lambda: _node_ready(platform, "apqx-agent-1") is not True)
    assert not state.alive(_entry(platform, "node-apqx-agent-1"))
    platform.start_node("apqx-agent-1")
    _wait("node ready", lambda: _node_ready(platform, "apqx-agent-1") is True)


def _node_ready(platform: Embedded, name: str) -> bool:
    node = kube.connect(platform.platform).get(kube.NODES, name)
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])


def test_an_unknown_component_is_refused_by_name(platform: Embedded) -> None:
    with pytest.raises(InvalidInput, match="traefik"):
        platform.stop_component("nginx")


def test_the_cluster_is_rebuilt_from_git_and_images_alone(platform: Embedded) -> None:
    head = (platform.layout.git / "refs/heads/main").read_text()
    images = sorted(path.name for path in (platform.layout.images / "blobs/sha256").iterdir())
    pods = _pods(platform)
    platform.destroy_cluster()
    assert not platform.layout.cluster.exists()
    assert state.mounts(platform.layout) == []
    assert platform.readiness.ask() != 200
    outcome = platform.rebuild(_say)
    assert outcome.figures["time_to_first_200_s"] < 30
    assert (platform.layout.git / "refs/heads/main").read_text() == head
    assert sorted(path.name for path in (platform.layout.images / "blobs/sha256").iterdir()) == images
    assert not pods.keys() & _pods(platform).keys()


def test_what_a_killed_platform_left_is_taken_up_again(platform: Embedded) -> None:
    marker = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "before"}, "data": {}}
    kube.connect(platform.platform).create("v1/configmaps", marker, "default")
    platform.sweep()  # as after a reset of the machine: no process, all state
    assert state.living(platform.layout) == []
    platform.up(progress=_say)
    assert kube.connect(platform.platform).find("v1/configmaps", "before", "default") is not None


# -- refused before anything is started ------------------------------------------------------------------


def test_a_taken_port_is_refused_and_its_holder_named(tmp_path: Path) -> None:
    mine = _own_settings(tmp_path / "home", 92)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", mine.port_web))
        taken.listen()
        with pytest.raises(GuardRefused, match=rf"{mine.port_web} - held by .*pid {os.getpid()}.*APQX_PORT_WEB"):
            Embedded(mine).up(progress=_say)
    assert not (tmp_path / "home" / "cluster").exists()


def test_a_second_up_at_the_same_time_is_refused_and_the_holder_named(tmp_path: Path) -> None:
    mine = _own_settings(tmp_path / "home", 92)
    with state.locked(mine.home, "up"), pytest.raises(Locked, match=f"pid {os.getpid()}.*up"):
        Embedded(mine).up(progress=_say)


def test_the_lock_of_a_killed_up_does_not_stay(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, signal; from platform_lib.providers import state\n"
        "with state.locked(pathlib.Path(sys.argv[1]), 'up'): print('locked', flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(Locked), state.locked(tmp_path, "up"):
            pass
        holder.kill()
    with state.locked(tmp_path, "up"):
        pass


def test_a_state_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GuardRefused, match="APQX_HOME"):
        preflight.state_folder(tmp_path / "file" / "home")


def test_a_full_disk_is_said_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "FREE_BYTES", 2**62)
    with pytest.raises(BootstrapFailed, match="MiB free"):
        Embedded(_own_settings(tmp_path / "home", 92)).up(progress=_say)


def test_another_system_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UnsupportedSystem, match="k3d"):
        preflight.system()


def test_a_start_that_fails_is_undone_and_its_logs_are_kept(tmp_path: Path) -> None:
    mine = _own_settings(tmp_path / "home", 92)
    broken = tmp_path / "traefik"
    broken.write_text("#!/bin/sh\necho cannot start >&2\nexit 3\n")
    broken.chmod(0o755)
    found = Embedded(mine.model_copy(update={"traefik": str(broken)}))
    with pytest.raises(BootstrapFailed) as failed:
        found.up(timeout_s=6, progress=_say)
    assert failed.value.undone is True
    assert failed.value.stage == "first answer"
    assert "cannot start" in (mine.home / "last-failure" / "traefik.log").read_text()
    assert found.left_behind() == []


def test_ctrl_c_during_up_leaves_nothing(tmp_path: Path) -> None:
    mine = _own_settings(tmp_path / "home", 92)
    document = {k: str(v) for k, v in mine.model_dump(include={"home", "pod_network"}).items()}
    document |= {name: value for name, value in mine.model_dump().items() if name.startswith("port_")}
    code = (
        "import json, signal, sys; from platform_lib.settings import settings\n"
        # A test run that was started in the background of a script hands down an ignored SIGINT.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from platform_lib.providers.embedded import Embedded\n"
        "Embedded(settings(**json.loads(sys.argv[1]))).up(progress=lambda line: print(line, flush=True))"
    )
    argv = [sys.executable, "-c", code, json.dumps(document)]
    try:
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert any(line.startswith("api:") for line in iter(process.stdout.readline, ""))
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=30)
        assert "KeyboardInterrupt" in error
        assert Embedded(mine).left_behind() == []
    finally:  # a failure of this test must not leave the platform that it started
        Embedded(mine).down(purge=True, progress=_say)
