"""How does a query reach a Prometheus-compatible endpoint: over HTTP with a tenant's headers, or by the API server?

Prometheus, Thanos and Mimir answer with one document; what stands before them (a proxy, a login page) does not. Each
answer is decoded once here, and whatever is no result is raised with the server's own words.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from platform_lib.errors import SettingsError
from platform_lib.wire.promframe import part_of

SCHEME = "kube"
"""``kube://NAMESPACE/SERVICE:PORT/prefix`` is a Service, asked through the API server's proxy."""
_PAGE = re.compile(r"\s*<(!doctype|html|head|body)", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_LIMIT = re.compile(
    r"exceeded maximum resolution|time range exceeds the limit|too many (samples|points)|"
    r"exceed\w* (the )?(limit|maximum number) of (samples|points|chunks)|maximum number of chunks|"
    r"cannot exceed .*maxPoints",
    re.IGNORECASE,
)
"""Refusals that a shorter range avoids. Prometheus and Thanos: resolution, samples; Mimir: range, chunks."""

Send = Callable[[str, Mapping[str, Any], float], "tuple[int, bytes]"]
"""Sends a GET below an address: path, parameters, time-out in seconds -> status and body."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One Prometheus-compatible endpoint.

    Attributes:
        url: Base URL, without its query.
        params: Parameters that go with each request, from the query of the URL (``dedup``, ``partial_response``).
        headers: Sent with each request; holds secrets, therefore never shown.
        ca: Certificate authority; None: those of the system.
        send: Sends through the API server instead; None: over HTTP.
    """

    url: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca: Path | None = None
    send: Send | None = None


def endpoint(
    url: str, *, headers: Mapping[str, str] | None = None, ca: Path | None = None, send: Send | None = None
) -> Endpoint:
    """Return an endpoint from its address.

    Raises:
        SettingsError: No HTTP address, a password inside it, or a certificate authority that is not there.
    """
    parts = urlsplit(url)
    shown = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
    if parts.scheme not in ("http", "https", SCHEME) or not parts.netloc:
        raise SettingsError(
            f"Prometheus endpoint {shown!r} - no address, expected http://, https:// or kube://NAMESPACE/SERVICE:PORT",
            hint="set APQX_PROMETHEUS_URL",
        )
    if "@" in parts.netloc:
        raise SettingsError(
            f"Prometheus endpoint {shown} - holds a password, expected none in an address",
            hint="""use APQX_PROMETHEUS_HEADERS='{"Authorization": "Basic env:NAME"}'""",
        )
    if ca is not None and not ca.is_file():
        raise SettingsError(f"prometheus_ca {ca} - no such file, expected a certificate authority in PEM form")
    base = urlunsplit(parts._replace(query="", fragment="")).rstrip("/")
    return Endpoint(base, dict(parse_qsl(parts.query)), dict(headers or {}), ca, send)


class Refused(Exception):
    """An answer that is not a result."""

    def __init__(self, status: int, text: str, kind: str = "") -> None:
        super().__init__(text)
        self.status, self.text, self.kind = status, text, kind

    @property
    def too_much(self) -> bool:
        """Whether a shorter range may be answered."""
        return self.status in (400, 413, 422) and bool(_LIMIT.search(self.text))

    @property
    def hint(self) -> str:
        """The next step."""
        if self.status in (401, 403):
            return "check prometheus_headers: who may ask, and for which tenant (X-Scope-OrgID)"
        if 300 <= self.status < 400:
            return "it leads to another address, which is not followed: set prometheus_url to that one, or log in there"
        if self.kind == "page":
            return "something else answers there: check prometheus_url (its path too) and proxies"
        if self.status == 404:
            return "check the path of prometheus_url: Mimir wants /prometheus, others a prefix"
        return "correct the query, or ask for less"


def session(target: Endpoint, heard: Callable[[list[str]], None]) -> Any:
    """Return a session that decodes once, keeps warnings, and keeps the text of a refusal.

    Args:
        target: Whom it asks.
        heard: Receives warnings and infos of each answer.
    """
    import requests

    class Session(requests.Session):  # type: ignore[misc]
        def request(self, method: str, url: str, *args: Any, **options: Any) -> Any:
            options["params"] = {**target.params, **(options.get("params") or {})}
            samples = url.endswith("/query_range")
            if target.send is not None:
                timeout_s = options["timeout"][1]
                status, body = target.send(urlsplit(url).path, options["params"], timeout_s)
                answer = requests.Response()
                answer.status_code, answer._content = status, body
            else:
                options["allow_redirects"] = False  # a login page or another host: neither gets the headers
                answer = super().request(method, url, *args, **options)
            document, result = decoded(answer.status_code, answer.content, samples=samples)
            heard([*(document.get("warnings") or []), *(document.get("infos") or [])])
            answer.json = lambda **_: {"data": {"result": result}}
            return answer

    made = Session()
    made.trust_env = False  # a proxy of the user must not stand between us and the platform
    made.headers.update(target.headers)
    made.verify = str(target.ca) if target.ca else True
    return made


def decoded(status: int, body: bytes, *, samples: bool) -> tuple[dict[str, Any], Any]:
    """Decode an answer of the Prometheus API; anything but a success is raised with its own text.

    Args:
        status: HTTP status.
        body: The answer.
        samples: The body holds a matrix: its samples are read as arrays, never as Python objects.

    Returns:
        What the answer says beside the result, and the result: a ``Part`` for a matrix.
    """
    try:
        part = part_of(body) if samples and status == 200 else None
        document = part.document if part else json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise _page(status, body.decode("utf-8", "replace"))
    if status != 200 or document.get("status") != "success":
        kind, text = document.get("errorType") or "error", document.get("error") or document.get("message")
        raise Refused(status, f"{kind}: {text or 'no message'}", str(kind))
    return document, part or (document.get("data") or {}).get("result")


def _page(status: int, text: str) -> Refused:
    """Return the refusal for an answer that is no document: a page for people, or a line of text."""
    if _PAGE.match(text):
        title = _TITLE.search(text)
        said = html.unescape(" ".join((title.group(1) if title else re.sub(r"<[^>]*>", " ", text)).split()))
        return Refused(status, f"a page ({said[:120]}), expected JSON", "page")
    return Refused(status, text.strip()[:300] or "an empty answer")
