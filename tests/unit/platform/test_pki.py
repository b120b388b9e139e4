"""Keys, certificates, tokens and kubeconfig of a cluster."""

from __future__ import annotations

import json
import ssl
import stat
import threading
from pathlib import Path

import pytest

from platform_lib.embedded import pki
from platform_lib.embedded.config import Config


@pytest.fixture
def made(config: Config) -> Config:
    pki.ensure(config)
    return config


def _handshake(config: Config, hostname: str) -> str:
    """Do a TLS handshake in memory and return the protocol version."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(config.pki_dir / "server.crt", config.pki_dir / "server.key")
    client = ssl.create_default_context(cafile=str(config.ca_file))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname=hostname)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (near, far):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return str(near.version())


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "app.127.0.0.1.sslip.io", "kubernetes.default.svc"])
def test_the_server_certificate_is_valid_for_every_name_that_clients_use(made: Config, name: str) -> None:
    assert _handshake(made, name) == "TLSv1.3"


def test_the_certificate_is_not_valid_for_other_names(made: Config) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(made, "example.org")


def test_every_component_has_its_own_token(made: Config) -> None:
    tokens = {name: made.token(name) for name in pki.token_names(made)}
    assert {"admin", "gitops", "scrape", "traefik", "kubelet", "node-apqx-agent-0"} <= tokens.keys()
    assert len(set(tokens.values())) == len(tokens)
    assert min(map(len, tokens.values())) >= 40


def test_secrets_are_for_the_owner_only(made: Config) -> None:
    private = [*made.pki_dir.iterdir(), *(made.cluster_dir / "tokens").iterdir(), made.cluster_dir / "kubeconfig"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}


def test_the_kubeconfig_leads_to_this_cluster(made: Config) -> None:
    document = json.loads((made.cluster_dir / "kubeconfig").read_text())
    assert document["current-context"] == "apqx"
    assert document["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:17443"
    assert document["users"][0]["user"]["token"] == made.token("admin")


def test_a_second_call_changes_nothing(made: Config) -> None:
    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in made.cluster_dir.rglob("*") if path.is_file()}

    before = content()
    pki.ensure(made)
    assert content() == before


def test_readers_see_a_whole_file_or_none(tmp_path: Path) -> None:
    target, torn = tmp_path / "file", []

    def read() -> None:
        for _ in range(300):
            if target.exists() and target.read_bytes() not in (b"a" * 9000, b"b" * 9000):
                torn.append(1)

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(100):
        pki.write_private(target, (b"a" if i % 2 else b"b") * 9000)
    reader.join()
    assert torn == []
