"""How is an objective written down, and what is generated from it? Sloth's ``prometheus/v1`` files in ``gitops/slo``.

A file that Sloth reads is read here and the other way round. Three labels of an objective, all optional, say
what Sloth has no word for: ``apqx_time_scale`` (windows so many times shorter: for drills),
``apqx_min_bad_events`` (the guard for low traffic; not written into the rules) and ``apqx_period_days``.

Source: github.com/slok/sloth, pkg/prometheus/api/v1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from platform_lib.errors import InvalidInput
from platform_lib.rules import slorules
from platform_lib.rules.slo import MIN_BAD_EVENTS, Objective
from platform_lib.settings import settings

VERSION = "prometheus/v1"
SPECS, MANIFEST = "gitops/slo", "gitops/platform/monitoring/prometheus-slo-rules.yaml"
WINDOW = "{{.window}}"
_HEADER = f"""\
# Generated from {SPECS} by `apqx slo rules --write`; a test compares them. Do not edit.
# yamllint disable rule:line-length
"""
_TOP = {"version", "service", "labels", "slos", "slo_plugins"}
_SLO = {"name", "description", "objective", "labels", "sli", "alerting", "plugins"}
_OWN = ("apqx_time_scale", "apqx_min_bad_events", "apqx_period_days")


def load(folder: Path | None = None) -> dict[str, Objective]:
    """Return the objectives of a folder by identity (``service-name``).

    Args:
        folder: With specification files; default ``gitops/slo`` of the project.

    Raises:
        InvalidInput: A file cannot be used, or two objectives have the same identity.
    """
    found: dict[str, Objective] = {}
    for objectives in _files(folder).values():
        for objective in objectives:
            if objective.uid in found:
                raise InvalidInput(f"objective {objective.uid} - defined twice, once expected", hint="rename one")
            found[objective.uid] = objective
    return found


def one(name: str, folder: Path | None = None) -> Objective:
    """Return the objective of that identity.

    Raises:
        InvalidInput: There is none; names those there are.
    """
    known = load(folder)
    if name not in known:
        raise InvalidInput(f"objective {name!r} - not among {', '.join(known) or 'none'}", hint="see apqx slo status")
    return known[name]


def _files(folder: Path | None) -> dict[str, list[Objective]]:
    """Return the objectives by file."""
    place = folder or settings().project_dir / SPECS
    return {path.stem: parse(path.read_text(), source=path.name) for path in sorted(place.glob("*.y*ml"))}


def parse(text: str, *, source: str = "specification") -> list[Objective]:
    """Read one specification.

    Args:
        text: YAML.
        source: Named in messages.

    Raises:
        InvalidInput: Says what is wrong and where.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInput(f"{source} - no YAML: {error}", hint="correct the file") from error
    if not isinstance(document, dict) or document.get("version") != VERSION:
        seen = document.get("version") if isinstance(document, dict) else type(document).__name__
        raise InvalidInput(f"{source} - version {seen!r}, expected {VERSION!r}", hint="see gitops/slo")
    _known(document, _TOP, source)
    service = _text(document, "service", source)
    return [_objective(entry, service, document.get("labels") or {}, source) for entry in document.get("slos") or ()]


def _objective(entry: Mapping[str, Any], service: str, shared: Mapping[str, Any], source: str) -> Objective:
    """Read one objective."""
    name = _text(entry, "name", source)
    where = f"{source}, {name}"
    _known(entry, _SLO, where)
    percent = entry.get("objective")
    if not isinstance(percent, (int, float)) or not 0 < percent < 100:
        raise InvalidInput(f"{where} - objective {percent!r}, expected per cent between 0 and 100", hint="99.9")
    bad, total = _queries(entry.get("sli") or {}, where)
    labels = {str(key): str(value) for key, value in {**shared, **(entry.get("labels") or {})}.items()}
    own = {key: _number(labels.pop(key), key, where) for key in _OWN if key in labels}
    edges = re.findall(r'\ble="([^"]+)"', bad)
    alerting = entry.get("alerting") or {}
    return Objective(
        service=service,
        name=name,
        percent=float(percent),
        error_query=bad,
        total_query=total,
        kind="latency" if edges else "availability",
        threshold_s=_number(edges[0], "le", where) if edges else None,
        period_days=own.get("apqx_period_days", 30.0),
        time_scale=own.get("apqx_time_scale", 1.0),
        min_bad_events=own.get("apqx_min_bad_events", MIN_BAD_EVENTS),
        alert=_text(alerting, "name", where),
        labels=_pairs(labels),
        alert_labels=_pairs(alerting.get("labels")),
        page_labels=_pairs((alerting.get("page_alert") or {}).get("labels")),
        ticket_labels=_pairs((alerting.get("ticket_alert") or {}).get("labels")),
        annotations=_pairs(alerting.get("annotations")),
        description=str(entry.get("description") or ""),
    )


def _queries(sli: Mapping[str, Any], where: str) -> tuple[str, str]:
    """Return the queries of bad and of all events."""
    events = sli.get("events")
    if not isinstance(events, Mapping):
        kinds = ", ".join(sli) or "nothing"
        raise InvalidInput(
            f"{where} - sli has {kinds}, events with error_query and total_query are needed",
            hint="a bare ratio does not tell how many events it stands for",
        )
    queries = _text(events, "error_query", where), _text(events, "total_query", where)
    for query in queries:
        if WINDOW not in query:
            raise InvalidInput(f"{where} - query without {WINDOW}: {query[:60]}", hint=f"use [{WINDOW}] as the range")
    return queries


def rule_files(folder: Path | None = None) -> dict[str, str]:
    """Return the generated rule files by name (``slo-<specification>.rules.yml``).

    Raises:
        InvalidInput: A specification cannot be used, or one of its alerts could never fire.
    """
    return {f"slo-{stem}.rules.yml": _rules_text(objectives) for stem, objectives in _files(folder).items()}


def rules_manifest(folder: Path | None = None) -> str:
    """Return the ConfigMap with all generated rules, as it is committed."""
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "prometheus-slo-rules",
            "namespace": "monitoring",
            "labels": {"app.kubernetes.io/name": "prometheus", "app.kubernetes.io/part-of": "apqx"},
        },
        "data": rule_files(folder),
    }
    return f"{_HEADER}{dump(body)}"


def _rules_text(objectives: Iterable[Objective]) -> str:
    """Return one rule file."""
    return dump({"groups": [group for objective in objectives for group in slorules.groups(objective)]})


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and lists indented as yamllint wants them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block)


def dump(document: Any) -> str:
    """Write YAML that is the same every time."""
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True))


def _known(entry: Mapping[str, Any], names: set[str], where: str) -> None:
    """Refuse keys that nobody reads: a misspelt one would silently do nothing."""
    odd = sorted(set(entry) - names)
    if odd:
        raise InvalidInput(
            f"{where} - unknown key {', '.join(odd)}, known: {', '.join(sorted(names))}", hint="spelling?"
        )
    for key in ("plugins", "slo_plugins"):
        if entry.get(key):
            raise InvalidInput(f"{where} - {key} are programs of Sloth and cannot run here", hint="leave them out")


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{where} - {key} is {value!r}, a text was expected", hint="see gitops/slo")
    return value


def _number(text: str, key: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInput(f"{where} - {key} is {text!r}, a number was expected", hint="see gitops/slo") from None


def _pairs(entries: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    return tuple((str(key), str(value)) for key, value in (entries or {}).items())
