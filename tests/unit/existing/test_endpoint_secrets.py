"""Secrets of endpoints are references from the first line to the last: settings, endpoints file, errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from platform_lib.errors import InvalidInput, SettingsError
from platform_lib.providers import endpoints, state
from platform_lib.settings import settings
from platform_lib.wire import kubeconfig, secretvalue

CANARY = "canary-1a5c8e3f7b"


@pytest.fixture
def entry(tmp_path: Path) -> kubeconfig.Entry:
    path = tmp_path / "config"
    document = {
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": CANARY}}],
        "contexts": [{"name": "prod", "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(yaml.safe_dump(document))
    return kubeconfig.entry([path], "prod")


def test_the_endpoints_file_holds_references_and_is_private(
    entry: kubeconfig.Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROM_TOKEN", CANARY)
    current = settings(
        home=tmp_path,
        prometheus_url="https://thanos.example.com/?dedup=true",
        prometheus_headers={"Authorization": "Bearer env:PROM_TOKEN", "X-Scope-OrgID": "team-a"},
        argocd_url="https://argocd.example.com/",
        argocd_token="env:ARGOCD_TOKEN",
    )
    platform = endpoints.first_guess(current, entry, entry.files[0])
    state.write_endpoints(platform)
    written = state.Layout(tmp_path).endpoints
    assert CANARY not in written.read_text() and written.stat().st_mode & 0o777 == 0o600
    assert state.read_endpoints(tmp_path) == platform
    assert (platform.argocd_url, platform.argocd_token) == ("https://argocd.example.com", "env:ARGOCD_TOKEN")
    assert CANARY not in repr(entry) + str(entry), "the kubeconfig's credentials are not shown either"


def test_a_plain_secret_is_refused_before_it_is_written(entry: kubeconfig.Entry, tmp_path: Path) -> None:
    current = settings(home=tmp_path, prometheus_headers={"Authorization": f"Bearer {CANARY}"})
    with pytest.raises(SettingsError, match="header Authorization - holds a secret as a plain value") as refused:
        endpoints.first_guess(current, entry, entry.files[0])
    assert CANARY not in str(refused.value) and not state.Layout(tmp_path).endpoints.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [("ARGOCD_TOKEN", CANARY), ("PROMETHEUS_HEADERS", f'{{"a": {{"b": "{CANARY}"}}}}'), ("PROMETHEUS_HEADERS", CANARY)],
)
def test_a_setting_that_cannot_be_used_does_not_repeat_its_value(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"APQX_{name}", value)
    with pytest.raises(SettingsError, match=f"APQX_{name}") as refused:
        settings()
    assert CANARY not in str(refused.value) + str(refused.value.context)


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "Cookie", "X-Auth-Token", "Proxy-Authorization"])
def test_headers_that_tell_of_a_secret(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        secretvalue.headers_of([(name, CANARY)])


def test_other_headers_may_be_plain_or_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANT", "team-b")
    sent = secretvalue.headers_of([("X-Scope-OrgID", "env:TENANT"), ("X-Team", "a b")])
    assert sent == {"X-Scope-OrgID": "team-b", "X-Team": "a b"}
    with pytest.raises(SettingsError, match="not a header name"):
        secretvalue.headers_of([("X Scope", "a")])
    with pytest.raises(SettingsError, match="characters that no header may have"):
        secretvalue.headers_of([("X-Team", "a\r\nX-Injected: 1")])
    with pytest.raises(InvalidInput, match="a plain value is refused"):
        secretvalue.resolve(CANARY)
