"""Do all named queries and objectives answer on a platform that runs?"""

import pytest

from platform_lib import App, cluster, metrics, slo, start_probe
from platform_lib.wait import until
from platform_lib.wire import prometheus


@pytest.mark.platform
@pytest.mark.slow
def test_every_named_query_answers_here_or_says_why_not(live) -> None:
    platform, app = cluster.connect(), App()
    here = [query for query in metrics.queries().values() if not query.elsewhere]

    def silent() -> tuple[bool | None, str]:
        with prometheus.connect(platform) as client:
            waiting = [query.name for query in here if not client.instant(query.render(app))]
        return (None if waiting else True), f"no answer from {', '.join(waiting)}"

    with start_probe(platform, app, rate_rps=20):
        until(silent, timeout_s=60, interval_s=1.0, wanted="an answer to every named query")
        frame = metrics.frame(platform, "request_rate", app=app, window_s=20, tidy=True)

        def unsound() -> tuple[bool | None, str]:
            # Recordings are evaluated every 5 s, and an increase needs two scrapes with traffic between them.
            found = [one for objective in slo.load().values() for one in slo.check(platform, objective)]
            wrong = [f"{one.name}: {one.status} ({one.reason})" for one in found if one.status != "pass"]
            return (None if wrong else True), "; ".join(wrong)

        until(unsound, timeout_s=90, interval_s=1.0, wanted="objectives that can do their work")
        state = slo.status(platform, slo.one("sample-app-availability"))
    assert {"time", "version", "value"} <= set(frame.columns) and frame.attrs["unit"] == "requests/s"
    assert state.total > 0 and state.budget_left is not None
