"""When may a switch be turned, what does it cost, and what becomes of an address: decided without a cluster."""

from __future__ import annotations

import pytest

from platform_lib.errors import InvalidInput
from platform_lib.rules import addons as rules

TEXT = """
[base]
purpose = "p"
instead = "i"
[top]
purpose = "p"
instead = "i"
needs = ["base"]
secrets = ["ns/name: a, b", "ns/other"]
takes_over = "ns/web"
"""
CATALOGUE = rules.parse(TEXT)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[x", "no TOML"),
        ('[xx]\npurpose = "p"', "instead absent"),
        ('[xx]\npurpose = "p"\ninstead = "i"\ncolour = "red"', "xx - colour"),
        ('[xx]\npurpose = "p"\ninstead = "i"\nneeds = ["y"]', "needs y, expected names"),
        ('[X_]\npurpose = "p"\ninstead = "i"', "X_"),
    ],
)
def test_a_wrong_catalogue_is_refused_by_entry(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        rules.parse(text)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="add-on 'nope' - unknown, expected one of base, top"):
        rules.one(CATALOGUE, "nope")


def test_what_is_in_the_way_names_the_next_step() -> None:
    top = CATALOGUE["top"]
    needed, other = rules.secrets(top)
    assert (needed.keys, other.keys) == (("a", "b"), ())
    found = rules.why_not_enable(top, [], [needed])
    assert found[0].endswith("apqx addon enable base")
    assert "Secret ns/name with a, b is absent" in found[1] and "--from-file=a=FILE --from-file=b=FILE" in found[1]
    assert rules.why_not_enable(top, ["base"], []) == []


def test_a_secret_never_becomes_part_of_a_command_line() -> None:
    assert "literal" not in rules.command(rules.secrets(CATALOGUE["top"])[0])


@pytest.mark.parametrize(
    ("name", "enabled", "ready", "words"),
    [
        ("base", ["base", "top"], None, "add-on top needs it"),
        ("base", ["base"], None, ""),
        ("top", ["top"], 0, "nobody would serve"),
        ("top", ["top"], 2, ""),
        ("top", ["top"], None, ""),
    ],
)
def test_what_is_used_is_not_switched_off(name: str, enabled: list[str], ready: int | None, words: str) -> None:
    found = rules.why_not_disable(CATALOGUE[name], CATALOGUE, enabled, ready)
    assert bool(found) is bool(words) and words in " ".join(found)


def test_containers_are_needed_unless_the_entry_says_otherwise() -> None:
    assert "no containers" in rules.unsupported(CATALOGUE["base"], "embedded")
    assert rules.unsupported(CATALOGUE["base"], "k3d") == rules.unsupported(CATALOGUE["base"], "existing") == ""


def test_only_our_own_repository_gets_the_platform_s_address_and_branch() -> None:
    text = (
        "    repoURL: http://git.apqx-system.svc/gitops.git\n    targetRevision: main\n"
        "    repoURL: https://charts.example\n    targetRevision: main\n"
    )
    assert rules.localised(text, url="https://github.com/me/x.git", branch="live") == (
        "    repoURL: https://github.com/me/x.git\n    targetRevision: live\n"
        "    repoURL: https://charts.example\n    targetRevision: main\n"
    )
    assert rules.localised(text, url="http://git.apqx-system.svc/gitops.git", branch="main") == text


def test_requests_are_added_up_wherever_they_stand() -> None:
    values = {"a": {"resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "9"}}}}
    odd = {"proxy": {"resources": {"cpu": {"request": "10m"}, "memory": {"request": "1Gi"}}}}
    pods = [{"containers": [{"resources": {"requests": {"cpu": 1, "memory": "1M"}}}]}]
    assert rules.requests([values, odd, pods]) == (1.06, 64 * 2**20 + 2**30 + 1e6)


@pytest.mark.parametrize("text", ["much", "1Q", "", "-1"])
def test_an_amount_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="expected a number such as"):
        rules.amount(text)


def test_applications_come_in_the_order_of_their_waves() -> None:
    def app(name: str, wave: str, kind: str = "Application") -> dict:
        return {"kind": kind, "metadata": {"name": name, "annotations": {"argocd.argoproj.io/sync-wave": wave}}}

    found = rules.applications([app("b", "2"), app("p", "-1", "AppProject"), app("a", "0")])
    assert found == ["a", "b"]
