"""The policy, rule by rule, without a registry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from registry_tools import report

from platform_lib.errors import SettingsError
from platform_lib.rules import image_policy
from platform_lib.rules.image_policy import Evidence, Scan

ROOT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
NAME = "ghcr.io/apqx/sample-app"
OURS = image_policy.read((ROOT / image_policy.POLICY_FILE).read_text())


def scan(platform: str, age_days: float = 1, **fixable: int) -> Scan:
    return Scan(platform, "trivy", NOW - timedelta(days=age_days), {**fixable, "critical": 3}, fixable)


def evidence(**changes: object) -> Evidence:
    whole: dict[str, object] = {
        "name": NAME,
        "digest": DIGEST,
        "platforms": ("linux/amd64", "linux/arm64"),
        "version": "1.4.0",
        "signatures": 1,
        "signed_by": "image.yml",
        "scans": (scan("linux/amd64", medium=2), scan("linux/arm64")),
        "scans_verified": True,
    }
    return Evidence(**(whole | changes))  # type: ignore[arg-type]


def failed(found: Evidence, version: str = "1.4.0") -> set[str]:
    verdict = image_policy.judge(OURS, found, branch="main", version=version, now=NOW)
    assert all(check.reason for check in verdict.checks if check.status == "fail")
    return {check.name for check in verdict.checks if check.status == "fail"}


def test_an_image_with_all_its_evidence_passes() -> None:
    verdict = image_policy.judge(OURS, evidence(), branch="main", version="1.4.0", now=NOW)
    assert verdict.ok and "2 medium fixable" in str(verdict)


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"platforms": ("linux/amd64",)}, {"platforms"}),
        ({"nodes": ("linux/riscv64",)}, {"platforms"}),
        ({"signatures": 0, "signed_by": ""}, {"signature"}),
        ({"signed_by": "", "signature_note": "cosign is not on PATH"}, {"signature"}),
        ({"scans": ()}, {"scan"}),
        ({"scans": (scan("linux/amd64"),)}, {"scan"}),
        ({"scans_verified": False, "scan_note": "no matching attestations"}, {"scan signature"}),
        ({"scans": (scan("linux/amd64", 8), scan("linux/arm64"))}, {"scan age"}),
        ({"scans": (scan("linux/amd64", -1), scan("linux/arm64"))}, {"scan age"}),
        ({"scans": (scan("linux/amd64", high=1), scan("linux/arm64"))}, {"findings"}),
        ({"scans": (scan("linux/amd64"), scan("linux/arm64", critical=1))}, {"findings"}),
        ({"version": "1.3.9"}, {"version"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_each_piece_of_evidence_that_is_missing_is_refused_by_its_name(changes: dict, rules: set[str]) -> None:
    assert failed(evidence(**changes)) == rules


ANY_PLATFORM = """\
[[image]]
repository = "ghcr.io/apqx/*"
[image.signature]
required = false
[image.scan]
"""


def test_a_rule_without_platforms_wants_every_image_of_an_index_scanned() -> None:
    policy = image_policy.read(ANY_PLATFORM)

    def asked(**changes: object) -> bool:
        found = evidence(scans=(scan("linux/amd64"),), **changes)
        return image_policy.judge(policy, found, branch="main", version="1.4.0", now=NOW).ok

    assert asked(platforms=("linux/amd64",))
    assert not asked(), "the report of amd64 says nothing of arm64"


def test_a_newer_report_replaces_an_older_one() -> None:
    assert (
        failed(evidence(scans=(scan("linux/amd64", 6, critical=1), scan("linux/amd64", 1), scan("linux/arm64"))))
        == set()
    )
    assert failed(
        evidence(scans=(scan("linux/amd64", 1, critical=1), scan("linux/amd64", 6), scan("linux/arm64")))
    ) == {"findings"}


@pytest.mark.parametrize(
    ("tag", "digest", "value"),
    [("", "", "latest (none was given)"), ("latest", "", "tag latest"), ("1.4.0", "", "tag 1.4.0")],
)
def test_a_tag_is_refused_before_anybody_is_asked(tag: str, digest: str, value: str) -> None:
    verdict = image_policy.judge_name(OURS, name=NAME, tag=tag, digest=digest, branch="main")
    assert not verdict.ok and value in str(verdict) and "a tag can move" in str(verdict)


@pytest.mark.parametrize(
    ("name", "branch"),
    [("docker.io/library/nginx", "main"), ("ghcr.io/apqx-evil/sample-app", "main"), ("127.0.0.1:5000/x", "main")],
)
def test_a_repository_that_no_rule_names_is_refused(name: str, branch: str) -> None:
    verdict = image_policy.judge_name(OURS, name=name, tag="", digest=DIGEST, branch=branch)
    assert [check.name for check in verdict.checks if check.status == "fail"] == ["repository"]


def test_a_laptops_registry_reaches_a_laptops_branch_only() -> None:
    assert image_policy.judge_name(OURS, name="127.0.0.1:5000/x", tag="", digest=DIGEST, branch="laptop-me").ok


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("image = [", "not readable as TOML"),
        ("", "image"),
        ("[[image]]\nrepository='ghcr.io/a/*'", "signature"),
        ("[[image]]\nrepository='ghcr.io/a/*'\n[image.signature]\n[image.scan]", "anybody's signature would do"),
        (
            "[[image]]\nrepository='ghcr.io/a/*'\n[image.signature]\nidentity='.*image.yml'\nissuer='x'\n[image.scan]",
            "begin with",
        ),
        (
            "[[image]]\nrepository='ghcr.io/a/*'\n[image.signature]\nrequired=false\n[image.scan]\nmax_severity='bad'",
            "max_severity",
        ),
        (
            "[[image]]\nrepository='ghcr.io/a/*'\nsignatures=1\n[image.signature]\nrequired=false\n[image.scan]",
            "signatures",
        ),
    ],
)
def test_a_policy_that_cannot_be_used_names_the_field(text: str, field: str) -> None:
    with pytest.raises(SettingsError, match=r"gitops/promotion/policy\.toml") as caught:
        image_policy.read(text)
    assert field in str(caught.value)


def test_a_report_is_read_as_trivy_writes_it() -> None:
    found = image_policy.scan_of(report(DIGEST, ("HIGH", ""), ("MEDIUM", "1.2"), ("ODD", "2")), DIGEST)
    assert isinstance(found, Scan)
    assert found.findings == {"high": 1, "medium": 1, "unknown": 1} and found.fixable == {"medium": 1, "unknown": 1}
    assert (found.worst(only_fixable=False), found.worst(only_fixable=True)) == ("high", "medium")
    assert found.platform == "linux/amd64" and found.finished_at is not None and found.finished_at.microsecond == 123456


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        (report("sha256:" + "b" * 64), "another image"),
        (report(DIGEST, results=False), "looked at nothing"),
        ({"subject": [{"digest": {"sha256": DIGEST[7:]}}]}, "looked at nothing"),
    ],
)
def test_a_report_that_says_nothing_of_this_image_does_not_count(statement: dict, why: str) -> None:
    assert why in str(image_policy.scan_of(statement, DIGEST))


def test_a_report_without_a_time_does_not_count_as_a_scan() -> None:
    undated = Scan("linux/amd64", "trivy", None, {}, {})
    assert failed(evidence(scans=(undated, scan("linux/arm64")))) == {"scan"}
