"""How does evidence leave a pod and come back? Through papermill's handlers: S3, Google, Azure, HDFS, a folder.

Those handlers move text. So what people open (report, notebook, result, parameters) lies there as it is, and the
whole run folder beside it as one bundle in base64, whose hashes are checked when it comes back.

Source: papermill.iorw (handlers by URL scheme), RFC 4648 for base64.
"""

from __future__ import annotations

import base64
import binascii
import io
import tarfile
import tempfile
from pathlib import Path

from platform_lib import evidence
from platform_lib.errors import InvalidInput, PlatformError
from platform_lib.oncluster.order import RESULTS
from platform_lib.report import write_index
from platform_lib.unpacking import unpack

BUNDLE = "bundle.tar.gz.b64"
OPEN = ("report.html", "output.ipynb", "result.json", "params.json")
"""Files that lie in the store as they are."""


def put(folder: Path, url: str) -> str:
    """Copy a finished run into the store.

    Args:
        folder: Run folder, untouched since the run.
        url: Prefix; the run's own name is added.

    Returns:
        Prefix of this run.

    Raises:
        PlatformError: The store refused; nothing of the run is lost, it is still in the folder.
    """
    place = f"{url}/{folder.name}"
    with tempfile.TemporaryDirectory(prefix="apqx-bundle-") as scratch:
        packed = evidence.bundle(folder, Path(scratch) / "bundle.tar.gz").read_bytes()
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in OPEN if (folder / name).is_file()}
    for name, text in {BUNDLE: base64.encodebytes(packed).decode("ascii"), **texts}.items():
        _write(text, f"{place}/{name}")
    return place


def fetch(url: str, into: Path) -> Path:
    """Bring a run back and check it against its hashes.

    Args:
        url: What ``put`` returned.
        into: Folder that receives the run folder; created when missing.

    Returns:
        The run folder.

    Raises:
        InvalidInput: The address is none, there is a folder of that name already, or the bundle is no bundle or was
            altered.
        PlatformError: The store refused, or holds no such run.
    """
    if not RESULTS.fullmatch(url.rstrip("/")):
        raise InvalidInput(
            f"run {url!r} - is no address of a run, expected object storage such as s3://bucket/prefix/RUN, or an "
            "absolute folder",
            hint="apqx run --on cluster printed it; runs of this machine: apqx runs",
        )
    name = url.rstrip("/").rsplit("/", 1)[-1]
    target = into / name
    if target.exists():
        raise InvalidInput(f"{target} - is there already, expected a new name", hint="delete it, or read it: apqx runs")
    text = _read(f"{url.rstrip('/')}/{BUNDLE}")
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=into) as scratch:
        try:
            packed = base64.b64decode(text, validate=False)
            with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
                unpack(archive, Path(scratch))
        except (binascii.Error, tarfile.TarError, OSError, EOFError) as error:
            raise InvalidInput(f"{url} - holds no readable bundle: {error}", hint="run the book again") from error
        found = Path(scratch) / name
        if not found.is_dir():
            raise InvalidInput(f"{url} - its bundle holds another run, expected {name}", hint="check the address")
        differences = evidence.verify_manifest(found)
        if differences:
            raise InvalidInput(
                f"{url} - was altered: {'; '.join(differences[:3])}", hint="trust the other copy, if any"
            )
        found.rename(target)
    write_index(into)
    return target


def _write(text: str, path: str) -> None:
    """Write one object."""
    from papermill.iorw import papermill_io

    if path.startswith("/"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill_io.get_handler(path).write(text, path)
    except Exception as error:  # each store's client has errors of its own
        raise PlatformError(
            f"{path} - not written: {type(error).__name__}: {_short(error)}",
            hint="check the address and the credentials in the Secret of the runs (APQX_JOB_SECRET)",
        ) from error


def _read(path: str) -> str:
    """Read one object."""
    from papermill.iorw import papermill_io

    try:
        found = papermill_io.get_handler(path).read(path)
    except Exception as error:
        raise PlatformError(
            f"{path} - not read: {type(error).__name__}: {_short(error)}",
            hint="check the address and your own credentials for the store",
        ) from error
    return "\n".join(found) if isinstance(found, list) else str(found)


def _short(error: Exception) -> str:
    """Return the first line of an error, bounded."""
    return (str(error).splitlines() or ["no message"])[0][:300]
