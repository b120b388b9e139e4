"""A bundle proves what a run left: altered, missing and added files are named; a repacked one is the same."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from platform_lib.cli import app
from platform_lib.errors import InvalidInput
from platform_lib.evidence import MANIFEST, bundle, verify_manifest, write_manifest
from platform_lib.unpacking import unpack


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runs" / "20260101T000000Z-02-deploy-abcd"
    (folder / "figures").mkdir(parents=True)
    (folder / "params.json").write_text("{}")
    (folder / "output.ipynb").write_text("{}")
    (folder / "figures" / "a.svg").write_text("<svg/>")
    write_manifest(folder)
    monkeypatch.setenv("APQX_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return folder


DAMAGE = {
    "altered": (lambda f: (f / "params.json").write_text("{ }"), "params.json: content changed"),
    "missing": (lambda f: (f / "figures" / "a.svg").unlink(), "figures/a.svg: missing"),
    "added": (lambda f: (f / "figures" / "b.svg").write_text(""), "figures/b.svg: not in the manifest"),
    "a link in its place": (
        lambda f: ((f / "params.json").unlink(), (f / "params.json").symlink_to("output.ipynb")),
        "params.json: content changed",
    ),
    "a hidden manifest": (
        lambda f: (f / "figures" / MANIFEST).write_text("x"),
        f"figures/{MANIFEST}: not in the manifest",
    ),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_named_and_the_exit_code_is_one(run: Path, damage, said: str) -> None:
    damage(run)
    result = CliRunner().invoke(app, ["verify", run.name])
    assert result.exit_code == 1 and said in result.stdout
    with pytest.raises(InvalidInput, match="not as it was left"):
        bundle(run)


def test_an_untouched_run_is_said_to_be_so(run: Path) -> None:
    result = CliRunner().invoke(app, ["verify", run.name])
    assert result.exit_code == 0 and "every file is as the run left it" in result.stdout


@pytest.mark.parametrize("text", [None, "", "no manifest\n", "1234  params.json\n"])
def test_a_run_without_a_readable_manifest_cannot_be_verified(run: Path, text: str | None) -> None:
    (run / MANIFEST).unlink() if text is None else (run / MANIFEST).write_text(text)
    result = CliRunner().invoke(app, ["verify", run.name])
    assert isinstance(result.exception, InvalidInput) and result.exception.exit_code == 2


@pytest.mark.parametrize("name", ["nothing", "..", ".hidden"])
def test_an_unknown_run_is_named(run: Path, name: str) -> None:
    result = CliRunner().invoke(app, ["verify", name])
    assert isinstance(result.exception, InvalidInput) and name in str(result.exception)


def test_a_bundle_is_the_same_twice_and_verifies_where_it_is_unpacked(run: Path, tmp_path: Path) -> None:
    first = bundle(run, tmp_path / "a.tar.gz").read_bytes()
    (run / "params.json").touch()
    assert bundle(run, tmp_path / "b.tar.gz").read_bytes() == first
    with tarfile.open(tmp_path / "a.tar.gz") as archive:
        unpack(archive, tmp_path / "elsewhere")
    assert verify_manifest(tmp_path / "elsewhere" / run.name) == []
    result = CliRunner().invoke(app, ["runs", "--bundle", run.name])
    assert result.exit_code == 0 and (tmp_path / f"{run.name}.tar.gz").is_file()
