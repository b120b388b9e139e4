"""Garbage and mistakes: each is answered with the Status that Kubernetes gives, never with a traceback."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest
from apiprocess import Answer, ApiServer

MERGE = "application/merge-patch+json"


def status_of(answer: Answer) -> tuple[int, str, str]:
    found = answer.json
    assert found["kind"] == "Status", found
    assert found["code"] == answer.status
    assert "Traceback" not in found["message"]
    return answer.status, found["reason"], found["message"]


def config_map(name: str = "a", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_malformed_json_is_a_bad_request(api_server: ApiServer, namespace: str) -> None:
    answer = api_server.call("POST", f"/api/v1/namespaces/{namespace}/configmaps", b'{"kind": "ConfigMap", ')
    status, reason, message = status_of(answer)
    assert (status, reason) == (400, "BadRequest")
    assert "no valid JSON" in message


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"7", b"null"])
def test_a_body_that_is_no_object_is_a_bad_request(api_server: ApiServer, namespace: str, body: bytes) -> None:
    answer = api_server.call("POST", f"/api/v1/namespaces/{namespace}/configmaps", body)
    assert status_of(answer)[:2] == (400, "BadRequest")


@pytest.mark.parametrize(
    "body",
    [
        {"metadata": "x"},
        {"metadata": {"name": 7}},
        {"metadata": {"name": "a", "labels": ["x"]}},
        {"metadata": {"name": "a"}, "data": {"a": {"b": 1}}},
        {"metadata": {"name": "a"}, "data": [1]},
    ],
)
def test_values_of_wrong_types_are_bad_requests(api_server: ApiServer, namespace: str, body: Any) -> None:
    answer = api_server.call("POST", f"/api/v1/namespaces/{namespace}/configmaps", body)
    assert status_of(answer)[:2] == (400, "BadRequest")


def test_an_unknown_content_type_is_unsupported(api_server: ApiServer, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    answer = api_server.call("POST", path, b"<xml/>", content_type="application/xml")
    assert status_of(answer)[:2] == (415, "UnsupportedMediaType")
    answer = api_server.call("PATCH", f"{path}/kube-root-ca.crt", b"{}", content_type="text/plain")
    assert status_of(answer)[:2] == (415, "UnsupportedMediaType")


def test_a_body_over_three_megabytes_is_too_large(api_server: ApiServer, namespace: str) -> None:
    body = config_map("big", text="x" * (3 * 1024 * 1024))
    answer = api_server.call("POST", f"/api/v1/namespaces/{namespace}/configmaps", body)
    assert status_of(answer)[:2] == (413, "RequestEntityTooLarge")


@pytest.mark.parametrize(
    "path",
    ["/nope", "/api/v9/pods", "/api/v1/unicorns", "/apis/apps/v1/unicorns/x", "/api/v1/namespaces/default/pods/a/b/c"],
)
def test_unknown_paths_are_not_found(api_server: ApiServer, path: str) -> None:
    status, reason, message = status_of(api_server.call("GET", path))
    assert (status, reason) == (404, "NotFound")
    assert message == "the server could not find the requested resource"


def test_a_missing_object_is_named(api_server: ApiServer) -> None:
    answer = api_server.call("GET", "/apis/apps/v1/namespaces/default/deployments/web")
    assert status_of(answer) == (404, "NotFound", 'deployments.apps "web" not found')
    assert answer.json["details"] == {"name": "web", "group": "apps", "kind": "deployments"}


def test_no_token_and_a_wrong_token_are_unauthorized(api_server: ApiServer) -> None:
    for token in ("", "wrong"):
        assert status_of(api_server.call("GET", "/api/v1/pods", token=token)) == (401, "Unauthorized", "Unauthorized")


def test_health_and_version_need_no_token(api_server: ApiServer) -> None:
    for path in ("/healthz", "/livez", "/readyz"):
        answer = api_server.call("GET", path, token="")
        assert (answer.status, answer.body) == (200, b"ok")
    for path in ("/version", "/version/"):
        assert api_server.call("GET", path, token="").json["minor"].isdigit()


def test_a_missing_namespace_is_not_found(api_server: ApiServer) -> None:
    answer = api_server.call("POST", "/api/v1/namespaces/nowhere/configmaps", config_map())
    assert status_of(answer) == (404, "NotFound", 'namespaces "nowhere" not found')


def test_a_second_object_of_the_same_name_already_exists(api_server: ApiServer, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    assert api_server.call("POST", path, config_map()).status == 201
    answer = api_server.call("POST", path, config_map())
    assert status_of(answer) == (409, "AlreadyExists", 'configmaps "a" already exists')


def test_names_in_body_and_url_must_agree(api_server: ApiServer, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    api_server.call("POST", path, config_map())
    assert status_of(api_server.call("PUT", f"{path}/a", config_map("b")))[0] == 400
    body = {**config_map(), "metadata": {"name": "c", "namespace": "other"}}
    status, _, message = status_of(api_server.call("POST", path, body))
    assert status == 400
    assert "namespace of the provided object does not match" in message


def test_a_stale_version_is_a_conflict_with_kubernetes_words(api_server: ApiServer, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    stale = api_server.call("POST", path, config_map(a="1")).json
    api_server.call("PATCH", f"{path}/a", {"data": {"a": "2"}}, content_type=MERGE)
    status, reason, message = status_of(api_server.call("PUT", f"{path}/a", stale))
    assert (status, reason) == (409, "Conflict")
    assert "the object has been modified; please apply your changes to the latest version" in message


def test_an_invalid_name_is_a_422_with_its_field(api_server: ApiServer, namespace: str) -> None:
    answer = api_server.call("POST", f"/api/v1/namespaces/{namespace}/configmaps", config_map("Not_A_Name"))
    status, reason, _ = status_of(answer)
    assert (status, reason) == (422, "Invalid")
    assert answer.json["details"]["causes"][0]["field"] == "metadata.name"


def test_strict_field_validation_names_the_unknown_field(api_server: ApiServer, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    status, _, message = status_of(api_server.call("POST", f"{path}?fieldValidation=Strict", deployment(bogus=1)))
    assert status == 400
    assert message == (
        'Deployment in version "v1" cannot be handled as a Deployment: '
        'strict decoding error: unknown field "spec.bogus"'
    )
    warned = api_server.call("POST", path, deployment(bogus=1))
    assert warned.status == 201
    assert warned.headers["Warning"] == '299 - "unknown field \\"spec.bogus\\""'
    assert "bogus" not in warned.json["spec"]
    quiet = api_server.call("POST", f"{path}?fieldValidation=Ignore&dryRun=All", {**deployment(), "x": 1})
    assert quiet.headers.get("Warning") is None


def deployment(name: str = "web", **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "example/app"}]}}
    body = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": body}


def test_dry_run_checks_everything_and_saves_nothing(api_server: ApiServer, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    answer = api_server.call("POST", f"{path}?dryRun=All", deployment())
    assert answer.status == 201
    assert answer.json["spec"]["revisionHistoryLimit"] == 10
    assert api_server.call("GET", f"{path}/web").status == 404
    assert status_of(api_server.call("POST", f"{path}?dryRun=Some", deployment()))[:2] == (422, "Invalid")


@pytest.mark.parametrize(
    "query", ["labelSelector=a%3D%3D%3Db", "fieldSelector=spec.nope%3Dx", "limit=many", "limit=-1"]
)
def test_parameters_that_cannot_be_read_are_bad_requests(api_server: ApiServer, query: str) -> None:
    assert status_of(api_server.call("GET", f"/api/v1/pods?{query}"))[:2] == (400, "BadRequest")


def test_an_accept_header_nobody_serves_is_not_acceptable(api_server: ApiServer) -> None:
    assert status_of(api_server.call("GET", "/api/v1/pods", accept="image/png"))[:2] == (406, "NotAcceptable")


def test_methods_that_make_no_sense_are_not_allowed(api_server: ApiServer) -> None:
    assert status_of(api_server.call("PUT", "/api/v1/pods", {}))[:2] == (405, "MethodNotAllowed")
    assert status_of(api_server.call("POST", "/api/v1/namespaces/default/pods/x", {}))[:2] == (405, "MethodNotAllowed")
    assert status_of(api_server.call("TRACE", "/api/v1/pods"))[:2] == (405, "MethodNotAllowed")


def test_bytes_that_are_no_http_leave_the_server_well(api_server: ApiServer) -> None:
    address = ("127.0.0.1", api_server.config.ports.api)
    with socket.create_connection(address, timeout=5) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")  # no TLS
    with (
        socket.create_connection(address, timeout=5) as raw,
        api_server.tls.wrap_socket(raw, server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(b"\x00\xff garbage \r\n\r\n")
        assert b"400" in tls.recv(200)
    assert api_server.call("GET", "/readyz").status == 200


def test_tls_is_verified_by_the_clusters_own_authority(api_server: ApiServer) -> None:
    with (
        pytest.raises(ssl.SSLCertVerificationError),
        socket.create_connection(("127.0.0.1", api_server.config.ports.api), timeout=5) as raw,
    ):
        ssl.create_default_context().wrap_socket(raw, server_hostname="127.0.0.1")


def test_no_request_left_a_traceback_in_the_log(api_server: ApiServer) -> None:
    assert "Traceback" not in api_server.log.read_text()
