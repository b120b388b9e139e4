"""An archive from elsewhere is not trusted, on every Python that is supported."""

import io
import tarfile
from pathlib import Path

import pytest

from platform_lib.errors import InvalidInput
from platform_lib.unpacking import unpack


def archive(*members: tarfile.TarInfo) -> tarfile.TarFile:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for member in members:
            made.addfile(member, io.BytesIO(b"x" * member.size))
    buffer.seek(0)
    return tarfile.open(fileobj=buffer)


def member(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = 1
    for key, value in fields.items():
        setattr(info, key, value)
    return info


@pytest.fixture(params=["as it is", "without the filter of 3.11.4"])
def python(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "as it is":
        monkeypatch.delattr(tarfile, "data_filter", raising=False)


def test_plain_files_are_unpacked_with_plain_rights(python: None, tmp_path: Path) -> None:
    unpack(archive(member("run/a.txt", mode=0o6777), member("run/tool", mode=0o755), member("b", mode=0o666)), tmp_path)
    modes = {path.name: path.stat().st_mode & 0o7777 for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {"a.txt": 0o755, "tool": 0o755, "b": 0o644}


@pytest.mark.parametrize(
    "bad",
    [
        member("../outside"),
        member("/etc/passwd"),
        member("run/../../outside"),
        member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0),
        member("hard", type=tarfile.LNKTYPE, linkname="../x", size=0),
        member("device", type=tarfile.CHRTYPE, size=0),
    ],
    ids=lambda one: one.name,
)
def test_what_leads_outside_or_is_no_file_is_refused_and_nothing_is_unpacked(
    python: None, tmp_path: Path, bad: tarfile.TarInfo
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(InvalidInput, match="leads outside its folder or is no file"):
        unpack(archive(member("good"), bad), folder)
    assert not list(folder.iterdir()) and not (tmp_path / "outside").exists()
