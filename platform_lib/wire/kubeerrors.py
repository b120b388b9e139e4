"""What does it mean when a Kubernetes API says no, or nothing? Names the cause and the next step; asks nothing.

An API server refuses with a Status object. What stands between it and us answers in other ways: a proxy with a page,
TLS with an alert, the network with silence. Each has its own cause and its own cure.
"""

from __future__ import annotations

import errno
import html
import json
import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from platform_lib import errors
from platform_lib.model import Obj

_BY_REASON: Mapping[str, type[errors.ApiError]] = {
    "AlreadyExists": errors.AlreadyExists,
    "Conflict": errors.Conflict,
    "NotFound": errors.NotFound,
    "Expired": errors.Expired,
    "Gone": errors.Expired,
}
_BY_STATUS: Mapping[int, type[errors.ApiError]] = {
    400: errors.Invalid,
    401: errors.Forbidden,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    410: errors.Expired,
    422: errors.Invalid,
}
_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>[a-z*]+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]+)")?'
)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_HOSTNAME_MISMATCH, _IP_MISMATCH, _CERTIFICATE_EXPIRED = 62, 64, 10
"""Codes of X509_verify_cert_error_string(3)."""
_CLIENT_ALERT = re.compile(
    r"alert (certificate|bad certificate|unknown ca)|ALERT_(CERT|BAD_CERT|UNKNOWN_CA)|CERT\w*_REQUIRED"
)
_NO_WAY = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNRESET)
ARGOCD_GROUP = "/apis/argoproj.io/"


@dataclass(frozen=True, slots=True)
class Origin:
    """Whom we ask, and as whom; for error texts.

    Attributes:
        context: Context of the kubeconfig.
        server: URL of the API server.
        user: Name of the user entry.
        credentials: Kind of its credentials.
        ours: A platform that the workbench brought up itself.
    """

    context: str
    server: str = ""
    user: str = ""
    credentials: str = ""
    ours: bool = True

    @property
    def doctor(self) -> str:
        """The command that looks at this cluster."""
        return "apqx doctor" if self.ours else f"apqx doctor --context {self.context}"


def of_answer(method: str, path: str, status: int, body: Any, origin: Origin) -> errors.PlatformError:
    """Return the error for an answer that is no success."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    if looks_like_page(text):
        return not_an_api(method, path, text, origin, status=status)
    try:
        document = json.loads(text or "{}")
    except ValueError:
        document = {"message": text.strip()[:300]}
    return of_status(method, path, status, document if isinstance(document, dict) else {}, origin)


def of_status(method: str, path: str, status: int, document: Obj, origin: Origin) -> errors.ApiError:
    """Return the error that a Status object describes."""
    reason = str(document.get("reason") or "")
    cls = _BY_REASON.get(reason) or _BY_STATUS.get(status) or errors.ApiError
    message = str(document.get("message") or reason or "no message")
    text, hint, facts = f"{method} {path} - answered {status} {reason}: {message}", "", {}
    if status == 401:
        text = (
            f"{text} - the {origin.credentials or 'credentials'} of {_who(origin)} expired or unknown, expected valid"
        )
        hint = "log in again, or get a new kubeconfig from whoever runs the cluster"
    elif status == 403 and (found := _FORBIDDEN.search(message)):
        facts = found.groupdict()
        hint = f"ask for {role_sentence(facts)}; {origin.doctor} --rbac prints all of them"
    elif _kind_absent(path, status, message, document):
        text, hint = _absent_kind(method, path, message, origin)
    elif status == 503:
        hint = "the API server is overloaded or still starting; try again"
    return cls(text, hint=hint, status=status, reason=reason, details=document.get("details") or {}, **facts)


def role_sentence(facts: Mapping[str, Any]) -> str:
    """Return the permission to ask for, as the rule of a Role or ClusterRole.

    Example:
        >>> role_sentence({"verb": "list", "resource": "pods", "group": "", "namespace": "shop"})
        'a Role in namespace shop with apiGroups [""], resources ["pods"], verbs ["list"]'
    """
    place = f"a Role in namespace {facts['namespace']}" if facts.get("namespace") else "a ClusterRole"
    rule = f'apiGroups ["{facts["group"]}"], resources ["{facts["resource"]}"], verbs ["{facts["verb"]}"]'
    return f"{place} with {rule}"


def of_silence(
    method: str, path: str, error: BaseException, origin: Origin, *, connect_s: float, read_s: float
) -> errors.Unreachable:
    """Return the error for a server that did not answer: refused, unknown, silent, or without a common TLS.

    Args:
        method: Of the request.
        path: Of the request.
        error: What the transport raised.
        origin: Whom we asked.
        connect_s: Time that was allowed for the connection.
        read_s: Time that was allowed for the answer.
    """
    causes = list(_causes(error))
    kind, seen, hint = _explained(causes, origin, connect_s, read_s)
    return errors.Unreachable(
        f"{method} {path} - no answer from the API{_at(origin)}: {seen}", hint=hint, url=path, cause=kind
    )


def not_an_api(method: str, path: str, text: str, origin: Origin, *, status: int = 200) -> errors.Unreachable:
    """Return the error for an answer that no API server gives: a login page, a proxy's complaint."""
    title = _TITLE.search(text)
    said = html.unescape(" ".join((title.group(1) if title else re.sub(r"<[^>]*>", " ", text)).split()))[:120]
    return errors.Unreachable(
        f"{method} {path} - answered {status} with a page{_at(origin)} ({said or 'empty'}), expected an API's JSON",
        hint="a proxy or a login page stands in between: check the server of the kubeconfig, HTTPS_PROXY and NO_PROXY",
        url=path,
        cause="page",
    )


def looks_like_page(text: str) -> bool:
    """Return whether an answer is a page for people."""
    return text.lstrip()[:200].lower().startswith(("<!doctype html", "<html", "<?xml", "<head", "<body"))


def _kind_absent(path: str, status: int, message: str, document: Obj) -> bool:
    """Return whether a 404 speaks of the kind, not of one object: then there are no details with a name."""
    named = (document.get("details") or {}).get("name")
    generic = message.startswith(("404 page not found", "the server could not find the requested resource"))
    return status == 404 and generic and not named and path.startswith(("/apis/", "/api/"))


def _absent_kind(method: str, path: str, message: str, origin: Origin) -> tuple[str, str]:
    """Return text and hint for a kind that the API server does not serve."""
    parts = path.split("?")[0].split("/")
    group, plural = (parts[2], parts[6] if "namespaces" in parts[4:5] and len(parts) > 6 else (parts[4:] or [""])[0])
    what = f"{plural}.{group}" if plural and path.startswith("/apis/") else path
    text = f"{method} {path} - answered 404: {message}; {_context(origin)} does not serve {what}, expected it"
    if path.startswith(ARGOCD_GROUP):
        hint = "Argo CD (or its CRDs) is not installed there"
        more = f"apqx up --provider existing --context {origin.context} --install argocd --write"
        return text, f"{hint}; see {origin.doctor}, install it with {more}"
    return text, f"see {origin.doctor} for what is missing and what that costs"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from, outermost first, each once."""
    seen: set[int] = set()
    left = [error]
    while left:
        one = left.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = [getattr(one, "reason", None), *one.args[:1], one.__cause__, one.__context__]
        left += [item for item in inner if isinstance(item, BaseException)]


def _explained(causes: list[BaseException], origin: Origin, connect_s: float, read_s: float) -> tuple[str, str, str]:
    """Return kind, what was seen and the next step for the innermost cause that is known."""
    import urllib3.exceptions as u

    names = {type(cause).__name__ for cause in causes}
    tls = [c for c in causes if isinstance(c, (ssl.SSLError, u.SSLError)) or type(c).__name__ == "CertificateError"]
    up = "is the platform up? see apqx status" if origin.ours else "check the server of the kubeconfig, and the VPN"
    if any(isinstance(cause, u.ProxyError) for cause in causes):
        return (
            "proxy",
            "the proxy refused or is not there",
            "check HTTPS_PROXY, NO_PROXY and proxy-url of the kubeconfig",
        )
    if tls:
        return _tls(tls, origin)
    if "NameResolutionError" in names or "gaierror" in names:
        return "dns", "its name cannot be resolved (DNS)", "check the server of the kubeconfig, the VPN and your DNS"
    if any(isinstance(c, ConnectionRefusedError) for c in causes) or "Connection refused" in str(causes[0]):
        return "refused", "connection refused", up
    if (down := next((c.strerror for c in causes if isinstance(c, OSError) and c.errno in _NO_WAY), None)) is not None:
        return "network", f"it cannot be reached ({down})", up
    if any(isinstance(c, u.ConnectTimeoutError) for c in causes):
        return "timeout", f"no connection within {connect_s:g} s, expected one (time-out)", up
    if any(isinstance(c, (u.ReadTimeoutError, TimeoutError)) for c in causes):
        return "timeout", f"no answer within {read_s:g} s, expected one (time-out)", up
    inner = getattr(causes[0], "reason", None) or causes[0]
    return "broken", type(inner).__name__, up


def _tls(causes: list[BaseException], origin: Origin) -> tuple[str, str, str]:
    """Return what a failed handshake means: who did not trust whom, and why."""
    text = " ".join(str(cause) for cause in causes)
    codes = {getattr(cause, "verify_code", 0) for cause in causes}
    if codes & {_HOSTNAME_MISMATCH, _IP_MISMATCH} or "doesn't match" in text or "ostname mismatch" in text:
        named = re.search(r"(?:not valid for|doesn't match) '?([^'\"(]+)'?", text)
        seen = f"its certificate is for another name{f' ({named.group(1).strip()})' if named else ''} (TLS)"
        return "tls-name", seen, "use a server name that the certificate holds, or tls-server-name in the kubeconfig"
    if _CERTIFICATE_EXPIRED in codes:
        return (
            "tls-expired",
            "the certificate of the server has expired (TLS)",
            "whoever runs the cluster has to renew it",
        )
    if "CERTIFICATE_VERIFY_FAILED" in text or codes - {0}:
        hint = "certificate-authority-data of the kubeconfig must be that cluster's; get a new one from whoever runs it"
        return "tls-authority", "its certificate is signed by an unknown authority (TLS)", hint
    if _CLIENT_ALERT.search(text):
        seen = f"it does not accept the client certificate of {_who(origin)} (TLS)"
        return "tls-client", seen, "log in again, or get a new kubeconfig from whoever runs the cluster"
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text or "HTTP_REQUEST" in text:
        return "tls-plain", "it speaks no TLS on that port", "check scheme and port of the server in the kubeconfig"
    return "tls", f"TLS failed ({text[:120]})", "check the server and the certificates of the kubeconfig"


def _context(origin: Origin) -> str:
    """Name the cluster."""
    return f"context {origin.context!r}"


def _who(origin: Origin) -> str:
    """Name the user as the kubeconfig does."""
    return f"user {origin.user!r} (context {origin.context!r})" if origin.user else _context(origin)


def _at(origin: Origin) -> str:
    """Name the server, where it is known."""
    return f" at {origin.server}" if origin.server else ""
