"""An incident of a real platform is explained from its record, there and from an archive elsewhere."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from platform_lib import App, archive, cluster, deploy, image, journal, postmortem, rollback, slo, start_probe
from platform_lib.settings import settings
from platform_lib.wait import now, pause, until

pytestmark = [pytest.mark.platform, pytest.mark.slow]
APP, VERSION = App(), "6.6.0-bad"


def test_a_bad_deploy_is_found_in_the_record_and_in_its_archive(live: dict[str, str], tmp_path: Path) -> None:
    platform, start = cluster.connect(), now() - timedelta(seconds=1)
    built = image.build_image(settings().project_dir / "app", platform.home / "images", version=VERSION)
    with start_probe(platform, APP, rate_rps=40) as probe:
        pause(6)
        fault = deploy.fault_env("error_ratio", 0.5)
        bad = deploy.deploy(platform, APP, image=built.reference, version=VERSION, env=fault).figures["commit"]
        journal.current().append("incident", "opened", APP.name, incident="INC-7", service=APP.name)
        # Long enough that the rollback is farther from the onset than the deploy, at a resolution of one second.
        until(
            lambda: ((probe.result().failed >= 150) or None, f"{probe.result().failed} failed"),
            timeout_s=60,
            wanted="150 failed requests",
        )
        rollback.rollback(platform, APP)
        journal.current().append("incident", "resolved", APP.name, incident="INC-7", service=APP.name)
        pause(6)
    until(
        lambda: (len(journal.frame(platform, start=start, source="argocd", kind="operation")) >= 2 or None, "fewer"),
        timeout_s=30,
        wanted="two operations of Argo CD in the record",
    )
    made = archive.export(platform, start, now(), tmp_path / "archive", app=APP, form="csv")
    found = postmortem.build(archive.open(tmp_path / "archive"))
    assert found.impact is not None and found.impact.failed >= 150
    assert found.changes[0].identity == bad and found.changes[0].wording == "correlated, not proven"
    assert found.stamps["started"].at is not None and found.stamps["resolved"].at is not None
    assert {"probe", "git", "argocd", "kubernetes", "deploy", "rollback"} <= {entry.source for entry in found.timeline}
    assert "INC-7" in postmortem.markdown(found)
    here = postmortem.build(platform, app=APP, start=made.start, end=made.end)
    assert here.impact is not None and here.impact.failed >= 150 and here.changes[0].identity == bad
    labelled = slo.incidents(journal.frame(platform, start=start), service=APP.name)
    assert len(labelled) == 1
