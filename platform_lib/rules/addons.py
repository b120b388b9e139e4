"""May an optional part be switched on or off here, what does it cost, and is it up? Pure; files are read elsewhere.

An add-on is a folder of ``gitops/addons`` with an ``application.yaml``; it is on when the platform's repository has
that file as ``gitops/apps/addon-NAME.yaml``, which the root Application reads anyway.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from platform_lib.errors import InvalidInput
from platform_lib.model import Obj, joined
from platform_lib.rules import manifests

FOLDER, APPS = "gitops/addons", "gitops/apps"
CATALOGUE = f"{FOLDER}/catalogue.toml"
GITOPS_URL, BRANCH = "http://git.apqx-system.svc/gitops.git", "main"
_CLUSTERS = ("k3d", "existing")
_NAME = re.compile(r"^[a-z][a-z0-9-]{1,40}$")
_UNITS = {"": 1.0, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True, slots=True)
class Addon:
    """One entry of the catalogue; see the head of ``catalogue.toml`` for the meaning of each field."""

    name: str
    purpose: str
    instead: str
    needs: tuple[str, ...] = ()
    runs_on: tuple[str, ...] = _CLUSTERS
    secrets: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    takes_over: str = ""
    stays: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Path of its Applications in the repository."""
        return f"{FOLDER}/{self.name}/application.yaml"

    @property
    def switch(self) -> str:
        """Path of the file whose presence means that it is on."""
        return f"{APPS}/addon-{self.name}.yaml"


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret that must be there before: only its name and the names of its keys are ever looked at."""

    namespace: str
    name: str
    keys: tuple[str, ...]

    def line(self) -> str:
        """Return its name and keys for a person."""
        return f"Secret {self.namespace}/{self.name}" + (f" with {joined(self.keys)}" if self.keys else "")


def parse(text: str) -> dict[str, Addon]:
    """Read the catalogue.

    Raises:
        InvalidInput: Not TOML, an unknown field, or a need that is not in it; names the entry.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{CATALOGUE} - no TOML: {error}") from error
    known = {field.name for field in fields(Addon)} - {"name"}
    found = {}
    for name, table in tables.items():
        wrong = sorted(table.keys() - known)
        if wrong or not _NAME.match(name) or not table.get("purpose") or not table.get("instead"):
            raise InvalidInput(f"{CATALOGUE} {name} - {joined(wrong, empty='purpose or instead absent')}")
        given: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in table.items()}
        found[name] = Addon(name, **given)
    for addon in found.values():
        unknown = [need for need in addon.needs if need not in found]
        if unknown:
            raise InvalidInput(f"{CATALOGUE} {addon.name} - needs {joined(unknown)}, expected names of the catalogue")
    return found


def one(catalogue: Mapping[str, Addon], name: str) -> Addon:
    """Return an add-on by name.

    Raises:
        InvalidInput: There is none of that name; names those there are.
    """
    if name not in catalogue:
        raise InvalidInput(
            f"add-on {name!r} - unknown, expected one of {joined(catalogue)}", hint="see apqx addon list"
        )
    return catalogue[name]


def secrets(addon: Addon) -> list[Secret]:
    """Return the Secrets that an add-on relies on and git does not hold."""
    found = []
    for text in addon.secrets:
        place, _, keys = text.partition(":")
        namespace, _, name = place.strip().partition("/")
        found.append(Secret(namespace, name, tuple(key.strip() for key in keys.split(",") if key.strip())))
    return found


def unsupported(addon: Addon, provider: str) -> str:
    """Say why a platform cannot have an add-on, an empty text when it can."""
    if provider in addon.runs_on:
        return ""
    return f"the {provider} platform runs no containers and fetches no charts"


def why_not_enable(addon: Addon, enabled: Iterable[str], missing: Iterable[Secret]) -> list[str]:
    """Return what is in the way of switching an add-on on, each with the next step."""
    on = set(enabled)
    found = [f"add-on {need} is off, it is needed; apqx addon enable {need}" for need in addon.needs if need not in on]
    return found + [f"{secret.line()} is absent; {command(secret)}" for secret in missing]


def command(secret: Secret) -> str:
    """Return how a person makes a Secret without its value in a command line."""
    keys = secret.keys or ("KEY",)
    given = " ".join(f"--from-file={key}=FILE" for key in keys)
    return f"kubectl create secret generic {secret.name} -n {secret.namespace} {given}"


def why_not_disable(
    addon: Addon, catalogue: Mapping[str, Addon], enabled: Iterable[str], ready: int | None
) -> list[str]:
    """Return what is in the way of switching an add-on off.

    Args:
        addon: Which.
        catalogue: All of them.
        enabled: Names that are on.
        ready: Ready pods of the Deployment it takes over; None when it takes none over, or there is no such Deployment.
    """
    users = [name for name in enabled if name in catalogue and addon.name in catalogue[name].needs]
    found = [f"add-on {name} needs it; apqx addon disable {name}" for name in users]
    if addon.takes_over and ready == 0:
        found.append(
            f"Deployment {addon.takes_over} has no ready pod, nobody would serve; "
            "commit scaleDown: never in its Rollout and scale the Deployment up (docs/addons.md)"
        )
    return found


def localised(text: str, *, url: str, branch: str) -> str:
    """Return an add-on's Applications for a platform whose repository has another address or branch."""
    lines = []
    after_ours = False
    for line in text.splitlines(keepends=True):
        if after_ours and line.strip() == f"targetRevision: {BRANCH}":
            line = line.replace(BRANCH, branch)
        after_ours = GITOPS_URL in line and "repoURL" in line
        lines.append(line.replace(GITOPS_URL, url))
    return "".join(lines)


def applications(documents: Iterable[Obj]) -> list[str]:
    """Return the names of the Applications (and ApplicationSets) of an add-on, in the order of their waves."""
    wanted = [obj for obj in documents if manifests.kind(obj) in ("Application", "ApplicationSet")]
    return [manifests.name(obj) for obj in sorted(wanted, key=manifests.sync_wave)]


def requests(documents: Iterable[Any]) -> tuple[float, float]:
    """Add up what an add-on asks for.

    Args:
        documents: Its Applications (values of charts) and its own manifests.

    Returns:
        Cores and bytes, for one replica of each part and one node; charts with more multiply it.
    """
    cores = size = 0.0
    for node in documents:
        more = _requests(node)
        cores, size = cores + more[0], size + more[1]
    return cores, size


def _requests(node: Any) -> tuple[float, float]:
    """Walk one document: ``requests: {cpu, memory}``, and the ``cpu: {request}`` of some charts."""
    if isinstance(node, list):
        return requests(node)
    if not isinstance(node, dict):
        return 0.0, 0.0
    if isinstance(node.get("requests"), dict):
        asked = node["requests"]
        return amount(asked.get("cpu", 0)), amount(asked.get("memory", 0))
    if isinstance(node.get("cpu"), dict) and "request" in node["cpu"]:
        return amount(node["cpu"]["request"]), amount((node.get("memory") or {}).get("request", 0))
    return requests(node.values())


def amount(quantity: str | float) -> float:
    """Read a quantity such as ``50m`` or ``128Mi``.

    Raises:
        InvalidInput: It is none.
    """
    text = str(quantity)
    if text.endswith("m"):
        return float(text[:-1]) / 1000
    match = re.fullmatch(r"([0-9.]+)(Ki|Mi|Gi|k|M|G|)", text)
    if match is None:
        raise InvalidInput(f"quantity {text!r} - not readable, expected a number such as 50m or 128Mi")
    return float(match[1]) * _UNITS[match[2]]
