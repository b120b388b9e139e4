from datetime import UTC, datetime

from platform_lib.embedded.syncs import Syncs

SINCE = datetime(2026, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC)


def app(phase: str, finished: str, started: str = "2026-01-01T12:00:00Z", name: str = "shop") -> dict:
    state = {"phase": phase, "startedAt": started} | ({"finishedAt": finished} if finished else {})
    return {
        "metadata": {"name": name, "namespace": "argocd"},
        "spec": {"project": "apqx", "destination": {"server": "https://kubernetes.default.svc"}},
        "status": {"operationState": state},
    }


def test_an_operation_is_counted_once_when_it_ends() -> None:
    syncs = Syncs(SINCE)
    syncs.observe("ADDED", app("Running", ""))
    assert syncs.render() == ""
    for _ in range(3):
        syncs.observe("MODIFIED", app("Succeeded", "2026-01-01T12:00:04Z"))
    syncs.observe("MODIFIED", app("Failed", "2026-01-01T12:01:02Z", "2026-01-01T12:01:00Z"))
    text = syncs.render()
    assert "# TYPE argocd_app_sync_total counter" in text
    assert 'phase="Succeeded"} 1\n' in text and 'phase="Failed"} 1\n' in text
    assert 'argocd_app_sync_duration_seconds_total{name="shop"' in text and "} 6\n" in text


def test_what_ended_before_is_not_counted_and_a_new_application_starts_afresh() -> None:
    syncs = Syncs(SINCE)
    syncs.observe("ADDED", app("Succeeded", "2026-01-01T11:59:59Z"))
    assert syncs.render() == ""
    syncs.observe("DELETED", app("Succeeded", "2026-01-01T11:59:59Z"))
    syncs.observe("ADDED", app("Succeeded", "2026-01-01T12:00:00Z"))
    assert 'phase="Succeeded"} 1\n' in syncs.render()
