"""No secret is shown by a diff: neither a Secret's data nor a password in an environment variable."""

from __future__ import annotations

from typing import Any

import pytest

from platform_lib.inspection.fields import Diff, Field, ObjectDiff, field_of
from platform_lib.rules import diffing
from platform_lib.rules.manifests import ObjectKey

DEPLOYMENT, SECRET = ObjectKey("apps", "Deployment", "n", "web"), ObjectKey("", "Secret", "n", "s")


def fields(key: ObjectKey, live: Any, wanted: Any) -> list[Field]:
    return [field_of(key, one, live, [], changes=True) for one in diffing.differences(live, wanted)]


def env(**values: str) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "web", "env": [{"name": n, "value": v} for n, v in values.items()]}]}}


@pytest.mark.parametrize(
    ("key", "live", "wanted"),
    [
        (SECRET, {"data": {"a": "aHVudGVy"}}, {"data": {"a": "b3RoZXI="}}),
        (SECRET, {}, {"data": {"a": "aHVudGVy"}}),
        (DEPLOYMENT, env(DB_PASSWORD="hunter"), env(DB_PASSWORD="other")),
        (DEPLOYMENT, env(), env(API_TOKEN="hunter")),
        (DEPLOYMENT, {"spec": {}}, env(DB_PASSWORD="hunter")),
    ],
    ids=["changed-secret", "new-secret-data", "changed-variable", "new-variable", "new-container"],
)
def test_secret_values_are_hidden_in_table_notebook_and_json(key: ObjectKey, live: Any, wanted: Any) -> None:
    found = fields(key, live, wanted)
    shown = Diff("web", "a" * 40, 1, (ObjectDiff("x", "n", "change", "", tuple(found)),))
    for text in (str(shown), shown._repr_html_(), repr(shown)):
        assert "hidden" in text
        assert not any(word in text for word in ("hunter", "aHVudGVy", "other,", "b3RoZXI="))


def test_ordinary_variables_and_references_stay_readable() -> None:
    (field,) = fields(DEPLOYMENT, env(LOG_LEVEL="info"), env(LOG_LEVEL="debug"))
    assert (field.live, field.wanted) == ('"info"', '"debug"')
    (reference,) = fields(DEPLOYMENT, {"secretKeyRef": {"name": "a"}}, {"secretKeyRef": {"name": "b"}})
    assert (reference.live, reference.wanted) == ('"a"', '"b"')
