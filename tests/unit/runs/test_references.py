"""A secret is a reference: a plain value is refused and not repeated, a reference is resolved at use."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform_lib import parameters
from platform_lib.errors import InvalidInput
from platform_lib.references import SecretRef

CANARY = "canary-4f1d7c0e9ab35286"


class WithSecret(parameters.Parameters):
    """A book that takes a secret."""

    token: SecretRef = SecretRef("")


@pytest.fixture(autouse=True)
def book(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(parameters.MODELS, "02-deploy", WithSecret)


@pytest.mark.parametrize("value", [CANARY, f"env:{CANARY}", "file:", "k8s:a/b", "ENV:NAME", 7, None])
def test_a_plain_value_is_refused_without_being_repeated(value: object) -> None:
    with pytest.raises(InvalidInput, match="token: a plain value is refused, wanted a reference: env:NAME") as refused:
        parameters.validate("02-deploy", {"token": value})
    assert CANARY not in str(refused.value) and refused.value.exit_code == 2


@pytest.mark.parametrize("text", ["", "env:MY_TOKEN", "file:/run/secrets/token", "k8s:argocd/repo/password"])
def test_a_reference_is_kept_as_it_is(text: str) -> None:
    values = parameters.validate("02-deploy", {"token": text})
    assert values.model_dump()["token"] == text and isinstance(values.token, SecretRef)


def test_a_reference_is_resolved_at_use_and_printing_it_shows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", CANARY)
    (tmp_path / "token").write_text(CANARY + "\n")
    for reference in ("env:MY_TOKEN", f"file:{tmp_path}/token"):
        value = SecretRef(reference).resolve()
        assert value.get_secret_value() == CANARY and CANARY not in f"{value} {value!r}"


@pytest.mark.parametrize("text", ["env:NOT_SET_ANYWHERE", "file:/nowhere/token", "k8s:a/b/c"])
def test_a_reference_that_leads_nowhere_is_named(text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        SecretRef(text).resolve()
