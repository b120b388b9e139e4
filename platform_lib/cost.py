"""What is reserved, what is used, what does it cost, and what should be asked for instead?

Requests come from the Kubernetes API, use from Prometheus, prices from the caller. Advice is the business of
``rules.rightsizing``, spot readiness of ``rules.spot``, room for more pods of ``rules.capacity``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from platform_lib.errors import InvalidInput, NoData
from platform_lib.model import App, Check, Obj, Platform, _Table
from platform_lib.rules import manifests, rightsizing, spot
from platform_lib.rules.capacity import Need, Room, fits, fits_without_any_node
from platform_lib.wait import now
from platform_lib.wire import kube, prometheus

if TYPE_CHECKING:
    import pandas as pd

HOURS_A_MONTH = 730.0
_HPAS = "autoscaling/v2/horizontalpodautoscalers"
_BUDGETS = "policy/v1/poddisruptionbudgets"
_RATE_WINDOW_S = 30.0
_SYSTEM = frozenset({"kube-system", "kube-public", "kube-node-lease"})
_POD_SUFFIX = re.compile(r"-[a-z0-9]{6,10}-[a-z0-9]{5}$")
"""What a Deployment and its ReplicaSet add to a pod's name; pods that are gone are known by it alone."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What a core and a gibibyte cost for an hour.

    The defaults are OpenCost's default prices for on-demand machines; yours are on your bill.

    Attributes:
        cpu_core_hour: Price of one core for an hour.
        memory_gib_hour: Price of one gibibyte for an hour.
        currency: Shown behind amounts.
    """

    cpu_core_hour: float = 0.031611
    memory_gib_hour: float = 0.004237
    currency: str = "USD"

    def month(self, cpu_cores: float, memory_bytes: float) -> float:
        """Return the price of a reservation for a month."""
        return HOURS_A_MONTH * (cpu_cores * self.cpu_core_hour + memory_bytes / 2**30 * self.memory_gib_hour)


@dataclass(frozen=True, slots=True)
class Report(_Table):
    """Requests against use, advice, spot readiness and room.

    Attributes:
        start, end: Window of the readings.
        workloads: One row a Deployment, index ``workload`` (``namespace/name``); cores and bytes per pod, prices a
            month for all of its pods. NaN means not asked for, or not enough data.
        nodes: One row a node: allocatable, requested, share.
        ready_for_spot: Checks by workload.
        room: Further pods by workload: (with all nodes, after the worst loss of one).
        prices: What the amounts were computed with.
    """

    start: datetime
    end: datetime
    workloads: pd.DataFrame
    nodes: pd.DataFrame
    ready_for_spot: dict[str, tuple[Check, ...]]
    room: dict[str, tuple[int, int]]
    prices: Prices

    def rows(self) -> list[tuple[str, str]]:
        """Return one row a workload and the sums."""
        found = []
        for name, row in self.workloads.iterrows():
            text = f"cpu {row['cpu_advice']}, memory {row['memory_advice']}"
            if row["month_advised"] == row["month_advised"]:
                text += f"; {row['month_now']:.2f} to {row['month_advised']:.2f} {self.prices.currency} a month"
            found.append((str(name), text))
        for name, checks in self.ready_for_spot.items():
            bad = [check.name for check in checks if check.status != "pass"]
            found.append((f"spot {name}", "ready" if not bad else f"not ready: {', '.join(bad)}"))
        for name, (more, after) in self.room.items():
            lost = f"{after} after the loss of a node" if after >= 0 else f"{-after} without a place after it"
            found.append((f"room {name}", f"{more} further pods, {lost}"))
        return found


def report(
    platform: Platform,
    *,
    app: App | None = None,
    window_s: float = 3600.0,
    prices: Prices | None = None,
    notice_s: int = 30,
    end: datetime | None = None,
) -> Report:
    """Compare what workloads ask for with what they use.

    Args:
        platform: Where.
        app: Only this application; default: every Deployment outside the system's namespaces.
        window_s: Look-back in seconds; a week or more makes the bounds of the advice narrow.
        prices: Default: OpenCost's.
        notice_s: How long before its loss a spot machine says so, in seconds.
        end: Last reading; default now.

    Raises:
        InvalidInput: There is no such Deployment, or the window is shorter than a minute.
        Unreachable: API or Prometheus do not answer.
    """
    if window_s < 60:
        raise InvalidInput(f"window_s is {window_s:g}, expected at least 60", hint="a day or more gives useful advice")
    prices, last = prices or Prices(), end or now()
    first = last - timedelta(seconds=window_s)
    api = kube.connect(platform)
    deployments = _deployments(api, app)
    pods = [pod for pod in api.list(kube.PODS)[0] if manifests.status(pod).get("phase") in ("Running", "Pending")]
    readings = _Readings(platform, sorted({manifests.namespace(one) for one in deployments}), first, last)
    scaled = {(manifests.namespace(h), manifests.spec(h)["scaleTargetRef"]["name"]): h for h in api.list(_HPAS)[0]}
    budgets, _ = api.list(_BUDGETS)
    nodes, _ = api.list(kube.NODES)
    rooms = [_room(node, pods) for node in nodes if not manifests.spec(node).get("unschedulable")]
    return Report(
        first,
        last,
        _workloads([_row(one, readings, scaled, window_s, prices) for one in deployments]),
        _nodes(nodes, pods),
        {
            _key(one): spot.checks(one, [b for b in budgets if _same_namespace(b, one)], notice_s=notice_s)
            for one in deployments
        },
        {_key(one): _more(one, rooms, pods) for one in deployments},
        prices,
    )


def _key(obj: Obj) -> str:
    """Name a workload."""
    return f"{manifests.namespace(obj)}/{manifests.name(obj)}"


def _same_namespace(one: Obj, other: Obj) -> bool:
    """Tell whether two objects share a namespace."""
    return manifests.namespace(one) == manifests.namespace(other)


def _deployments(api: kube.Kube, app: App | None) -> list[Obj]:
    """Return the Deployments in question, by name."""
    found, _ = api.list(kube.DEPLOYMENTS, app.namespace if app else None)
    if app is not None:
        found = [one for one in found if manifests.name(one) == app.name]
    found = [one for one in found if app is not None or manifests.namespace(one) not in _SYSTEM]
    if not found:
        wanted = f"Deployment {app.namespace}/{app.name}" if app else "a Deployment outside the system's namespaces"
        raise InvalidInput(f"{wanted} - absent, expected one", hint="see apqx status")
    return sorted(found, key=_key)


class _Readings:
    """Use per pod over a window, from Prometheus."""

    def __init__(self, platform: Platform, namespaces: Sequence[str], first: datetime, last: datetime) -> None:
        inside = "|".join(re.escape(name) for name in namespaces)
        labels = f'namespace=~"{inside}",container!=""'.replace("\\", "\\\\")
        step_s = prometheus.choose_step(first, last)
        window = f"{max(_RATE_WINDOW_S, step_s):g}s"
        with prometheus.connect(platform) as client:
            self._cpu = _by_workload(
                client, f"sum by (namespace, pod) (rate(container_cpu_usage_seconds_total{{{labels}}}[{window}]))",
                first, last, step_s,
            )  # fmt: skip
            self._memory = _by_workload(
                client, f"sum by (namespace, pod) (container_memory_working_set_bytes{{{labels}}})", first, last, step_s
            )

    def of(self, deployment: Obj) -> tuple[list[float], list[float]]:
        """Return cores and bytes that pods of a Deployment used, all instances together."""
        return self._cpu.get(_key(deployment), []), self._memory.get(_key(deployment), [])


def _by_workload(
    client: prometheus.Client, promql: str, first: datetime, last: datetime, step_s: float
) -> dict[str, list[float]]:
    """Ask for use per pod and gather it by the Deployment that the pod's name tells."""
    found: dict[str, list[float]] = defaultdict(list)
    try:
        frame = client.range(promql, start=first, end=last, step_s=step_s)
    except NoData:
        return found
    for position, labels in enumerate(frame.attrs["labels"]):
        owner = _POD_SUFFIX.sub("", str(labels.get("pod", "")))
        found[f"{labels.get('namespace')}/{owner}"] += frame.iloc[:, position].dropna().tolist()
    return found


def requests_of(obj: Obj) -> tuple[float | None, float | None]:
    """Return cores and bytes that one pod of an object asks for; None where a container asks for nothing."""
    asked = [((c.get("resources") or {}).get("requests") or {}) for c in manifests.containers(obj)]
    sums = []
    for resource in ("cpu", "memory"):
        values = [_number(one[resource]) for one in asked if resource in one]
        sums.append(sum(values) if values and len(values) == len(asked) else None)
    return sums[0], sums[1]


def _number(quantity: str | int) -> float:
    """Read a Kubernetes quantity."""
    from kubernetes.utils.quantity import parse_quantity

    return float(parse_quantity(quantity))


def _row(
    deployment: Obj, readings: _Readings, scaled: dict[tuple[str, str], Obj], window_s: float, prices: Prices
) -> dict[str, Any]:
    """Build the row of one workload."""
    cpu_used, memory_used = readings.of(deployment)
    cpu_request, memory_request = requests_of(deployment)
    cpu = rightsizing.advise(cpu_used, request=cpu_request, history_s=window_s, least=rightsizing.LEAST_CPU_CORES)
    memory = rightsizing.advise(
        memory_used, request=memory_request, history_s=window_s, least=rightsizing.LEAST_MEMORY_BYTES
    )  # fmt: skip
    count = manifests.replicas(deployment)
    hpa = scaled.get((manifests.namespace(deployment), manifests.name(deployment)))
    to_cpu, to_memory = _asked_after(cpu, cpu_request), _asked_after(memory, memory_request)
    month_advised = None if to_cpu is None or to_memory is None else count * prices.month(to_cpu, to_memory)
    return {
        "workload": _key(deployment),
        "pods": count,
        "cpu_request_cores": cpu_request,
        "cpu_p95_cores": rightsizing.quantile(cpu_used, 0.95) if cpu_used else None,
        "cpu_target_cores": cpu.target,
        "cpu_advice": cpu.direction,
        "cpu_reason": cpu.reason,
        "memory_request_bytes": memory_request,
        "memory_peak_bytes": max(memory_used, default=None),
        "memory_target_bytes": memory.target,
        "memory_advice": memory.direction,
        "memory_reason": memory.reason,
        "month_now": count * prices.month(cpu_request or 0.0, memory_request or 0.0),
        "month_advised": month_advised,
        "autoscaler": _hpa_note(hpa, cpu_request, cpu),
    }


def _asked_after(advice: rightsizing.Advice, request: float | None) -> float | None:
    """Return what is asked for once the advice is followed; None where there is not enough data for one."""
    if advice.target is None:
        return None
    return request if advice.direction == "keep" else advice.target


def _hpa_note(hpa: Obj | None, request: float | None, advice: rightsizing.Advice) -> str:
    """Say what another processor request does to an autoscaler that counts in per cent of it."""
    metrics = (manifests.spec(hpa).get("metrics") or ()) if hpa else ()
    shares = [m["resource"]["target"].get("averageUtilization") for m in metrics
              if m.get("type") == "Resource" and m["resource"]["name"] == "cpu"]  # fmt: skip
    if not shares or shares[0] is None or request is None:
        return ""
    text = f"scales at {shares[0]} % of the request: {shares[0] / 100 * request * 1000:.0f}m a pod"
    if advice.direction in ("raise", "lower") and advice.target is not None:
        text += f", with the advised one at {shares[0] / 100 * advice.target * 1000:.0f}m"
    return text


def _workloads(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the rows as a table with numbers as floats."""
    import pandas as pd

    frame = pd.DataFrame(rows).set_index("workload")
    numbers = [name for name in frame.columns if name.endswith(("_cores", "_bytes")) or name.startswith("month_")]
    return frame.astype(dict.fromkeys(numbers, float))


def _allocatable(node: Obj) -> tuple[float, float, int]:
    """Return what a node offers to pods: cores, bytes, places."""
    offered = manifests.status(node).get("allocatable") or {}
    return _number(offered.get("cpu", 0)), _number(offered.get("memory", 0)), int(offered.get("pods", 110))


def _asked_on(node: str, pods: Iterable[Obj]) -> tuple[float, float, int]:
    """Return what pods of a node ask for together."""
    here = [pod for pod in pods if manifests.spec(pod).get("nodeName") == node]
    asked = [requests_of(pod) for pod in here]
    return sum(cpu or 0.0 for cpu, _ in asked), sum(memory or 0.0 for _, memory in asked), len(here)


def _room(node: Obj, pods: list[Obj]) -> Room:
    """Return what a node has left."""
    (cpu, memory, places), (used_cpu, used_memory, count) = _allocatable(node), _asked_on(manifests.name(node), pods)
    return Room(manifests.name(node), cpu - used_cpu, memory - used_memory, places - count)


def _more(deployment: Obj, rooms: list[Room], pods: list[Obj]) -> tuple[int, int]:
    """Return how many further pods of a workload fit: now, and after the worst loss of one node."""
    cpu, memory = requests_of(deployment)
    need = Need(cpu or 0.0, memory or 0.0)
    wanted = (manifests.spec(deployment).get("selector") or {}).get("matchLabels") or {}
    on_node: dict[str, int] = defaultdict(int)
    for pod in pods:
        if _same_namespace(pod, deployment) and wanted.items() <= manifests.labels(pod).items():
            on_node[str(manifests.spec(pod).get("nodeName") or "")] += 1
    return fits(rooms, need), fits_without_any_node(rooms, need, on_node=on_node)


def _nodes(nodes: list[Obj], pods: list[Obj]) -> pd.DataFrame:
    """Return one row a node."""
    import pandas as pd

    rows = []
    for node in nodes:
        name = manifests.name(node)
        (cpu, memory, places), (asked_cpu, asked_memory, count) = _allocatable(node), _asked_on(name, pods)
        rows.append(
            {
                "node": name,
                "cpu_cores": cpu,
                "cpu_requested": asked_cpu / cpu if cpu else float("nan"),
                "memory_bytes": memory,
                "memory_requested": asked_memory / memory if memory else float("nan"),
                "pods": count,
                "pods_most": places,
            }
        )
    return pd.DataFrame(rows).set_index("node")
