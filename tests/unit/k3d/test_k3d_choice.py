"""Which provider is in force, and what each says that it cannot do."""

import dataclasses
from pathlib import Path

import pytest

from platform_lib import providers
from platform_lib.drills.faults.bad_deploy import BadDeploy
from platform_lib.drills.faults.cluster import ClusterLoss
from platform_lib.drills.faults.nodes import NodeLoss
from platform_lib.errors import InvalidInput
from platform_lib.model import App
from platform_lib.providers import state
from platform_lib.providers.base import POWERS, Provider
from platform_lib.providers.k3d import K3d, access, clusters
from platform_lib.settings import settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("APQX_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_flag_then_setting_then_what_is_up_then_embedded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert providers.chosen().platform.provider == "embedded"
    state.write_endpoints(access.platform_of(settings()))
    assert providers.chosen().platform.provider == "k3d"
    assert providers.chosen("").platform.provider == "k3d", "empty is how a runbook says that it does not mind"
    monkeypatch.setenv("APQX_PROVIDER", "embedded")
    assert providers.chosen().platform.provider == "embedded"
    assert providers.chosen("k3d").platform.provider == "k3d"
    assert providers.recorded().platform.provider == "k3d", "what is up decides who takes it down"


def test_a_file_can_name_the_provider(home: Path) -> None:
    (home / "apqx.toml").write_text('provider = "k3d"\n')
    assert providers.chosen().platform.provider == "k3d"


def test_an_unknown_provider_is_refused_with_those_that_exist() -> None:
    with pytest.raises(InvalidInput, match="provider 'kind' - not available, expected one of: embedded, k3d, existing"):
        providers.chosen("kind")


def test_endpoints_on_record_win_over_those_of_the_settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = dataclasses.replace(access.platform_of(settings()), gitops_repo="https://example.org/g.git")
    state.write_endpoints(platform)
    monkeypatch.setenv("APQX_PORT_WEB", "18080")
    assert providers.recorded().platform == platform
    monkeypatch.setenv("APQX_CLUSTER_NAME", "other")
    assert providers.of(platform).platform.name == "apqx"


@pytest.mark.parametrize("name", ["embedded", "k3d"])
def test_every_provider_keeps_the_protocol(name: str) -> None:
    found = providers.named(name)
    assert isinstance(found, Provider)
    assert all(isinstance(found.cannot(power), str) for power in POWERS)
    with pytest.raises(InvalidInput, match="power 'fly' - unknown"):
        found.cannot("fly")


def test_drills_ask_the_provider_what_it_can() -> None:
    k3d = access.platform_of(settings())
    assert (NodeLoss.supported(k3d, App()), ClusterLoss.supported(k3d, App())) == ("", "")
    existing = dataclasses.replace(k3d, provider="existing")
    for fault in (NodeLoss, ClusterLoss, BadDeploy):
        assert fault.supported(existing, App()).startswith("provider 'existing' ")


def seen(**running: bool) -> clusters.Seen:
    roles = {"server": "server", "agent": "agent", "lb": "loadbalancer", "registry": "registry"}
    nodes = [clusters.Node(name, roles[name], "running" if on else "exited", on) for name, on in running.items()]
    return clusters.Seen("x", tuple(nodes))


def test_the_state_of_a_cluster_is_that_of_its_own_containers() -> None:
    assert seen().state == "absent"
    assert seen(registry=True).state == "absent", "a registry alone is no cluster"
    assert seen(server=True, agent=True, lb=True, registry=False).state == "running"
    assert seen(server=True, agent=False, lb=True).state == "partial"
    assert seen(server=False, agent=False, lb=False, registry=True).state == "stopped"


def test_a_list_that_is_no_json_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters.programs, "k3d", lambda *_words: "INFO[0000] hello")
    with pytest.raises(Exception, match="its answer is not the JSON expected"):
        clusters.look("x")


def test_what_is_missing_is_said_before_anybody_tries() -> None:
    found = K3d(settings())
    with pytest.raises(InvalidInput, match="stop_git asked of it, but its git server is a workload"):
        found.stop_git()
