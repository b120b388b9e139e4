"""What does a progressive delivery ask before it goes on? An AnalysisTemplate made of the objectives and named queries.

Nothing is written twice: the error and total queries are those of ``gitops/slo``, the version's own error ratio is the
one of ``queries.toml``. A canary is taken back when either burns the error budget as fast as a page would.

Source: Argo Rollouts v1.9.0, AnalysisTemplate and the Prometheus provider (an instant query answers with a list of
numbers, empty where nothing matched); the factor is that of the fastest rule in ``rules.slo``.
"""

from __future__ import annotations

from collections.abc import Iterable

from platform_lib.errors import InvalidInput
from platform_lib.model import App, Obj
from platform_lib.rules.slo import Objective, rules_of
from platform_lib.rules.slorules import ratio_expression

ADDRESS = "http://prometheus.monitoring.svc:9090"
WINDOW_S = 60.0
"""Look-back of a judgement: long enough for a ratio of a few requests a second, short against a step of the canary."""
INTERVAL_S = 10
_TWICE = 2
"""So many bad judgements take a canary back; one alone may be a scrape that caught a restart."""


def template(app: App, objectives: Iterable[Objective], *, version_query: str) -> Obj:
    """Return the AnalysisTemplate of an application.

    Args:
        app: Which application.
        objectives: All that are known; those of other services and of drills are left out.
        version_query: Error ratio with the placeholders ``${app}``, ``${namespace}`` and ``${window}``.

    Raises:
        InvalidInput: The application has no availability objective, or the query does not name its application.
    """
    own = [one for one in objectives if one.service == app.name and one.time_scale == 1]
    availability = next((one for one in own if one.kind == "availability"), None)
    if availability is None:
        raise InvalidInput(
            f"{app.name} - no availability objective, one is needed to judge a canary",
            hint="add one to gitops/slo",
        )
    metrics = [_metric(one.name, ratio_expression(one, WINDOW_S), allowed(one)) for one in own]
    metrics.append(_metric("canary-errors", canary_only(app, version_query), allowed(availability)))
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisTemplate",
        "metadata": {
            "name": f"{app.name}-slo",
            "namespace": app.namespace,
            "labels": {"app.kubernetes.io/name": app.name, "app.kubernetes.io/part-of": "apqx"},
        },
        "spec": {"args": [{"name": "canary-hash"}], "metrics": metrics},
    }


def allowed(objective: Objective) -> float:
    """Return the error ratio at which the fastest rule pages."""
    return round(rules_of(objective)[0].factor * objective.budget, 6)


def canary_only(app: App, query: str) -> str:
    """Fill a query in and restrict it to the pods of the new ReplicaSet, whose names carry its hash.

    Raises:
        InvalidInput: The query selects no application, so it could not be restricted.
    """
    selector = 'app="${app}"'
    if selector not in query:
        raise InvalidInput(f"version query - does not contain {selector}, expected it in every selector")
    narrowed = query.replace(selector, f'{selector},pod=~"${{app}}-{{{{args.canary-hash}}}}-.*"')
    filled = narrowed.replace("${app}", app.name).replace("${namespace}", app.namespace)
    return filled.replace("${window}", f"{WINDOW_S / 60:g}m").strip() + "\n"


def _metric(name: str, query: str, limit: float) -> Obj:
    """One measurement; silence is no failure: without traffic there is nothing to judge."""
    return {
        "name": name,
        "interval": f"{INTERVAL_S}s",
        "initialDelay": f"{WINDOW_S:g}s",
        "failureLimit": _TWICE - 1,
        "consecutiveErrorLimit": 4,
        "successCondition": f"len(result) == 0 || isNaN(result[0]) || result[0] < {limit:g}",
        "provider": {"prometheus": {"address": ADDRESS, "query": query}},
    }
