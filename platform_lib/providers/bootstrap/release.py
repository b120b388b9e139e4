"""Which Argo CD is installed, and is the file at hand exactly that one? Pinned releases, fetched and verified.

The manifests are those of the public release; nothing of them is kept in this repository. A file is used only
when its SHA-256 is the pinned one, wherever it came from.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from platform_lib.errors import BootstrapFailed, InvalidInput, Unreachable
from platform_lib.model import Obj
from platform_lib.providers.state import Layout
from platform_lib.rules import manifests
from platform_lib.settings import Settings

VERSION = "v3.5.1"
KUBERNETES = ((1, 33), (1, 36))
"""Oldest and newest Kubernetes that Argo CD 3.5 is tested on.

Source: Argo CD documentation, "Tested versions" of release 3.5.
"""
_BASE = "https://raw.githubusercontent.com/argoproj/argo-cd"
_TIMEOUT_S = 30.0
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Manifests:
    """One file of a release.

    Attributes:
        version: Tag of the release.
        flavor: ``full`` with API server and pages, or ``core`` without them.
        url: Public address.
        sha256: What the file must hash to.
        size_bytes: How long it is; a longer answer is not read to its end.
    """

    version: str
    flavor: str
    url: str
    sha256: str
    size_bytes: int


PINNED = {
    "full": Manifests(
        VERSION,
        "full",
        f"{_BASE}/{VERSION}/manifests/install.yaml",
        "795a3a972224da6a7f9d32c3e946445f062b60fb46028476715affeb688236e3",
        1_917_766,
    ),
    "core": Manifests(
        VERSION,
        "core",
        f"{_BASE}/{VERSION}/manifests/core-install.yaml",
        "cb6bbcc84e1ab601f43364afd401fb0a7831536d07da74393c9edb1196f80500",
        1_882_880,
    ),
}
"""The files that may be installed, computed from the release's git tag."""


def read(current: Settings, wanted: Manifests) -> list[Obj]:
    """Return the objects of a release, verified.

    Taken from ``argocd_manifests`` when that is set, else from the cache of the state folder, else fetched.

    Raises:
        InvalidInput: The given file is absent or is another one.
        Unreachable: No copy is at hand and the release's address does not answer.
        BootstrapFailed: What the address sent is not the release.
    """
    if current.argocd_manifests is not None:
        content = _given(current.argocd_manifests, wanted)
    else:
        content = _cached(Layout(current.home).cache / "argocd", wanted)
    return manifests.parse_manifests(content.decode(), wanted.url.rpartition("/")[2])


def is_at_hand(current: Settings, wanted: Manifests) -> bool:
    """Return whether ``read`` needs no network."""
    path = current.argocd_manifests or _place(Layout(current.home).cache / "argocd", wanted)
    return path.is_file() and _sha256(path.read_bytes()) == wanted.sha256


def _given(path: Path, wanted: Manifests) -> bytes:
    """Read the file that the user named."""
    hint = f"download {wanted.url} and name it in APQX_ARGOCD_MANIFESTS, or unset that to fetch it"
    try:
        content = path.expanduser().read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"Argo CD manifests {path} - {error.strerror or error}, expected the {wanted.flavor} file of "
            f"{wanted.version}",
            hint=hint,
        ) from error
    if _sha256(content) != wanted.sha256:
        raise InvalidInput(_other(str(path), content, wanted), hint=hint)
    return content


def _cached(folder: Path, wanted: Manifests) -> bytes:
    """Read the copy in the cache, or fetch one; a copy that is not the release any more is replaced."""
    path = _place(folder, wanted)
    if path.is_file():
        content = path.read_bytes()
        if _sha256(content) == wanted.sha256:
            return content
    content = _fetched(wanted)
    if _sha256(content) != wanted.sha256:
        raise BootstrapFailed(
            _other(wanted.url, content, wanted),
            hint="something on the way changes the file (a proxy?); fetch it elsewhere and set APQX_ARGOCD_MANIFESTS",
            stage="argocd",
            undone=True,
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_bytes(content)
    scratch.replace(path)
    return content


def _place(folder: Path, wanted: Manifests) -> Path:
    """Return where a release lies in the cache."""
    return folder / f"{wanted.version}-{wanted.flavor}.yaml"


def _fetched(wanted: Manifests) -> bytes:
    """Read the public address, at most one byte more than the release has."""
    from urllib.error import URLError
    from urllib.request import urlopen

    try:
        with urlopen(wanted.url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - a constant of this file
            content: bytes = answer.read(wanted.size_bytes + 1)
    except (URLError, TimeoutError, OSError) as error:
        raise Unreachable(
            f"{wanted.url} - no answer ({getattr(error, 'reason', None) or error}), expected the manifests of "
            f"Argo CD {wanted.version}",
            hint="without network: fetch the file elsewhere and set APQX_ARGOCD_MANIFESTS=FILE",
            url=wanted.url,
        ) from error
    return content


def _sha256(content: bytes) -> str:
    """Return the hash of some bytes."""
    return hashlib.sha256(content).hexdigest()


def _other(what: str, content: bytes, wanted: Manifests) -> str:
    """Say that a file is not the release."""
    return (
        f"{what} - {len(content)} bytes with SHA-256 {_sha256(content)}, expected {wanted.sha256} "
        f"({wanted.flavor} manifests of Argo CD {wanted.version})"
    )


def unsupported(git_version: str) -> str:
    """Say why this release does not run on a Kubernetes version; empty when it does, or is newer than tested.

    Args:
        git_version: As ``/version`` tells it: ``v1.33.4+k3s1``.
    """
    found = minor_of(git_version)
    oldest, newest = KUBERNETES
    if found is None:
        return f"Kubernetes {git_version!r} - not a version, expected v1.{oldest[1]} to v1.{newest[1]}"
    if found < oldest:
        return (
            f"Kubernetes {git_version} - older than what Argo CD {VERSION} is tested on "
            f"(v1.{oldest[1]} to v1.{newest[1]})"
        )
    return ""


def minor_of(git_version: str) -> tuple[int, int] | None:
    """Return major and minor of a Kubernetes version; None when the text is none."""
    parts = git_version.removeprefix("v").split(".")
    if len(parts) < 2 or not parts[0].isdigit() or not parts[1].isdigit():
        return None
    return int(parts[0]), int(parts[1])
