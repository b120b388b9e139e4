"""How do blobs get onto the disk? An OCI image layout: content-addressed files and one index.

Nothing is ever half written (temporary file, then rename), writers take turns (one lock), and a reader
can check every byte against its name. What the blobs mean is ``image``'s business.

Source: OCI image-spec 1.1, image-layout.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from platform_lib.errors import ImageError, Locked

LOCK_TIMEOUT_S = 60.0
"""A build takes under a second; a minute means that somebody holds the lock and hangs."""

Descriptor = dict[str, Any]
"""``digest`` and ``size`` of a blob, ready to be part of a manifest."""


def digest_of(data: bytes) -> str:
    """Return the SHA-256 digest as OCI writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def to_json(value: Any) -> bytes:
    """Encode so that equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


class Layout:
    """One OCI image layout.

    Args:
        folder: Where it is, or will be once something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._blobs = folder / "blobs" / "sha256"
        self._notes = folder / ".layers"

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the layout for one writer; creates it, and clears what a killed writer left.

        Raises:
            Locked: Another writer held it for ``LOCK_TIMEOUT_S``.
            ImageError: The disk refused.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock", timeout=LOCK_TIMEOUT_S):
                self._prepare()
                yield
        except Timeout as error:
            raise Locked(
                f"image layout {self.folder} was locked for {LOCK_TIMEOUT_S:g} s by another build",
                hint="wait for it, or end it",
            ) from error
        except OSError as error:
            raise ImageError(
                f"image layout {self.folder} could not be written: {error.strerror or error}",
                hint="check free space and permissions; nothing half done was left",
            ) from error

    def _prepare(self) -> None:
        for folder in (self._blobs, self._notes):
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in folder.glob(".tmp-*"):  # the lock says that nobody needs it
                leftover.unlink()
        if not (self.folder / "oci-layout").exists():
            _write_file(self.folder / "oci-layout", to_json({"imageLayoutVersion": "1.0.0"}))

    def write_blob(self, data: bytes) -> Descriptor:
        """Store a blob unless it is there and sound."""
        digest = digest_of(data)
        if not self.holds(digest):
            _write_file(self._path(digest), data)
        return {"digest": digest, "size": len(data)}

    def read_blob(self, digest: str) -> bytes:
        """Return a blob's content, checked against its name.

        Raises:
            ImageError: It is missing, or its content is something else.
        """
        try:
            data = self._path(digest).read_bytes()
        except OSError as error:
            raise ImageError(
                f"blob {digest} of {self.folder} cannot be read: {error.strerror}",
                hint="build the image again",
                blob=digest,
            ) from error
        seen = digest_of(data)
        if seen != digest:
            raise ImageError(
                f"blob {digest} of {self.folder} is corrupted: its content has digest {seen}",
                hint="build the image again",
                blob=digest,
            )
        return data

    def holds(self, digest: str) -> bool:
        """Return whether a blob is there and is what its name says."""
        try:
            self.read_blob(digest)
        except ImageError:
            return False
        return True

    def read_index(self) -> dict[str, Any]:
        """Return the index; an empty one when there is none.

        Raises:
            ImageError: It cannot be read.
        """
        path = self.folder / "index.json"
        try:
            index: dict[str, Any] = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
        except (OSError, ValueError) as error:
            raise ImageError(
                f"image index {path} cannot be read: {error}", hint="delete that folder; images are built again"
            ) from error
        return index

    def publish(self, entry: Descriptor) -> bool:
        """Add a manifest to the index; return whether it was there already."""
        index = self.read_index()
        if entry in index["manifests"]:
            return True
        _write_file(self.folder / "index.json", to_json(index | {"manifests": [*index["manifests"], entry]}))
        return False

    def recall(self, key: str) -> Descriptor | None:
        """Return the blob noted under ``key`` if it is still there and sound."""
        note = self._notes / key
        if not note.exists():
            return None
        blob: Descriptor = json.loads(note.read_bytes())
        return blob if self.holds(blob["digest"]) else None

    def note(self, key: str, blob: Descriptor) -> None:
        """Remember which blob was made from the input that ``key`` stands for."""
        _write_file(self._notes / key, to_json(blob))

    def _path(self, digest: str) -> Path:
        return self._blobs / digest.removeprefix("sha256:")


def _write_file(path: Path, data: bytes) -> None:
    """Write a whole file or nothing, readable by all whatever the umask, because pods run as another user."""
    handle, temporary = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IROTH)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
