"""Scenario files are checked key by key before anything is touched."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from platform_lib.drills import faults, scenario
from platform_lib.errors import InvalidInput
from platform_lib.parameters import DrDrill, validate

GOOD = """
title = "A title"
why = "A reason."
[fault]
action = "force_delete_pod"
[expect]
text = "It comes back."
"""


def read(tmp_path: Path, text: str) -> scenario.Scenario:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return scenario.load(str(path))


def test_a_few_lines_are_a_scenario(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD)
    assert found.name == "mine" and found.fault.action == "force_delete_pod" and found.weight == 5
    assert found.steady_state.ready and found.safeguards == ("api", "other-apps", "other-nodes")


def test_further_keys_of_the_fault_are_its_parameters(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD.replace("[expect]", "count = 2\n[expect]")).fault.parameters == {"count": 2}


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('title = "A title"', "", "title is missing"),
        ('title = "A title"', 'titel = "A title"', "titel is not a key"),
        ("[expect]", "[expect]\nrto_max = 3", "expect.rto_max is not a key"),
        ("[expect]", "[expect]\nrto_max_s = -3", "expect.rto_max_s=-3"),
        ("[expect]", "[expect]\navailability_min = 1.2", "expect.availability_min=1.2"),
        ("[expect]", '[expect]\ndetected_by = ["crystal ball"]', "expect.detected_by.0='crystal ball'"),
        ("[fault]", "weight = 11\n[fault]", "weight=11"),
        ("[fault]", 'safeguards = ["all"]\n[fault]', "safeguards.0='all'"),
        ('action = "force_delete_pod"', 'action = "rm -rf"', "fault.action='rm -rf'"),
        ("title =", "title", "not readable as TOML"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, old: str, new: str, key: str) -> None:
    with pytest.raises(InvalidInput, match=r"mine\.toml") as raised:
        read(tmp_path, GOOD.replace(old, new))
    assert key in str(raised.value)


def test_every_file_of_the_catalogue_is_right_and_its_fault_exists() -> None:
    drills = [scenario.load(name) for name in scenario.names()]
    assert len(drills) >= 4
    for drill in drills:
        assert faults.known(drill.fault.action), drill.name


def test_the_runbook_takes_every_scenario_of_the_catalogue_and_no_other() -> None:
    assert {validate("05-dr-drill", {"scenario": name}).scenario for name in scenario.names()} == set(scenario.names())
    with pytest.raises(InvalidInput, match=r"scenario='meteor'.*pod-loss"):
        validate("05-dr-drill", {"scenario": "meteor"})
    with pytest.raises(ValidationError):
        DrDrill(scenario="meteor")
