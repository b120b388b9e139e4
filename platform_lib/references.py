"""How is a secret handed to a runbook without being written anywhere? As a reference that is resolved at use.

``env:NAME`` is a variable of the environment, ``file:/path`` a file, ``k8s:namespace/name/key`` a Secret of the
cluster. The reference is a parameter like any other and is kept as evidence; its value never is.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from pydantic import GetCoreSchemaHandler, SecretStr
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from platform_lib.errors import InvalidInput
from platform_lib.model import Platform
from platform_lib.redact import of_process
from platform_lib.wire import secretvalue

FORMS = "env:NAME, file:/path or k8s:namespace/name/key"
_PATTERN = re.compile(
    r"env:[A-Za-z_][A-Za-z0-9_]*|file:/.+|k8s:[a-z0-9.-]+/[a-z0-9.-]+/[-._a-zA-Z0-9]+|"  # the last one: none given
)


class SecretRef(str):
    """A reference to a secret; as a parameter's type it refuses plain values, without repeating them.

    Example:
        >>> SecretRef("env:REGISTRY_TOKEN")
        'env:REGISTRY_TOKEN'
    """

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Accept a text of one of the three forms, or an empty one."""
        return core_schema.no_info_plain_validator_function(
            cls._checked, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def _checked(cls, value: Any) -> SecretRef:
        """Refuse a plain value; the error does not carry it."""
        if isinstance(value, str) and _PATTERN.fullmatch(value):
            return cls(value)
        raise PydanticCustomError("secret_reference", f"a plain value is refused, wanted a reference: {FORMS}")

    def resolve(self, platform: Platform | None = None) -> SecretStr:
        """Return the secret's value, wrapped so that printing it shows nothing.

        Args:
            platform: Needed for ``k8s:`` references.

        Raises:
            InvalidInput: The reference leads nowhere; names the reference, never a value.
        """
        kind, _, rest = self.partition(":")
        if kind != "k8s":
            return SecretStr(secretvalue.resolve(str(self)))
        found = _from_cluster(rest, platform)
        if not found:
            raise InvalidInput(
                f"secret {str(self)!r} - not found or empty, wanted a value there", hint=f"references are {FORMS}"
            )
        of_process().add(found)
        return SecretStr(found)


def _from_cluster(rest: str, platform: Platform | None) -> str | None:
    """Read one key of a Secret; None when there is none."""
    from platform_lib.wire import kube

    parts = rest.split("/")
    if platform is None or len(parts) != 3:
        return None
    namespace, name, key = parts
    found = kube.connect(platform).find("v1/secrets", name, namespace)
    encoded = ((found or {}).get("data") or {}).get(key)
    return base64.b64decode(encoded).decode("utf-8", "replace").rstrip("\n") if encoded else None
