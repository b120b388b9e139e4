"""A synthetic incident: a bad deploy at second 40 of two minutes, 30 % errors, rolled back at second 70."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from platform_lib.archive import Archive
from platform_lib.model import App
from platform_lib.rules.slo import Objective

T0 = datetime(2026, 1, 5, 12, tzinfo=UTC)
BAD, GOOD = "b" * 40, "a" * 40


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def record(seconds: float, source: str, kind: str, subject: str = "sample-app", cause: str = "", **data) -> dict:
    utc = pd.Timestamp(at(seconds))
    fixed = {"subject": subject, "run_id": "", "cause": cause, "uid": f"{source}-{kind}-{seconds}"}
    return {"utc": utc, "seen_utc": utc, "source": source, "kind": kind, **fixed, "data": data}


def story() -> list[dict]:
    """Records of every source."""
    return [
        record(5, "git", "commit", commit=GOOD, message="docs", author="Ann", files=["docs/a.md"]),
        record(10, "kubernetes", "scale", "HorizontalPodAutoscaler/sample-app", **{"from": 2, "to": 3}),
        record(36, "git", "commit", commit=BAD, message="Deploy 1.3", author="Ann"),
        record(37, "argocd", "operation", phase="Succeeded", revision=BAD),
        record(38, "deploy", "outcome", cause=BAD, ok=True, version="1.3", commit=BAD),
        *[
            record(42 + i, "kubernetes", "event", "Pod/sample-app-x", reason="Unhealthy", type="Warning")
            for i in range(5)
        ],
        record(50, "prometheus", "alert", alertname="ErrorRatio", state="firing", severity="page"),
        record(65, "git", "commit", commit="c" * 40, message="Revert", author="Ann"),
        record(66, "argocd", "operation", phase="Succeeded", revision="c" * 40),
        record(72, "argocd", "health", **{"from": "Progressing", "to": "Healthy"}),
        record(80, "prometheus", "alert", alertname="ErrorRatio", state="resolved", severity="page"),
    ]


def samples(*, bad: bool = True, latency: float = 1.0, rate: int = 50, seed: int = 1) -> pd.DataFrame:
    """Two minutes of probe requests."""
    dice = np.random.default_rng(seed)
    seconds = np.arange(0, 120, 1 / rate)
    during = (seconds >= 40) & (seconds < 70)
    failed = during & (dice.random(len(seconds)) < 0.3) & bad
    slow = np.where(during, latency, 1.0) * dice.lognormal(0.7, 0.2, len(seconds))
    return pd.DataFrame(
        {
            "intended_at": pd.to_datetime(T0) + pd.to_timedelta(seconds, unit="s"),
            "latency_ms": slow,
            "lag_ms": 0.1,
            "status": np.where(failed, 500, 200),
            "error": "",
            "version": np.where(during, "1.3", "1.2"),
            "pod": "p",
            "ok": ~failed,
        }
    )


def signals() -> dict[str, pd.DataFrame]:
    """The ingress's rate by status code, smeared over ten seconds as Prometheus shows it."""
    index = pd.date_range(T0, periods=121, freq="1s", name="time")
    share = np.clip((np.arange(121) - 40) / 10, 0, 1) * (np.arange(121) < 80)
    frame = pd.DataFrame({"200": 50 - 15 * share, "500": 15 * share}, index=index)
    frame.attrs = {
        "name": "ingress_rate",
        "unit": "requests/s",
        "step_s": 1.0,
        "labels": [{"code": "200"}, {"code": "500"}],
    }
    return {"ingress_rate": frame}


DRILL = Objective("sample-app", "drill", 99.9, "bad", "total", time_scale=60.0, labels=(("a", "b"),))
REAL = Objective("sample-app", "availability", 99.9, "bad", "total")


def counts(bad_per_step: float = 75.0) -> pd.DataFrame:
    """What an objective counts: 250 requests in five seconds."""
    index = pd.date_range(at(-60), at(120), freq="5s", name="time")
    seconds = (index - pd.Timestamp(T0)).total_seconds()
    table = pd.DataFrame(
        {"bad": np.where((seconds > 40) & (seconds <= 70), bad_per_step, 0.0), "total": 250.0}, index=index
    )
    table.attrs = {"objective": "sample-app-drill", "step_s": 5.0}
    return table


def archive(
    records: list[dict] | None = None,
    probe: pd.DataFrame | None = None,
    signals: dict | None = None,
    counted: dict | None = None,
) -> Archive:
    """The incident as an archive; parts can be replaced."""
    rows = story() if records is None else records
    columns = ["utc", "seen_utc", "source", "kind", "subject", "run_id", "cause", "uid", "data"]
    return Archive(
        name="test",
        app=App(),
        start=T0,
        end=at(120),
        made_at=at(130),
        records=pd.DataFrame(rows, columns=columns),
        signals=signals or {},
        samples=samples() if probe is None else probe,
        applications=({"metadata": {"name": "sample-app"}},),
        commits=({"commit": BAD, "utc": at(36).isoformat(), "author": "Ann", "message": "Deploy 1.3"},),
        versions={"python": "3"},
        objectives=(DRILL, REAL),
        counts=counted or {},
        notes=("one note",),
    )
