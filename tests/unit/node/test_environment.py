from __future__ import annotations

import base64
from typing import Any

import pytest

from platform_lib.embedded.kubelet import volumes
from platform_lib.embedded.kubelet.environment import (
    ConfigError,
    Facts,
    command,
    expand,
    field_value,
    references,
    resource_value,
    variables,
)
from platform_lib.embedded.kubelet.volumes import Entry, VolumeError, write_entries

FACTS = Facts("127.42.0.10", "127.42.0.1", "node-a", "2", "2Gi", "127.0.0.1", 7443)
POD: dict[str, Any] = {
    "metadata": {
        "name": "web",
        "namespace": "shop",
        "uid": "u-1",
        "labels": {"app": "web", "tier": 'a"b'},
        "annotations": {"example.com/x": "y"},
    },
    "spec": {"serviceAccountName": "robot", "containers": []},
}
MAP = {"kind": "ConfigMap", "data": {"a": "1"}, "binaryData": {"b": base64.b64encode(b"two").decode()}}
SECRET = {"kind": "Secret", "data": {"p": base64.b64encode(b"hush").decode()}}


def resolve(container: dict[str, Any], objects: Any = None) -> dict[str, str]:
    return variables(POD, container, ("FROM_IMAGE=1", "A=image"), FACTS, objects or {})


def test_env_wins_over_env_from_and_that_over_the_image() -> None:
    container = {
        "envFrom": [{"configMapRef": {"name": "m"}, "prefix": "M_"}, {"secretRef": {"name": "s"}}],
        "env": [{"name": "p", "value": "own"}, {"name": "A", "value": "$(FROM_IMAGE)$(M_a)$(later)"}],
    }
    env = resolve(container, {("ConfigMap", "m"): MAP, ("Secret", "s"): SECRET})
    assert (env["M_a"], env["M_b"], env["p"], env["A"]) == ("1", "two", "own", "11$(later)")
    assert env["KUBERNETES_SERVICE_PORT"] == "7443"


def test_references_names_every_source_once() -> None:
    container = {
        "envFrom": [{"configMapRef": {"name": "m"}}],
        "env": [
            {"name": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "y", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}},
        ],
    }
    assert references(container) == {("ConfigMap", "m"), ("Secret", "s")}


def test_missing_reference_is_an_error_unless_optional() -> None:
    origin: dict[str, Any] = {"secretKeyRef": {"name": "s", "key": "k"}}
    container = {"env": [{"name": "x", "valueFrom": origin}]}
    with pytest.raises(ConfigError, match='secret "s" not found'):
        resolve(container, {("Secret", "s"): None})
    with pytest.raises(ConfigError, match="couldn't find key k in Secret shop/s"):
        resolve(container, {("Secret", "s"): SECRET})
    origin["secretKeyRef"]["optional"] = True
    assert "x" not in resolve(container, {("Secret", "s"): None})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web"),
        ("metadata.namespace", "shop"),
        ("metadata.uid", "u-1"),
        ("metadata.labels['app']", "web"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['example.com/x']", "y"),
        ("metadata.labels", 'app="web"\ntier="a\\"b"'),
        ("spec.nodeName", "node-a"),
        ("spec.serviceAccountName", "robot"),
        ("status.podIP", "127.42.0.10"),
        ("status.hostIP", "127.42.0.1"),
    ],
)
def test_downward_api_field(path: str, value: str) -> None:
    assert field_value(POD, path, FACTS) == value


def test_unknown_downward_field_is_refused() -> None:
    with pytest.raises(ConfigError, match="unsupported fieldPath"):
        field_value(POD, "status.phase", FACTS)


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        ({"resource": "limits.cpu"}, "1"),
        ({"resource": "limits.cpu", "divisor": "1m"}, "300"),
        ({"resource": "limits.memory", "divisor": "1Mi"}, "64"),
        ({"resource": "requests.memory"}, "0"),
    ],
)
def test_downward_resource_is_rounded_up(wanted: dict[str, str], value: str) -> None:
    container = {"name": "a", "resources": {"limits": {"cpu": "300m", "memory": "64Mi"}}}
    assert resource_value(POD, wanted, FACTS, container) == value


def test_missing_limit_is_what_the_node_has() -> None:
    assert resource_value(POD, {"resource": "limits.memory", "divisor": "1Gi"}, FACTS, {"name": "a"}) == "2"


@pytest.mark.parametrize(
    ("text", "value"),
    [("$(A)", "1"), ("$$(A)", "$(A)"), ("$(B)", "$(B)"), ("$A $", "$A $"), ("$$$(A)", "$1"), ("x$(A)y$(A)", "x1y1")],
)
def test_variable_expansion(text: str, value: str) -> None:
    assert expand(text, {"A": "1"}) == value


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({}, ["entry", "cmd"]),
        ({"args": ["$(A)"]}, ["entry", "1"]),
        ({"command": ["own"]}, ["own"]),
        ({"command": ["own"], "args": ["x"]}, ["own", "x"]),
    ],
)
def test_command_and_args_replace_what_the_image_has(container: dict[str, Any], words: list[str]) -> None:
    assert command(container, ("entry",), ("cmd",), {"A": "1"}) == words


def test_nothing_to_run_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no command specified"):
        command({}, (), (), {})


def test_volume_holds_exactly_the_entries(tmp_path: Any) -> None:
    write_entries(tmp_path, {"a": Entry(b"1"), "d/b": Entry(b"2", 0o600)})
    write_entries(tmp_path, {"d/b": Entry(b"3", 0o600)})
    found = {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {"d/b": b"3"}
    assert (tmp_path / "d/b").stat().st_mode & 0o777 == 0o600


def test_volume_path_must_stay_inside(tmp_path: Any) -> None:
    with pytest.raises(VolumeError, match="leads out"):
        write_entries(tmp_path / "v", {"../x": Entry(b"")})


@pytest.mark.parametrize(
    ("pod_says", "account_says", "mounted"),
    [(None, None, True), (None, False, False), (True, False, True), (False, True, False)],
)
def test_token_is_mounted_as_pod_then_account_say(pod_says: Any, account_says: Any, mounted: bool) -> None:
    pod = {"spec": {} if pod_says is None else {"automountServiceAccountToken": pod_says}}
    account = {} if account_says is None else {"automountServiceAccountToken": account_says}
    found = volumes.pod_volumes(pod, account)
    assert bool(found) == mounted
    assert len(volumes.container_mounts({}, found)) == int(mounted)


def test_size_limits_and_use_of_volumes(tmp_path: Any) -> None:
    found = [
        {"name": "a", "emptyDir": {"sizeLimit": "1Ki"}},
        {"name": "b", "emptyDir": {}},
        {"name": "c", "secret": {}},
    ]
    assert volumes.size_limits(found) == {"a": 1024}
    write_entries(tmp_path, {"x": Entry(b"12"), "d/y": Entry(b"345")})
    assert volumes.used_bytes(tmp_path) == 5
