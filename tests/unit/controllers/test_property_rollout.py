"""Whatever pods do, a rolling update stays within its bounds and comes to its end."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulated import Cluster, deployment, pod_template, rolling

from platform_lib.embedded.controllers.deployment_sizes import bounds_of
from platform_lib.embedded.schema import Schemas
from platform_lib.model import Obj

DEPLOYMENTS, PODS = "apps/v1/deployments", "v1/pods"

BOUNDS = st.tuples(
    st.one_of(st.integers(0, 4), st.sampled_from(["0%", "25%", "50%", "100%"])),
    st.one_of(st.integers(0, 4), st.sampled_from(["0%", "25%", "50%", "100%"])),
).filter(lambda pair: str(pair[0]) not in ("0", "0%") or str(pair[1]) not in ("0", "0%"))


def is_ready(pod: Obj) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def living(cluster: Cluster) -> list[Obj]:
    return [pod for pod in cluster.list(PODS) if not pod["metadata"].get("deletionTimestamp")]


class Watch:
    """Checks after every single write of a controller that the update is within its bounds."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.by_controller = True
        self.violations: list[str] = []
        found = cluster.get(DEPLOYMENTS, "web")
        bounds = bounds_of(found)
        self.most = bounds.wanted + bounds.max_surge
        self.least = bounds.min_available
        self.ready_before = self._ready()
        cluster.store.subscribe(lambda event: self._look())

    def _ready(self) -> int:
        return sum(is_ready(pod) for pod in living(self.cluster))

    def lost_by_pods(self) -> None:
        """Readiness changed by the pods themselves is not the controller's doing."""
        self.ready_before = self._ready()

    def _look(self) -> None:
        pods = living(self.cluster)
        if len(pods) > self.most:
            self.violations.append(f"{len(pods)} pods, at most {self.most} allowed")
        now = sum(is_ready(pod) for pod in pods)
        if now < self.ready_before and self.by_controller and now < self.least:
            self.violations.append(f"{now} ready pods after a delete, at least {self.least} wanted")
        self.ready_before = now


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    replicas=st.integers(1, 8),
    bounds=BOUNDS,
    turns=st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=25),
    second_at=st.integers(0, 25),
)
def test_rolling_update_holds_its_bounds_and_converges(
    schemas: Schemas, replicas: int, bounds: tuple[int | str, int | str], turns: list[tuple[int, bool]], second_at: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder), schemas)
        cluster.create(deployment(replicas=replicas, strategy=rolling(*bounds), progressDeadlineSeconds=600))
        cluster.run_to_rest()
        watch = Watch(cluster)
        cluster.patch(DEPLOYMENTS, "web", {"spec": {"template": pod_template(version="2")}})
        for number, (place, ready) in enumerate(turns):
            if number == second_at:
                cluster.patch(DEPLOYMENTS, "web", {"spec": {"template": pod_template(version="3")}})
            cluster.settle()
            flip(cluster, watch, place, ready)
            cluster.settle()
            if number % 3 == 0:
                finish_deleted(cluster)
        cluster.is_ready = lambda pod: True
        watch.by_controller = False
        cluster.run_to_rest()
        assert not watch.violations
        status = cluster.get(DEPLOYMENTS, "web")["status"]
        images = {pod["spec"]["containers"][0]["image"] for pod in cluster.list(PODS)}
        assert len(images) == 1
        assert (status["replicas"], status["updatedReplicas"], status["availableReplicas"]) == (replicas,) * 3
        assert next(c for c in status["conditions"] if c["type"] == "Progressing")["reason"] == "NewReplicaSetAvailable"
        cluster.store.close()


def flip(cluster: Cluster, watch: Watch, place: int, ready: bool) -> None:
    """Let one pod change its readiness by itself."""
    bound = [pod for pod in cluster.list(PODS) if pod["spec"].get("nodeName")]
    if not bound:
        return
    pod = bound[place % len(bound)]
    watch.by_controller = False
    cluster.set_ready(pod, ready and not pod["metadata"].get("deletionTimestamp"))
    watch.by_controller = True
    watch.lost_by_pods()


def finish_deleted(cluster: Cluster) -> None:
    """Let the nodes finish the pods that are on their way out."""
    for pod in cluster.list(PODS):
        if pod["metadata"].get("deletionTimestamp"):
            cluster.delete(PODS, pod["metadata"]["name"], gracePeriodSeconds=0)
