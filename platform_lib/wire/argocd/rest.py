"""How is argocd-server asked? JSON over HTTP with a token, its errors translated, its stream read line by line.

The token is a reference that is resolved for each request, so that a rotated file counts at once; it is sent over
TLS or on loopback only. What to ask for is the business of ``server``.

Source: Argo CD v3.5.1, server/server.go (grpc-gateway v1), server/application/application.go, util/grpc/errors.go.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from platform_lib import errors
from platform_lib.model import Obj
from platform_lib.wire import secretvalue

if TYPE_CHECKING:
    import requests

API = "/api/v1"
_CONNECT_S = 3.0
_STREAM_S = 60.0
"""A stream that is silent for so long is opened again: a proxy may have dropped it without a word."""
_UNAUTHENTICATED, _DENIED, _NOT_FOUND, _PRECONDITION, _ABORTED, _UNAVAILABLE = 16, 7, 5, 9, 10, 14
_BY_CODE: Mapping[int, type[errors.ApiError]] = {
    _UNAUTHENTICATED: errors.Forbidden,
    _DENIED: errors.Forbidden,
    _NOT_FOUND: errors.NotFound,
    3: errors.Invalid,
    6: errors.AlreadyExists,
    _PRECONDITION: errors.Invalid,
    _ABORTED: errors.Conflict,
}
_BY_STATUS: Mapping[int, type[errors.ApiError]] = {
    400: errors.Invalid,
    401: errors.Forbidden,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
}
_NAMES = {_UNAUTHENTICATED: "Unauthenticated", _DENIED: "PermissionDenied", _PRECONDITION: "FailedPrecondition"}


class Rest:
    """One argocd-server; safe to share between threads.

    Args:
        url: Base URL.
        token: Reference to the API token; empty for a server without authentication.
        ca: Certificate authority; None for those of the system.
        before_change: Called with method and path before each request that changes something; refuses by raising.
        timeout_s: Time for one answer in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        ca: Path | None = None,
        before_change: Callable[[str], None] = lambda _what: None,
        timeout_s: float = 10.0,
    ) -> None:
        import requests

        self.url, self._token, self._timeout_s = url.rstrip("/"), token, timeout_s
        self._before_change = before_change
        _check_url(self.url, bool(token))
        if ca is not None and not ca.is_file():
            raise errors.SettingsError(
                f"argocd_ca {ca} - no such file, expected a certificate authority (PEM)",
                hint="correct the path, or leave it out to trust the authorities of the system",
            )
        self._session = requests.Session()
        self._verify: str | bool = str(ca) if ca is not None else True

    def json(
        self,
        method: str,
        path: str,
        *,
        body: Obj | None = None,
        params: Mapping[str, Any] | None = None,
        changes: bool | None = None,
        timeout_s: float | None = None,
    ) -> Obj:
        """Send one request and return the decoded answer.

        Args:
            method: HTTP method.
            path: Below ``/api/v1``.
            body: Sent as JSON.
            params: Query; None values are left out.
            changes: Whether it changes something; default: everything but GET.
            timeout_s: Time for the answer.

        Raises:
            ApiError: The server refused; the subclass tells why.
            Unreachable: No answer, no TLS, or an answer that is no API's.
        """
        with self._answer(method, path, body, params, changes, timeout_s or self._timeout_s) as answer:
            return _decoded(method, path, answer)

    def lines(self, path: str, *, params: Mapping[str, Any], opened: Callable[[Any], None]) -> Iterator[Obj]:
        """Yield the results of a stream until the server ends it, or says nothing for a minute.

        Args:
            path: Below ``/api/v1``.
            params: Query.
            opened: Receives the open answer, so that another thread can close it.

        Raises:
            ApiError, Unreachable: As ``json``; also when the stream breaks.
        """
        import requests

        with self._answer("GET", path, None, params, False, _STREAM_S, stream=True) as answer:
            opened(answer)
            try:
                for line in answer.iter_lines(chunk_size=None):
                    if line:
                        yield _result(path, json.loads(line))
            except (requests.RequestException, OSError, AttributeError) as error:
                if _was_quiet(error):
                    return  # an Application that does not change is no trouble: whoever follows opens it again
                # AttributeError: the socket was closed by another thread in the middle of a read.
                raise _silent("STREAM", path, self.url, error) from error
            except ValueError as error:
                raise _no_json("STREAM", path, answer) from error

    def _answer(
        self,
        method: str,
        path: str,
        body: Obj | None,
        params: Mapping[str, Any] | None,
        changes: bool | None,
        timeout_s: float,
        *,
        stream: bool = False,
    ) -> requests.Response:
        """Send one request and return the answer of a success."""
        import requests

        if method != "GET" if changes is None else changes:
            self._before_change(f"{method} {self.url}{API}{path}")
        try:
            answer = self._session.request(
                method,
                f"{self.url}{API}{path}",
                json=body if body is not None else ({} if method == "POST" else None),
                params={key: value for key, value in (params or {}).items() if value not in (None, "")},
                headers={"Content-Type": "application/json", "Accept": "application/json"},
                auth=_Bearer(self._token),
                timeout=(_CONNECT_S, timeout_s),
                verify=self._verify,  # with each request: REQUESTS_CA_BUNDLE would win over that of the session
                allow_redirects=False,  # a redirect is a login page or another host: neither gets the token
                stream=stream,
            )
        except (requests.RequestException, OSError) as error:
            raise _silent(method, path, self.url, error) from error
        if not answer.ok or answer.is_redirect:
            with answer:
                raise refusal(method, path, answer.status_code, _body(answer), answer.headers.get("Location", ""))
        return answer


def _was_quiet(error: BaseException) -> bool:
    """Tell whether an open stream was merely silent; requests wraps that time-out in a connection error."""
    from urllib3.exceptions import ReadTimeoutError

    return any(isinstance(cause, ReadTimeoutError) for cause in error.args)


class _Bearer:
    """Adds the token; as an ``auth`` object, so that no ``.netrc`` replaces it."""

    def __init__(self, reference: str) -> None:
        self._reference = reference

    def __call__(self, request: Any) -> Any:
        if self._reference:
            request.headers["Authorization"] = (
                f"Bearer {secretvalue.resolve(self._reference, what='argocd_token').strip()}"
            )
        return request


def _check_url(url: str, has_token: bool) -> None:
    """Refuse a URL that is none, and one over which a token would travel in the clear."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise errors.SettingsError(
            f"argocd_url {url!r} - no URL of a server, expected https://host", hint="for example https://argocd.example"
        )
    if has_token and parts.scheme == "http" and not _loopback(parts.hostname):
        raise errors.SettingsError(
            f"argocd_url {url!r} - a token would be sent without encryption, expected https",
            hint="use https (argocd_ca names its authority), or a port-forward to 127.0.0.1",
        )


def _loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _body(answer: requests.Response) -> str:
    """Read what a refusal says; a body that breaks off says nothing more."""
    import requests

    try:
        return str(answer.text)
    except (requests.RequestException, OSError):
        return ""


def _decoded(method: str, path: str, answer: requests.Response) -> Obj:
    """Decode an answer; an empty one is an empty object."""
    try:
        document = answer.json() if answer.content else {}
    except ValueError as error:
        raise _no_json(method, path, answer) from error
    return document if isinstance(document, dict) else {}


def _result(path: str, document: Obj) -> Obj:
    """Take one line of a stream apart: a result, or the error that ends it."""
    if document.get("error"):
        error = document["error"]
        code = int(error.get("grpc_code") or error.get("code") or 0)
        status = int(error.get("http_code") or 500)
        raise refusal("STREAM", path, status, json.dumps({"code": code, "message": error.get("message", "")}))
    found: Obj = document.get("result") or {}
    return found


def refusal(method: str, path: str, status: int, body: str, location: str = "") -> errors.PlatformError:
    """Return the error that an answer of argocd-server means.

    Args:
        method: Of the request.
        path: Below ``/api/v1``.
        status: HTTP status.
        body: Answer: ``{"error", "code", "message"}`` with a gRPC code, or a page of something in between.
        location: Where a redirect leads.
    """
    if location or body.lstrip()[:1] == "<":
        where = f"a redirect to {urlsplit(location).path or '/'}" if location else "a page"
        return errors.Unreachable(
            f"{method} {path} - argocd-server answered {status} with {where}, expected its API's JSON",
            hint="is argocd_url the base URL of argocd-server? a login proxy or another program answers there",
            url=path,
        )
    try:
        document = json.loads(body or "{}")
    except ValueError:
        document = {"message": body.strip()[:300]}
    document = document if isinstance(document, dict) else {}
    code, message = int(document.get("code") or 0), str(document.get("message") or document.get("error") or "no text")
    if status in (502, 503, 504) or code == _UNAVAILABLE:
        text = f"{method} {path} - argocd-server is not available ({status}): {message}"
        return errors.Unreachable(text, hint="is it running? kubectl -n argocd get deploy argocd-server", url=path)
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status) or errors.ApiError
    reason = _NAMES.get(code, str(document.get("reason") or ""))
    text = f"{method} {path} - argocd-server answered {status}{' ' + reason if reason else ''}: {message}"
    return kind(text, hint=_hint(status, code), status=status, reason=reason, said=message, grpc_code=code)


def _hint(status: int, code: int) -> str:
    """Name the next step after a refusal."""
    if code == _UNAUTHENTICATED or status == 401:
        return "the token is missing, expired or of another server: make a new one with argocd account generate-token"
    if code == _DENIED or status == 403:
        return (
            "the token's role may not do that, or there is no such Application (argocd-server answers both alike): "
            "check the name and argocd account can-i"
        )
    return ""


def _silent(method: str, path: str, url: str, error: BaseException) -> errors.Unreachable:
    """Return the error for a server that did not answer."""
    import requests

    hint = "is argocd_url right, and the server reachable from here?"
    if isinstance(error, requests.exceptions.SSLError):
        hint = "its certificate is not trusted: name its authority with argocd_ca"
    return errors.Unreachable(
        f"{method} {path} - no answer from argocd-server at {url}: {type(error).__name__}", hint=hint, url=url
    )


def _no_json(method: str, path: str, answer: requests.Response) -> errors.Unreachable:
    """Return the error for an answer of something that is not argocd-server."""
    return errors.Unreachable(
        f"{method} {path} - answered {answer.status_code} without JSON, expected argocd-server's API",
        hint="is argocd_url the base URL of argocd-server? its page for browsers answers unknown paths too",
        url=path,
    )
