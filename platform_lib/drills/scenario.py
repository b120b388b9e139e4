"""What is a drill scenario, and which are there? TOML files next to this module, validated before anything is touched.

A file says what must hold before, what breaks, what is expected, how it is undone and when to stop. Every key
has a meaning here; one that has none is refused by name.
"""

from __future__ import annotations

import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from platform_lib.errors import InvalidInput
from platform_lib.model import joined

FOLDER = Path(__file__).parent / "scenarios"

Source = Literal["kubernetes", "argocd", "prometheus", "probe"]
"""Who can notice a fault: the API's objects, Argo CD's Application, Prometheus, a client at the ingress."""

Safeguard = Literal["api", "argocd", "ingress", "metrics", "other-apps", "other-nodes"]
"""What must keep working while the fault lasts because the drill has no business with it."""

Parameter = str | int | float | bool | list[str]
Text = Annotated[str, Field(min_length=1, max_length=400)]
Ratio = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class _Part(BaseModel):
    """Base of all parts: frozen, unknown keys refused, nothing converted that would lose something."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SteadyState(_Part):
    """What must hold before the fault and again after the undo."""

    healthy: bool = Field(default=True, description="Argo CD calls the application Healthy")
    synced: bool = Field(default=True, description="Argo CD calls the application Synced")
    ready: bool = Field(default=True, description="every wanted replica is ready")
    answers: bool = Field(default=True, description="one request through the ingress is answered with 200 to 399")
    metrics: bool = Field(default=False, description="Prometheus answers with samples that are not stale")


class FaultSpec(BaseModel):
    """What breaks: the action and its own parameters, which are checked by the fault."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Parameter] = Field(init=False)

    action: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything in the part but the action."""
        return dict(self.model_extra or {})


class Expect(_Part):
    """What a healthy platform does, in words and as limits."""

    text: Text = Field(description="the expectation in one sentence")
    outage_allowed: bool = Field(default=True, description="whether clients may see a stretch of failures at all")
    availability_min: Ratio = Field(
        default=0.0, description="good requests of all, from the fault to the end of the drill"
    )
    rto_max_s: Seconds = Field(default=120.0, description="longest time from the fault to the steady state")
    detected_by: tuple[Source, ...] = Field(
        default=(), description="each of these must notice; empty: any one suffices"
    )
    blind: tuple[Source, ...] = Field(default=(), description="sources that the drill itself must find blind")


class Undo(_Part):
    """How the fault is removed; it is always called, also where the platform recovers by itself."""

    text: Text = Field(default="nothing stays behind", description="what the undo does, in words")


class Limits(_Part):
    """When the drill moves on or gives up."""

    hold_s: Annotated[float, Field(ge=0, le=600)] = Field(
        default=0.0, description="how long the fault is left alone before restore is called"
    )
    timeout_s: Seconds = Field(default=120.0, description="deadline for the recovery; the caller may shorten it")


class Scenario(_Part):
    """One drill.

    Attributes:
        name: File name without its ending.
        title: One line for people.
        why: When this happens in real life and what the drill proves.
        steady_state: What must hold before and after.
        fault: What breaks.
        expect: What a healthy platform does.
        undo: How the fault is removed.
        limits: When to give up.
        safeguards: What must not break; the drill aborts and undoes when it does.
        weight: Share in the score, 1 to 10.
        destroys_cluster: Whether the caller must confirm with the cluster's name.
    """

    name: str
    title: Text
    why: Text
    fault: FaultSpec
    expect: Expect
    steady_state: SteadyState = SteadyState()
    undo: Undo = Undo()
    limits: Limits = Limits()
    safeguards: tuple[Safeguard, ...] = ("api", "other-apps", "other-nodes")
    weight: Annotated[int, Field(ge=1, le=10)] = 5
    destroys_cluster: bool = False

    @cached_property
    def expected(self) -> str:
        """The expectation in words."""
        return self.expect.text


def names() -> list[str]:
    """Names of the scenarios, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Scenario:
    """Read a scenario of the catalogue, or any scenario file by its path.

    Raises:
        InvalidInput: No such scenario, or its file is wrong; names the key.
    """
    if name.endswith(".toml"):
        return read(Path(name))
    if name not in names():
        raise InvalidInput(f"scenario {name!r} - unknown, wanted one of {joined(names())}", hint="see: apqx drill list")
    return read(FOLDER / f"{name}.toml")


def read(path: Path) -> Scenario:
    """Read and check one scenario file; its name is the file's.

    Raises:
        InvalidInput: Not TOML, a key missing, unknown or out of range; names each one.
    """
    try:
        data = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"scenario file {path.name} - not readable as TOML: {error}", hint="correct it") from error
    try:
        return Scenario.model_validate({**data, "name": path.stem})
    except ValidationError as error:
        problems = "; ".join(_problem(item) for item in error.errors(include_url=False))
        raise InvalidInput(f"scenario file {path.name} - {problems}", hint="correct the file") from None


def _problem(item: Any) -> str:
    """One sentence per wrong key."""
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{key} is not a key of a scenario"
    if item["type"] == "missing":
        return f"{key} is missing"
    return f"{key}={item.get('input')!r}: {item['msg'].lower()}"
