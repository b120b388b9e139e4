"""How does a cluster come and go? One class per provider; the operations cannot tell which they got.

``of(platform)`` gives the provider that brought a platform up, for those who have to break or rebuild it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from platform_lib.errors import InvalidInput

if TYPE_CHECKING:
    from platform_lib.model import Platform
    from platform_lib.providers.embedded import Embedded

NAMES = ("embedded",)
"""Providers that exist; a k3d cluster and an existing cluster are still to come."""


def named(name: str) -> Embedded:
    """Return a provider with the settings in force.

    Raises:
        InvalidInput: There is no such provider; names those that exist.
    """
    if name not in NAMES:
        raise InvalidInput(
            f"provider {name!r} - not available, expected one of: {', '.join(NAMES)}",
            hint="run with --provider embedded",
        )
    from platform_lib.providers.embedded import Embedded
    from platform_lib.settings import settings

    return Embedded(settings())


def of(platform: Platform) -> Embedded:
    """Return the provider that brought this platform up."""
    from platform_lib.settings import settings

    found = named(platform.provider)
    if found.settings.home != platform.home:
        from platform_lib.providers.embedded import Embedded

        found = Embedded(settings(home=platform.home))
    return found
