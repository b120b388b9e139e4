"""How does a cluster come and go? One class per provider; the operations cannot tell which they got.

``named`` gives a provider by its name, ``chosen`` the one that is in force for ``up``, ``recorded`` the one that the
state folder knows, and ``of(platform)`` the one that brought a platform up, for those who have to break or rebuild it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from platform_lib.errors import InvalidInput, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from platform_lib.model import Platform
    from platform_lib.providers.base import Provider
    from platform_lib.settings import Settings

NAMES = ("embedded", "k3d", "existing")
"""Providers that exist."""


def named(name: str) -> Provider:
    """Return a provider with the settings in force.

    Raises:
        InvalidInput: There is no such provider; names those that exist.
    """
    from platform_lib.settings import settings

    return _made(name, settings())


def chosen(name: str | None = None, *, context: str = "", write: bool = False, install: Iterable[str] = ()) -> Provider:
    """Return the provider in force for ``up``: the one named, else the setting, else what is up, else embedded.

    Args:
        name: What the caller asked for; empty or None when it left that open.
        context: Context of an existing cluster; empty: the setting, else the kubeconfig's current one.
        write: Let an existing cluster be changed.
        install: What to install on an existing cluster where it is missing.

    Raises:
        InvalidInput: There is no such provider, or an option that only an existing cluster has was given to another.
    """
    from platform_lib.settings import settings

    current = settings()
    wanted = name or (current.provider if "provider" in current.model_fields_set else "")
    if not (context or write or tuple(install)):
        return _made(wanted, current) if wanted else recorded()
    if wanted != "existing":
        raise InvalidInput(
            f"provider {wanted or 'embedded'!r} - was given context, write or install, expected provider existing",
            hint="add --provider existing",
        )
    from platform_lib.providers.existing import Existing

    told = {"context": context or current.context, "existing_write": write or current.existing_write}
    return Existing(settings(provider="existing", **told), install=tuple(install))


def recorded() -> Provider:
    """Return the provider that the state folder knows, else the one of the settings."""
    from platform_lib.providers import state
    from platform_lib.settings import settings

    current = settings()
    try:
        return of(state.read_endpoints(current.home))
    except Unreachable:
        begun = state.Layout(current.home).k3d_config.exists()  # an ``up`` that was killed wrote no endpoints
        return _made("k3d" if begun else current.provider, current)


def of(platform: Platform) -> Provider:
    """Return the provider that brought this platform up."""
    from platform_lib.settings import settings

    current = settings()
    if current.home != platform.home:
        current = settings(home=platform.home)
    if platform.provider == "k3d" and current.cluster_name != platform.name:
        current = settings(home=platform.home, cluster_name=platform.name)
    return _made(platform.provider, current)


def _made(name: str, current: Settings) -> Provider:
    """Make a provider; its module is loaded only now."""
    if name == "embedded":
        from platform_lib.providers.embedded import Embedded

        return Embedded(current)
    if name == "k3d":
        from platform_lib.providers.k3d import K3d

        return K3d(current)
    if name == "existing":
        from platform_lib.providers.existing import Existing

        return Existing(current)
    raise InvalidInput(
        f"provider {name!r} - not available, expected one of: {', '.join(NAMES)}",
        hint="run with --provider embedded",
    )
