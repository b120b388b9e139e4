"""How is a container registry asked? By the OCI distribution protocol, reading only: manifests, blobs, referrers.

Every answer is checked against the digest it was asked for, so a registry cannot hand out something else. A token is
fetched the way the registry says in its 401 (the Bearer flow of Docker, GHCR and the rest); without credentials an
anonymous one is. What the answers mean for a promotion is decided in ``rules.image_policy``.

Source: OCI distribution-spec 1.1 (pulling manifests, listing referrers, referrers tag schema); the token
specification of the Distribution project.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from platform_lib.errors import ImageError, InvalidInput, Unreachable
from platform_lib.redact import of_process
from platform_lib.wire.secretvalue import resolve

INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
"""What the distribution specification lets a registry refuse above; a larger answer is no manifest."""
MAX_BLOB_BYTES = 64 * 1024 * 1024
"""A vulnerability report of a large image is some megabytes; nothing bigger is read into memory."""
_REFERENCE = re.compile(
    r"(?P<host>(?:[a-zA-Z0-9.-]+\.[a-zA-Z0-9-]+|localhost|\[[0-9a-fA-F:]+\])(?::\d+)?)/"
    r"(?P<repository>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference to an image, taken apart.

    Attributes:
        host: Registry with its port.
        repository: Path of the repository there.
        digest: ``sha256:...``; empty where only a tag was given.
        tag: Empty where none was given.
    """

    host: str
    repository: str
    digest: str = ""
    tag: str = ""

    @property
    def name(self) -> str:
        """Host and repository, what a policy names."""
        return f"{self.host}/{self.repository}"

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag or 'latest'}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index as the registry keeps it."""

    digest: str
    media_type: str
    document: Mapping[str, Any] = field(repr=False)

    @property
    def is_index(self) -> bool:
        """Whether it names one image for each architecture."""
        return self.media_type in INDEX_TYPES


def parse(reference: str) -> Reference:
    """Take a reference apart.

    Raises:
        InvalidInput: It does not name its registry, or cannot be a reference.
    """
    found = _REFERENCE.fullmatch(reference)
    if not found:
        raise InvalidInput(
            f"image {reference!r} - expected registry/repository@sha256:<64 hex digits>, with the name of the registry",
            hint="for example ghcr.io/you/sample-app@sha256:...; the image workflow prints it",
        )
    return Reference(found["host"], found["repository"], found["digest"] or "", found["tag"] or "")


class Registry:
    """Asks one repository of one registry.

    Args:
        reference: Names host and repository.
        user: User name sent with the token; GHCR takes any.
        token: Reference (``env:NAME``, ``file:/path``) to a token with read access; empty: anonymous.
        timeout_s: Time for one answer in seconds.
    """

    def __init__(self, reference: Reference, *, user: str = "apqx", token: str = "", timeout_s: float = 10.0) -> None:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util.retry import Retry

        self.host, self.repository = reference.host, reference.repository
        self._user, self._token, self._timeout_s = user, token, timeout_s
        self._url = f"{'http' if is_loopback(self.host) else 'https'}://{self.host}"
        self._authorisation: dict[str, str] = {}
        self._session = requests.Session()
        self._session.trust_env = not is_loopback(self.host)  # no proxy for loopback, no password from ~/.netrc
        self._session.auth = _no_netrc
        retry = Retry(total=3, backoff_factor=0.3, status_forcelist=(429, 502, 503, 504), raise_on_status=False)
        retry.respect_retry_after_header = False  # it may ask for an hour
        self._session.mount(self._url, HTTPAdapter(max_retries=retry))

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def manifest(self, reference: str) -> Manifest:
        """Return the manifest or index of a digest or tag.

        Raises:
            ImageError: There is none (``kind`` not found), access is refused (unauthorised, denied), or the registry
                answered with something else than it was asked for.
            Unreachable: No answer.
        """
        found = self.find_manifest(reference)
        if found is None:
            raise ImageError(
                f"image {self._named(reference)} - not in the registry, expected to have been pushed",
                hint="push it first (workflow image.yml), or correct the digest; a private repository that this token "
                "does not see also answers like this",
                blob=reference,
                kind="not found",
            )
        return found

    def find_manifest(self, reference: str) -> Manifest | None:
        """Return the manifest or index of a digest or tag; None when there is none."""
        accept = ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))
        answer = self._get(f"manifests/{reference}", accept=accept, limit_bytes=MAX_MANIFEST_BYTES)
        if answer is None:
            return None
        body, content_type = answer
        digest = self._checked(reference, body)
        document = self._decoded(reference, body)
        return Manifest(digest, str(document.get("mediaType") or content_type.split(";")[0]), document)

    def blob(self, digest: str) -> bytes:
        """Return a blob, checked against its digest.

        Raises:
            ImageError, Unreachable: See ``manifest``.
        """
        answer = self._get(f"blobs/{digest}", accept="*/*", limit_bytes=MAX_BLOB_BYTES)
        if answer is None:
            raise ImageError(
                f"blob {self._named(digest)} - not in the registry, a manifest there names it",
                hint="push the image again; the registry lost a part of it",
                blob=digest,
                kind="not found",
            )
        self._checked(digest, answer[0])
        return answer[0]

    def json_blob(self, digest: str) -> Mapping[str, Any]:
        """Return a blob that is a JSON document."""
        return self._decoded(digest, self.blob(digest))

    def referrers(self, digest: str) -> list[Mapping[str, Any]]:
        """Return descriptors of what refers to an image: signatures, attestations, bills of materials.

        A registry without the referrers API (404) keeps the same list under a tag made of the digest.
        """
        answer = self._get(f"referrers/{digest}", accept=INDEX_TYPES[0], limit_bytes=MAX_MANIFEST_BYTES)
        if answer is not None:
            document = self._decoded(digest, answer[0])
        else:
            listed = self.find_manifest(digest.replace(":", "-"))
            document = listed.document if listed is not None and listed.is_index else {}
        return [item for item in document.get("manifests") or [] if isinstance(item, Mapping)]

    # --- asking ----------------------------------------------------------------------------------

    def _get(self, path: str, *, accept: str, limit_bytes: int) -> tuple[bytes, str] | None:
        """Ask once, fetch a token when told to, ask again; None for a 404."""
        url = f"{self._url}/v2/{self.repository}/{path}"
        status, body, headers = self._send(url, {"Accept": accept, **self._authorisation}, limit_bytes)
        if status == 401 and not self._authorisation:
            self._authorisation = self._authorised(headers.get("www-authenticate", ""))
            status, body, headers = self._send(url, {"Accept": accept, **self._authorisation}, limit_bytes)
        if status == 404:
            return None
        if status != 200:
            raise self._refused(status, body)
        return body, headers.get("content-type", "")

    def _send(self, url: str, headers: Mapping[str, str], limit_bytes: int) -> tuple[int, bytes, Mapping[str, str]]:
        """Send one GET and read at most so many bytes."""
        import requests

        try:
            with self._session.get(url, headers=dict(headers), timeout=self._timeout_s, stream=True) as answer:
                body = b"".join(_limited(answer.iter_content(65536), limit_bytes))
                return answer.status_code, body, answer.headers
        except requests.RequestException as error:
            raise Unreachable(
                f"registry {self.host} - no answer ({type(error).__name__}), expected one within {self._timeout_s:g} s",
                hint="check network, proxy and the name of the registry; nothing was changed",
                url=url,
                waited_s=self._timeout_s,
            ) from error
        except _TooLarge as error:
            raise ImageError(
                f"registry {self.host} - answered {url} with more than {limit_bytes} bytes, expected less",
                hint="this is no manifest or report of an image; check the reference",
                blob=url,
                kind="too large",
            ) from error

    def _authorised(self, challenge: str) -> dict[str, str]:
        """Follow the 401: Basic with the token itself, or Bearer with one that the named server issues."""
        secret = resolve(self._token, what="registry_token") if self._token else ""
        scheme = challenge.partition(" ")[0].lower()
        if scheme == "basic" and secret:
            return {"Authorization": _basic(self._user, secret)}
        if scheme != "bearer":
            raise self._refused(401, b"")
        fields = dict(_CHALLENGE.findall(challenge))
        realm = urlsplit(fields.get("realm", ""))
        if realm.scheme != "https" and not is_loopback(realm.netloc):
            raise ImageError(
                f"registry {self.host} - wants a token from {fields.get('realm')!r}, expected an https address",
                hint="nothing was sent there; check the registry's configuration",
                blob=self.host,
                kind="unauthorised",
            )
        query = {
            "service": fields.get("service", ""),
            "scope": fields.get("scope") or f"repository:{self.repository}:pull",
        }
        headers = {"Authorization": _basic(self._user, secret)} if secret else {}
        joint = "&" if realm.query else "?"
        url = f"{realm.geturl()}{joint}{urlencode({key: value for key, value in query.items() if value})}"
        status, body, _ = self._send(url, headers, MAX_MANIFEST_BYTES)
        if status != 200:
            raise self._refused(status, body)
        issued = self._decoded("token", body)
        token = str(issued.get("token") or issued.get("access_token") or "")
        of_process().add(token)
        return {"Authorization": f"Bearer {token}"}

    def _refused(self, status: int, body: bytes) -> ImageError:
        """Say what a refusal means, with the registry's own words."""
        where, said = f"{self.host}/{self.repository}", _said(body)
        as_whom = f"with the token of {self._token}" if self._token else "without a token"
        if status in (401, 403):
            kind = "unauthorised" if status == 401 else "denied"
            step = (
                "issue a token with read:packages (GHCR) or pull access and check that it is not expired"
                if self._token
                else "a private repository needs a token: APQX_REGISTRY_TOKEN=env:NAME"
            )
            return ImageError(
                f"registry {where} - refused with {status} {as_whom}{said}, expected read access",
                hint=f"{step}; a repository that does not exist answers the same",
                blob=where,
                kind=kind,
                status=status,
            )
        return ImageError(
            f"registry {where} - answered with {status}{said}, expected 200",
            hint="too many requests: wait, or give a token" if status == 429 else "look at the state of the registry",
            blob=where,
            kind="busy" if status == 429 else "failed",
            status=status,
        )

    def _checked(self, reference: str, body: bytes) -> str:
        """Return the digest of a body; refuse one that is not what was asked for."""
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if reference.startswith("sha256:") and reference != digest:
            raise ImageError(
                f"image {self._named(reference)} - the registry answered with content of digest {digest}",
                hint="do not use this registry or proxy until it is known why",
                blob=reference,
                kind="corrupted",
            )
        return digest

    def _decoded(self, reference: str, body: bytes) -> Mapping[str, Any]:
        """Read a JSON object."""
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise ImageError(
                f"image {self._named(reference)} - the registry answered with no JSON object, expected one",
                hint="a login page or proxy may stand between; check the name of the registry",
                blob=reference,
                kind="failed",
            )
        return document

    def _named(self, reference: str) -> str:
        """Name a digest or tag with its repository."""
        joint = "@" if reference.startswith("sha256:") else ":"
        return f"{self.host}/{self.repository}{joint}{reference}"


class _TooLarge(Exception):
    """An answer is larger than what is read into memory."""


def _limited(chunks: Any, limit_bytes: int) -> Any:
    """Pass chunks on until they are too many."""
    read = 0
    for chunk in chunks:
        read += len(chunk)
        if read > limit_bytes:
            raise _TooLarge
        yield chunk


def is_loopback(host: str) -> bool:
    """Tell whether a registry is on this machine: only there is plain HTTP spoken."""
    name = host.rpartition("@")[2]
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _no_netrc(request: Any) -> Any:
    """Leave a request as it is; a session without ``auth`` would look for a password in ~/.netrc."""
    return request


def _basic(user: str, secret: str) -> str:
    """Return the value of a Basic header."""
    import base64

    return f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"


def _said(body: bytes) -> str:
    """Return the registry's own words, if there are any."""
    try:
        first = json.loads(body)["errors"][0]
        return f" ({first.get('code', '')}: {first.get('message', '')})"
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
