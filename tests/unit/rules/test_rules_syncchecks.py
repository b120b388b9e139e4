"""Which destinations may the workbench call forbidden? Only those of which it knows name and address."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from platform_lib.rules import syncchecks

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
SERVER = "https://kubernetes.default.svc"


def refused(destination: dict[str, str], permitted: dict[str, str]) -> list[str]:
    application = {"metadata": {"name": "web"}, "spec": {"destination": {**destination, "namespace": "shop"}}}
    project = {"metadata": {"name": "team"}, "spec": {"destinations": [{**permitted, "namespace": "*"}]}}
    facts = syncchecks.Facts(application, project, "", NOW)
    return [one.why for one in syncchecks.refusals(facts, "sync")]


@pytest.mark.parametrize(
    ("destination", "permitted"),
    [
        ({"name": "prod"}, {"server": "https://prod.example"}),
        ({"server": "https://prod.example"}, {"name": "prod"}),
        ({"name": "in-cluster"}, {"server": SERVER}),
        ({"server": SERVER}, {"name": "in-cluster"}),
    ],
)
def test_a_cluster_has_a_name_and_an_address(destination: dict[str, str], permitted: dict[str, str]) -> None:
    assert refused(destination, permitted) == []


def test_the_own_cluster_is_known_by_both() -> None:
    (why,) = refused({"server": SERVER}, {"server": "https://prod.example"})
    assert f"destination {SERVER}, namespace 'shop', is not permitted in project team" in why
