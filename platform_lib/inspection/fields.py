"""How is a difference between git and the cluster told? Values with their tables: field, object, whole diff."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from platform_lib.model import Obj, _Table
from platform_lib.redact import of_process
from platform_lib.rules import diffing, falsediff, manifests, ownership
from platform_lib.rules.diffing import ABSENT, Difference

_SHOWN = 160
"""Longer values are cut in the table; JSON keeps them whole."""
_SECRET_WORDS = ("token", "password", "passwd", "secret", "credential", "private_key", "api_key", "apikey")


@dataclass(frozen=True, slots=True)
class Field(_Table):
    """One differing field.

    Attributes:
        path: ``.spec.template.spec.containers[name=web].image``.
        live, wanted: Values as text; ``absent`` where it is not set, masked in a Secret.
        managers: Who manages the live field, the newest first.
        cause: ``drift``, ``controller``, ``change`` or ``false``; see ``rules.falsediff``.
        why: The cause in words, with the next step.
        ignore: ``ignoreDifferences`` entry where ignoring makes sense.
        ignored_by: Rule of the Application that leaves the field out already.
    """

    path: str
    live: str
    wanted: str
    managers: tuple[str, ...]
    cause: str
    why: str
    ignore: dict[str, Any] | None = None
    ignored_by: str = ""

    @property
    def counts(self) -> bool:
        """Whether a sync would change it."""
        return self.cause != "false" and not self.ignored_by


@dataclass(frozen=True, slots=True)
class ObjectDiff(_Table):
    """One object that differs.

    Attributes:
        object: ``apps/Deployment/web``.
        change: ``create``, ``change``, ``prune``, ``keep`` (would be pruned but may not) or ``refused``.
        note: Why, for objects that are not compared field by field.
        fields: The differing fields.
        argocd: What Argo CD itself says of the object: ``Synced``, ``OutOfSync`` or empty.
    """

    object: str
    namespace: str
    change: str
    note: str = ""
    fields: tuple[Field, ...] = ()
    argocd: str = ""

    @property
    def counts(self) -> bool:
        """Whether a sync would do something about it."""
        return self.change != "change" or any(field.counts for field in self.fields)


@dataclass(frozen=True, slots=True)
class Diff(_Table):
    """Every difference between a revision and what runs.

    Attributes:
        revision: Commit that was rendered.
        compared: Objects that were compared.
        objects: Those that differ, also where the difference is false or ignored.
        hooks: Hooks that a sync of this revision runs, and a rollback by history does not.
        notes: What was left out of the comparison, and warnings.
    """

    app: str
    revision: str
    compared: int
    objects: tuple[ObjectDiff, ...]
    hooks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether a sync would do anything."""
        return any(one.counts for one in self.objects)

    def rows(self) -> list[tuple[str, str]]:
        """Return a summary, then one block per object: live, wanted, manager, cause, and what to ignore."""
        real = [one for one in self.objects if one.counts]
        counted = ", ".join(f"{sum(o.change == c for o in real)} to {c}" for c in _CHANGES if _any(real, c))
        said = f"{counted or 'no difference'} ({self.compared} objects compared)"
        rows = [(f"{self.app} at {self.revision[:7]}", said)]
        for one in self.objects:
            rows += list(_rows_of(one))
        rows += [("hook", f"{hook}: a sync runs it, a rollback by history does not") for hook in self.hooks]
        return rows + [("note", note) for note in self.notes]


_CHANGES = ("create", "change", "prune", "keep", "refused")


def _any(objects: list[ObjectDiff], change: str) -> bool:
    """Whether an object has a kind of change."""
    return any(one.change == change for one in objects)


def _rows_of(one: ObjectDiff) -> Iterator[tuple[str, str]]:
    """Return the rows of one object."""
    title = f"{one.object} in {one.namespace}" if one.namespace else one.object
    yield one.change if one.counts else "no effect", f"{title}{': ' + one.note if one.note else ''}"
    for field in one.fields:
        mark = "" if field.counts else " (ignored)" if field.ignored_by else " (false)"
        yield f"  field{mark}", field.path
        yield "    live -> git", f"{_cut(field.live)} -> {_cut(field.wanted)}"
        if field.managers:
            yield "    managed by", ", ".join(field.managers)
        yield "    why", (field.ignored_by and f"ignored by {field.ignored_by}") or field.why
        if field.ignore is not None and not field.ignored_by:
            yield "    ignoreDifferences", json.dumps(field.ignore)


def _cut(text: str) -> str:
    """Shorten a value for the table."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def field_of(
    key: manifests.ObjectKey, found: Difference, live: Obj, rules: list[dict[str, Any]], *, changes: bool
) -> Field:
    """Describe one differing field of a live object; values of Secrets are hidden.

    Args:
        key: The object.
        found: The difference.
        live: The object with its ``managedFields``.
        rules: ``ignoreDifferences`` that are about it.
        changes: Whether a sync would change the field.
    """
    owners = ownership.owners_of(live, found.path)
    cause = falsediff.cause_of(key, found, owners, changes=changes)
    hidden = (key.kind == "Secret" and key.group == "" and found.path[:1] == ("data",)) or _secret_value(found.path)
    managers = tuple(str(owner) for owner in owners)
    if not managers and not ownership.tracked(live):
        managers = ("unknown: the object has no managedFields",)
    return Field(
        ownership.shown(found.path),
        _text(found.live, "(hidden)" if hidden else ""),
        _text(found.wanted, "(hidden, another value)" if hidden else ""),
        managers,
        cause.kind,
        cause.text,
        cause.ignore,
        diffing.ignored_by(found, rules, owners),
    )


def _text(value: Any, mask: str) -> str:
    """Write a value as JSON, without secrets."""
    if value is ABSENT:
        return "absent"
    return mask or of_process().scrub(json.dumps(_masked(value), default=str, ensure_ascii=False))


def _secret_value(path: ownership.Path) -> bool:
    """Tell whether a path leads to the value of an environment variable whose name speaks of a secret."""
    named = path[-2:-1]
    item = named[0] if named and isinstance(named[0], ownership.Item) else None
    return path[-1:] == ("value",) and item is not None and _speaks_of_a_secret(dict(item.key).get("name"))


def _masked(value: Any) -> Any:
    """Return a value in which environment variables that speak of a secret have none."""
    if isinstance(value, dict):
        hide = "value" in value and _speaks_of_a_secret(value.get("name"))
        return {name: "(hidden)" if hide and name == "value" else _masked(item) for name, item in value.items()}
    return [_masked(item) for item in value] if isinstance(value, list) else value


def _speaks_of_a_secret(name: Any) -> bool:
    """Tell whether a name speaks of a secret."""
    return any(word in str(name or "").lower() for word in _SECRET_WORDS)
