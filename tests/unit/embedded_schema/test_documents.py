# ruff: noqa: E501 - tables of messages read best one case a line
from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pytest

from platform_lib.embedded.discovery import document
from platform_lib.embedded.duration import human
from platform_lib.embedded.kinds import KINDS, by_gvr, kind_from_crd
from platform_lib.embedded.openapi import OpenApi
from platform_lib.embedded.table import table

NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)


def stamp(**ago):
    return (NOW - timedelta(**ago)).isoformat().replace("+00:00", "Z")


def cells(gvr, obj, wide=False):
    obj.setdefault("metadata", {"name": "x", "creationTimestamp": stamp(minutes=5)})
    found = table(by_gvr(gvr), [obj], metadata={"resourceVersion": "1"}, now=NOW)
    heads = found["columnDefinitions"]
    assert len(heads) == len(found["rows"][0]["cells"])
    return {
        head["name"]: cell
        for head, cell in zip(heads, found["rows"][0]["cells"], strict=True)
        if wide or head["priority"] == 0
    }


def test_every_kind_has_a_table():
    for kind in KINDS:
        found = table(kind, [{"metadata": {"name": "x"}}], metadata={}, now=NOW)
        assert orjson.dumps(found)


def test_a_running_pod():
    pod = {
        "spec": {"nodeName": "n", "containers": [{}, {}]},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "containerStatuses": [
                {"ready": True, "restartCount": 2, "state": {"running": {}},
                 "lastState": {"terminated": {"finishedAt": stamp(seconds=90)}}},
                {"ready": False, "restartCount": 0, "state": {"running": {}}},
            ],
        },
    }  # fmt: skip
    assert cells("v1/pods", pod) == {
        "Name": "x", "Ready": "1/2", "Status": "Running", "Restarts": "2 (90s ago)", "Age": "5m",
    }  # fmt: skip
    assert cells("v1/pods", pod, wide=True)["IP"] == "10.0.0.1"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}, "CrashLoopBackOff"),
        ({"containerStatuses": [{"state": {"terminated": {"reason": "OOMKilled"}}}]}, "OOMKilled"),
        ({"containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]}, "ExitCode:3"),
        ({"initContainerStatuses": [{"state": {"running": {}}}]}, "Init:0/1"),
        ({"phase": "Pending"}, "Pending"),
    ],
)
def test_the_status_word_of_a_pod(change, word):
    pod = {"spec": {"containers": [{}], "initContainers": [{}]}, "status": {"phase": "Running", **change}}
    assert cells("v1/pods", pod)["Status"] == word


def test_a_deleted_pod_is_terminating():
    pod = {"metadata": {"name": "x", "deletionTimestamp": stamp()}, "spec": {}, "status": {"phase": "Running"}}
    assert cells("v1/pods", pod)["Status"] == "Terminating"


@pytest.mark.parametrize(
    ("gvr", "obj", "wanted"),
    [
        ("apps/v1/deployments", {"spec": {"replicas": 3}, "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}}, {"Ready": "2/3", "Up-to-date": 3, "Available": 1}),
        ("apps/v1/replicasets", {"spec": {"replicas": 3}, "status": {"replicas": 2}}, {"Desired": 3, "Current": 2, "Ready": 0}),
        ("v1/services", {"spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "ports": [{"port": 80}]}}, {"Type": "ClusterIP", "External-IP": "<none>", "Port(s)": "80/TCP"}),
        ("networking.k8s.io/v1/ingresses", {"spec": {"ingressClassName": "traefik", "rules": [{"host": "a"}]}, "status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}}}, {"Class": "traefik", "Hosts": "a", "Address": "127.0.0.1", "Ports": "80"}),
        ("v1/nodes", {"spec": {"unschedulable": True}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}, {"Status": "NotReady,SchedulingDisabled", "Roles": "<none>"}),
        ("v1/events", {"involvedObject": {"kind": "Pod", "name": "p"}, "reason": "Killing", "message": "m", "type": "Normal", "lastTimestamp": stamp(seconds=3)}, {"Object": "pod/p", "Reason": "Killing", "Last Seen": "3s"}),
        ("autoscaling/v2/horizontalpodautoscalers", {"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 2, "maxReplicas": 5, "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 70}}}]}, "status": {"currentReplicas": 2}}, {"Reference": "Deployment/web", "Targets": "cpu: <unknown>/70%", "MinPods": "2", "Replicas": 2}),
        ("policy/v1/poddisruptionbudgets", {"spec": {"minAvailable": 1}, "status": {"disruptionsAllowed": 1}}, {"Min Available": "1", "Max Unavailable": "N/A", "Allowed Disruptions": 1}),
        ("argoproj.io/v1alpha1/applications", {"status": {"sync": {"status": "Synced"}, "health": {"status": "Healthy"}}}, {"Sync Status": "Synced", "Health Status": "Healthy"}),
    ],
)  # fmt: skip
def test_columns(gvr, obj, wanted):
    found = cells(gvr, obj)
    assert {name: found[name] for name in wanted} == wanted


def test_columns_of_a_definition():
    crd = {
        "spec": {
            "group": "g.io", "scope": "Cluster", "names": {"kind": "W", "plural": "ws"},
            "versions": [{"name": "v1", "additionalPrinterColumns": [
                {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                {"name": "Note", "type": "string", "jsonPath": r".metadata.annotations.a\.b/c"},
                {"name": "First", "type": "string", "jsonPath": ".spec.items[0].name"},
                {"name": "Born", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
            ]}],
        }
    }  # fmt: skip
    kind = kind_from_crd(crd)[0]
    obj = {
        "metadata": {"name": "w", "annotations": {"a.b/c": "n"}, "creationTimestamp": stamp(hours=30)},
        "spec": {"size": 3, "items": [{"name": "one"}]},
    }
    found = table(kind, [obj, {"metadata": {"name": "v"}}], metadata={}, now=NOW)
    assert found["rows"][0]["cells"] == ["w", 3, "n", "one", "30h"]
    assert found["rows"][1]["cells"] == ["v", None, None, None, "<unknown>"]


def test_rows_carry_what_was_asked_for():
    pod = {"metadata": {"name": "x"}, "spec": {}}
    kind = by_gvr("v1/pods")
    assert table(kind, [pod], metadata={}, now=NOW)["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert table(kind, [pod], metadata={}, include_object="Object", now=NOW)["rows"][0]["object"] is pod
    assert "object" not in table(kind, [pod], metadata={}, include_object="None", now=NOW)["rows"][0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (119, "119s"), (120, "2m"), (200, "3m20s"), (3600, "60m"), (5 * 3600, "5h"),
        (5 * 3600 + 60, "5h1m"), (30 * 3600, "30h"), (50 * 3600, "2d2h"), (9 * 86400, "9d"),
        (3 * 365 * 86400, "3y"), (-1, "0s"), (-60, "<invalid>"),
    ],
)  # fmt: skip
def test_spans_in_the_words_of_kubectl(seconds, text):
    assert human(seconds) == text


def test_discovery_names_every_kind_twice():
    legacy = document("/apis/apps/v1", KINDS)
    entry = next(item for item in legacy["resources"] if item["name"] == "deployments")
    assert entry["shortNames"] == ["deploy"]
    assert entry["categories"] == ["all"]
    scale = next(item for item in legacy["resources"] if item["name"] == "deployments/scale")
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")
    modern = document("/apis", KINDS, aggregated=True)
    apps = next(item for item in modern["items"] if item["metadata"]["name"] == "apps")
    assert {r["resource"] for r in apps["versions"][0]["resources"]} == {
        item["name"] for item in legacy["resources"] if "/" not in item["name"]
    }


def test_drain_finds_eviction():
    core = document("/api/v1", KINDS)
    entry = next(item for item in core["resources"] if item["name"] == "pods/eviction")
    assert (entry["group"], entry["version"], entry["kind"], entry["verbs"]) == ("policy", "v1", "Eviction", ["create"])


@pytest.mark.parametrize("path", ["/api", "/apis", "/api/v1", "/apis/apps", "/apis/argoproj.io/v1alpha1"])
def test_discovery_paths(path):
    assert document(path, KINDS)["kind"]


@pytest.mark.parametrize("path", ["/apis/none", "/api/v9", "/apis/apps/v9", "/other"])
def test_unknown_discovery_paths(path):
    assert document(path, KINDS) is None


def test_openapi_lets_kubectl_leave_validation_to_the_server(schemas, cache_file):
    served = OpenApi(cache_file)
    url = served.index()["paths"]["apis/apps/v1"]["serverRelativeURL"]
    assert url.startswith("/openapi/v3/apis/apps/v1?hash=")
    found = orjson.loads(served.document("apis/apps/v1"))
    patch = found["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert "fieldValidation" in [item["name"] for item in patch["parameters"]]
    text = orjson.dumps(found).decode()
    assert '"null"' not in text
    assert "#/$defs/" not in text
    assert served.document("apis/none/v1") is None


def test_openapi_of_a_definition_follows_it(schemas, cache_file):
    served = OpenApi(cache_file)
    crd = {
        "metadata": {"name": "ws.g.io"},
        "spec": {"group": "g.io", "scope": "Cluster", "names": {"kind": "W", "plural": "ws"},
                 "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}}}]},
    }  # fmt: skip
    served.set_crds([crd])
    assert "apis/g.io/v1" in served.index()["paths"]
    found = orjson.loads(served.document("apis/g.io/v1"))
    assert "spec" in found["components"]["schemas"]["io.g.v1.W"]["properties"]
    served.set_crds([])
    assert served.document("apis/g.io/v1") is None
