"""Record examples/incident-bad-deploy on a running platform: a bad version under load, an alert, a rollback.

The probe runs from outside all the time. The version fails three of ten requests; nothing is done until an alert of
Prometheus fires; then the version is taken back through git. Afterwards the window is archived.

    apqx up && python scripts/record_incident.py /tmp/incident-bad-deploy
"""

from __future__ import annotations

import sys
from pathlib import Path

from platform_lib import App, archive, cluster, deploy, image, journal, metrics, rollback, start_probe
from platform_lib.errors import NoData
from platform_lib.settings import settings
from platform_lib.wait import now, pause, until
from platform_lib.wire import probe as probes

INCIDENT, VERSION, ERROR_RATIO = "INC-0001", "1.3.0", 0.3
RATE_RPS, BEFORE_S, AFTER_S, COLLECT_S = 40.0, 25.0, 35.0, 12.0
FIRING = 'count by (alertname) (ALERTS{alertstate="firing",alertname=~".*ErrorBudgetBurn|HighErrorRate"})'


def main() -> int:
    """Record, archive, say what was recorded."""
    folder = Path(sys.argv[1])
    platform, app = cluster.connect(), App()
    image_ = image.build(version=VERSION)
    until(lambda: (_firing(platform)[0] is None or None, "an alert"), timeout_s=300, wanted="a quiet platform")
    first = now()
    with start_probe(platform, app, rate_rps=RATE_RPS) as probe:
        pause(BEFORE_S)
        fault = deploy.fault_env("error_ratio", ERROR_RATIO)
        deploy.deploy(platform, app, image=image_.reference, version=VERSION, env=fault, wait=False)
        alert = until(lambda: _firing(platform), timeout_s=60, wanted="an alert that fires", interval_s=0.5)
        _label("opened", app)
        _label("detected", app, reason=f"alert {alert}")
        rollback.rollback(platform, app)
        _label("mitigated", app)
        pause(AFTER_S)
        _label("resolved", app)
        pause(COLLECT_S)
    last = now()
    probes.keep(probe.samples(), settings().runs_dir / INCIDENT / probes.SAMPLES)
    sys.stdout.write(f"{archive.export(platform, first, last, folder, app=app, form='csv')}\n")
    return 0


def _firing(platform: object) -> tuple[str | None, str]:
    """Return the name of an alert that fires, if any."""
    try:
        found = metrics.value(platform, FIRING)  # type: ignore[arg-type]
    except NoData:
        found = {}
    return next(iter(found), None), f"{len(found)} alerts"


def _label(kind: str, app: App, **data: str) -> None:
    """Write what the person on call would note."""
    journal.current().append("incident", kind, app.name, incident=INCIDENT, service=app.name, **data)


if __name__ == "__main__":
    sys.exit(main())
