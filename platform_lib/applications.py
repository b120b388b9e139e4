"""Which application is meant by a name? An entry of apqx.toml says how it differs from the convention; asks nobody.

The convention is that of the sample application: namespace, folder ``gitops/workloads/NAME`` and Application carry the
application's name. ``[apps.shop]`` with ``namespace``, ``host``, ``path``, ``deployment``, ``application`` or
``argocd_namespace`` says otherwise.
"""

from __future__ import annotations

import difflib
import re

from platform_lib.errors import InvalidInput
from platform_lib.model import App
from platform_lib.settings import Settings, settings

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def known(current: Settings | None = None) -> list[str]:
    """Return the names that need no guess: the sample application and the entries of apqx.toml."""
    current = current or settings()
    return sorted({App().name, *current.apps})


def named(name: str, current: Settings | None = None) -> App:
    """Return the application of a name, as its entry in apqx.toml describes it, else by the convention.

    Args:
        name: Name of the application.
        current: Settings in force.

    Raises:
        InvalidInput: No object of Kubernetes can have that name; names the applications that are known.

    Example:
        >>> named("shop").path
        'gitops/workloads/shop'
    """
    current = current or settings()
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"application {name!r} - not a name, expected lower-case letters, digits and '-'", hint=hint(name, current)
        )
    convention = App(name=name, namespace=name, path=f"gitops/workloads/{name}")
    entry = current.apps.get(name)
    if entry is None:
        return convention
    return App(
        name=name,
        namespace=entry.namespace or convention.namespace,
        host=entry.host or convention.host,
        path=entry.path or convention.path,
        deployment=entry.deployment,
        application=entry.application,
        argocd_namespace=entry.argocd_namespace,
    )


def hint(name: str, current: Settings | None = None) -> str:
    """Return which applications are known here, the closest first, for whoever wrote another name."""
    names = known(current)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    asked = f"did you mean {close[0]}? " if close and close[0] != name else ""
    return f"{asked}known here: {', '.join(names)}; others are described by [apps.NAME] in apqx.toml"
