"""Options that would silently do nothing are refused in a sentence, before anything is looked at."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from platform_lib.cli import app
from platform_lib.errors import InvalidInput


@pytest.mark.parametrize(
    ("line", "observed", "step"),
    [
        ("run 02 --image x", "--image - given to a run on this machine", "-p image="),
        ("run 02 --results s3://a --manifests", "--results, --manifests - given", "--on cluster"),
        ("run 02 --on cluster --plan", "expected none", "leave out --on cluster"),
        ("run 02 --plan --describe", "expected one at a time", "--approve"),
        ("fan-out 05", "no target", "--over"),
        ("fan-out 05 --app a --secret x", "--secret - given", "--on cluster"),
        ("doctor --read-only", "without --rbac", "--rbac"),
        ("image build --engine docker --target foo", "image target - 'foo', expected app or workbench", "Dockerfile"),
        ("runs --fetch nosuch", "run 'nosuch' - is no address of a run", "apqx runs"),
        ("runs --fetch http://a/b", "expected object storage such as s3://", "apqx runs"),
        ("up --dry-run --provider embedded --merge-kubeconfig", "merging the kubeconfig", "leave out"),
        ("journal show --since foo", "counts back from now", "--since 30m"),
    ],
)
def test_a_useless_option_is_refused(
    line: str, observed: str, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APQX_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nonexistent")  # nobody was asked
    error = CliRunner().invoke(app, line.split()).exception
    assert isinstance(error, InvalidInput)
    assert observed in str(error) and step in error.hint


def test_a_version_that_is_none_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    line = ["image", "wheels", str(tmp_path / "new"), "--python-version", "foo"]
    error = CliRunner().invoke(app, line).exception
    assert isinstance(error, InvalidInput) and "for Python 'foo', expected the full version" in str(error)
    assert not (tmp_path / "new").exists()


def test_describe_names_the_choices() -> None:
    text = CliRunner().invoke(app, ["run", "04", "--describe", "--json"]).stdout
    assert "'revert', 'history'" in text and "Literal" not in text
