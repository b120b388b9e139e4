"""Who signed an image? The cosign program says; without it a signature is present and proves nothing.

A password never enters an argument: cosign finds it in a private folder that is gone when it ends.

Source: cosign's own pages ``cosign verify`` and ``cosign verify-attestation`` (v3).
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platform_lib.redact import of_process
from platform_lib.settings import child_environment, search_path
from platform_lib.wire.registry import Reference, is_loopback
from platform_lib.wire.secretvalue import resolve

TIMEOUT_S = 120.0
"""It fetches the trust root and the signature; usual 3 s."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Whom a signature must be of: identity and issuer, or a public key."""

    identity: str = ""
    issuer: str = ""
    key: Path | None = None
    transparency_log: bool = True

    def options(self) -> list[str]:
        """Return cosign's options."""
        if self.key is not None:
            return ["--key", str(self.key), *([] if self.transparency_log else ["--insecure-ignore-tlog=true"])]
        return ["--certificate-identity-regexp", self.identity, "--certificate-oidc-issuer", self.issuer]


@dataclass(frozen=True, slots=True)
class Verified:
    """What cosign said.

    Attributes:
        ok: Whether it verified at least one signature.
        said: Its last words, or why it was not asked.
        statements: Payloads of verified attestations.
    """

    ok: bool
    said: str
    statements: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Cosign:
    """The cosign program, for one image.

    Attributes:
        image: Which, by digest.
        signer: Whom its signatures must be of.
        user: User name sent with the token.
        token: Reference to the registry's token; empty: anonymous.
    """

    image: Reference
    signer: Signer
    user: str = "apqx"
    token: str = ""

    def signature(self) -> Verified:
        """Verify the image's signature."""
        return self._run("verify", "--output", "json")

    def attestations(self, predicate: str) -> Verified:
        """Verify the image's attestations of one predicate type and return what they say."""
        verified = self._run("verify-attestation", "--type", predicate, "--output", "json")
        if not verified.ok:
            return verified
        statements = tuple(filter(None, map(_statement, verified.said.splitlines())))
        return Verified(bool(statements), f"{len(statements)} attestations verified", statements)

    def _run(self, *arguments: str) -> Verified:
        """Run cosign; ``said`` is its output when it verified something, its error otherwise."""
        program = shutil.which("cosign", path=search_path())
        if program is None:
            return Verified(False, "cosign is not on PATH, so nothing was verified; install it")
        http = ["--allow-http-registry"] if is_loopback(self.image.host) else []
        with tempfile.TemporaryDirectory(prefix="apqx-cosign-") as folder:
            extra = self._credentials(Path(folder))
            command = [program, *arguments, *self.signer.options(), *http, str(self.image)]
            try:
                done = subprocess.run(
                    command,
                    env=child_environment(extra),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=TIMEOUT_S,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return Verified(False, f"cosign gave no answer within {TIMEOUT_S:.0f} s")
        if done.returncode == 0:
            return Verified(True, done.stdout)
        lines = [line.strip() for line in of_process().scrub(done.stderr).splitlines() if line.strip()]
        said = next((line for line in lines if line.startswith("Error:")), lines[-1] if lines else "no message")
        return Verified(False, f"cosign: {said.removeprefix('Error:').strip()}")

    def _credentials(self, folder: Path) -> dict[str, str]:
        """Write the registry's credentials where only cosign looks; nothing without a token."""
        if not self.token:
            return {}
        pair = f"{self.user}:{resolve(self.token, what='registry_token')}"
        config = {"auths": {self.image.host: {"auth": base64.b64encode(pair.encode()).decode()}}}
        path = folder / "config.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        return {"DOCKER_CONFIG": str(folder)}


def _statement(line: str) -> Mapping[str, Any] | None:
    """Return the in-toto statement of one line of cosign's output; None when it carries none."""
    try:
        payload = json.loads(base64.b64decode(json.loads(line)["payload"]))
    except (ValueError, LookupError, TypeError):
        return None
    return payload if isinstance(payload, dict) else None
