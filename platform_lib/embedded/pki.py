"""Which keys, certificates, tokens and kubeconfig does one cluster own?

Everything is made once, before the API starts, and lies in ``cluster/pki`` and ``cluster/tokens`` with mode
0600; losing the cluster loses the keys too. Checking a token is the API's business.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from platform_lib.embedded.config import Config

if TYPE_CHECKING:
    from cryptography import x509

VALID_DAYS = 825
"""Longest life that common TLS clients accept for a server certificate."""
WEB_NAMES = ("localhost", "*.127.0.0.1.sslip.io", "127.0.0.1.sslip.io")
API_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


def token_names(config: Config) -> list[str]:
    """Return the components that have a bearer token of their own."""
    return ["admin", "gitops", "scrape", "traefik", "kubelet", *(f"node-{n.name}" for n in config.nodes)]


def ensure(config: Config) -> None:
    """Create what is missing of keys, tokens and kubeconfig; leave what exists as it is.

    The kubeconfig is written last and in one step, so a reader that finds it finds everything.
    """
    config.pki_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    tokens = config.cluster_dir / "tokens"
    tokens.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in token_names(config):
        _once(tokens / name, lambda: secrets.token_urlsafe(32).encode())
    if not (config.pki_dir / "server.crt").exists():
        _make_certificates(config.pki_dir)
    kubeconfig = config.cluster_dir / "kubeconfig"
    if not kubeconfig.exists():
        write_private(kubeconfig, kubeconfig_text(config).encode())


def kubeconfig_text(config: Config) -> str:
    """Return the administrator's kubeconfig as JSON (which is YAML), with the CA and token inside."""
    authority = base64.b64encode(config.ca_file.read_bytes()).decode()
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": config.name,
        "clusters": [
            {
                "name": config.name,
                "cluster": {"server": config.api_url, "certificate-authority-data": authority},
            }
        ],
        "users": [{"name": f"{config.name}-admin", "user": {"token": config.token("admin")}}],
        "contexts": [
            {
                "name": config.name,
                "context": {"cluster": config.name, "user": f"{config.name}-admin"},
            }
        ],
    }
    return json.dumps(document, indent=1) + "\n"


def write_private(path: Path, content: bytes) -> None:
    """Write a file in one step (readers see all or nothing), mode 0600."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(handle, content)
    finally:
        os.close(handle)
    scratch.rename(path)


def _once(path: Path, make: Callable[[], bytes]) -> None:
    """Write a file only when it is absent."""
    if not path.exists():
        write_private(path, make())


def _make_certificates(folder: Path) -> None:
    """Make the CA, one server certificate (API and ingress) and the service-account signing key.

    Source: RFC 5280; P-256 because every client in reference tests accepted it and it is quick to make.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
        return key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def named(common_name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])

    begin = datetime.now(UTC) - timedelta(minutes=5)
    end = begin + timedelta(days=VALID_DAYS)
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = named("apqx cluster authority")
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        x509.CertificateBuilder(ca_name, ca_name, ca_key.public_key(), x509.random_serial_number(), begin, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(ca_id, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in dict.fromkeys(API_NAMES + WEB_NAMES)]
    names.append(x509.IPAddress(ip_address("127.0.0.1")))
    server = (
        x509.CertificateBuilder(
            ca_name,
            named("apqx server"),
            server_key.public_key(),
            x509.random_serial_number(),
            begin,
            end,
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    write_private(folder / "ca.key", pem(ca_key))
    write_private(folder / "ca.crt", ca.public_bytes(serialization.Encoding.PEM))
    write_private(folder / "server.key", pem(server_key))
    _once(folder / "sa.key", lambda: pem(ec.generate_private_key(ec.SECP256R1())))
    write_private(folder / "server.crt", server.public_bytes(serialization.Encoding.PEM))


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Return the key usage extension of an authority or of a server."""
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
