"""Sweeping what a dead submitter left must not take away what a living one has just created for its Job."""

from datetime import timedelta
from typing import Any

from platform_lib.oncluster import submit
from platform_lib.wait import now


def role(name: str, run: str, age_s: float) -> dict[str, Any]:
    made = (now() - timedelta(seconds=age_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"metadata": {"name": name, "labels": {"apqx.dev/run": run}, "creationTimestamp": made}}


class Cluster:
    """Cluster roles and Jobs; notes what is deleted."""

    def __init__(self, *roles: dict[str, Any], jobs: tuple[str, ...] = ()) -> None:
        self.roles, self.jobs, self.deleted = list(roles), jobs, list[str]()

    def list(self, gvr: str, *_args: object, **_options: object) -> tuple[list[dict[str, Any]], str]:
        if gvr == submit.JOBS:
            return [{"metadata": {"name": name, "labels": {"apqx.dev/run": name}}} for name in self.jobs], ""
        return (self.roles if gvr.endswith("/clusterroles") else []), ""

    def json(self, _method: str, path: str, **_options: object) -> None:
        self.deleted.append(path.rpartition("/")[2])


def test_only_old_rights_without_a_job_are_removed() -> None:
    cluster = Cluster(
        role("dead", "gone", 3600), role("beginning", "soon", 2), role("running", "job", 3600), jobs=("job",)
    )
    said: list[str] = []
    submit._sweep(cluster, "apqx-runs", said.append)  # type: ignore[arg-type]
    assert cluster.deleted == ["dead"]
    assert said == ["removing dead, left by a run that died"]
