"""Options that would silently do nothing are refused in a sentence, before anything is looked at."""

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
        ("journal show --since foo", "counts back from now", "--since 30m"),
    ],
)
def test_a_useless_option_is_refused(line: str, observed: str, step: str) -> None:
    error = CliRunner().invoke(app, line.split()).exception
    assert isinstance(error, InvalidInput)
    assert observed in str(error) and step in error.hint


def test_describe_names_the_choices() -> None:
    text = CliRunner().invoke(app, ["run", "04", "--describe", "--json"]).stdout
    assert "'revert', 'history'" in text and "Literal" not in text
