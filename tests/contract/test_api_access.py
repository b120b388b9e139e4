"""Who may do what: tokens, roles, bindings and the reviews that explain them."""

from __future__ import annotations

from typing import Any

import pytest
from apiprocess import ApiServer

RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture
def account(api_server: ApiServer, namespace: str) -> str:
    """Token of a service account without any rights."""
    root = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    assert api_server.call("POST", root, {"metadata": {"name": "robot"}}).status == 201
    answer = api_server.call("POST", f"{root}/robot/token", {"spec": {"expirationSeconds": 600}})
    assert answer.status == 201
    return str(answer.json["status"]["token"])


def grant(server: ApiServer, namespace: str, rules: list[dict[str, Any]]) -> None:
    role = {"metadata": {"name": "r"}, "rules": rules}
    assert server.call("POST", f"{RBAC}/namespaces/{namespace}/roles", role).status == 201
    binding = {
        "metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": namespace}],
    }
    assert server.call("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", binding).status == 201


def test_without_a_role_everything_is_forbidden_and_says_what(
    api_server: ApiServer, namespace: str, account: str
) -> None:
    answer = api_server.call("GET", f"/api/v1/namespaces/{namespace}/pods", token=account)
    assert (answer.status, answer.json["reason"]) == (403, "Forbidden")
    user = f"system:serviceaccount:{namespace}:robot"
    assert answer.json["message"] == (
        f'pods is forbidden: User "{user}" cannot list resource "pods" in API group "" in the namespace "{namespace}"'
    )
    answer = api_server.call("GET", "/apis/apps/v1/deployments", token=account)
    assert answer.json["message"].endswith('in API group "apps" at the cluster scope')


def test_a_role_allows_its_verbs_in_its_namespace_only(api_server: ApiServer, namespace: str, account: str) -> None:
    grant(api_server, namespace, [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}])
    path = f"/api/v1/namespaces/{namespace}/pods"
    assert api_server.call("GET", path, token=account).status == 200
    assert api_server.call("GET", f"{path}?watch=1&timeoutSeconds=1", token=account).status == 403
    assert api_server.call("GET", f"{path}/x/log", token=account).status == 403
    assert api_server.call("DELETE", f"{path}/x", token=account).status == 403
    assert api_server.call("GET", "/api/v1/namespaces/default/pods", token=account).status == 403


def test_rules_follow_changes_of_roles_at_once(api_server: ApiServer, namespace: str, account: str) -> None:
    grant(api_server, namespace, [{"apiGroups": [""], "resources": ["*"], "verbs": ["*"], "resourceNames": ["mine"]}])
    path = f"/api/v1/namespaces/{namespace}/secrets"
    assert api_server.call("GET", f"{path}/mine", token=account).status == 404
    assert api_server.call("GET", f"{path}/other", token=account).status == 403
    api_server.call("DELETE", f"{RBAC}/namespaces/{namespace}/roles/r")
    assert api_server.call("GET", f"{path}/mine", token=account).status == 403


def test_reviews_agree_with_what_happens(api_server: ApiServer, namespace: str, account: str) -> None:
    grant(api_server, namespace, [{"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["patch"]}])

    def allowed(token: str | None, **attributes: str) -> bool:
        body = {"spec": {"resourceAttributes": {"namespace": namespace, **attributes}}}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = api_server.call("POST", path, body, token=token)
        assert answer.status == 201, answer.body
        return bool(answer.json["status"]["allowed"])

    wanted = {"group": "apps", "resource": "deployments", "verb": "patch"}
    assert allowed(account, **wanted, subresource="scale")
    assert not allowed(account, **wanted)
    assert allowed(None, **wanted)
    body = {"spec": {"namespace": namespace}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    rules = api_server.call("POST", path, body, token=account).json["status"]["resourceRules"]
    assert {"verbs": ["patch"], "apiGroups": ["apps"], "resources": ["deployments/scale"]} in rules


def test_who_am_i(api_server: ApiServer, namespace: str, account: str) -> None:
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    info = api_server.call("POST", path, {}, token=account).json["status"]["userInfo"]
    assert info["username"] == f"system:serviceaccount:{namespace}:robot"
    assert f"system:serviceaccounts:{namespace}" in info["groups"]


def test_a_token_dies_with_its_account_and_cannot_be_forged(
    api_server: ApiServer, namespace: str, account: str
) -> None:
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    head, claims, signature = account.split(".")
    forged = f"{head}.{claims}.{signature[:-4]}AAAA"
    assert api_server.call("POST", path, {}, token=forged).status == 401
    assert api_server.call("POST", path, {}, token=f"{head}.{claims}.").status == 401
    api_server.call("DELETE", f"/api/v1/namespaces/{namespace}/serviceaccounts/robot")
    assert api_server.call("POST", path, {}, token=account).status == 401


def test_components_have_the_rights_they_need_and_no_more(api_server: ApiServer) -> None:
    def status(component: str, method: str, path: str, body: Any = None) -> int:
        return api_server.call(method, path, body, token=api_server.config.token(component)).status

    for path in ("/api/v1/nodes", "/api/v1/secrets", "/apis/discovery.k8s.io/v1/endpointslices"):
        assert status("traefik", "GET", path) == 200
    assert status("traefik", "GET", "/api/v1/pods") == 403
    assert status("scrape", "GET", "/api/v1/pods") == 200
    assert status("scrape", "GET", "/apis/argoproj.io/v1alpha1/applications") == 200
    assert status("scrape", "GET", "/api/v1/secrets") == 403
    assert status("node-node-a", "POST", "/api/v1/nodes", {"metadata": {"name": "node-x"}}) == 201
    assert status("node-node-a", "DELETE", "/api/v1/namespaces/default") == 403
    assert status("gitops", "GET", "/api/v1/secrets") == 200
    assert status("kubelet", "GET", "/api/v1/pods") == 401
    api_server.call("DELETE", "/api/v1/nodes/node-x")


def test_everybody_with_a_token_may_discover(api_server: ApiServer, account: str) -> None:
    for path in ("/api", "/apis", "/api/v1", "/openapi/v3"):
        assert api_server.call("GET", path, token=account).status == 200
        assert api_server.call("GET", path, token="").status == 401
