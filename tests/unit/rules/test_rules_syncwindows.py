from __future__ import annotations

from datetime import UTC, datetime

import pytest

from platform_lib.rules import syncwindows as rules

ABOUT = {"name": "web", "namespace": "shop", "cluster": "in-cluster"}
NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)  # a Wednesday


def window(kind: str, schedule: str, duration: str, **more):
    return {"kind": kind, "schedule": schedule, "duration": duration, "applications": ["*"], **more}


@pytest.mark.parametrize(
    ("windows", "opens"),
    [
        ([], NOON),
        ([window("deny", "0 10 * * *", "4h")], datetime(2026, 3, 4, 14, 0, tzinfo=UTC)),
        ([window("allow", "0 22 * * *", "1h")], datetime(2026, 3, 4, 22, 0, tzinfo=UTC)),
        ([window("allow", "30 8 * * 1", "2h")], datetime(2026, 3, 9, 8, 30, tzinfo=UTC)),
        ([window("allow", "0 22 * * *", "1h", timeZone="Europe/Berlin")], datetime(2026, 3, 4, 21, 0, tzinfo=UTC)),
        # the deny ends inside the allow
        (
            [window("allow", "0 13 * * *", "3h"), window("deny", "0 10 * * *", "4h")],
            datetime(2026, 3, 4, 14, 0, tzinfo=UTC),
        ),
        ([window("deny", "0 0 * * *", "24h")], None),
        ([window("allow", "0 13 ? * 5", "1h")], datetime(2026, 3, 6, 13, 0, tzinfo=UTC)),
        ([window("deny", "* * * * *", "1h", applications=["other"])], NOON),
    ],
    ids=["none", "deny ends", "allow starts", "next monday", "time zone", "both", "never", "friday", "not ours"],
)
def test_it_is_said_when_a_sync_is_allowed_next(windows, opens) -> None:
    assert rules.opens_at(windows, ABOUT, NOON, manual=False) == opens


def test_the_moment_before_is_closed_and_the_moment_itself_is_open() -> None:
    windows = [window("deny", "0 10 * * *", "4h")]
    opens = rules.opens_at(windows, ABOUT, NOON, manual=False)
    assert opens is not None and rules.sync_allowed(windows, ABOUT, opens, manual=False)
    assert not rules.sync_allowed(windows, ABOUT, opens.replace(hour=13, minute=59), manual=False)


def test_a_person_may_where_every_closed_window_says_so() -> None:
    denies = [window("deny", "0 10 * * *", "4h", manualSync=True), window("deny", "0 11 * * *", "4h")]
    assert rules.opens_at(denies[:1], ABOUT, NOON, manual=True) == NOON
    assert rules.blocking(denies, ABOUT, NOON, manual=True) == denies


def test_a_window_is_named_with_its_schedule_zone_and_description() -> None:
    found = rules.describe(window("deny", "0 0 24 12 *", "48h", description="year end", timeZone="Europe/Berlin"))
    assert found == "deny window '0 0 24 12 *' for 48h (Europe/Berlin): year end"
