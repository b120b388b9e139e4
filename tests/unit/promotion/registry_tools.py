"""What the tests of promotions put into a registry: images, indexes, signatures and reports in cosign's own layouts."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
VULN = "https://cosign.sigstore.dev/attestation/vuln/v1"
SIGN = "https://sigstore.dev/cosign/sign/v1"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def b64(document: Any) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


@dataclass
class Shelf:
    """Pushes to one repository of a registry on loopback."""

    host: str
    repository: str = "you/sample-app"
    pushed: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.host}/{self.repository}"

    def _url(self, path: str) -> str:
        return f"http://{self.host}/v2/{self.repository}/{path}"

    def blob(self, data: bytes, media_type: str = LAYER, **extra: Any) -> dict[str, Any]:
        started = requests.post(self._url("blobs/uploads/"), timeout=10)
        started.raise_for_status()
        place = started.headers["Location"]
        joint = "&" if "?" in place else "?"
        done = requests.put(f"{place}{joint}digest={digest_of(data)}", data=data, timeout=10)
        done.raise_for_status()
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **extra}

    def manifest(self, document: dict[str, Any], tag: str = "") -> str:
        data = json.dumps(document).encode()
        headers = {"Content-Type": document["mediaType"]}
        answer = requests.put(self._url(f"manifests/{tag or digest_of(data)}"), data=data, headers=headers, timeout=10)
        assert answer.ok, answer.text
        return digest_of(data)

    def image(self, architecture: str = "amd64", version: str = "1.4.0") -> str:
        labels = {"org.opencontainers.image.version": version} if version else {}
        config = {"os": "linux", "architecture": architecture, "config": {"Labels": labels}, "rootfs": {}}
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(json.dumps(config).encode(), CONFIG),
            "layers": [self.blob(f"content for {architecture}".encode())],
        }
        return self.manifest(document)

    def index(self, *architectures: str, version: str = "1.4.0") -> str:
        entries = [
            {
                "mediaType": MANIFEST,
                "digest": self.image(name, version),
                "size": 1,
                "platform": {"os": "linux", "architecture": name},
            }
            for name in architectures
        ]
        # What buildx adds: an attestation manifest, of a platform nobody runs.
        entries.append({**entries[0], "platform": {"os": "unknown", "architecture": "unknown"}})
        return self.manifest({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})

    def sign_by_tag(self, digest: str, about: str = "") -> None:
        """As cosign 1 and 2 leave a signature."""
        payload = {
            "critical": {
                "image": {"docker-manifest-digest": about or digest},
                "type": "cosign container image signature",
            }
        }
        layer = self.blob(
            json.dumps(payload).encode(),
            "application/vnd.dev.cosign.simplesigning.v1+json",
            annotations={"dev.cosignproject.cosign/signature": "MEUCIQ=="},
        )
        self._beside(digest, ".sig", [layer])

    def scan_by_tag(self, digest: str, *statements: dict[str, Any]) -> None:
        """As cosign 1 and 2 leave attestations."""
        layers = [
            self.blob(json.dumps({"payload": b64(s)}).encode(), "application/vnd.dsse.envelope.v1+json")
            for s in statements
        ]
        self._beside(digest, ".att", layers)

    def _beside(self, digest: str, suffix: str, layers: list[dict[str, Any]]) -> None:
        config = self.blob(b'{"os":"","architecture":"","rootfs":{}}', CONFIG)
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
        self.manifest(document, digest.replace(":", "-") + suffix)

    def bundles(self, digest: str, *statements: dict[str, Any]) -> None:
        """As cosign 3 leaves both, where the registry has no referrers API: listed under a tag made of the digest."""
        entries = []
        for statement in statements:
            bundle = {"mediaType": BUNDLE, "dsseEnvelope": {"payload": b64(statement)}}
            document = {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "artifactType": BUNDLE,
                "config": self.blob(b"{}", "application/vnd.oci.empty.v1+json"),
                "layers": [self.blob(json.dumps(bundle).encode(), BUNDLE)],
                "subject": {"mediaType": INDEX, "digest": digest, "size": 1},
            }
            notes = {"dev.sigstore.bundle.predicateType": statement["predicateType"]}
            entry = {"mediaType": MANIFEST, "digest": self.manifest(document), "size": 1}
            entries.append(entry | {"artifactType": BUNDLE, "annotations": notes})
        self.manifest({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, digest.replace(":", "-"))


def signature(digest: str) -> dict[str, Any]:
    """The statement of a signature as cosign 3 writes it."""
    return {"predicateType": SIGN, "subject": [{"digest": {"sha256": digest[7:]}}], "predicate": {}}


def report(
    digest: str, *findings: tuple[str, str], architecture: str = "amd64", age_days: float = 1.0, results: bool = True
) -> dict[str, Any]:
    """A report as ``trivy image --format cosign-vuln`` writes it; a finding is (severity, fixed version)."""
    finished = datetime.now(UTC) - timedelta(days=age_days)
    found = [{"Severity": severity, "FixedVersion": fixed} for severity, fixed in findings]
    return {
        "predicateType": VULN,
        "subject": [{"digest": {"sha256": digest[7:]}}],
        "predicate": {
            "scanner": {
                "uri": "pkg:github/aquasecurity/trivy@0.70.0",
                "result": {
                    "Metadata": {"ImageConfig": {"os": "linux", "architecture": architecture}},
                    "Results": [{"Class": "os-pkgs", "Vulnerabilities": found}] if results else None,
                },
            },
            "metadata": {"scanFinishedOn": finished.strftime("%Y-%m-%dT%H:%M:%S.123456789Z")},
        },
    }


DEPLOYMENT = """\
# Why this file is written by hand: it is read more often than changed.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: sample-app
spec:
  template:
    metadata:
      labels:
        app.kubernetes.io/version: 1.0.0  # rewritten by a deploy
    spec:
      containers:
        - name: sample-app
          image: ghcr.io/apqx/sample-app@sha256:{digest}
"""
STRICT = """\
[[image]]
repository = "127.0.0.1:*/you/*"
branches = ["main"]
platforms = ["linux/amd64", "linux/arm64"]
[image.signature]
identity = '^https://github\\.com/you/repo/\\.github/workflows/image\\.yml@refs/heads/main$'
issuer = "https://token.actions.githubusercontent.com"
[image.scan]
max_severity = "medium"
"""


def git(*arguments: str, folder: Path) -> str:
    identity = ("-c", "user.name=somebody", "-c", "user.email=somebody@localhost")
    command = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
