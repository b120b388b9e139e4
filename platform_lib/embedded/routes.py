"""Which resource does a URL mean? Pure parsing of the paths of the Kubernetes API."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names: a resource, perhaps one object of it, perhaps something below that object."""

    gvr: str
    namespace: str = ""
    name: str = ""
    sub: str = ""

    @property
    def group(self) -> str:
        """API group; empty for the core group."""
        parts = self.gvr.split("/")
        return parts[0] if len(parts) == 3 else ""

    @property
    def plural(self) -> str:
        """Resource name."""
        return self.gvr.rsplit("/", 1)[1]


def parse(path: str) -> Target | None:
    """Return what a path names, or None for paths that name no resource.

    Args:
        path: Raw path, percent-encoded, without the query.

    Example:
        >>> parse("/apis/apps/v1/namespaces/shop/deployments/web/scale").sub
        'scale'
    """
    parts = [unquote(part) for part in path.split("/")[1:]]
    if parts and not parts[-1]:
        parts.pop()
    if parts[:1] == ["api"] and len(parts) >= 3:
        return _resource(parts[1], parts[2:])
    if parts[:1] == ["apis"] and len(parts) >= 4:
        return _resource(f"{parts[1]}/{parts[2]}", parts[3:])
    return None


def _resource(group_version: str, rest: list[str]) -> Target | None:
    """Read what follows the group and version."""
    if rest[0] != "namespaces" or len(rest) < 3 or rest[2] in ("status", "finalize"):
        return _object(group_version, "", rest)
    return _object(group_version, rest[1], rest[2:])


def _object(group_version: str, namespace: str, rest: list[str]) -> Target | None:
    """Read ``plural[/name[/subresource]]``."""
    if not all(rest) or len(rest) > 3:
        return None
    name = rest[1] if len(rest) > 1 else ""
    sub = rest[2] if len(rest) > 2 else ""
    return Target(f"{group_version}/{rest[0]}", namespace, name, sub)
