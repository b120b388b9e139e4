"""What a platform remembers of a bad deployment is what the DORA metrics say of it."""

import pytest

from platform_lib import App, cluster, deploy, dora, image, rollback

pytestmark = [pytest.mark.platform]


def test_a_rolled_back_deployment_is_a_failed_one_and_a_good_one_is_not(live: dict[str, str]) -> None:
    platform, app = cluster.connect(), App()
    before = dora.read(platform, app).frame()
    for version, env in (("7.0.0", None), ("7.1.0", deploy.fault_env("error_ratio", 0.3))):
        built = image.build(version=version)
        deploy.deploy(platform, app, image=built.reference, version=version, env=env)
    rollback.rollback(platform, app)

    history = dora.read(platform, app)
    new = history.frame()[lambda frame: frame["utc"] > before["utc"].iloc[-1]]
    assert list(new["kind"]) == ["change", "change", "rollback"]
    assert list(new["failed"]) == [False, True, False]
    assert new["recovery_s"].iloc[1] >= 0
    found = dora.delivery(platform, app, start=new["utc"].iloc[0].to_pydatetime())
    assert found.estimate("change fail rate").value == 0.5
    assert found.estimate("deployment rework rate").n == 3
    assert found.trend.status == "not_enough_data"
