"""Applications beside the sample: what apqx.toml says of one, and what its absence means."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform_lib import applications, parameters
from platform_lib.cli.output import target_of
from platform_lib.errors import InvalidInput, SettingsError
from platform_lib.model import App, Platform

SHOP = """
[apps.shop]
namespace = "shop-prod"
host = "shop.example.com"
path = "teams/shop/overlays/prod"
deployment = "web.yaml"
application = "shop-eu"
argocd_namespace = "team-argocd"
"""


@pytest.fixture
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "apqx.toml"


def test_without_an_entry_the_convention_holds(toml: Path) -> None:
    shop = target_of("shop")
    assert (shop.namespace, shop.path, shop.application_name) == ("shop", "gitops/workloads/shop", "shop")
    assert shop.deployment_file == "gitops/workloads/shop/deployment.yaml"
    assert target_of("sample-app") == App()


def test_an_entry_says_where_everything_is(toml: Path, tmp_path: Path) -> None:
    toml.write_text(SHOP)
    shop = target_of("shop")
    assert (shop.namespace, shop.host) == ("shop-prod", "shop.example.com")
    assert shop.deployment_file == "teams/shop/overlays/prod/web.yaml"
    platform = Platform("p", "existing", tmp_path, "p", "", "", "", tmp_path)
    assert (shop.application_name, shop.application_namespace(platform)) == ("shop-eu", "team-argocd")
    assert target_of("sample-app").application_namespace(platform) == "argocd"


def test_an_entry_may_say_only_what_differs(toml: Path) -> None:
    toml.write_text('[apps.shop]\nnamespace = "elsewhere"\n')
    assert target_of("shop") == App(name="shop", namespace="elsewhere", path="gitops/workloads/shop")


@pytest.mark.parametrize("name", ["Shop", "shop_eu", "../shop", "", "a" * 64])
def test_a_name_that_no_object_can_have_lists_those_that_are_known(toml: Path, name: str) -> None:
    toml.write_text(SHOP)
    with pytest.raises(InvalidInput, match=r"not a name.*known here: sample-app, shop"):
        target_of(name)


def test_the_closest_known_name_is_proposed(toml: Path) -> None:
    toml.write_text(SHOP)
    assert applications.hint("shopp").startswith("did you mean shop?") and applications.known() == [
        "sample-app",
        "shop",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('path = "/etc"', "relative path"),
        ('path = "a/../../b"', "relative path"),
        ('deployment = "../x.yaml"', "relative path"),
        ('namespce = "x"', "'apps.shop.namespce' is no key of it"),
    ],
)
def test_a_wrong_entry_is_refused_before_anything_happens(toml: Path, line: str, said: str) -> None:
    toml.write_text(f"[apps.shop]\n{line}\n")
    with pytest.raises(SettingsError, match=said):
        target_of("shop")


def test_a_runbook_takes_the_entry_for_what_was_left_at_its_default(toml: Path) -> None:
    toml.write_text(SHOP)
    book = parameters.validate("02-deploy", {"app": "shop", "version": "1.2.3"})
    assert book.target == target_of("shop")
    told = parameters.validate("02-deploy", {"app": "shop", "version": "1.2.3", "namespace": "canary"})
    assert told.target.namespace == "canary" and told.target.host == "shop.example.com"
    assert parameters.validate("02-deploy", {"version": "1.2.3"}).target == App()
