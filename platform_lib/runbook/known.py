"""Which secret values could appear in a run's outputs? They are kept in memory only, to be taken out again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from platform_lib.errors import PlatformError
from platform_lib.model import Platform
from platform_lib.parameters import Parameters
from platform_lib.redact import MIN_VARIABLE, Secrets
from platform_lib.references import SecretRef
from platform_lib.runbook.folder import target
from platform_lib.settings import secret_values

_KEYS = ("token", "password", "client-key-data")


class Known(Secrets):
    """The secrets of one run: its references, the platform's credentials, and telling variables of the shell."""

    def __init__(self, values: Parameters) -> None:
        super().__init__()
        self._parameters = values
        self.learn()

    def learn(self) -> None:
        """Look again: credentials change when a cluster is rebuilt, and a Secret may be rotated."""
        platform = target()
        self.add(*(text for text in secret_values() if len(text) >= MIN_VARIABLE))
        self.add(*_credentials(platform))
        for _, value in self._parameters:
            if isinstance(value, SecretRef) and value:
                with contextlib.suppress(PlatformError):
                    self.add(value.resolve(platform).get_secret_value())

    def folder(self, folder: Path) -> list[str]:
        """Scrub a folder, with what is known by now."""
        self.learn()
        return super().folder(folder)


def _credentials(platform: Platform) -> Iterator[str]:
    """Yield the secrets in the platform's kubeconfig and, for one of ours, its tokens and private keys."""
    try:
        text = platform.kubeconfig.read_text()
    except OSError:
        return
    import yaml

    yield from _secret_fields(yaml.safe_load(text))
    cluster = platform.home / "cluster"
    for path in (*cluster.glob("tokens/*"), *cluster.rglob("*.key")):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            yield path.read_text()


def _secret_fields(value: Any) -> Iterator[str]:
    """Yield the texts under keys that hold credentials."""
    if isinstance(value, list):
        for item in value:
            yield from _secret_fields(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in _KEYS and isinstance(item, str):
                yield item
            else:
                yield from _secret_fields(item)
