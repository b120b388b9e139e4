"""The same dashboards that Grafana shows, drawn from a platform without Grafana."""

from pathlib import Path

from platform_lib import App, cluster, dashboards, start_probe
from platform_lib.wait import until


def test_dashboards_are_filled_from_a_live_platform(live: dict[str, str], tmp_path: Path) -> None:
    platform = cluster.connect()
    with start_probe(platform, App(), rate_rps=20):

        def filled() -> tuple[dashboards.Rendering | None, str]:
            seen = dashboards.render(platform, "application", window_s=60)
            by_title = dict(zip((p.title for p in seen.dashboard.panels), seen.frames, strict=True))
            rates = by_title["Requests per second, by version"]
            return (seen if len(rates) and float(rates.iloc[-1].sum()) > 5 else None), f"{len(rates)} points"

        application = until(filled, timeout_s=60, wanted="request rates in the dashboard", interval_s=1.0)
    assert all(not frame.empty for frame in application.frames), application.notes
    assert application.save(tmp_path / "application.png").stat().st_size > 20_000
    argocd = dashboards.render(platform, "argocd", window_s=60)
    # The one query that this platform cannot answer says so in its panel; the others are there.
    assert [not frame.empty for frame in argocd.frames] == [True, True, True, True, False]
    assert argocd.notes[-1] == "nothing matched"
