"""In which form does the client want the answer, and in which form is its body? Media types only."""

from __future__ import annotations

from typing import Any, Literal

import orjson

from platform_lib.embedded import patching, refusals
from platform_lib.embedded.kinds import Kind
from platform_lib.model import Obj

Form = Literal["json", "table", "partial"]

JSON = "application/json"
YAML = ("application/yaml", "text/yaml", "application/x-yaml")
PROTOBUF = "application/vnd.kubernetes.protobuf"
_META_FORMS: dict[str, Form] = {
    "Table": "table",
    "PartialObjectMetadata": "partial",
    "PartialObjectMetadataList": "partial",
}


def media_type(text: str) -> tuple[str, dict[str, str]]:
    """Split a media type into its name and parameters."""
    name, *rest = (part.strip() for part in text.split(";"))
    pairs = (part.partition("=") for part in rest)
    return name.lower(), {key.strip(): value.strip() for key, _, value in pairs}


def wanted_form(accept: str) -> Form:
    """Return the first form in ``Accept`` that is served.

    Raises:
        ApiError: 406, the client takes none of them.
    """
    if not accept or accept in (JSON, "*/*"):
        return "json"
    for item in accept.split(","):
        name, options = media_type(item)
        if name not in (JSON, "*/*", "application/*"):
            continue
        asked = options.get("as")
        if asked is None:
            return "json"
        # The whole version must match: clients also offer v1beta1, which is another format.
        if asked in _META_FORMS and options.get("g") == "meta.k8s.io" and options.get("v") == "v1":
            return _META_FORMS[asked]
    raise refusals.other(406, "NotAcceptable", "only the following media types are accepted: application/json")


def accepts(accept: str, name: str, **options: str) -> bool:
    """Return whether ``Accept`` lists a media type with these parameters."""
    for item in accept.split(","):
        seen, have = media_type(item)
        if seen == name and all(have.get(key) == value for key, value in options.items()):
            return True
    return False


def read_body(raw: bytes, content_type: str, kind: Kind | None = None) -> Any:
    """Decode the body of a create, update or delete; an empty body is an empty object.

    A missing Content-Type means JSON: two widespread clients send none.

    Raises:
        Invalid: 400, the body is not what its type says, or no object.
        ApiError: 415, nobody reads that type.
    """
    if not raw:
        return {}
    name = media_type(content_type)[0]
    if name in ("", JSON, "application/octet-stream"):
        found = read_json(raw)
    elif name in YAML:
        found = read_yaml(raw)
    elif name == PROTOBUF:
        found = _read_protobuf(raw)
    else:
        raise patching.unsupported(name, (JSON, YAML[0], PROTOBUF))
    if not isinstance(found, dict):
        raise refusals.bad_request(f"the body must be one object, got {type(found).__name__}")
    return found


def read_patch(raw: bytes, content_type: str) -> tuple[Any, str]:
    """Decode the body of a patch; returns it with the kind of patch.

    Raises:
        Invalid: 400, malformed.
        ApiError: 415, unknown kind of patch.
    """
    name = media_type(content_type)[0]
    if name == patching.APPLY:
        return (read_json(raw) if raw[:1] == b"{" else read_yaml(raw)), name
    if name not in patching.TYPES:
        raise patching.unsupported(name)
    return read_json(raw), name


def read_json(raw: bytes) -> Any:
    """Decode JSON.

    Raises:
        Invalid: 400, with the place of the mistake.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise refusals.bad_request(f"the body is no valid JSON: {error}") from error


def read_yaml(raw: bytes) -> Any:
    """Decode YAML (only server-side apply and a few tools send it, so the parser is loaded on demand).

    Raises:
        Invalid: 400.
    """
    import yaml

    try:
        return yaml.load(raw, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe loaders
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise refusals.bad_request(f"the body is no valid YAML: {error}") from error


def _read_protobuf(raw: bytes) -> Obj:
    from platform_lib.embedded.protobuf import decode

    return decode(raw)


def partial(obj: Obj) -> Obj:
    """Return only the metadata of an object, as PartialObjectMetadata."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": obj["metadata"],
    }
