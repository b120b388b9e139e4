"""The node as an ordinary user: what works the same and what is said not to.

Runs only as root, because it becomes somebody else; as an ordinary user the other node tests show the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from harness import Cluster, find_bwrap, make_config

from platform_lib.embedded.config import NodeConfig
from platform_lib.embedded.schemacache import cache_name

NOBODY = 65534
PYTHON = "/usr/bin/python3"
LIBRARIES = Path(aiohttp.__file__).parents[1]
PROJECT = Path(__file__).parents[3]


def usable() -> str:
    """Return why this machine cannot run the test, or nothing."""
    if os.geteuid() != 0:
        return "needs root to become another user"
    check = f"import sys, aiohttp; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    try:
        done = subprocess.run(
            [PYTHON, "-c", check], user=NOBODY, group=NOBODY, extra_groups=[], env=environment(), cwd="/", check=False
        )
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else "another user cannot read a suitable interpreter with the libraries"


def environment() -> dict[str, str]:
    return {"PYTHONPATH": f"{PROJECT}:{LIBRARIES}", "PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="module", params=["plain", "sandbox"])
def user_cluster(request: pytest.FixtureRequest, node_cache: Path) -> Iterator[Cluster]:
    if reason := usable():
        pytest.skip(reason)
    found = find_bwrap() if request.param == "sandbox" else ""
    if request.param == "sandbox" and not found:
        pytest.skip("bubblewrap is not installed; set BWRAP to one that is unpacked")
    with tempfile.TemporaryDirectory(prefix="apqx-user-") as folder:
        home = Path(folder)
        cache = home / "cache"
        cache.mkdir()
        for schema in node_cache.glob(cache_name()):
            shutil.copy(schema, cache)
        bwrap = str(shutil.copy(found, home / "bwrap")) if found else ""
        subnet = 17 if bwrap else 18
        node = NodeConfig("node-u", "worker", f"127.43.{subnet}.1", f"127.43.{subnet}.0/24", cpu="4", memory="4Gi")
        config = make_config(home, cache, bwrap=bwrap, node=node, python=PYTHON)
        running = Cluster(config, user=NOBODY, env=environment())
        for place in [home, *home.rglob("*")]:
            os.chown(place, NOBODY, NOBODY)
        try:
            running.up()
            yield running
        finally:
            running.down()


def test_ordinary_user_runs_pods(user_cluster: Cluster) -> None:
    image = user_cluster.layout.server()
    user_cluster.run("web", image=image)
    user_cluster.wait_ready("web", 15)
    pid, uid = user_cluster.ask("web")[1].split()
    message = str(user_cluster.pod("web")["status"]["conditions"])
    if user_cluster.config.bwrap:
        assert (int(pid) < 10, uid) == (True, "1000")
        assert user_cluster.ask("web", "/write?/app/x")[0] == 403
        assert user_cluster.condition(user_cluster.pod_path("web"), "apqx.dev/SandboxEnforced") == "True"
    else:
        assert uid == str(NOBODY)
        assert f"uid 1000 (runs as uid {NOBODY}: only root can change it)" in message
    user_cluster.delete("web")
    user_cluster.wait_gone("web")


def test_ordinary_user_enforces_the_memory_limit_by_watching(user_cluster: Cluster) -> None:
    hungry = "x = bytearray(200 << 20); import time; time.sleep(60)"
    limits = {"limits": {"memory": "64Mi", "cpu": "1"}}
    user_cluster.run("hungry", command=["python", "-c", hungry], readinessProbe=None, resources=limits)
    ended = user_cluster.wait(lambda: user_cluster.state("hungry").get("lastState", {}).get("terminated"))
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    message = str(user_cluster.pod("hungry")["status"]["conditions"])
    assert "CPU limit (control groups are not writable for this user)" in message
    user_cluster.delete("hungry", gracePeriodSeconds=0)


def test_ordinary_user_runs_exec_probes(user_cluster: Cluster) -> None:
    probe = {"exec": {"command": ["python", "-c", "import os; raise SystemExit(os.getuid() not in (1000, 65534))"]}}
    user_cluster.run("probed", readinessProbe=probe)
    user_cluster.wait_ready("probed", 15)
    user_cluster.kill("node")
    user_cluster.start("node")
    user_cluster.wait(user_cluster.kubelet_answers)
    user_cluster.delete("probed")
    user_cluster.wait_gone("probed")
