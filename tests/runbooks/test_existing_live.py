"""The same platform through provider existing: a kubeconfig context and two addresses are all that is known of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_lib import App, Platform, cluster, deploy, doctor, image, metrics, sync
from platform_lib.errors import GuardRefused
from platform_lib.settings import settings
from platform_lib.wait import until

pytestmark = [pytest.mark.platform]


@pytest.fixture
def theirs(live: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """Settings of somebody who was given access to the platform that is up, in a state folder of their own."""
    ours = cluster.connect()
    monkeypatch.setenv("APQX_HOME", str(tmp_path / "mine"))
    monkeypatch.setenv("APQX_KUBECONFIG", str(ours.kubeconfig))
    monkeypatch.setenv("APQX_PROMETHEUS_URL", ours.prometheus_url)
    monkeypatch.setenv("APQX_INGRESS_URL", ours.ingress_url)
    monkeypatch.setenv("APQX_GITOPS_REPO", ours.gitops_repo)
    yield ours


def test_connect_look_and_measure_without_changing_anything(theirs: Platform) -> None:
    done = cluster.up(provider="existing", context=theirs.context)
    platform, app = cluster.connect(), App()
    assert done.figures["endpoints_missing"] == 0 and platform.provider == "existing" and not platform.writable
    assert platform.gitops_url == theirs.gitops_url and platform.home != theirs.home
    assert sync.state(platform, app).health_status == "Healthy"

    def scraped() -> tuple[bool | None, str]:
        found = metrics.value(platform, "up")
        return (True if found else None), f"{len(found)} series"

    until(scraped, timeout_s=30, wanted="a first scrape of the young platform", interval_s=0.5)
    seen = cluster.status()
    assert seen.state == "up" and dict(seen.apps)[app.name] == "Synced, Healthy"
    cluster.verify(platform)
    with pytest.raises(GuardRefused, match="looking only"):
        sync.sync(platform, app)
    diagnosis = doctor.diagnose(context=theirs.context)
    controller = next(one for one in diagnosis.findings if one.name == "Argo CD")
    assert diagnosis.ok and "a controller outside this cluster" in controller.found


def test_with_write_the_same_deploy_goes_through(theirs: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.up(provider="existing", context=theirs.context, write=True)
    platform, app = cluster.connect(), App()
    with monkeypatch.context() as patch:  # the image store belongs to the platform that is up
        patch.setenv("APQX_HOME", str(theirs.home))
        built = image.build(version="8.4.0")
    done = deploy.deploy(platform, app, image=built.reference, version="8.4.0")
    assert done.ok and sync.state(platform, app).images == (built.reference,)
    cluster.down()
    assert not (settings().home / "platform.json").exists()
    monkeypatch.setenv("APQX_HOME", str(theirs.home))
    assert cluster.status().state == "up", "forgetting endpoints takes nothing down"
