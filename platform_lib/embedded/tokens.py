"""Who signs and checks the tokens of service accounts? JSON Web Tokens, signed with the cluster's own key.

Source: RFC 7519, RFC 7515, RFC 7518 (ES256); claims as in Kubernetes' bound service-account tokens.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from platform_lib.embedded.metadata import timestamp
from platform_lib.model import Obj

ISSUER = "https://kubernetes.default.svc.cluster.local"
SHORTEST_S = 600
"""Kubernetes refuses shorter lives; here they are raised to it."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says: the account and its uid."""

    namespace: str
    name: str
    uid: str


class Tokens:
    """Signs and checks tokens; reads the key on first use, because most clusters never ask.

    Args:
        key_file: PEM file of an EC P-256 private key.
    """

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file
        self._key: Any = None

    def request(self, account: Obj, body: Obj, now: datetime) -> Obj:
        """Answer a TokenRequest for a service account."""
        spec = body.get("spec") or {}
        life_s = max(SHORTEST_S, int(spec.get("expirationSeconds") or 3600))
        audiences = list(spec.get("audiences") or [ISSUER])
        metadata = account["metadata"]
        expires = now + timedelta(seconds=life_s)
        claims = {
            "aud": audiences,
            "exp": int(expires.timestamp()),
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "iss": ISSUER,
            "sub": f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}",
            "kubernetes.io": {
                "namespace": metadata["namespace"],
                "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
            },
        }
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
            "spec": {"audiences": audiences, "expirationSeconds": life_s, "boundObjectRef": None},
            "status": {"token": self._sign(claims), "expirationTimestamp": timestamp(expires)},
        }

    def check(self, token: str, now: datetime) -> Claims | None:
        """Return what a token says, or None when it is malformed, over, or not ours."""
        parts = token.split(".")
        if len(parts) != 3:
            return None
        try:
            claims = orjson.loads(_decode(parts[1]))
            moment = now.timestamp()
            if not claims["nbf"] <= moment + 1 < claims["exp"] + 1 or ISSUER not in claims["aud"]:
                return None
            if not self._is_ours(parts):
                return None
            bound = claims["kubernetes.io"]
            account = bound["serviceaccount"]
            return Claims(str(bound["namespace"]), str(account["name"]), str(account["uid"]))
        except (ValueError, KeyError, TypeError):
            return None

    def _sign(self, claims: Obj) -> str:
        """Return the signed compact form."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        head = _encode(orjson.dumps({"alg": "ES256", "typ": "JWT"}))
        text = f"{head}.{_encode(orjson.dumps(claims))}"
        r, s = utils.decode_dss_signature(self._private().sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{_encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def _is_ours(self, parts: list[str]) -> bool:
        """Return whether the signature was made with our key."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        raw = _decode(parts[2])
        if len(raw) != 64 or orjson.loads(_decode(parts[0])).get("alg") != "ES256":
            return False
        signature = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        public = self._private().public_key()
        try:
            public.verify(signature, f"{parts[0]}.{parts[1]}".encode(), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def _private(self) -> Any:
        if self._key is None:
            from cryptography.hazmat.primitives.serialization import load_pem_private_key

            self._key = load_pem_private_key(self._key_file.read_bytes(), None)
        return self._key


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
