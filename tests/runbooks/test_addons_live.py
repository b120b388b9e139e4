"""An add-on on a platform that runs: the book as a person runs it, on and off, and users who notice nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from platform_lib import App, addons, cluster, deploy, runbook
from platform_lib.wire import kube

pytestmark = [pytest.mark.platform, pytest.mark.slow]
NETWORK_POLICIES = "networking.k8s.io/v1/networkpolicies"


def switched(action: str) -> dict[str, Any]:
    result = runbook.run("07-addons", {"dry_run": False, "action": action, "timeout_s": 90.0})
    assert result.ok, f"{result.error} see {result.folder}"
    saved: dict[str, Any] = json.loads((Path(result.folder) / "result.json").read_text())
    return saved


def policies() -> set[str]:
    found, _ = kube.connect(cluster.connect()).list(NETWORK_POLICIES, "sample-app")
    return {obj["metadata"]["name"] for obj in found}


def test_an_add_on_goes_on_and_off_by_the_book_and_users_notice_nothing(live: dict[str, str]) -> None:
    assert policies() == {"sample-app"}
    on = switched("enable")
    assert on["figures"]["changed"] and on["key_figure"].startswith("enabled in")
    assert policies() == {"sample-app", "default-deny"}
    platform = cluster.connect()
    assert addons.state(platform, addon="network-policies").state == "on"
    assert not switched("enable")["figures"]["changed"], "once more changes nothing"
    off = switched("disable")
    assert off["figures"]["changed"] and policies() == {"sample-app"}
    assert set(deploy.served_versions(platform, App(), requests=5)) <= {"1.0.0", "5.0.0", "5.1.0"}


def test_a_book_for_what_cannot_be_here_ends_with_the_reason_and_what_is_instead(live: dict[str, str]) -> None:
    result = runbook.run("07-addons", {"dry_run": False, "addon": "loki"})
    assert result.exit_code == 3 and result.error is not None and result.error["type"] == "GuardRefused"
    assert "runs no containers" in str(result.error) and "apqx logs" in str(result.error)
