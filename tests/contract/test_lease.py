"""The Lease keeps runs on different machines apart; only a dead holder's is taken over."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from apiprocess import ApiServer

from platform_lib import lock
from platform_lib.errors import Locked
from platform_lib.lock import exclusive
from platform_lib.model import Platform, to_json
from platform_lib.providers.state import write_endpoints
from platform_lib.wait import now, until
from platform_lib.wire import kube, lease
from platform_lib.wire.lease import LEASES, NAME, Lease


@pytest.fixture
def machine(api_server: ApiServer, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Make state folders that all lead to one cluster, as on different machines."""
    monkeypatch.setenv("APQX_LEASE_NAMESPACE", namespace)
    monkeypatch.delenv("APQX_RUN_DIR", raising=False)
    config = api_server.config

    def make(name: str) -> Platform:
        home = tmp_path / name
        home.mkdir()
        cluster = {"server": config.api_url, "certificate-authority": str(config.ca_file)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": config.token("admin")}}],
            "contexts": [{"name": "apqx", "context": {"cluster": "c", "user": "u"}}],
        }
        (home / "kubeconfig").write_text(yaml.safe_dump(document))
        platform = Platform("apqx", "existing", home / "kubeconfig", "apqx", "", "", "", home)
        write_endpoints(platform)
        return platform

    return make


def spec_of(platform: Platform, namespace: str) -> dict:
    return kube.connect(platform).get(LEASES, NAME, namespace)["spec"]


def test_two_machines_are_kept_apart_and_the_holder_is_named(machine, namespace: str) -> None:
    first, second = machine("a"), machine("b")
    with (
        exclusive(first.home, purpose="runbook 02-deploy"),
        pytest.raises(Locked, match=r"held by .* for runbook 02-deploy since") as refused,
        exclusive(second.home, purpose="another"),
    ):
        pytest.fail("two holders at once")
    assert refused.value.exit_code == 3 and refused.value.holder == lock.identity()
    assert not spec_of(first, namespace).get("holderIdentity"), "given back at the end"
    with exclusive(second.home, purpose="another"):
        assert spec_of(second, namespace)["holderIdentity"] == lock.identity()
    assert not (second.home / "run.lock.json").exists()


def old(platform: Platform, namespace: str, age_s: float, duration_s: int) -> None:
    """A holder that has not renewed for a while."""
    Lease(platform, namespace, holder="eve@elsewhere", token="t0", purpose="a drill", duration_s=duration_s).acquire()
    stamp = to_json(now() - timedelta(seconds=age_s)).replace("Z", "000Z")
    kube.connect(platform).patch(LEASES, NAME, {"spec": {"renewTime": stamp}}, namespace)


def test_a_lease_that_expired_is_taken_over(machine, namespace: str) -> None:
    platform = machine("a")
    old(platform, namespace, age_s=60, duration_s=1)
    with exclusive(platform.home, purpose="next"):
        assert spec_of(platform, namespace)["leaseTransitions"] == 1


def test_a_holder_whose_clock_is_behind_but_renews_is_believed(machine, namespace: str, monkeypatch) -> None:
    platform = machine("a")
    old(platform, namespace, age_s=3600, duration_s=1)

    def renews_meanwhile(_seconds: float) -> None:
        kube.connect(platform).patch(LEASES, NAME, {"metadata": {"annotations": {"renewed": "again"}}}, namespace)

    monkeypatch.setattr(lease, "pause", renews_meanwhile)
    with pytest.raises(Locked, match="eve@elsewhere for a drill"), exclusive(platform.home, purpose="next"):
        pytest.fail("a living holder was robbed")


def test_the_next_run_of_the_same_folder_need_not_wait_for_its_killed_predecessor(machine, namespace: str) -> None:
    platform = machine("a")
    Lease(platform, namespace, holder="killed", token="t0", purpose="a run", duration_s=3600).acquire()
    (platform.home / "run.lock.json").write_text(json.dumps({"holder": "killed", "token": "t0"}))
    with exclusive(platform.home, purpose="next"):
        assert spec_of(platform, namespace)["holderIdentity"] == lock.identity()


def test_a_lease_is_renewed_and_made_again_when_its_cluster_was_rebuilt(machine, namespace: str, monkeypatch) -> None:
    monkeypatch.setenv("APQX_LEASE_S", "0.6")
    platform = machine("a")

    def seen() -> tuple[str | None, str]:
        found = kube.connect(platform).find(LEASES, NAME, namespace)
        return (found["spec"]["renewTime"] if found else None), "a Lease" if found else "no Lease"

    with exclusive(platform.home, purpose="cluster-loss"):
        first = until(seen, timeout_s=5, wanted="a Lease")
        until(lambda: (True if seen()[0] != first else None, "the same"), timeout_s=10, wanted="a renewal")
        kube.connect(platform).delete(LEASES, NAME, namespace)
        until(seen, timeout_s=10, wanted="the Lease again")
    assert not spec_of(platform, namespace).get("holderIdentity")


def test_without_a_cluster_the_file_lock_is_enough_and_the_lease_follows(machine, namespace: str, monkeypatch) -> None:
    monkeypatch.setenv("APQX_LEASE_S", "0.6")
    platform = machine("a")
    endpoints = platform.home / "platform.json"
    text = endpoints.read_text()
    endpoints.unlink()
    with exclusive(platform.home, purpose="setup"):
        endpoints.write_text(text)
        found = until(
            lambda: (kube.connect(platform).find(LEASES, NAME, namespace), "no Lease"), timeout_s=10, wanted="a Lease"
        )
        assert found["spec"]["holderIdentity"] == lock.identity()
