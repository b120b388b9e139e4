"""Settings: where values come from, and how a wrong one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform_lib.errors import SettingsError
from platform_lib.settings import Settings, child_environment, settings


@pytest.fixture(autouse=True)
def _no_outside_influence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("APQX_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_defaults_are_those_of_the_k3d_layout() -> None:
    assert (settings().port_web, settings().port_websecure, settings().port_traefik) == (8080, 8443, 9100)


def test_environment_wins_over_file_and_caller_over_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "apqx.toml").write_text("port_web = 18081\nport_api = 17443\n")
    monkeypatch.setenv("APQX_PORT_WEB", "18082")
    seen = settings(port_scrape=19101)
    assert (seen.port_api, seen.port_web, seen.port_scrape) == (17443, 18082, 19101)


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        ("APQX_PORT_WEB", "80", "greater than or equal to 1024"),
        ("APQX_PORT_WEB", "web", "integer"),
        ("APQX_UP_TIMEOUT_S", "0", "greater than 0"),
        ("APQX_POD_NETWORK", "10.0.0.0/16", "127.42.0.0/16"),
        ("APQX_PROVIDER", "minikube", "embedded"),
        ("APQX_CLUSTER_NAME", "Not A Name", "pattern"),
    ],
)
def test_a_wrong_value_is_refused_with_variable_value_and_expectation(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, wanted: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as refused:
        settings()
    text = str(refused.value)
    assert variable in text
    assert value in text
    assert wanted in text
    assert "set it in the environment" in text


def test_a_typo_in_a_variable_is_refused_and_the_likely_name_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APQX_PORT_WBE", "18080")
    with pytest.raises(SettingsError, match="did you mean APQX_PORT_WEB"):
        settings()


@pytest.mark.parametrize(
    ("text", "key", "meant"),
    [
        ("portweb = 3\n", "portweb", "port_web"),
        ("APQX_PORT_WEB = 3\n", "APQX_PORT_WEB", "port_web"),
        ("[k3d]\nserver = 3\n", "k3d.server", "k3d.servers"),
        ('[apps.shop]\nhosts = "x"\n', "apps.shop.hosts", "apps.shop.host"),
    ],
)
def test_a_wrong_key_of_the_file_is_called_that_and_the_likely_one_given(
    tmp_path: Path, text: str, key: str, meant: str
) -> None:
    (tmp_path / "apqx.toml").write_text(text)
    with pytest.raises(SettingsError) as refused:
        settings()
    assert refused.value.message == f"apqx.toml - {key!r} is no key of it"
    assert f"did you mean {meant}?" in refused.value.hint


def test_two_services_on_one_port_are_refused() -> None:
    with pytest.raises(SettingsError, match="port_web and port_api are both 7443"):
        settings(port_web=7443)


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "apqx.toml").write_text("port_web = \n")
    with pytest.raises(SettingsError, match=r"apqx\.toml"):
        settings()


def test_a_relative_home_becomes_absolute(tmp_path: Path) -> None:
    assert settings(home=Path("state")).home == tmp_path / "state"


def test_every_field_says_what_it_is_for() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_a_child_gets_the_environment_and_the_additions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_VARIABLE", "1")
    assert child_environment({"ANOTHER": "2"}).items() >= {"SOME_VARIABLE": "1", "ANOTHER": "2"}.items()
