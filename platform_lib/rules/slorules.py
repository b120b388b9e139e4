"""Which Prometheus rules does an objective become? Pure: an objective in, rule groups out.

Record names, labels, expressions and group names are those that Sloth generates from the same specification,
so its dashboards and everybody's queries work. What is added is the guard for low traffic: the bad events of
each long window are recorded, and an alert needs enough of them. Without the guard nothing differs.

Source: Sloth's generated examples; The Site Reliability Workbook, chapter 5.
"""

from __future__ import annotations

from typing import Any

from platform_lib.rules.slo import DAY_S, Objective, Rule, duration, rules_of

RATIO, EVENTS = "slo:sli_error:ratio_rate", "slo:bad_events:increase"
Group = dict[str, Any]
_WINDOW = "{{.window}}"


def groups(objective: Objective) -> list[Group]:
    """Return the rule groups of an objective.

    Raises:
        InvalidInput: A rule could never fire.
    """
    four = rules_of(objective)
    found = [
        _group("sloth-slo-sli-recordings", objective, _ratios(objective, four)),
        _group("sloth-slo-meta-recordings", objective, _meta(objective, four)),
    ]
    if objective.min_bad_events > 0:
        found.append(_group("apqx-slo-bad-events", objective, _events(objective, four)))
    return [*found, _group("sloth-slo-alerts", objective, _alerts(objective, four))]


def windows(four: tuple[Rule, ...]) -> list[float]:
    """Return every window of the rules in seconds, each once, shortest first."""
    return sorted({seconds for rule in four for seconds in (rule.short_s, rule.long_s)})


def _group(prefix: str, objective: Objective, rules: list[dict[str, Any]]) -> Group:
    return {"name": f"{prefix}-{objective.uid}", "rules": rules}


def _identity(objective: Objective) -> dict[str, str]:
    """Return the three labels by which everything finds an objective."""
    return {"sloth_id": objective.uid, "sloth_service": objective.service, "sloth_slo": objective.name}


def selector(objective: Objective) -> str:
    """Return the identity as a label selector."""
    return "{" + ", ".join(f'{name}="{value}"' for name, value in _identity(objective).items()) + "}"


def _labels(objective: Objective, **more: str) -> dict[str, str]:
    """Return the labels of a recorded series, sorted by name."""
    scale = {"apqx_time_scale": f"{objective.time_scale:g}"} if objective.time_scale != 1 else {}
    return dict(sorted((dict(objective.labels) | scale | _identity(objective) | more).items()))


def _ratios(objective: Objective, four: tuple[Rule, ...]) -> list[dict[str, Any]]:
    """Return the error ratio of every window, and of the whole period."""
    found = [
        _record(f"{RATIO}{name}", ratio_expression(objective, seconds), _labels(objective, sloth_window=name))
        for seconds in windows(four)
        for name in [duration(seconds)]
    ]
    short, period = f"{RATIO}{duration(four[0].short_s)}{selector(objective)}", duration(objective.period_s)
    whole = f"sum_over_time({short}[{period}])\n/ ignoring (sloth_window)\ncount_over_time({short}[{period}])\n"
    return [*found, _record(f"{RATIO}{period}", whole, _labels(objective, sloth_window=period))]


def ratio_expression(objective: Objective, seconds: float) -> str:
    """Return bad by all events of a window."""
    name = duration(seconds)
    bad, total = (query.replace(_WINDOW, name) for query in (objective.error_query, objective.total_query))
    return f"({bad})\n/\n({total})\n"


def _meta(objective: Objective, four: tuple[Rule, ...]) -> list[dict[str, Any]]:
    """Return what dashboards want to know of an objective."""
    here, labels = selector(objective), _labels(objective)
    short, period = duration(four[0].short_s), duration(objective.period_s)
    by_budget = f"/ on(sloth_id, sloth_slo, sloth_service) group_left\nslo:error_budget:ratio{here}\n"
    days = objective.period_s / DAY_S
    told = {"sloth_mode": "apqx", "sloth_objective": f"{objective.percent:g}", "sloth_spec": "prometheus/v1"}
    return [
        _record("slo:objective:ratio", f"vector({objective.objective!r})", labels),
        _record("slo:error_budget:ratio", f"vector(1-{objective.objective!r})", labels),
        _record("slo:time_period:days", f"vector({days:g})", labels),
        _record("slo:current_burn_rate:ratio", f"{RATIO}{short}{here}\n{by_budget}", labels),
        _record("slo:period_burn_rate:ratio", f"{RATIO}{period}{here}\n{by_budget}", labels),
        _record("slo:period_error_budget_remaining:ratio", f"1 - slo:period_burn_rate:ratio{here}", labels),
        _record("sloth_slo_info", "vector(1)", _labels(objective, **told, sloth_version="apqx")),
    ]


def _events(objective: Objective, four: tuple[Rule, ...]) -> list[dict[str, Any]]:
    """Return the number of bad events of every long window: queries are rates, so it is rate times time."""
    found = []
    for seconds in sorted({rule.long_s for rule in four}):
        name = duration(seconds)
        expression = f"({objective.error_query.replace(_WINDOW, name)}) * {seconds:g}"
        found.append(_record(f"{EVENTS}{name}", expression, _labels(objective, sloth_window=name)))
    return found


def _alerts(objective: Objective, four: tuple[Rule, ...]) -> list[dict[str, Any]]:
    """Return one page and one ticket, each for a fast and a slow burn."""
    found = []
    for severity, own in (("page", objective.page_labels), ("ticket", objective.ticket_labels)):
        chosen = [rule for rule in four if rule.severity == severity]
        labels = dict(objective.alert_labels) | dict(own) | {"sloth_severity": severity}
        found.append(
            {
                "alert": objective.alert,
                "expr": "or\n".join(_condition(objective, rule) for rule in chosen),
                "labels": dict(sorted(labels.items())),
                "annotations": _annotations(objective, severity, chosen),
            }
        )
    return found


def _condition(objective: Objective, rule: Rule) -> str:
    """Return the condition of one rule: short window, long window and, with the guard, enough bad events."""
    limit = f"> ({_number(rule.factor)} * {_number(objective.budget)})"
    here = selector(objective)
    parts = [
        f"    max({RATIO}{duration(seconds)}{here} {limit}) without (sloth_window)\n"
        for seconds in (rule.short_s, rule.long_s)
    ]
    text = "    and\n".join(parts)
    if objective.min_bad_events > 0:
        events = f"{EVENTS}{duration(rule.long_s)}{here} >= {objective.min_bad_events:g}"
        text += f"    and on (sloth_id)\n    ({events})\n"
    return f"(\n{text})\n"


def _annotations(objective: Objective, severity: str, chosen: list[Rule]) -> dict[str, str]:
    """Return what a person reads who is woken."""
    limits = " or ".join(f"{rule.factor:g} times over {duration(rule.long_s)}" for rule in chosen)
    drill = (
        f" Windows are {objective.time_scale:g} times shorter than real ones: a drill."
        if (objective.time_scale != 1)
        else ""
    )
    return {
        "summary": f"{objective.service}: the error budget of {objective.name} burns too fast ({severity})",
        "description": f"Burn rate above {limits}; objective {objective.percent:g} %.{drill}",
    } | dict(objective.annotations)


def _record(name: str, expression: str, labels: dict[str, str]) -> dict[str, Any]:
    return {"record": name, "expr": expression, "labels": labels}


def _number(value: float) -> str:
    """Write a number as short as it can be read back exactly, whole ones without a fraction."""
    return f"{value:.0f}" if value == int(value) else repr(value)
