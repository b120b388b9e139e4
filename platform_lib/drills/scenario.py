"""What is a drill scenario, and which are there? Files next to this module, validated before anything is touched."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from platform_lib.errors import InvalidInput
from platform_lib.model import joined

FOLDER = Path(__file__).parent / "scenarios"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One drill: what breaks, what is expected, how it is undone and how we know that it worked.

    Attributes:
        name: File name without its ending.
        title: One line for people.
        fault: Action that breaks something.
        undo: Action that removes the fault, or ``none`` when the platform itself must recover.
        proof: Condition that proves the fault took effect and was recovered from.
        expected: What a healthy platform does.
        destroys_cluster: Whether the caller must confirm with the cluster's name.
    """

    name: str
    title: str
    fault: str
    undo: str
    proof: str
    expected: str
    destroys_cluster: bool


def names() -> list[str]:
    """Names of the scenarios, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Scenario:
    """Read a scenario file.

    Raises:
        InvalidInput: No such scenario, or its file has missing or unknown keys.
    """
    if name not in names():
        raise InvalidInput(
            f"scenario {name!r} - unknown, wanted one of {joined(names())}", hint="see: apqx run 05 --describe"
        )
    data = tomllib.loads((FOLDER / f"{name}.toml").read_text())
    wanted = {field.name for field in fields(Scenario)} - {"name"}
    if set(data) != wanted:
        raise InvalidInput(
            f"scenario file {name}.toml - keys {joined(sorted(set(data) ^ wanted))} are missing or unknown",
            hint=f"wanted exactly {joined(sorted(wanted))}",
        )
    return Scenario(name=name, **data)
