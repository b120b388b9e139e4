"""How was examples/dora recorded? Thirty changes on a platform of its own, five of them bad, all of it real.

Usage: `APQX_HOME=... .venv/bin/python scripts/record_dora.py FOLDER` on a platform that is up. Takes ten minutes.
Pauses and the order of good and bad versions are drawn from a seed; the times are what the platform took.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from platform_lib import cluster, deploy, dora, image, rollback
from platform_lib.errors import PlatformError
from platform_lib.model import App
from platform_lib.wait import pause

CHANGES = 30
BAD = {6: "error_ratio", 11: "latency_ms", 16: "never_ready", 22: "error_ratio", 27: "error_ratio"}
HOTFIXED = 22


def main(folder: Path) -> None:
    """Deploy, roll back, and write what git and Argo CD remember into one journal."""
    platform, app, draw = cluster.connect(), App(), random.Random(20)  # noqa: S311
    kept = dora.History()
    for number in range(1, CHANGES + 1):
        fault = BAD.get(number)
        one_change(platform, app, number, fault)
        kept = kept.merged(dora.read(platform, app))
        pause(draw.uniform(3, 14))
        if fault and number != HOTFIXED:
            rollback.rollback(platform, app)
            kept = kept.merged(dora.read(platform, app))
            pause(draw.uniform(2, 6))
        sys.stdout.write(f"{number} of {CHANGES}: {len(kept.deployments)} deployments\n")
    dora.save(kept, folder, app=app)


def one_change(platform: object, app: App, number: int, fault: str | None) -> None:
    """Deploy one version; the one after a bad one that was not rolled back is its hotfix."""
    version = f"2.{number}.0" + ("-hotfix" if number == HOTFIXED + 1 else "")
    env = deploy.fault_env(fault or "error_ratio", {"latency_ms": 300.0}.get(fault or "", 0.5))
    env = env if fault else dict.fromkeys(env)
    built = image.build(version=version)
    try:
        deploy.deploy(platform, app, image=built.reference, version=version, env=env, timeout_s=20)  # type: ignore[arg-type]
    except PlatformError as error:
        sys.stdout.write(f"{version}: {error}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
