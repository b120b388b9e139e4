"""Which optional parts does a platform have, and where does each stand? Reading only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from platform_lib.errors import InvalidInput, SyncFailed
from platform_lib.model import Obj, Platform, _Table, joined
from platform_lib.rules import addons as rules
from platform_lib.rules import application, manifests
from platform_lib.rules.addons import Addon
from platform_lib.settings import settings
from platform_lib.wire.git import repository
from platform_lib.wire.kube import APPLICATIONS, connect

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Seen(_Table):
    """What is known of one add-on on one platform.

    Attributes:
        addon: Its entry of the catalogue.
        enabled: Whether git asks for it; None: no platform is up, so there is none to ask.
        unsupported: Why this platform cannot have it; empty when it can.
        applications: (name, where it stands) of each; empty while it is off.
        cores, memory_bytes: What it asks for, one replica of each part and one node.
    """

    addon: Addon
    enabled: bool | None
    unsupported: str
    applications: tuple[tuple[str, str], ...]
    cores: float
    memory_bytes: float

    @property
    def cost(self) -> str:
        """Return the requests for a person."""
        return f"{self.cores * 1000:.0f}m cpu, {self.memory_bytes / 2**20:.0f} Mi" if self.cores else "none"

    @property
    def state(self) -> str:
        """Return on, off, why not, or that nobody could be asked."""
        if self.enabled is None:
            return "unknown (no platform is up)"
        return "on" if self.enabled else f"not here: {self.unsupported}" if self.unsupported else "off"

    def rows(self) -> list[tuple[str, str]]:
        """Return purpose, state, cost and one row per Application."""
        rows = [(self.addon.name, self.state), ("purpose", self.addon.purpose), ("asks for", self.cost)]
        rows += [("instead", self.addon.instead)] if self.unsupported else []
        return rows + [(f"application {name}", seen) for name, seen in self.applications]


def catalogue() -> dict[str, Addon]:
    """Return every add-on the project knows.

    Raises:
        InvalidInput: The catalogue is absent or wrong.
    """
    path = settings().project_dir / rules.CATALOGUE
    if not path.is_file():
        raise InvalidInput(f"{rules.CATALOGUE} - absent, expected in the project", hint="set APQX_PROJECT_DIR")
    return rules.parse(path.read_text())


def look(platform: Platform | None) -> list[Seen]:
    """Return every add-on with what git and the cluster say of it; nothing is changed.

    Args:
        platform: Where to look; None: no platform is up, so only the catalogue and what each asks for is told.

    Raises:
        GitError, Unreachable: Git or the cluster cannot be asked.
    """
    known = catalogue()
    if platform is None:
        return [Seen(addon, None, "", (), *_asks_for(addon)) for addon in known.values()]
    with repository(platform).current() as tree:
        on = {name: documents(tree / addon.switch) for name, addon in known.items() if (tree / addon.switch).is_file()}
    live = {manifests.name(obj): obj for obj in connect(platform).list(APPLICATIONS, platform.argocd_namespace)[0]}
    return [_seen(platform, addon, on.get(addon.name), live) for addon in known.values()]


def _seen(platform: Platform, addon: Addon, documents: Sequence[Obj] | None, live: dict[str, Obj]) -> Seen:
    """Join the catalogue, the switch in git and the Applications of the cluster."""
    names = rules.applications(documents or [])
    said = tuple((name, application.describe(live[name]) if name in live else "not there yet") for name in names)
    unsupported = rules.unsupported(addon, platform.provider)
    return Seen(addon, documents is not None, unsupported, said, *_asks_for(addon))


def _asks_for(addon: Addon) -> tuple[float, float]:
    """Return cores and bytes that an add-on asks for."""
    return rules.requests(all_documents(settings().project_dir, addon))


def state(platform: Platform, *, addon: str) -> Seen:
    """Return one add-on with what git and the cluster say of it.

    Raises:
        InvalidInput: There is no such add-on.
    """
    rules.one(catalogue(), addon)
    return next(one for one in look(platform) if one.addon.name == addon)


def frame(platform: Platform) -> pd.DataFrame:
    """Return every add-on as a table.

    Returns:
        One row per add-on, index ``addon``; columns ``state``, ``asks for``, ``purpose`` (texts).
    """
    import pandas as pd

    rows = [(one.addon.name, one.state, one.cost, one.addon.purpose) for one in look(platform)]
    return pd.DataFrame(rows, columns=["addon", "state", "asks for", "purpose"]).set_index("addon")


def verify(platform: Platform, *, addon: str, enabled: bool) -> Seen:
    """Prove that the switch, and every Application of the add-on, is as wanted.

    Raises:
        SyncFailed: Something differs; says what was seen.
    """
    seen = state(platform, addon=addon)
    bad = [f"{name}: {text}" for name, text in seen.applications if "Healthy" not in text or "Synced" not in text]
    if seen.enabled is not enabled or (enabled and bad):
        wanted = "on and healthy" if enabled else "off"
        raise SyncFailed(f"add-on {addon} - {seen.state} {joined(bad, empty='')}, expected {wanted}", app=addon)
    return seen


def documents(path: Path) -> list[Obj]:
    """Return the objects of one file."""
    return manifests.parse_manifests(path.read_text(), path.name)


def all_documents(root: Path, addon: Addon) -> list[Obj]:
    """Return the objects of an add-on's own folder."""
    paths = sorted((root / rules.FOLDER / addon.name).rglob("*.yaml"))
    return [obj for path in paths if path.name != "kustomization.yaml" for obj in documents(path)]
