"""Which cluster does a kubeconfig mean, and can its credentials still be used? Reads files; connects to nothing.

Files are merged as kubectl merges them: of two entries with one name the first wins. Nothing is copied when one file
holds context, cluster and user, so that a later login is seen; only a merged context gets a file of its own.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from platform_lib.errors import SettingsError
from platform_lib.model import Obj, joined
from platform_lib.wait import now

SECTIONS = ("contexts", "clusters", "users")
PATHS = {"clusters": ("certificate-authority",), "users": ("client-certificate", "client-key", "tokenFile")}
"""Fields that name a file relative to the kubeconfig they stand in."""
COPY = "kubeconfig"
"""Name of the private copy of a merged context, in the state folder."""
_SOME = 12
"""So many contexts are listed in an error; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One context with what it refers to.

    Attributes:
        context: Its name.
        cluster, user: Names of the entries it refers to; ``user`` may be empty.
        namespace: Its default namespace.
        files: The file of context, cluster and user.
        bodies: The three entries (credentials included, therefore never shown).
    """

    context: str
    cluster: str
    user: str
    namespace: str
    files: tuple[Path, Path, Path]
    bodies: tuple[Obj, Obj, Obj] = field(repr=False)

    @property
    def server(self) -> str:
        """URL of the API server."""
        return str(self.bodies[1].get("server") or "")

    @property
    def credentials(self) -> str:
        """What kind of credentials the user has, without any of their values."""
        user = self.bodies[2]
        if user.get("exec"):
            return f"exec plugin {Path(str(user['exec'].get('command', ''))).name}"
        kinds = {
            "token": "token",
            "tokenFile": "token file",
            "client-certificate": "client certificate",
            "client-certificate-data": "client certificate",
            "auth-provider": "auth provider",
            "username": "password",
        }
        return next((text for key, text in kinds.items() if user.get(key)), "no credentials")

    def path(self, section: int, key: str) -> Path | None:
        """Return the file that a field names, relative to its kubeconfig; None when it names none."""
        text = self.bodies[section].get(key)
        return (self.files[section].parent / str(text)) if text else None


def read(files: Sequence[Path]) -> dict[str, list[tuple[Obj, Path]]]:
    """Read and merge kubeconfig files.

    Returns:
        Per section the named entries with the file they come from, and ``current`` with the current context.

    Raises:
        SettingsError: No file, or one that cannot be read; names it.
    """
    merged: dict[str, list[tuple[Obj, Path]]] = {section: [] for section in (*SECTIONS, "current")}
    present = [path for path in files if path.exists()]
    if not present:
        raise SettingsError(
            f"kubeconfig {joined(map(str, files))} - no such file, expected one with your contexts",
            hint="set APQX_KUBECONFIG (or KUBECONFIG) to the file that kubectl uses",
        )
    for path in present:
        document = _document(path)
        for section in SECTIONS:
            known = {one["name"] for one, _ in merged[section]}
            for item in document.get(section) or ():
                if not isinstance(item, dict) or "name" not in item:
                    raise _unusable(path, f"an entry of {section} has no name")
                if item["name"] not in known:
                    merged[section].append((item, path))
        if document.get("current-context") and not merged["current"]:
            merged["current"].append(({"name": document["current-context"]}, path))
    return merged


def entry(files: Sequence[Path], context: str = "") -> Entry:
    """Return one context of the kubeconfig.

    Args:
        files: As ``settings.kubeconfig_files`` returns them.
        context: Its name; empty for the current context.

    Raises:
        SettingsError: The kubeconfig cannot be read, or has no such context; names those that exist.
    """
    merged = read(files)
    names = [str(one["name"]) for one, _ in merged["contexts"]]
    context = context or (str(merged["current"][0][0]["name"]) if merged["current"] else "")
    found = next((pair for pair in merged["contexts"] if pair[0]["name"] == context), None)
    if found is None:
        raise _no_context(files, context, names)
    body, file = found[0].get("context") or {}, found[1]
    cluster = _referred(merged["clusters"], "cluster", str(body.get("cluster") or ""), context, file)
    wanted = str(body.get("user") or "")
    user = _referred(merged["users"], "user", wanted, context, file) if wanted else ({}, file)
    if not cluster[0].get("server"):
        raise _unusable(cluster[1], f"cluster {body.get('cluster')!r} names no server")
    return Entry(
        context=context,
        cluster=str(body["cluster"]),
        user=wanted,
        namespace=str(body.get("namespace") or "default"),
        files=(file, cluster[1], user[1]),
        bodies=(body, cluster[0], user[0]),
    )


def contexts(files: Sequence[Path]) -> list[str]:
    """Return the names of all contexts."""
    return [str(one["name"]) for one, _ in read(files)["contexts"]]


def check(found: Entry) -> None:
    """Refuse credentials that cannot work, before anything is asked.

    Raises:
        SettingsError: A file is absent, a certificate or token has expired, or a plugin is not installed.
    """
    for section, name in ((1, "clusters"), (2, "users")):
        for key in PATHS[name]:
            path = found.path(section, key)
            if path is not None and not os.access(path, os.R_OK):
                raise _unusable(found.files[section], f"{key} {path} cannot be read")
    _check_certificate(found)
    _check_token(found)
    _check_plugin(found)


def usable_file(found: Entry, home: Path) -> Path:
    """Return a kubeconfig that holds the context: the user's own file, or a private copy of a merged context.

    Args:
        found: The context.
        home: Where the copy goes (mode 0600), with paths made absolute; exec plugins stay as they are.
    """
    if len(set(found.files)) == 1:
        return found.files[0]
    bodies = [dict(body) for body in found.bodies]
    for section, name in ((1, "clusters"), (2, "users")):
        for key in PATHS[name]:
            if (path := found.path(section, key)) is not None:
                bodies[section][key] = str(path)
    command = (bodies[2].get("exec") or {}).get("command", "")
    if "/" in command:
        bodies[2]["exec"] = bodies[2]["exec"] | {"command": str(found.files[2].parent / command)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": found.context,
        "contexts": [{"name": found.context, "context": bodies[0]}],
        "clusters": [{"name": found.cluster, "cluster": bodies[1]}],
        "users": [{"name": found.user, "user": bodies[2]}] if found.user else [],
    }
    path = home / COPY
    scratch = path.with_name(f".{COPY}.{os.getpid()}")
    scratch.touch(mode=0o600)
    scratch.write_text(yaml.safe_dump(document, sort_keys=False))
    scratch.rename(path)
    return path


def _document(path: Path) -> Obj:
    """Decode one file."""
    try:
        text = path.read_text()
        document = yaml.safe_load(text)
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise _unusable(path, "is no YAML") from error  # the text of the error would quote credentials
    if not document:
        raise _unusable(path, "is empty")
    if not isinstance(document, dict) or not any(section in document for section in SECTIONS):
        raise _unusable(path, f"holds no {', '.join(SECTIONS)}")
    return document


def _referred(entries: list[tuple[Obj, Path]], kind: str, name: str, context: str, file: Path) -> tuple[Obj, Path]:
    """Return the body of the cluster or user that a context refers to."""
    for item, path in entries:
        if item["name"] == name:
            return item.get(kind) or {}, path
    raise _unusable(file, f"context {context!r} refers to {kind} {name!r}, which is not there")


def _no_context(files: Sequence[Path], context: str, names: list[str]) -> SettingsError:
    """Say which contexts there are, the closest one first."""
    close = difflib.get_close_matches(context, names, n=1, cutoff=0.5)
    more = f" and {len(names) - _SOME} more" if len(names) > _SOME else ""
    known = joined(names[:_SOME]) + more
    what = f"context {context!r} - not in the kubeconfig" if context else "kubeconfig - has no current context"
    return SettingsError(
        f"{what} ({joined(map(str, files))}), expected one of: {known}",
        hint=f"did you mean --context {close[0]}?" if close else "pass --context NAME, or set APQX_CONTEXT",
        context_name=context,
        known=names,
    )


def _unusable(path: Path, why: str) -> SettingsError:
    """Return the error for a kubeconfig that cannot be used."""
    return SettingsError(
        f"kubeconfig {path} - {why}, expected contexts, clusters and users as kubectl reads them",
        hint="kubectl config view shows what it holds; APQX_KUBECONFIG names another file",
        path=str(path),
    )


def _check_certificate(found: Entry) -> None:
    """Refuse a client certificate whose time is over, or has not come."""
    path, inline = found.path(2, "client-certificate"), found.bodies[2].get("client-certificate-data")
    if not path and not inline:
        return
    try:
        pem = base64.b64decode(inline) if inline else (path.read_bytes() if path else b"")
        begin, end = _validity(pem)
    except (ValueError, binascii.Error) as error:
        raise _unusable(found.files[2], f"the client certificate of user {found.user!r} is not readable") from error
    if begin is None or end is None:
        return
    if now() > end:
        raise _expired(found, "client certificate", end)
    if now() < begin:
        raise _unusable(found.files[2], f"the client certificate of user {found.user!r} is valid from {begin:%F %T}Z")


def _validity(pem: bytes) -> tuple[datetime | None, datetime | None]:
    """Return from when to when a certificate is valid; nothing where no library can read it."""
    try:
        from cryptography import x509
    except ImportError:  # only the embedded platform needs it; then the API server has the last word
        return None, None
    certificate = x509.load_pem_x509_certificate(pem)
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def _check_token(found: Entry) -> None:
    """Refuse a token that says of itself that its time is over (a JSON Web Token; others say nothing)."""
    path = found.path(2, "tokenFile")
    token = str(found.bodies[2].get("token") or (path.read_text().strip() if path else ""))
    end = expiry_of(token)
    if end is not None and now() > end:
        raise _expired(found, "token", end)


def expiry_of(token: str) -> datetime | None:
    """Return when a JSON Web Token expires; None when it does not say, or is another kind of token.

    Example:
        >>> expiry_of("opaque") is None
        True
    """
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return datetime.fromtimestamp(float(claims["exp"]), UTC)
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def _check_plugin(found: Entry) -> None:
    """Refuse an exec plugin that is not installed; its own hint says how to get it."""
    plugin = found.bodies[2].get("exec") or {}
    command = str(plugin.get("command") or "")
    if not plugin:
        return
    where = str(found.files[2].parent / command) if "/" in command else command
    if not command or shutil.which(where) is None:
        hint = " ".join(str(plugin.get("installHint") or "install it, or put it on PATH").split())
        raise SettingsError(
            f"exec plugin {command!r} of user {found.user!r} - not found, context {found.context!r} logs in with it",
            hint=hint,
        )


def _expired(found: Entry, what: str, end: datetime) -> SettingsError:
    """Return the error for credentials whose time is over."""
    return SettingsError(
        f"{what} of user {found.user!r} (context {found.context!r}) - expired {end:%Y-%m-%d %H:%M:%S} UTC",
        hint="log in again, or get a new kubeconfig from whoever runs the cluster",
        context_name=found.context,
    )
