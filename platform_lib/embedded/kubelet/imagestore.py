"""Where do a container's files come from? Images by digest out of a local OCI layout, verified and unpacked once.

A tag never runs: what runs must be what was reviewed. Layers are unpacked once per digest into the shared cache;
an image's root is a tree of hard links to them, so equal files of different versions share the page cache.

Source: OCI Image Format Specification 1.1 (layout, descriptors, layer change sets).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gzip
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

_REFERENCE = re.compile(
    r"(?P<name>[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?::\d+)?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class ImageError(Exception):
    """An image cannot be used; ``reason`` is the waiting reason that Kubernetes shows."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is ready to run.

    Attributes:
        reference: As the pod names it.
        digest: Of the manifest.
        rootfs: Unpacked root; never written to by containers.
        entrypoint, cmd, env, working_dir, user: Its configuration.
        size_bytes: Compressed size of all layers.
        pulled_s: Seconds that unpacking took; None when it was there already.
    """

    reference: str
    digest: str
    rootfs: Path
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    env: tuple[str, ...]
    working_dir: str
    user: str
    size_bytes: int
    pulled_s: float | None


def digest_of(reference: str) -> str:
    """Return the digest that an image reference names.

    Raises:
        ImageError: ``InvalidImageName`` for a malformed reference, ``ErrImagePull`` for one without a digest.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ImageError(
            "InvalidImageName",
            f'Failed to apply default image tag "{reference}": couldn\'t parse image name "{reference}": '
            "invalid reference format",
        )
    digest = match["digest"]
    if digest is None:
        raise ImageError(
            "ErrImagePull",
            f'failed to pull and unpack image "{reference}": this node runs images by digest only; '
            f"use {match['name']}@sha256:<64 hex digits>",
        )
    return digest


class ImageStore:
    """Images of one OCI layout.

    Args:
        layout: The OCI layout folder.
        cache: Folder for unpacked layers, shared by all nodes of the machine.
        python: Interpreter that compiles unpacked modules once (containers see them read-only); None for not.
    """

    def __init__(self, layout: Path, cache: Path, *, python: str | None = None) -> None:
        self._layout, self._cache, self._python = layout, cache, python

    def present(self, reference: str) -> bool:
        """Tell whether an image is unpacked already."""
        return (self._cache / "rootfs" / _hex(digest_of(reference))).is_dir()

    async def pull(self, reference: str) -> Image:
        """Return an image, unpacked; the work is done in a thread.

        Raises:
            ImageError: Malformed or tagged reference, unknown digest, or a blob that is not what its digest says.
        """
        if self.present(reference):
            return self.load(reference)
        return await asyncio.to_thread(self.load, reference)

    def load(self, reference: str) -> Image:
        """Return an image, unpacking it first when needed (blocking)."""
        began = time.monotonic()
        digest = digest_of(reference)
        manifest = self._manifest(digest, reference)
        config = json.loads(self._blob(manifest["config"]["digest"], reference))
        rootfs = self._cache / "rootfs" / _hex(digest)
        pulled_s = None
        if not rootfs.is_dir():
            self._assemble(rootfs, manifest, config, reference)
            pulled_s = time.monotonic() - began
        run = config.get("config", {})
        return Image(
            reference,
            digest,
            rootfs,
            tuple(run.get("Entrypoint") or ()),
            tuple(run.get("Cmd") or ()),
            tuple(run.get("Env") or ()),
            run.get("WorkingDir") or "/",
            str(run.get("User") or ""),
            sum(int(layer.get("size", 0)) for layer in manifest["layers"]),
            pulled_s,
        )

    def _manifest(self, digest: str, reference: str) -> Any:
        """Read the manifest of this machine's platform."""
        document = json.loads(self._blob(digest, reference))
        if document.get("mediaType") not in _INDEXES and "manifests" not in document:
            return document
        architecture = _MACHINES.get(platform.machine(), platform.machine())
        for entry in document["manifests"]:
            wanted = entry.get("platform", {})
            if wanted.get("os") == "linux" and wanted.get("architecture") == architecture:
                return json.loads(self._blob(entry["digest"], reference))
        raise ImageError("ErrImagePull", _failed(reference, f"no match for platform linux/{architecture}"))

    def _path(self, digest: str) -> Path:
        return self._layout / "blobs" / "sha256" / _hex(digest)

    def _blob(self, digest: str, reference: str) -> bytes:
        """Read a small blob and verify it."""
        try:
            data = self._path(digest).read_bytes()
        except FileNotFoundError as error:
            raise ImageError("ErrImagePull", _failed(reference, f"{digest}: manifest unknown")) from error
        _verify(hashlib.sha256(data).hexdigest(), digest, reference)
        return data

    def _assemble(self, rootfs: Path, manifest: Any, config: Any, reference: str) -> None:
        """Unpack the layers and link them together; several nodes may try at once, one works."""
        diff_ids = config.get("rootfs", {}).get("diff_ids", [])
        if len(diff_ids) != len(manifest["layers"]):
            raise ImageError("ErrImagePull", _failed(reference, "the configuration does not list every layer"))
        layers = [
            self._layer(layer["digest"], diff_id, reference)
            for layer, diff_id in zip(manifest["layers"], diff_ids, strict=True)
        ]
        with self._lock(rootfs.name):
            if not rootfs.is_dir():
                partial = rootfs.with_name(f"{rootfs.name}.partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                for layer in layers:
                    _overlay(layer, partial)
                partial.replace(rootfs)

    def _layer(self, digest: str, diff_id: str, reference: str) -> Path:
        """Return the unpacked layer, verified against both its digests."""
        folder = self._cache / "layers" / _hex(diff_id)
        with self._lock(folder.name):
            if not folder.is_dir():
                partial = folder.with_name(f"{folder.name}.partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                self._unpack(digest, diff_id, partial, reference)
                self._compile(partial)
                partial.replace(folder)
        return folder

    def _unpack(self, digest: str, diff_id: str, target: Path, reference: str) -> None:
        """Check the compressed blob, then unpack it while checking the uncompressed stream."""
        try:
            with self._path(digest).open("rb") as blob:
                _verify(hashlib.file_digest(blob, "sha256").hexdigest(), digest, reference)
                blob.seek(0)
                packed = blob.read(2) == b"\x1f\x8b"
                blob.seek(0)
                stream = _Hashing(gzip.GzipFile(fileobj=blob) if packed else blob)
                with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|") as archive:
                    _extract(archive, target)
                stream.drain()
        except FileNotFoundError as error:
            raise ImageError("ErrImagePull", _failed(reference, f"{digest}: blob unknown")) from error
        except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
            raise ImageError("ErrImagePull", _failed(reference, f"{digest}: broken layer: {error}")) from error
        _verify(stream.hexdigest(), diff_id, reference)

    def _compile(self, layer: Path) -> None:
        """Compile modules once: containers see a read-only tree and would compile at every start.

        ``unchecked-hash`` keeps the result valid whatever the time stamps are.
        """
        if self._python is None or next(layer.rglob("*.py"), None) is None or next(layer.rglob("*.pyc"), None):
            return
        options = ["-q", "-q", "--invalidation-mode", "unchecked-hash", "-s", str(layer), "-p", "/"]
        subprocess.run([self._python, "-I", "-m", "compileall", *options, str(layer)], check=False, env={})

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        """Hold a lock that the other agents on this machine respect; freed by the kernel when an agent dies."""
        folder = self._cache / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _extract(archive: tarfile.TarFile, target: Path) -> None:
    """Unpack with the safety rules of PEP 706 (Python 3.11.4); before that, by the same check of every path.

    Raises:
        tarfile.TarError: An entry leads out of the folder.
    """
    if hasattr(tarfile, "tar_filter"):
        archive.extractall(target, filter="tar")
        return
    for member in archive:
        for path in (member.name, *([member.linkname] if member.islnk() else [])):
            if not (target / path).resolve().is_relative_to(target.resolve()):
                raise tarfile.ExtractError(f"{path!r} would be extracted outside of the layer")
        archive.extract(member, target)


class _Hashing:
    """A readable stream that hashes what passes."""

    def __init__(self, source: IO[bytes] | gzip.GzipFile) -> None:
        self._source, self._hash = source, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        return data

    def drain(self) -> None:
        """Read what the archive reader left (padding belongs to the digest)."""
        while self.read(1 << 16):
            continue

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _hex(digest: str) -> str:
    """Return the hex part of a digest."""
    return digest.removeprefix("sha256:")


def _failed(reference: str, why: str) -> str:
    """Word a failure the way the container runtime does."""
    return f'failed to pull and unpack image "{reference}": {why}'


def _verify(found: str, digest: str, reference: str) -> None:
    """Compare a computed hash with the digest that was asked for."""
    if found != _hex(digest):
        why = f"digest mismatch: content is sha256:{found}, wanted {digest}; build the image again"
        raise ImageError("ErrImagePull", _failed(reference, why))


def _overlay(layer: Path, target: Path) -> None:
    """Lay one unpacked layer over a tree by hard links; honours whiteout entries."""
    for folder, names, files in os.walk(layer):
        place = target / Path(folder).relative_to(layer)
        place.mkdir(exist_ok=True)
        shutil.copystat(folder, place)
        if ".wh..wh..opq" in files:
            shutil.rmtree(place)
            place.mkdir()
        links = [name for name in names if (Path(folder) / name).is_symlink()]
        for name in [*files, *links]:
            _place(Path(folder) / name, place / name)


def _place(source: Path, destination: Path) -> None:
    """Link one entry, or apply its whiteout."""
    if source.name == ".wh..wh..opq":
        return
    hidden = source.name.startswith(".wh.")
    place = destination.with_name(source.name.removeprefix(".wh.")) if hidden else destination
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    if not hidden:
        os.link(source, destination, follow_symlinks=False)
