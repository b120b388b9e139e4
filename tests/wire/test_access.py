"""Each way in which somebody's cluster cannot be used is its own clear error, before anything is asked to change."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from recorded_api import RecordedApi, kubeconfig, platform_at, playing, recording
from wire_tools import free_port

from platform_lib import guard
from platform_lib.errors import Forbidden, GuardRefused, NotFound, PlatformError, SettingsError, Unreachable
from platform_lib.errors import UnsupportedSystem as Unsupported
from platform_lib.model import Platform
from platform_lib.settings import kubeconfig_files, settings
from platform_lib.wire import access, kube
from platform_lib.wire import kubeconfig as kubeconfig_
from platform_lib.wire.access import preflight

CANARY = "canary-7c1e5b9f2a"


@pytest.fixture
def api(request: pytest.FixtureRequest) -> Iterator[RecordedApi]:
    with playing(recording(getattr(request, "param", "healthy"))) as found:
        yield found
        assert found.changes() == [], "a preflight changes nothing"


def at(api: RecordedApi, folder: Path, **user: Any) -> Platform:
    return platform_at(kubeconfig(folder, api.url, ca_data=api.ca_data, **user), folder)


def refused(error: type[PlatformError], platform: Any, *parts: str, **options: Any) -> PlatformError:
    """The error names what it should, and says what to do next."""
    with pytest.raises(error) as caught:
        preflight(platform, **options)
    text = str(caught.value)
    assert caught.value.hint and all(part in text for part in parts), text
    return caught.value


def jwt(expires: datetime) -> str:
    def part(document: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256'})}.{part({'sub': CANARY, 'exp': expires.timestamp()})}.{CANARY}"


# -- a cluster that can be used ------------------------------------------------------------------------------


def test_a_cluster_that_answers_says_who_it_is(api: RecordedApi, tmp_path: Path) -> None:
    seen = preflight(at(api, tmp_path), argocd=True)
    assert (seen.version, seen.release, seen.tested) == ("v1.35.3", (1, 35), True)
    assert (seen.server, seen.user, seen.credentials) == (api.url, "jane", "token")
    assert all(headers["authorization"] == "Bearer opaque-token" for _, _, headers in api.asked)


@pytest.mark.parametrize("api", ["version-eks"], indirect=True)
def test_letters_of_a_provider_in_the_version_are_understood(api: RecordedApi, tmp_path: Path) -> None:
    assert preflight(at(api, tmp_path)).release == (1, 33)


# -- credentials -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", ["token-expired"], indirect=True)
def test_a_token_that_the_server_refuses(api: RecordedApi, tmp_path: Path) -> None:
    error = refused(Forbidden, at(api, tmp_path, token=CANARY), "401", "token of user 'jane'", "'prod'", "log in again")
    assert CANARY not in repr(error) + str(error) + str(error.context)


def test_a_token_that_says_itself_that_it_expired_is_not_sent(api: RecordedApi, tmp_path: Path) -> None:
    old = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    error = refused(SettingsError, at(api, tmp_path, token=jwt(old)), "expired 2026-01-02 03:04:05 UTC", "log in again")
    assert api.asked == [] and CANARY not in str(error)
    preflight(at(api, tmp_path, token=jwt(datetime.now(UTC) + timedelta(hours=1))))


def client_certificate(begin: datetime, end: datetime) -> dict[str, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "jane")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = builder.serial_number(1).not_valid_before(begin).not_valid_after(end).sign(key, hashes.SHA256())
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    names = ("client-certificate-data", "client-key-data")
    return {key: base64.b64encode(raw).decode() for key, raw in zip(names, (pem, secret), strict=True)}


def test_an_expired_client_certificate_is_not_shown_to_the_server(api: RecordedApi, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    old = client_certificate(now - timedelta(days=400), now - timedelta(days=35))
    error = refused(SettingsError, at(api, tmp_path, **old), "client certificate of user 'jane'", "expired")
    assert f"{now - timedelta(days=35):%Y-%m-%d}" in str(error) and api.asked == []
    early = client_certificate(now + timedelta(days=1), now + timedelta(days=2))
    refused(SettingsError, at(api, tmp_path, **early), "is valid from")
    preflight(at(api, tmp_path, **client_certificate(now - timedelta(days=1), now + timedelta(days=1))))


def plugin(folder: Path, script: str, **more: Any) -> dict[str, Any]:
    path = folder / "login-tool"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    shape = {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never"}
    return {"exec": shape | {"command": str(path), "args": [], "env": None} | more}


def test_an_exec_plugin_logs_in(api: RecordedApi, tmp_path: Path) -> None:
    answer = json.dumps(
        {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "from-plugin"}}
    )
    seen = preflight(at(api, tmp_path, **plugin(tmp_path, f"echo '{answer}'")))
    assert seen.credentials == "exec plugin login-tool"
    assert api.asked[0][2]["authorization"] == "Bearer from-plugin"


def test_an_exec_plugin_that_fails_is_quoted_and_nobody_is_asked_without_credentials(
    api: RecordedApi, tmp_path: Path
) -> None:
    user = plugin(tmp_path, "echo 'Error: the SSO session has expired, run: login-tool sso login' >&2; exit 253")
    refused(
        SettingsError, at(api, tmp_path, **user), "exec plugin login-tool", "'jane'", "253", "SSO session has expired"
    )
    refused(SettingsError, at(api, tmp_path, **plugin(tmp_path, "echo not-json")), "failed to decode")
    assert api.asked == []


def test_an_exec_plugin_that_is_not_installed_gives_its_own_hint(api: RecordedApi, tmp_path: Path) -> None:
    user = plugin(tmp_path, "true", command="no-such-auth-plugin", installHint="Install it with:\n  gcloud components")
    refused(SettingsError, at(api, tmp_path, **user), "no-such-auth-plugin", "not found", "Install it with: gcloud")


@pytest.mark.parametrize("api", ["anonymous"], indirect=True)
def test_no_credentials_at_all(api: RecordedApi, tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, api.url, ca_data=api.ca_data)
    document = yaml.safe_load(path.read_text())
    document["users"] = [{"name": "jane", "user": {}}]
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(Forbidden, match="system:anonymous"):
        preflight(platform_at(path, tmp_path))


# -- permissions and kinds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", ["forbidden"], indirect=True)
def test_a_forbidden_verb_names_user_verb_resource_and_the_role_to_ask_for(api: RecordedApi, tmp_path: Path) -> None:
    connection = kube.connect(at(api, tmp_path))
    with pytest.raises(Forbidden) as caught:
        connection.list(kube.PODS, "sample-app")
    text = str(caught.value)
    assert '"jane@example.com" cannot list resource "pods"' in text
    assert 'a Role in namespace sample-app with apiGroups [""], resources ["pods"], verbs ["list"]' in text
    assert "apqx doctor --context prod --rbac" in text and caught.value.verb == "list"
    with pytest.raises(Forbidden, match=r"a ClusterRole with apiGroups \[\"\"\], resources \[\"nodes\"\]"):
        connection.list(kube.NODES)


@pytest.mark.parametrize("api", ["argocd-absent", "applications-absent"], indirect=True)
def test_the_kinds_of_argo_cd_are_absent(api: RecordedApi, tmp_path: Path) -> None:
    preflight(at(api, tmp_path))
    platform = at(api, tmp_path)
    refused(NotFound, platform, "does not serve applications.argoproj.io", "--install argocd", argocd=True)


# -- the network -------------------------------------------------------------------------------------------------


def test_connection_refused(tmp_path: Path) -> None:
    port = free_port()
    path = kubeconfig(tmp_path, f"https://127.0.0.1:{port}")
    refused(Unreachable, platform_at(path, tmp_path), "connection refused", f"127.0.0.1:{port}", "VPN")


def test_a_name_that_nobody_knows(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, "https://api.nowhere.invalid:6443")
    refused(Unreachable, platform_at(path, tmp_path), "DNS", "api.nowhere.invalid")


def test_an_unknown_authority(api: RecordedApi, tmp_path: Path) -> None:
    other = base64.b64encode(trustme.CA().cert_pem.bytes()).decode()
    path = kubeconfig(tmp_path, api.url, ca_data=other)
    error = refused(Unreachable, platform_at(path, tmp_path), "unknown authority", "certificate-authority-data")
    assert error.cause == "tls-authority" and api.asked == []


def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    with playing(recording("healthy"), names=("api.example.com",)) as api:
        error = refused(Unreachable, at(api, tmp_path), "another name", "tls-server-name")
        assert error.cause == "tls-name" and api.asked == []


def test_a_port_without_tls(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def plain() -> None:
            for _ in range(3):
                connection, _ = server.accept()
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                connection.close()

        threading.Thread(target=plain, daemon=True).start()
        path = kubeconfig(tmp_path, f"https://127.0.0.1:{port}")
        refused(Unreachable, platform_at(path, tmp_path), "no TLS", "scheme and port")


def test_a_server_that_wants_another_client_certificate(tmp_path: Path) -> None:
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    ca.issue_cert("localhost").configure_cert(context)
    trustme.CA().configure_trust(context)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def shake() -> None:
            for _ in range(3):
                connection, _ = server.accept()
                try:
                    context.wrap_socket(connection, server_side=True)
                except OSError:
                    connection.close()

        threading.Thread(target=shake, daemon=True).start()
        now = datetime.now(UTC)
        mine = client_certificate(now - timedelta(days=1), now + timedelta(days=1))
        ca_data = base64.b64encode(ca.cert_pem.bytes()).decode()
        path = kubeconfig(tmp_path, f"https://localhost:{server.getsockname()[1]}", ca_data=ca_data, **mine)
        refused(Unreachable, platform_at(path, tmp_path), "does not accept the client certificate of user 'jane'")


def test_a_server_that_stays_silent(api: RecordedApi, tmp_path: Path) -> None:
    api.delay_s = 1.0
    error = refused(Unreachable, at(api, tmp_path), "no answer within 0.3 s", "time-out", timeout_s=0.3)
    assert error.cause == "timeout"


@pytest.mark.parametrize(
    ("api", "said"), [("login-page", "Sign in · Corporate SSO"), ("gateway", "502 Bad Gateway")], indirect=["api"]
)
def test_a_page_of_a_proxy_is_no_api(api: RecordedApi, said: str, tmp_path: Path) -> None:
    refused(Unreachable, at(api, tmp_path), "a page", said, "HTTPS_PROXY")


@pytest.mark.parametrize("api", ["no-version"], indirect=True)
def test_something_else_that_speaks_json(api: RecordedApi, tmp_path: Path) -> None:
    refused(Unreachable, at(api, tmp_path), "grafana", "expected the version of an API server")


@pytest.mark.parametrize("api", ["version-1.22"], indirect=True)
def test_a_version_that_is_too_old(api: RecordedApi, tmp_path: Path) -> None:
    refused(Unsupported, at(api, tmp_path), "v1.22.17", "v1.23 or newer", "v1.33 to v1.36")


# -- the kubeconfig ------------------------------------------------------------------------------------------------


def test_a_wrong_context_names_the_others_and_the_closest(api: RecordedApi, tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, api.url, ca_data=api.ca_data)
    wrong = platform_at(path, tmp_path, context="stagging")
    refused(
        SettingsError, wrong, "'stagging' - not in the kubeconfig", "prod, staging", "did you mean --context staging?"
    )
    refused(SettingsError, platform_at(path, tmp_path, context="qa-eu"), "prod, staging", "APQX_CONTEXT")


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", "is empty"),
        ("just text", "holds no contexts"),
        ("a: [b", "is no YAML"),
        (f"users:\n- name: x\n  user: {{token: {CANARY}\n", "is no YAML"),
        ("contexts: [{name: prod, context: {cluster: gone}}]", "refers to cluster 'gone'"),
        ("contexts: [{context: {}}]", "has no name"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used(text: str, seen: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    error = refused(SettingsError, platform_at(path, tmp_path), str(path), seen)
    assert CANARY not in str(error) and error.exit_code == 2


def test_a_kubeconfig_that_is_not_there(tmp_path: Path) -> None:
    refused(SettingsError, platform_at(tmp_path / "none", tmp_path), "no such file", "APQX_KUBECONFIG")


def test_a_file_of_the_kubeconfig_that_is_not_there(api: RecordedApi, tmp_path: Path) -> None:
    user = {"client-certificate": "jane.crt", "client-key": "jane.key"}
    refused(SettingsError, at(api, tmp_path, **user), str(tmp_path / "jane.crt"), "cannot be read")


def test_kubeconfig_files_are_found_as_kubectl_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert kubeconfig_files(settings()) == (tmp_path / ".kube/config",)
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/a:~/b:")
    assert kubeconfig_files(settings()) == (tmp_path / "a", tmp_path / "b")
    assert kubeconfig_files(settings(kubeconfig="/etc/mine")) == (Path("/etc/mine"),)


def test_a_context_spread_over_files_gets_a_private_copy_and_a_plugin_stays_a_plugin(
    api: RecordedApi, tmp_path: Path
) -> None:
    whole = yaml.safe_load(kubeconfig(tmp_path, api.url, ca_data=api.ca_data).read_text())
    answer = json.dumps(
        {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "from-plugin"}}
    )
    users = tmp_path / "users"
    users.mkdir()
    tool = plugin(users, f"echo '{answer}'")
    tool["exec"]["command"] = "./login-tool"  # relative to its kubeconfig, as kubectl takes it
    first, second = tmp_path / "first", users / "second"
    first.write_text(yaml.safe_dump({"contexts": whole["contexts"], "clusters": whole["clusters"]}))
    second.write_text(yaml.safe_dump({"users": [{"name": "jane", "user": tool}], "clusters": []}))
    found = kubeconfig_.entry([first, tmp_path / "absent", second], "prod")
    copy = kubeconfig_.usable_file(found, tmp_path)
    assert copy == tmp_path / "kubeconfig" and copy.stat().st_mode & 0o777 == 0o600
    preflight(platform_at(copy, tmp_path))
    assert api.asked[-1][2]["authorization"] == "Bearer from-plugin"
    alone = kubeconfig(tmp_path, api.url)
    assert kubeconfig_.usable_file(kubeconfig_.entry([alone], "prod"), tmp_path) == alone, "a login must be seen"


# -- looking only ------------------------------------------------------------------------------------------------


def test_every_change_is_refused_with_the_sentence_that_allows_it(
    api: RecordedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = at(api, tmp_path)
    with pytest.raises(GuardRefused, match="not on the allow-list"):
        kube.connect(platform).delete(kube.PODS, "x", "shop")
    monkeypatch.setenv("APQX_ALLOWED_CONTEXTS", '["prod"]')
    with pytest.raises(GuardRefused, match=r"looking only.*--provider existing --context prod --write"):
        kube.connect(platform).delete(kube.PODS, "x", "shop")
    monkeypatch.setenv("APQX_EXISTING_WRITE", "true")
    guard.check(platform, "delete a pod")


def test_oldest_and_tested_versions_are_a_range() -> None:
    assert access.OLDEST < access.TESTED[0] <= access.TESTED[1]
