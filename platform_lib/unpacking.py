"""How is an archive unpacked without trusting it? As Python's ``data`` filter does, also where there is none yet.

Source: PEP 706. Python 3.11.2, which Debian 12 has, is older than the filter (3.11.4).
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from platform_lib.errors import InvalidInput


def unpack(archive: tarfile.TarFile, folder: Path) -> None:
    """Unpack an archive below a folder.

    Args:
        archive: Open for reading.
        folder: Exists.

    Raises:
        InvalidInput: A member would land outside the folder, or is no plain file or folder; nothing was unpacked.
    """
    members = archive.getmembers()
    for member in members:
        _check(member, folder)
    for member in members:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    if hasattr(tarfile, "data_filter"):
        archive.extractall(folder, members, filter="data")
    else:
        archive.extractall(folder, members)  # noqa: S202 - each member was checked above


def _check(member: tarfile.TarInfo, folder: Path) -> None:
    """Refuse what does not belong into an archive of evidence or programs: links, devices, other folders."""
    target = (folder / member.name).resolve()
    inside = target == folder.resolve() or folder.resolve() in target.parents
    if not inside or not (member.isfile() or member.isdir()):
        raise InvalidInput(
            f"archive member {member.name!r} - leads outside its folder or is no file, expected plain files",
            hint="do not use this archive",
        )
