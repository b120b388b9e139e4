"""Dashboards as code: what Grafana reads is what the library draws, and no expression is written twice."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from platform_lib import dashboards, metrics
from platform_lib.dashboards import grafana, manifest, rendering
from platform_lib.errors import InvalidInput
from platform_lib.model import App

ROOT = Path(__file__).resolve().parents[3]
NAMES = sorted(dashboards.catalogue())


def test_there_is_one_for_the_application_traefik_argo_cd_and_the_objectives() -> None:
    assert NAMES == ["application", "argocd", "ingress", "slo"]


def test_the_committed_manifest_is_what_the_catalogue_says() -> None:
    text = (ROOT / manifest.PATH).read_text()
    assert text == manifest.text(), "run: apqx dashboard grafana --write"
    loaded = yaml.safe_load(text)
    assert loaded["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert sorted(loaded["data"]) == [f"{name}.json" for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_grafana_gets_every_query_and_reads_the_same_dashboard_back(name: str) -> None:
    ours = dashboards.one(name)
    document = json.loads(json.dumps(grafana.document(ours, App())))
    assert all("${window}" not in t["expr"] for p in document["panels"] for t in p["targets"])
    back, left = grafana.read(document, name=name)
    assert left == []
    for before, after in zip(ours.panels, back.panels, strict=True):
        assert (after.title, after.kind, after.place) == (before.title, before.kind, before.place)
        assert (after.warn, after.critical, after.good) == (before.warn, before.critical, before.good)
        assert len(after.targets) == len(before.targets)


def lost(ours, theirs, path: str = "") -> list[str]:
    """Name everything of one document that the other does not say."""
    if isinstance(ours, dict):
        return [
            word
            for key, value in ours.items()
            for word in (lost(value, theirs[key], f"{path}.{key}") if key in theirs else [f"{path}.{key} is gone"])
        ]
    if isinstance(ours, list):
        parts = [lost(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(ours, theirs, strict=True))]
        return [word for part in parts for word in part]
    return [] if ours == theirs else [f"{path}: {theirs!r} for {ours!r}"]


@pytest.mark.parametrize("name", NAMES)
def test_grafana_own_package_understands_every_field(name: str) -> None:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    document = json.loads(json.dumps(grafana.document(dashboards.one(name), App())))
    assert lost(document, json.loads(JSONEncoder().encode(Dashboard.from_json(document)))) == []


@pytest.mark.parametrize("name", NAMES)
def test_panels_fill_rows_and_do_not_overlap(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboards.one(name).panels:
        column, row, width, height = panel.place
        cells = {(x, y) for x in range(column, column + width) for y in range(row, row + height)}
        assert not cells & taken and column + width <= 24
        taken |= cells


def test_recordings_that_panels_name_are_really_recorded() -> None:
    rules = (ROOT / "gitops/platform/monitoring/prometheus-slo-rules.yaml").read_text()
    recorded = set(re.findall(r"record: (\S+)", rules))
    for panel in dashboards.one("slo").panels:
        for target in panel.targets:
            assert set(re.findall(r"slo:[a-z_:0-9]+", target.promql)) <= recorded, panel.title


def test_named_queries_are_taken_from_the_library() -> None:
    known = {query.promql.strip() for query in metrics.queries().values()}
    for name in ("application", "ingress", "argocd"):
        assert {t.promql for p in dashboards.one(name).panels for t in p.targets} <= known


FOREIGN = {
    "title": "Theirs",
    "panels": [
        {"type": "text", "title": "Hello", "options": {"content": "# hi"}},
        {
            "type": "row",
            "title": "Folded",
            "panels": [
                {
                    "type": "gauge",
                    "title": "Errors",
                    "gridPos": {"x": 0, "y": 1, "w": 6, "h": 4},
                    "fieldConfig": {
                        "defaults": {
                            "unit": "percentunit",
                            "thresholds": {
                                "steps": [{"color": "green", "value": None}, {"color": "red", "value": 0.2}]
                            },
                        }
                    },
                    "targets": [{"expr": 'sum(rate(x{job=~"${job:regex}",app="[[app]]"}[$__rate_interval]))'}],
                }
            ],
        },
    ],
}


def test_a_foreign_dashboard_is_read_as_far_as_prometheus_can_fill_it() -> None:
    found, left = grafana.read({"dashboard": FOREIGN}, name="theirs.json")
    assert [(p.title, p.kind, p.unit, p.critical) for p in found.panels] == [("Errors", "stat", "ratio", 0.2)]
    assert left == ["Hello: panel of type text"]


def test_variables_in_all_spellings_get_values_and_a_missing_one_is_named() -> None:
    (panel,) = grafana.read(FOREIGN, name="theirs.json")[0].panels
    values = {"job": "web", "app": "shop", "__rate_interval": "10s"}
    assert rendering.substituted(panel.targets[0].promql, values, "Errors") == (
        'sum(rate(x{job=~"web",app="shop"}[10s]))'
    )
    with pytest.raises(InvalidInput, match=r"panel 'Errors' - variable \$job has no value"):
        rendering.substituted(panel.targets[0].promql, {"app": "shop", "__rate_interval": "10s"}, "Errors")


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "not readable as JSON"), ("[]", "no dashboard of Grafana's"), ('{"panels": []}', "no panel with PromQL")],
)
def test_a_file_that_is_no_dashboard_is_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(InvalidInput, match=words):
        dashboards.load(str(path))


def test_an_unknown_name_names_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="application, ingress, argocd, slo"):
        dashboards.load("nodes")


def _filled(name: str, value: float) -> dashboards.Rendering:
    """A dashboard filled with one series a query."""
    found = dashboards.one(name)
    index = pd.date_range("2026-01-01", periods=30, freq="10s", tz="UTC", name="time")
    frames = tuple(
        pd.DataFrame({f"series {n}": value for n, _ in enumerate(panel.targets)}, index=index) for panel in found.panels
    )
    empty = (pd.DataFrame(), *frames[1:])
    notes = ("nothing matched", *[""] * (len(frames) - 1))
    return dashboards.Rendering(found, App(), index[0].to_pydatetime(), index[-1].to_pydatetime(), empty, notes)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, 3e8])
def test_a_picture_has_every_panel_and_says_where_one_is_empty(name: str, value: float, tmp_path: Path) -> None:
    filled = _filled(name, value)
    figure = filled.figure()
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    for panel, seen in zip(filled.dashboard.panels, titles, strict=True):
        assert seen.startswith(panel.title)
    assert "nothing matched" in [text.get_text() for text in figure.axes[0].texts]
    assert filled.save(tmp_path / "x.svg").read_text().startswith("<?xml")


def test_a_picture_of_an_unknown_kind_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"expected a file in an existing folder that ends in \.png, \.svg, \.pdf"):
        _filled("slo", 1.0).save(tmp_path / "x.gif")


def test_a_state_is_a_word() -> None:
    from platform_lib.plots.dashboard import scale, state

    panel = dashboards.one("application").panels[1]
    assert [state(panel, value)[0] for value in (0.0, 0.005, 0.5, float("nan"))] == ["good", "look", "act", "no value"]
    assert scale("s", 0.2)[0] == "ms" and scale("s", 0.2)[1](0.2) == "200"
    assert scale("bytes", 2**22)[1](2**22) == "4" and scale("ratio 0 to 1", 13.7)[1](-13.662) == "-1,366"
