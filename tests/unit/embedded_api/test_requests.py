"""How a request is read: its path, its forms, who sent it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from platform_lib.embedded.auth import Attributes, Authorizer, User, service_account
from platform_lib.embedded.negotiation import accepts, read_body, wanted_form
from platform_lib.embedded.routes import Target, parse
from platform_lib.embedded.store import Store
from platform_lib.embedded.subresources import selector_text
from platform_lib.embedded.tokens import Tokens
from platform_lib.errors import ApiError, Invalid

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RBAC = "rbac.authorization.k8s.io/v1"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/api/v1/pods", Target("v1/pods")),
        ("/api/v1/namespaces", Target("v1/namespaces")),
        ("/api/v1/namespaces/shop", Target("v1/namespaces", name="shop")),
        ("/api/v1/namespaces/shop/status", Target("v1/namespaces", name="shop", sub="status")),
        ("/api/v1/namespaces/shop/finalize", Target("v1/namespaces", name="shop", sub="finalize")),
        ("/api/v1/namespaces/shop/pods/p/log", Target("v1/pods", "shop", "p", "log")),
        ("/apis/apps/v1/namespaces/a/deployments/w/", Target("apps/v1/deployments", "a", "w")),
        ("/apis/a.b/v1/things/x%3Ay", Target("a.b/v1/things", name="x:y")),
        ("/api", None),
        ("/apis/apps/v1", None),
        ("/api/v1/namespaces/a/pods/b/c/d", None),
        ("/api/v1/pods//log", None),
        ("/version", None),
    ],
)
def test_paths_name_resources(path: str, target: Target | None) -> None:
    assert parse(path) == target


def test_the_first_form_that_is_served_wins() -> None:
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    assert wanted_form(f"{table},application/json") == "table"
    assert wanted_form(table.replace("v=v1", "v=v1beta1") + ",application/json") == "json"
    assert wanted_form("application/vnd.kubernetes.protobuf, */*") == "json"
    assert wanted_form("") == "json"
    with pytest.raises(ApiError):
        wanted_form("application/vnd.kubernetes.protobuf")


def test_a_version_matches_as_a_whole() -> None:
    beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
    assert not accepts(beta, "application/json", v="v2")
    assert accepts(beta.replace("v2beta1", "v2"), "application/json", v="v2")


def test_a_body_without_type_is_json_and_an_empty_one_an_object() -> None:
    assert read_body(b'{"a": 1}', "") == {"a": 1}
    assert read_body(b"", "application/json") == {}
    assert read_body(b"a: 1", "application/yaml") == {"a": 1}
    with pytest.raises(Invalid):
        read_body(b"[1]", "")


def test_selectors_are_written_as_they_are_read() -> None:
    expressions = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "old", "operator": "DoesNotExist"},
    ]
    selector = {"matchLabels": {"app": "x"}, "matchExpressions": expressions}
    assert selector_text(selector) == "app=x,tier in (a,b),!old"


def bound(store: Store, rules: list[dict[str, Any]], subject: dict[str, str], **metadata: Any) -> None:
    store.put(f"{RBAC}/clusterroles", {"metadata": {"name": "r", **metadata}, "rules": rules})
    binding = {"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [subject]}
    store.put(f"{RBAC}/clusterrolebindings", binding)


def test_subresources_and_wildcards_are_granted_apart(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    authorizer, user = Authorizer(store), User("ann")
    bound(
        store,
        [{"apiGroups": [""], "resources": ["pods", "*/status"], "verbs": ["get"]}],
        {"kind": "User", "name": "ann"},
    )
    assert authorizer.allowed(user, Attributes("get", "", "pods", "x"))
    assert not authorizer.allowed(user, Attributes("get", "", "pods/log", "x"))
    assert authorizer.allowed(user, Attributes("get", "", "nodes/status"))
    assert not authorizer.allowed(user, Attributes("list", "", "pods"))
    assert not authorizer.allowed(User("bob"), Attributes("get", "", "pods"))


def test_groups_accounts_paths_and_aggregation(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    authorizer, robot = Authorizer(store), service_account("shop", "robot")
    bound(store, [{"nonResourceURLs": ["/logs/*"], "verbs": ["get"]}], {"kind": "Group", "name": robot.groups[0]})
    assert authorizer.allowed(robot, Attributes("get", path="/logs/x"))
    assert not authorizer.allowed(robot, Attributes("get", path="/other"))
    role = {
        "metadata": {"name": "sum"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"part": "yes"}}]},
    }
    store.put(f"{RBAC}/clusterroles", role)
    subject = {"kind": "ServiceAccount", "name": "robot", "namespace": "shop"}
    binding = {"metadata": {"name": "c"}, "roleRef": {"kind": "ClusterRole", "name": "sum"}, "subjects": [subject]}
    store.put(f"{RBAC}/clusterrolebindings", binding)
    assert not authorizer.allowed(robot, Attributes("get", "a.b", "things"))
    rules = [{"apiGroups": ["a.b"], "resources": ["*"], "verbs": ["*"]}]
    store.put(f"{RBAC}/clusterroles", {"metadata": {"name": "part", "labels": {"part": "yes"}}, "rules": rules})
    assert authorizer.allowed(robot, Attributes("get", "a.b", "things"))


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "sa.key").write_bytes(text)
    return Tokens(tmp_path / "sa.key")


def test_tokens_are_good_for_their_time_and_audience(tokens: Tokens) -> None:
    account = {"metadata": {"name": "robot", "namespace": "shop", "uid": "u1"}}
    request = tokens.request(account, {"spec": {"expirationSeconds": 60}}, NOW)
    token = request["status"]["token"]
    assert request["spec"]["expirationSeconds"] == 600  # the shortest life
    found = tokens.check(token, NOW)
    assert found is not None
    assert (found.namespace, found.name, found.uid) == ("shop", "robot", "u1")
    assert tokens.check(token, NOW + timedelta(seconds=601)) is None
    assert tokens.check(token, NOW - timedelta(seconds=60)) is None
    other = tokens.request(account, {"spec": {"audiences": ["vault"]}}, NOW)["status"]["token"]
    assert tokens.check(other, NOW) is None


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c", "e30.e30.e30", "e30.bnVsbA.e30", "...."])
def test_nonsense_is_no_token(tokens: Tokens, token: str) -> None:
    assert tokens.check(token, NOW) is None


def test_a_changed_token_is_refused(tokens: Tokens) -> None:
    account = {"metadata": {"name": "robot", "namespace": "shop", "uid": "u1"}}
    token = tokens.request(account, {}, NOW)["status"]["token"]
    for place in (5, len(token) // 2, len(token) - 20):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert tokens.check(changed, NOW) is None
