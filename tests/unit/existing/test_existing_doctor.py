"""What ``apqx doctor --provider existing`` says of the kubeconfig that it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform_lib import doctor

CONFIG = """
apiVersion: v1
kind: Config
current-context: theirs
contexts: [{name: theirs, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: abc}}]
"""


def test_the_context_and_the_next_look_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    facts = {fact.name: fact for fact in doctor.examine(provider="existing")}
    assert facts["kubeconfig"].state == "missing" and str(tmp_path / "config") in facts["kubeconfig"].found
    (tmp_path / "config").write_text(CONFIG)
    fact = {fact.name: fact for fact in doctor.examine(provider="existing")}["kubeconfig"]
    assert (fact.state, fact.found) == ("ok", f"context theirs in {tmp_path / 'config'}")
    assert "apqx doctor --context theirs" in fact.hint


def test_a_context_that_is_not_there_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text(CONFIG)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("APQX_CONTEXT", "their")
    fact = {fact.name: fact for fact in doctor.examine(provider="existing")}["kubeconfig"]
    assert fact.state == "missing" and "context 'their' - not in the kubeconfig" in fact.found
