"""The facts of a synthetic incident, and what is said when a source is missing."""

from datetime import timedelta

import pytest
from incidents import BAD, archive, at, counts, record, samples, signals, story

from platform_lib import postmortem
from platform_lib.errors import InvalidInput


@pytest.fixture(scope="module")
def found() -> postmortem.PostMortem:
    return postmortem.build(archive())


def test_the_onset_is_dated_with_an_interval(found: postmortem.PostMortem) -> None:
    started = found.stamps["started"]
    assert started.at is not None and started.low is not None and started.high is not None
    assert started.low <= at(40) <= started.high
    assert abs((started.at - at(40)).total_seconds()) <= 1
    assert "change-point of failed requests" in started.how


def test_the_four_stamps_are_ordered_and_say_how(found: postmortem.PostMortem) -> None:
    stamps = [found.stamps[name] for name in ("started", "detected", "mitigated", "resolved")]
    times = [stamp.at for stamp in stamps]
    assert all(times) and times == sorted(times)
    assert all(stamp.how for stamp in stamps)
    assert found.stamps["detected"].at == at(50) and "alert ErrorRatio" in found.stamps["detected"].how
    assert abs((found.stamps["mitigated"].at - at(70)).total_seconds()) <= 1
    assert found.stamps["resolved"].at == at(80)
    assert list(found.durations) == ["detect_s", "mitigate_s", "resolve_s"]


def test_the_deploy_is_ranked_first_and_nothing_is_called_proven(found: postmortem.PostMortem) -> None:
    assert found.changes[0].identity == BAD
    assert found.changes[0].entries == 3  # commit, sync and command are one change
    assert {change.wording for change in found.changes} == {"correlated, not proven"}
    assert [change.before for change in found.changes] == [True, True, False]


def test_a_change_of_another_part_is_no_candidate(found: postmortem.PostMortem) -> None:
    assert not any("docs" in change.what for change in found.changes)


def test_the_impact_counts_every_request(found: postmortem.PostMortem) -> None:
    impact, probe = found.impact, samples()
    assert impact is not None
    assert (impact.sent, impact.failed) == (len(probe), int((~probe["ok"]).sum()))
    assert impact.by_version == {"1.3": impact.failed} and impact.by_kind == {"500": impact.failed}
    assert impact.ratio == pytest.approx(0.3, abs=0.05)
    assert impact.outage_s[0] <= impact.outage_s[1]
    assert impact.worst[1.0] <= impact.worst[10.0] <= impact.worst[60.0] < 1
    assert impact.budget_burned == pytest.approx(impact.failed / (0.001 * 50 * 30 * 86400), rel=0.01)
    assert impact.clients.startswith("not known")


def test_clients_are_named_where_the_record_knows_them() -> None:
    rows = [*story(), record(60, "probe", "result", clients=["a", "b"])]
    impact = postmortem.build(archive(rows)).impact
    assert impact is not None and impact.clients == "2: a, b"


def test_without_a_fault_there_is_no_incident() -> None:
    quiet = postmortem.build(archive(story()[:1], samples(bad=False)))
    assert quiet.stamps["started"].at is None
    assert "too few" in quiet.stamps["started"].how
    assert quiet.impact is not None and quiet.impact.failed == 0 and quiet.impact.budget_burned == 0
    assert quiet.durations == {}
    assert quiet.detection_slow


def test_slow_answers_are_an_onset_too() -> None:
    slow = postmortem.build(archive(story(), samples(bad=False, latency=5.0)))
    started = slow.stamps["started"]
    assert started.at is not None and abs((started.at - at(40)).total_seconds()) <= 2
    assert "slow requests" in started.how


def test_prometheus_alone_gives_an_earlier_and_wider_interval(found: postmortem.PostMortem) -> None:
    coarse = postmortem.build(archive(probe=samples().iloc[:0], signals=signals()))
    started = coarse.stamps["started"]
    assert started.low is not None and started.high is not None
    assert started.low <= at(40) <= started.high
    assert started.width_s > found.stamps["started"].width_s
    assert "Prometheus" in started.how and coarse.impact is not None and coarse.impact.failed > 300


def test_probe_windows_of_the_record_are_used() -> None:
    rows = [
        record(
            second + 5, "probe", "window", started_at=at(second).isoformat(), ended_at=at(second + 5).isoformat(),
            sent=250, failed=75 if 40 <= second < 70 else 0, p99_ms=3.0,
        )
        for second in range(0, 120, 5)
    ]  # fmt: skip
    found = postmortem.build(archive([*story(), *rows], samples().iloc[:0]))
    assert found.stamps["started"].at == at(40)
    assert found.impact is not None and (found.impact.sent, found.impact.failed) == (6000, 450)
    assert found.impact.worst[1.0] is None and found.impact.worst[10.0] == pytest.approx(0.7)


def test_nothing_recorded_is_said_and_not_guessed() -> None:
    empty = postmortem.build(archive(story(), samples().iloc[:0]))
    assert empty.impact is None and empty.signal is None
    assert "no probe and no metric" in empty.stamps["started"].how
    assert empty.stamps["resolved"].at is None
    assert "not known" in str(empty)


def test_labels_fill_what_data_cannot_say_and_name_the_incident() -> None:
    labels = [
        record(41, "incident", "opened", incident="INC-7", service="sample-app"),
        record(45, "incident", "detected", incident="INC-7"),
        record(75, "incident", "mitigated", incident="INC-7"),
        record(90, "incident", "resolved", incident="INC-7"),
    ]
    found = postmortem.build(archive([*story(), *labels], samples().iloc[:0]), incident="INC-7")
    assert [found.stamps[name].at for name in found.stamps] == [at(41), at(45), at(75), at(90)]
    assert "label of incident INC-7; not from data" in found.stamps["started"].how
    seen = postmortem.build(archive([*story(), *labels]))
    assert seen.incident == "INC-7"
    assert seen.stamps["started"].at == at(40), "data win over labels where both speak"


def test_the_window_follows_the_incident() -> None:
    labels = [record(41, "incident", "opened", incident="INC-7"), record(44, "incident", "resolved", incident="INC-7")]
    first, last = postmortem.window(archive(labels), incident="INC-7")
    assert (first, last) == (at(41) - timedelta(seconds=60), at(44) + timedelta(seconds=60))


def test_an_incident_that_is_not_in_the_archive_is_refused() -> None:
    with pytest.raises(InvalidInput, match="incident 'INC-8' is not in the record"):
        postmortem.build(archive([*story()], samples()), incident="INC-8")


def test_a_window_outside_the_archive_is_refused() -> None:
    with pytest.raises(InvalidInput, match="outside the archive"):
        postmortem.build(archive(), start=at(500), end=at(600))


def test_an_alert_that_still_fires_leaves_the_end_open() -> None:
    found = postmortem.build(archive(story()[:-1]))
    assert found.stamps["resolved"].at is None
    assert "ErrorRatio" in found.stamps["resolved"].how
    assert found.alerts[0].resolved_at is None


def test_missing_sources_and_doubts_are_notes() -> None:
    late = record(30, "kubernetes", "event", reason="Late")
    late["seen_utc"] = late["seen_utc"] + timedelta(seconds=9)
    notes = " ".join(postmortem.build(archive([late])).notes)
    assert "nothing from: argocd, git, prometheus" in notes
    assert "1 of 1 timeline entries" in notes


def test_what_should_have_fired_is_replayed_from_the_objectives() -> None:
    found = postmortem.build(archive(counted={"sample-app-drill": counts()}))
    page = found.expected[0]
    assert page.name.startswith("sample-app-drill, page") and page.severity == "page"
    assert page.fires_at is not None and at(40) <= page.fires_at <= at(55)
    assert "times the allowed rate" in page.why


def test_a_silent_rule_says_why() -> None:
    found = postmortem.build(archive(counted={"sample-app-drill": counts(0.0)}))
    assert found.expected and {entry.fires_at for entry in found.expected} == {None}
    assert "0 bad events did not burn" in found.expected[0].why
    few = postmortem.build(archive(counted={"sample-app-drill": counts(1.0) * [1, 0.1]}))
    assert "guard for low traffic" in few.expected[0].why


def test_without_counts_nothing_is_claimed() -> None:
    found = postmortem.build(archive())
    assert found.expected == () and found.expected_note.startswith("not assessed")
