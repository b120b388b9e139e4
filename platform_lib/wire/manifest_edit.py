"""How is a version written into a manifest? By a round trip that keeps comments, order and quotes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from platform_lib.errors import InvalidInput, ManifestError
from platform_lib.rules.manifests import VERSION_LABEL

_DIGEST = re.compile(r"^[^\s@]+@sha256:[0-9a-f]{64}$")
_VERSION = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
DIGEST_VARIABLE = "IMAGE_DIGEST"


def check_release(image: str, version: str) -> None:
    """Refuse an image that is not named by digest, and a version that cannot be a label.

    Raises:
        InvalidInput: With what was given and what is wanted.
    """
    if not _DIGEST.match(image):
        raise InvalidInput(
            f"image {image!r} - expected name@sha256:<64 hex digits>, because a tag can move",
            hint="build it with apqx image build and use the reference it prints",
        )
    if not _VERSION.match(version):
        raise InvalidInput(
            f"version {version!r} - expected 1 to 63 letters, digits, '.', '_' or '-', as in a label",
            hint="choose another version name",
        )


def set_release(text: str, *, image: str, version: str, env: Mapping[str, str | None] | None = None) -> str:
    """Return the text of a Deployment with another release in it.

    Args:
        text: YAML of one or more documents; the first Deployment is changed.
        image: Reference by digest for its first container.
        version: Version label of its pods, and of the Deployment where it carries one.
        env: Environment variables to set; None as a value removes the variable.

    Raises:
        ManifestError: There is no Deployment with a container in the text, or it is not YAML.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 4096
    offset = 2 if re.search(r"^( *)[\w./-]+:[ \t]*(#.*)?\n\1  +- ", text, re.MULTILINE) else 0
    yaml.indent(mapping=2, sequence=offset + 2, offset=offset)
    yaml.explicit_start = text.lstrip().startswith("---")  # type: ignore[assignment]
    try:
        documents = list(yaml.load_all(text))
    except YAMLError as error:
        raise ManifestError(f"deployment.yaml - not YAML: {error}", hint="correct it and run again") from error
    _change(_deployment(documents), image, version, env or {})
    out = StringIO()
    yaml.dump_all(documents, out)
    return out.getvalue()


def write_release(path: Path, *, image: str, version: str, env: Mapping[str, str | None] | None = None) -> bool:
    """Write a release into a manifest file; return whether the file changed."""
    try:
        before = path.read_text()
    except FileNotFoundError as error:
        raise ManifestError(
            f"{path.name} - absent in the GitOps repository, expected a Deployment",
            hint="push the desired state first",
            path=str(path.name),
        ) from error
    after = set_release(before, image=image, version=version, env=env)
    if after != before:
        path.write_text(after)
    return after != before


def _deployment(documents: list[Any]) -> Any:
    """Return the first Deployment that has a container."""
    for document in documents:
        if isinstance(document, Mapping) and document.get("kind") == "Deployment":
            spec = ((document.get("spec") or {}).get("template") or {}).get("spec") or {}
            if spec.get("containers"):
                return document
    raise ManifestError(
        "deployment.yaml - no Deployment with a container, one was expected",
        hint="correct it in the GitOps repository",
    )


def _change(deployment: Any, image: str, version: str, env: Mapping[str, str | None]) -> None:
    """Write image, version and variables into a loaded Deployment."""
    template = deployment["spec"]["template"]
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    _set(labels, VERSION_LABEL, version)
    own = (deployment.get("metadata") or {}).get("labels") or {}
    if VERSION_LABEL in own:
        _set(own, VERSION_LABEL, version)
    container = template["spec"]["containers"][0]
    container["image"] = image
    variables = dict(env)
    if any(item.get("name") == DIGEST_VARIABLE for item in container.get("env") or []):
        variables[DIGEST_VARIABLE] = image.partition("@")[2]
    _change_env(container, variables)


def _set(mapping: Any, key: str, text: str) -> None:
    """Set a text and keep the quoting of the one it replaces; the writer quotes what would read as a number."""
    from ruamel.yaml.scalarstring import ScalarString

    old = mapping.get(key)
    if isinstance(old, str) and old == text:
        return
    mapping[key] = type(old)(text) if isinstance(old, ScalarString) else text


def _change_env(container: Any, variables: Mapping[str, str | None]) -> None:
    """Set, add and remove environment variables; the others stay where they are."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    if not variables:
        return
    entries = container.setdefault("env", [])
    position = {str(item.get("name")): index for index, item in enumerate(entries)}
    for name, value in variables.items():
        if value is not None and name in position:
            entry = entries[position[name]]
            entry.pop("valueFrom", None)
            _set(entry, "value", str(value))
        elif value is not None:
            entries.append({"name": name, "value": DoubleQuotedScalarString(str(value))})
    gone = {name for name, value in variables.items() if value is None}
    for index in sorted((position[name] for name in gone if name in position), reverse=True):
        del entries[index]
