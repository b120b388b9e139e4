"""What does a reference to a secret stand for? ``env:NAME`` and ``file:/path``, read at use and learned by ``redact``.

References to Secrets of a cluster are ``references``: they need a connection, which this file must not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from platform_lib.errors import InvalidInput, SettingsError
from platform_lib.redact import of_process
from platform_lib.settings import variable

FORMS = "env:NAME or file:/path"
_REFERENCE = re.compile(r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9-]*) )?(?P<reference>env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)")
_TELLING = re.compile(r"auth|cookie|token|secret|passw|credential|api-?key", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

Headers = Iterable[tuple[str, str]]


def resolve(reference: str, *, what: str = "secret") -> str:
    """Return the value that a reference stands for.

    Args:
        reference: ``env:NAME`` or ``file:/path``.
        what: For whom, in the error.

    Raises:
        InvalidInput: It leads nowhere, or is no reference; a value is never repeated.
    """
    kind, _, rest = reference.partition(":")
    if kind not in ("env", "file"):
        raise InvalidInput(f"{what} - a plain value is refused, expected a reference", hint=f"references are {FORMS}")
    found = variable(rest) if kind == "env" else text_of(rest)
    if not found:
        raise InvalidInput(
            f"{what} {reference!r} - not found or empty, wanted a value there", hint=f"references are {FORMS}"
        )
    of_process().add(found)
    return found


def text_of(path: str) -> str | None:
    """Return what a file holds, without the last line's end; None when it cannot be read."""
    try:
        return Path(path).read_text().rstrip("\n")
    except (OSError, UnicodeDecodeError):
        return None


def check_headers(headers: Headers) -> None:
    """Refuse headers that cannot be sent, or that would hold a secret where everybody can read it.

    Raises:
        SettingsError: Names the header, never its value.
    """
    for name, value in headers:
        if not _NAME.fullmatch(name):
            raise SettingsError(f"header {name!r} - not a header name", hint="see prometheus_headers")
        if _TELLING.search(name) and not _REFERENCE.fullmatch(value):
            raise SettingsError(
                f"header {name} - holds a secret as a plain value, expected a reference",
                hint=f"write 'Bearer env:NAME': references are {FORMS}",
            )
        if any(ord(letter) < 32 or ord(letter) > 255 for letter in value):
            raise SettingsError(
                f"header {name} - its value has characters that no header may have", hint="see its file"
            )


def headers_of(headers: Headers) -> dict[str, str]:
    """Return headers ready to be sent: references resolved, ``Bearer env:NAME`` with its scheme kept.

    Raises:
        SettingsError: A header cannot be sent, or holds a plain secret.
        InvalidInput: A reference leads nowhere.
    """
    listed = list(headers)
    check_headers(listed)
    sent = {}
    for name, value in listed:
        match = _REFERENCE.fullmatch(value)
        secret = resolve(match["reference"], what=f"header {name}") if match else value
        sent[name] = f"{match['scheme']} {secret}".strip() if match and match["scheme"] else secret.strip()
    check_headers((name, value) for name, value in sent.items() if not _TELLING.search(name))
    for name, value in sent.items():
        if "\n" in value or "\r" in value:
            raise SettingsError(f"header {name} - its value has several lines, expected one", hint="see its reference")
    return sent
