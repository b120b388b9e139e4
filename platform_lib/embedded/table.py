"""How does a list look in ``kubectl get``? Builds the Table answer; the columns of each kind are in ``columns``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from platform_lib.embedded.columns import COLUMNS, Column, default_columns
from platform_lib.embedded.duration import age
from platform_lib.embedded.kinds import Kind
from platform_lib.model import Obj


def table(
    kind: Kind,
    objects: Iterable[Obj],
    *,
    metadata: Obj,
    include_object: str = "Metadata",
    now: datetime | None = None,
) -> Obj:
    """Return objects as a ``meta.k8s.io/v1`` Table.

    Args:
        kind: Kind of the objects.
        objects: Rows, in order.
        metadata: ``metadata`` of the list (resourceVersion, continue).
        include_object: What each row carries of its object: ``Metadata``, ``Object`` or ``None``.
        now: Moment that ages count to; the present by default.

    Returns:
        The Table; columns with priority 1 are shown by ``-o wide`` only.
    """
    moment = now or datetime.now(UTC)
    columns = _custom_columns(kind) if kind.columns else COLUMNS.get(kind.gvr) or default_columns()
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [_definition(column) for column in columns],
        "rows": [_row(columns, obj, include_object, moment) for obj in objects],
    }


def _definition(column: Column) -> Obj:
    return {
        "name": column.name,
        "type": column.type,
        "format": "name" if column.name == "Name" else "",
        "description": column.description,
        "priority": column.priority,
    }


def _row(columns: Iterable[Column], obj: Obj, include_object: str, now: datetime) -> Obj:
    row: Obj = {"cells": [column.cell(obj, now) for column in columns]}
    if include_object == "Object":
        row["object"] = obj
    elif include_object != "None":
        row["object"] = {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": obj["metadata"],
        }
    return row


def _custom_columns(kind: Kind) -> list[Column]:
    """Columns that a CRD declares (additionalPrinterColumns), after the name."""
    return [
        default_columns()[0],
        *(Column(name, _path_cell(path, type_), type_, priority) for name, type_, path, priority in kind.columns),
    ]


def _path_cell(path: str, type_: str) -> Any:
    """Read a simple JSON path (``.status.sync.status``, ``.items[0].name``, ``['a.b']``)."""
    steps = [name.replace("\\", "") or quoted or int(index) for name, quoted, index in _STEP.findall(path)]

    def cell(obj: Obj, now: datetime) -> Any:
        value: Any = obj
        for step in steps:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        if type_ == "date":
            return age(value, now)
        return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)

    return cell


_STEP = re.compile(r"\.((?:\\.|[^.\[\\])+)|\[['\"](.+?)['\"]\]|\[(\d+)\]")
