"""What is known of an image that somebody else built? Its registry and cosign are asked; nothing is judged here.

What of it lets an image through is decided in ``rules.image_policy``; ``promotion`` puts the two together.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from platform_lib.errors import ImageError, SettingsError
from platform_lib.model import joined
from platform_lib.rules import image_policy
from platform_lib.rules.image_policy import POLICY_FILE, VULNERABILITIES, Evidence, ImageRule, Scan
from platform_lib.settings import settings
from platform_lib.wire.cosign import Cosign, Signer, Verified
from platform_lib.wire.registry import Manifest, Reference, Registry

_VERSION = "org.opencontainers.image.version"
_BUNDLE = "application/vnd.dev.sigstore.bundle"
_BUNDLE_PREDICATE = "dev.sigstore.bundle.predicateType"
_SIGNED = "https://sigstore.dev/cosign/sign/v1"
_SIGNATURE_ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"
_SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature"


def look(reference: Reference, rule: ImageRule, tree: Path) -> Evidence:
    """Ask the registry, and cosign where the policy wants signatures verified, about one image.

    Args:
        reference: By digest.
        rule: What the policy wants to know.
        tree: Work tree of the GitOps repository, for a public key there.

    Raises:
        ImageError, Unreachable: See ``wire.registry``.
    """
    current = settings()
    with Registry(
        reference, user=current.registry_user, token=current.registry_token, timeout_s=current.request_timeout_s
    ) as registry:
        manifest = registry.manifest(reference.digest)
        platforms, version = _contents(registry, manifest)
        beside = list(_beside(registry, reference.digest)) if rule.signature.required or rule.scan.required else []
    signatures = sum(kind == "signature" for kind, _ in beside)
    statements = [payload for kind, payload in beside if kind == "attestation"]
    cosign = Cosign(reference, _signer(rule, tree), current.registry_user, current.registry_token)
    signed = cosign.signature() if rule.signature.required and rule.signature.verified and signatures else None
    scanned: Verified | None = None
    if rule.scan.required and rule.scan.verified and statements:
        scanned = cosign.attestations("vuln")
        statements = list(scanned.statements) if scanned.ok else statements
    scans, notes = _reports(statements, reference.digest)
    note = scanned.said if scanned is not None and not scanned.ok else joined(notes, empty="")
    return Evidence(
        name=reference.name,
        digest=reference.digest,
        platforms=platforms,
        version=version,
        signatures=signatures,
        signed_by=(rule.signature.key or rule.signature.identity) if signed is not None and signed.ok else "",
        signature_note=signed.said if signed is not None and not signed.ok else "",
        scans=scans,
        scans_verified=scanned is not None and scanned.ok,
        scan_note=note,
    )


def _contents(registry: Registry, manifest: Manifest) -> tuple[tuple[str, ...], str]:
    """Return the platforms of an index or image, and the version it says it is."""
    annotated = str((manifest.document.get("annotations") or {}).get(_VERSION) or "")
    if not manifest.is_index:
        config = registry.json_blob(_config_digest(manifest))
        return (_platform(config),), annotated or _label(config)
    # Entries of os "unknown" are a builder's own attestations, no image.
    listed = [item for item in manifest.document.get("manifests") or () if _runs(item)]
    platforms = tuple(sorted({_platform(item["platform"]) for item in listed}))
    if not annotated and listed:
        annotated = _label(registry.json_blob(_config_digest(registry.manifest(listed[0]["digest"]))))
    return platforms, annotated


def _runs(item: Any) -> bool:
    """Whether an entry of an index is an image for a known platform."""
    place = item.get("platform") or {}
    return bool(item.get("digest")) and place.get("os", "unknown") != "unknown"


def _platform(document: Any) -> str:
    """Name operating system and architecture; a variant is left out: all of arm64 is v8."""
    return f"{document.get('os', 'unknown')}/{document.get('architecture', 'unknown')}"


def _label(config: Any) -> str:
    """Return the version label of an image's configuration."""
    return str(((config.get("config") or {}).get("Labels") or {}).get(_VERSION) or "")


def _config_digest(manifest: Manifest) -> str:
    """Return the digest of an image's configuration.

    Raises:
        ImageError: The manifest is of something else (a chart, an attestation).
    """
    digest = str((manifest.document.get("config") or {}).get("digest") or "")
    if not digest:
        raise ImageError(
            f"manifest {manifest.digest} - of type {manifest.media_type} without a configuration, expected an image",
            hint="name the digest of the image or of its index",
            blob=manifest.digest,
            kind="failed",
        )
    return digest


def _beside(registry: Registry, digest: str) -> Iterator[tuple[str, Any]]:
    """Yield what lies beside an image: ("signature", None) and ("attestation", statement).

    Signatures live under the tag ``sha256-<hex>.sig`` (cosign 1 and 2) or refer to the image (cosign 3: bundles);
    attestations under ``.att`` or in bundles too. Both are looked for, because registries keep images of all ages.

    Source: cosign's SIGNATURE_SPEC.md, ATTESTATION_SPEC.md and BUNDLE_SPEC.md.
    """
    tag = digest.replace(":", "-")
    signed = registry.find_manifest(f"{tag}.sig")
    for layer in (signed.document.get("layers") or ()) if signed else ():
        if (layer.get("annotations") or {}).get(_SIGNATURE_ANNOTATION) and _names(registry, layer["digest"], digest):
            yield "signature", None
    attested = registry.find_manifest(f"{tag}.att")
    for layer in (attested.document.get("layers") or ()) if attested else ():
        yield "attestation", _payload(registry.json_blob(layer["digest"]))
    for item in registry.referrers(digest):
        if item.get("artifactType") == _SIGNATURE_ARTIFACT:
            yield "signature", None
        elif str(item.get("artifactType", "")).startswith(_BUNDLE):
            yield from _bundle(registry, item)


def _bundle(registry: Registry, item: Any) -> Iterator[tuple[str, Any]]:
    """Yield what one Sigstore bundle holds; one whose annotation says that it is something else is not fetched."""
    noted = (item.get("annotations") or {}).get(_BUNDLE_PREDICATE)
    if noted not in (None, _SIGNED, VULNERABILITIES):
        return
    layers = registry.manifest(item["digest"]).document.get("layers") or ()
    for layer in layers:
        bundle = registry.json_blob(layer["digest"])
        statement = _payload(bundle.get("dsseEnvelope") or {})
        if bundle.get("messageSignature") or statement.get("predicateType") == _SIGNED:
            yield "signature", None
        else:
            yield "attestation", statement


def _names(registry: Registry, payload: str, digest: str) -> bool:
    """Whether a signature's payload is about this image; a signature copied from another one is none."""
    critical = registry.json_blob(payload).get("critical") or {}
    return bool((critical.get("image") or {}).get("docker-manifest-digest") == digest)


def _payload(envelope: Any) -> dict[str, Any]:
    """Return the statement inside a DSSE envelope; empty when it cannot be read."""
    try:
        statement = json.loads(base64.b64decode(envelope.get("payload") or "", validate=True))
    except ValueError:
        return {}
    return statement if isinstance(statement, dict) else {}


def _reports(statements: list[Any], digest: str) -> tuple[tuple[Scan, ...], list[str]]:
    """Return the vulnerability reports among statements, and why others of that type do not count."""
    found = [
        image_policy.scan_of(statement, digest)
        for statement in statements
        if statement.get("predicateType") == VULNERABILITIES
    ]
    return tuple(scan for scan in found if isinstance(scan, Scan)), [note for note in found if isinstance(note, str)]


def _signer(rule: ImageRule, tree: Path) -> Signer:
    """Return whom the policy wants signatures to be of.

    Raises:
        SettingsError: The public key is not in the GitOps repository.
    """
    wanted = rule.signature
    if not wanted.key:
        return Signer(wanted.identity, wanted.issuer)
    path = (tree / wanted.key).resolve()
    if not path.is_file() or tree.resolve() not in path.parents:
        raise SettingsError(
            f"{POLICY_FILE} - signature.key {wanted.key!r} is no file of the GitOps repository, expected a public key",
            hint="commit the public key beside the policy",
        )
    return Signer(key=path, transparency_log=wanted.transparency_log)
