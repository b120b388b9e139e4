"""Which parameters does each runbook take, and what values are allowed?

The model is the truth; a house test checks that the notebook's parameters cell names the same fields with
the same defaults. It is validated before a kernel starts, and again in the notebook's second cell.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from platform_lib import applications
from platform_lib.errors import InvalidInput
from platform_lib.model import App, _Table, joined

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
Version = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,62}$")]
Rate = Annotated[float, Field(ge=1, le=2000)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Confirm = Annotated[str, Field(max_length=63)]


class Parameters(BaseModel):
    """Base of all: unknown names and lossy conversions are refused (an int is taken for a float)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    dry_run: bool = Field(default=True, description="stop after the plan, change nothing")

    def rows(self) -> list[tuple[str, str]]:
        """Return one row per parameter, shown as text and as HTML alike."""
        return [(name, str(value)) for name, value in self]

    __str__ = _Table.__str__
    _repr_html_ = _Table._repr_html_
    _repr_pretty_ = _Table._repr_pretty_


class AppParameters(Parameters):
    """What names one application."""

    app: Name = Field(default="sample-app", description="Argo CD Application and Deployment name")
    namespace: Name = Field(default="sample-app", description="namespace of its workload")
    host: str = Field(default="app.127.0.0.1.sslip.io", description="host name of its Ingress")

    @property
    def target(self) -> App:
        """The application as the library names it; what was left at its default follows apqx.toml, or the name."""
        told = {name: getattr(self, name) for name in ("namespace", "host")}
        fields = AppParameters.model_fields
        return replace(applications.named(self.app), **{k: v for k, v in told.items() if v != fields[k].default})


class Setup(Parameters):
    """01-setup: bring the platform up."""

    provider: Literal["", "embedded", "k3d", "existing"] = Field(
        default="", description="embedded, k3d or existing; empty: as set or up"
    )
    timeout_s: float = Field(
        default=0.0, ge=0, le=3600, description="deadline for the whole bootstrap, seconds; 0: the provider's own"
    )


class Deploy(AppParameters):
    """02-deploy: build a version, commit its digest, sync, verify."""

    version: Version = Field(default="1.1.0", description="version to build and deploy")
    image: str = Field(default="", description="image by digest to deploy as that version; empty: it is built here")
    timeout_s: Seconds = Field(default=120.0, description="deadline for sync and rollout, seconds")


class ObserveRollout(Deploy):
    """03-observe-rollout: deploy under constant load and judge."""

    version: Version = Field(default="1.2.0", description="version to build and deploy")
    rate_rps: Rate = Field(default=200.0, description="probe rate, requests per second")
    warmup_s: Seconds = Field(default=5.0, description="load before the change, seconds")
    settle_s: Seconds = Field(default=8.0, description="load after the rollout, seconds")


class Rollback(Deploy):
    """04-rollback: deploy a faulty version, detect it, roll back through git."""

    version: Version = Field(default="1.3.0-faulty", description="name of the faulty version")
    fault: Literal["error_ratio", "latency_ms", "never_ready", "crash_after_s"] = Field(
        default="error_ratio", description="which fault the version carries"
    )
    fault_value: float = Field(default=0.3, gt=0, description="size of the fault, in the fault's own unit")
    rate_rps: Rate = Field(default=200.0, description="probe rate, requests per second")
    method: Literal["revert", "history"] = Field(default="revert", description="git revert or Argo CD history")


class DrDrill(AppParameters):
    """05-dr-drill: inject one fault, measure the recovery, undo it."""

    scenario: Name = Field(default="pod-loss", description="which fault, a name of apqx drill list")
    rate_rps: Rate = Field(default=100.0, description="probe rate, requests per second")
    confirm: Confirm = Field(default="", description="cluster name, required by scenarios that destroy it")
    timeout_s: Seconds = Field(default=120.0, description="deadline for the recovery, seconds")

    @field_validator("scenario")
    @classmethod
    def _in_the_catalogue(cls, name: str) -> str:
        """Take every scenario that has a file, and no other."""
        from platform_lib.drills import scenario

        if name not in scenario.names():
            raise ValueError(f"unknown scenario, wanted one of {joined(scenario.names())}")
        return name


class Teardown(Parameters):
    """06-teardown: destroy the platform."""

    confirm: Confirm = Field(default="", description="cluster name, required when dry_run is off")
    purge: bool = Field(default=False, description="also delete the git repository and the images")


class Addons(Parameters):
    """07-addons: switch an optional part on or off by a commit."""

    addon: Name = Field(default="network-policies", description="which add-on, a name of apqx addon list")
    action: Literal["enable", "disable"] = Field(default="enable", description="switch it on or off")
    timeout_s: Seconds = Field(default=600.0, description="deadline until all of it is healthy or gone, seconds")


MODELS: dict[str, type[Parameters]] = {
    "01-setup": Setup,
    "02-deploy": Deploy,
    "03-observe-rollout": ObserveRollout,
    "04-rollback": Rollback,
    "05-dr-drill": DrDrill,
    "06-teardown": Teardown,
    "07-addons": Addons,
}


def validate(name: str, values: dict[str, Any]) -> Parameters:
    """Check parameters of a runbook.

    Args:
        name: Runbook name, for example ``02-deploy``.
        values: Parameter name to value; missing ones take the default.

    Returns:
        The frozen parameters.

    Raises:
        InvalidInput: Unknown runbook, unknown parameter, wrong type or value out of range; names each one.
    """
    model = MODELS.get(name)
    if model is None:
        raise InvalidInput(f"runbook {name!r} - unknown, wanted one of {joined(MODELS)}", hint="see: apqx runs --books")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InvalidInput(
            f"{name} parameters - {'; '.join(_problem(item, model) for item in error.errors())}",
            hint=f"see: apqx run {name} --describe",
        ) from None


def _problem(item: Any, model: type[Parameters]) -> str:
    """One sentence per wrong parameter: name, what was given, what is wanted."""
    name = ".".join(str(part) for part in item["loc"])
    if item["type"] == "secret_reference":  # the value that was given may be a secret: it is not repeated
        return f"{name}: {item['msg']}"
    if item["type"] == "extra_forbidden":
        return f"{name!r} is not a parameter, wanted one of {joined(model.model_fields)}"
    return f"{name}={item.get('input')!r}: {item['msg']}"


def parse(name: str, texts: dict[str, str]) -> dict[str, Any]:
    """Turn ``key=value`` texts of a command line into typed values by the runbook's model.

    Raises:
        InvalidInput: A text that cannot be read as the parameter's type, or an unknown name.
    """
    model = MODELS.get(name)
    if model is None:
        validate(name, {})
    assert model is not None
    values: dict[str, Any] = {}
    for key, text in texts.items():
        known = model.model_fields.get(key)
        values[key] = text if known is None else _typed(name, key, text, known.annotation)
    return values


def _typed(book: str, key: str, text: str, annotation: Any) -> Any:
    """Read one text as bool, int or float where the field says so; otherwise keep it."""
    if annotation is bool:
        lowered = text.lower()
        if lowered in {"true", "false"}:
            return lowered == "true"
        raise InvalidInput(f"{book} parameters - {key}={text!r}: wanted true or false", hint="write it in lower case")
    if annotation in (int, float):
        try:
            return annotation(text)
        except ValueError:
            raise InvalidInput(
                f"{book} parameters - {key}={text!r}: wanted a number",
                hint=f"see: apqx run {book} --describe",
            ) from None
    return text
