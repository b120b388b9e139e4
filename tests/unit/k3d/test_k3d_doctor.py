"""What ``apqx doctor`` says of a machine that shall run k3d: the first lack, and the way out."""

import pytest

from platform_lib import doctor


def test_a_machine_without_docker_is_told_so(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    facts = {fact.name: fact for fact in doctor.examine(provider="k3d")}
    assert facts["docker and k3d"].state == "missing" and "docker" in facts["docker and k3d"].found
    assert facts["docker and k3d"].hint
    assert not doctor.report(provider="k3d").ok


def test_programs_of_the_embedded_platform_are_not_asked_for_elsewhere() -> None:
    names = {fact.name for provider in ("k3d", "existing") for fact in doctor.examine(provider=provider)}
    assert {"git", "state folder"} <= names and not names & {"traefik", "prometheus", "packages"}
