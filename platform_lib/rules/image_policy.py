"""May this image become desired state? A policy kept in git is applied to evidence from the registry; pure.

The policy is ``gitops/promotion/policy.toml``: it lies beside what it protects, is read from the branch that would be
changed, and is changed by the same review. Settings of one machine cannot weaken it. TOML, because everything in
YAML below gitops/ is meant for a cluster. Who looks the evidence up is ``promotion``; nothing here asks anybody.

Source of the report's form: cosign's COSIGN_VULN_ATTESTATION_SPEC.md, Trivy's ``--format cosign-vuln``.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from platform_lib.errors import SettingsError
from platform_lib.model import Check, Verdict, joined

POLICY_FILE = "gitops/promotion/policy.toml"
VULNERABILITIES = "https://cosign.sigstore.dev/attestation/vuln/v1"
"""Predicate type of a vulnerability report."""
SEVERITIES = ("none", "unknown", "low", "medium", "high", "critical")
_CLOCK_SKEW = timedelta(minutes=10)

Severity = Literal["none", "unknown", "low", "medium", "high", "critical"]


class SignatureRule(BaseModel):
    """Who must have signed the image."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    required: bool = True
    verified: bool = Field(True, description="cosign must have verified it; a signature that is merely there is none.")
    identity: str = Field("", description="Keyless: expression that the certificate's whole identity must match.")
    issuer: str = Field("", description="Keyless: who vouched for that identity.")
    key: str = Field("", description="With a key pair: path of the public key in the GitOps repository.")
    transparency_log: bool = Field(True, description="Verify the entry in the public log; false for private keys only.")

    @model_validator(mode="after")
    def _says_who(self) -> SignatureRule:
        """Refuse a rule that any signature of anybody would satisfy."""
        if not self.required or not self.verified:
            return self
        if bool(self.key) == bool(self.identity and self.issuer):
            raise ValueError("want identity and issuer (keyless), or key; otherwise anybody's signature would do")
        if self.identity and not (self.identity.startswith("^") and self.identity.endswith("$")):
            raise ValueError("want identity to begin with ^ and end with $, or a longer name would match too")
        if not self.transparency_log and not self.key:
            raise ValueError("want transparency_log with a keyless signature: its certificate lives ten minutes")
        return self


class ScanRule(BaseModel):
    """What a vulnerability scan of the image must have said."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    required: bool = True
    verified: bool = Field(True, description="The attestation must be signed as the image is.")
    max_age_days: float = Field(7, gt=0, le=365, description="Older reports do not know of newer vulnerabilities.")
    max_severity: Severity = Field("medium", description="Worst finding that is let through.")
    only_fixable: bool = Field(True, description="Count only findings that a newer package ends.")


class ImageRule(BaseModel):
    """The rules for the images of one repository, or of several."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    repository: str = Field(min_length=3, description="Registry and repository; * stands for any part.")
    branches: tuple[str, ...] = Field(("*",), description="Branches these images may be promoted to.")
    platforms: tuple[str, ...] = Field((), description="os/architecture that the image must run on.")
    signature: SignatureRule
    scan: ScanRule


class Policy(BaseModel):
    """The whole policy; an image that no rule names is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    image: tuple[ImageRule, ...] = Field(min_length=1)

    def rule_for(self, name: str, branch: str) -> ImageRule | None:
        """Return the first rule for a repository and a branch."""
        return next((rule for rule in self.image if fnmatchcase(name, rule.repository) and _allows(rule, branch)), None)


@dataclass(frozen=True, slots=True)
class Scan:
    """One vulnerability report.

    Attributes:
        platform: ``os/architecture`` it looked at; empty when it does not say.
        scanner: Program and version.
        finished_at: When it ended; None when it does not say.
        findings: Count by severity, all of them.
        fixable: Count by severity of those with a fix.
    """

    platform: str
    scanner: str
    finished_at: datetime | None
    findings: Mapping[str, int]
    fixable: Mapping[str, int]

    def worst(self, *, only_fixable: bool) -> str:
        """Return the worst severity found; ``none`` when nothing was."""
        counts = self.fixable if only_fixable else self.findings
        return max((name for name, count in counts.items() if count), key=SEVERITIES.index, default="none")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a registry and cosign know of one image.

    Attributes:
        name: Registry and repository.
        digest: Of the index or image.
        platforms: ``os/architecture`` it holds.
        version: What the image says of itself; empty when it says nothing.
        signatures: How many signatures lie beside it, verified or not.
        signed_by: What cosign verified; empty when nothing was.
        signature_note: Why nothing was verified.
        scans: Reports that name this digest.
        scans_verified: Whether their signatures were verified.
        scan_note: Why not, or what was wrong with a report that does not count.
        nodes: ``os/architecture`` of the nodes it would run on; empty where no cluster was asked.
    """

    name: str
    digest: str
    platforms: tuple[str, ...]
    version: str = ""
    signatures: int = 0
    signed_by: str = ""
    signature_note: str = ""
    scans: tuple[Scan, ...] = ()
    scans_verified: bool = False
    scan_note: str = ""
    nodes: tuple[str, ...] = ()


def read(text: str, *, where: str = POLICY_FILE) -> Policy:
    """Read a policy.

    Raises:
        SettingsError: It is no TOML, or a rule cannot be used; names the field.
    """
    try:
        return Policy.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{where} - not readable as TOML: {error}", hint="correct it in git") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise SettingsError(f"{where} - {field}: {first['msg'].lower()}", hint="correct it in git") from error


def judge_name(policy: Policy, *, name: str, tag: str, digest: str, branch: str) -> Verdict:
    """Judge what can be judged from the reference alone, before anybody is asked.

    Args:
        policy: The policy of the branch.
        name: Registry and repository.
        tag: Tag of the reference, if any.
        digest: Digest of the reference, if any.
        branch: Branch that would be changed.
    """
    rule = policy.rule_for(name, branch)
    known = joined(dict.fromkeys(f"{r.repository} to {joined(r.branches)}" for r in policy.image))
    checks = (
        _check(
            "digest",
            bool(digest),
            f"@{digest}" if digest else f"tag {tag or 'latest (none was given)'}",
            "named by digest",
            "a tag can move: what was judged and what runs could differ",
        ),
        _check("repository", rule is not None, name, known, f"no rule of {POLICY_FILE} allows it on branch {branch}"),
    )
    return _verdict(checks)


def judge(policy: Policy, evidence: Evidence, *, branch: str, version: str, now: datetime) -> Verdict:
    """Judge an image by its evidence.

    Args:
        policy: The policy of the branch.
        evidence: What was found.
        branch: Branch that would be changed.
        version: Version label it would get.
        now: Time that the age of a report is measured at.

    Returns:
        ``fail`` names each rule that is not kept; ``pass`` means that all are.
    """
    rule = policy.rule_for(evidence.name, branch)
    named = judge_name(policy, name=evidence.name, tag="", digest=evidence.digest, branch=branch)
    if rule is None:
        return named
    checks = [*named.checks, _platforms(rule, evidence), _version(evidence, version)]
    checks += [_signature(rule.signature, evidence), *_scans(rule, evidence, now)]
    return _verdict(tuple(checks))


def scan_of(statement: Mapping[str, Any], digest: str) -> Scan | str:
    """Return the report of an in-toto statement, or why it does not count for an image.

    Args:
        statement: The payload of an attestation.
        digest: Of the image it must be about.
    """
    subjects = {
        f"sha256:{value}"
        for subject in statement.get("subject") or ()
        if (value := (subject.get("digest") or {}).get("sha256"))
    }
    if digest not in subjects:
        return "a report is about another image"
    predicate = statement.get("predicate") or {}
    scanner = predicate.get("scanner") or {}
    report = scanner.get("result") or {}
    results = report.get("Results")
    if not results:
        return "a report looked at nothing (no results)"
    config = (report.get("Metadata") or {}).get("ImageConfig") or {}
    found = [item for result in results for item in result.get("Vulnerabilities") or ()]
    return Scan(
        platform=f"{config.get('os') or 'linux'}/{config['architecture']}" if config.get("architecture") else "",
        scanner=str(scanner.get("uri") or "unknown scanner"),
        finished_at=_moment(str((predicate.get("metadata") or {}).get("scanFinishedOn") or "")),
        findings=_counts(found),
        fixable=_counts(item for item in found if item.get("FixedVersion")),
    )


def _counts(found: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Count findings by severity; a severity nobody knows counts as ``unknown``."""
    names = (str(item.get("Severity") or "unknown").lower() for item in found)
    return dict(Counter(name if name in SEVERITIES else "unknown" for name in names))


def _moment(text: str) -> datetime | None:
    """Read a time of RFC 3339; None when it is none. Nanoseconds, which Go writes, are cut off."""
    whole, dot, rest = text.partition(".")
    if dot:
        digits = len(rest) - len(rest.lstrip("0123456789"))
        text = f"{whole}.{rest[:digits][:6].ljust(6, '0')}{rest[digits:]}"
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


def _allows(rule: ImageRule, branch: str) -> bool:
    """Whether a rule speaks of a branch."""
    return any(fnmatchcase(branch, pattern) for pattern in rule.branches)


def _check(name: str, ok: bool, value: str, rule: str, why_not: str) -> Check:
    """Build one row of the verdict."""
    return Check(name, "pass" if ok else "fail", value, rule, "" if ok else why_not)


def _verdict(checks: tuple[Check, ...]) -> Verdict:
    """Sum rows up."""
    failed = [check.name for check in checks if check.status != "pass"]
    if failed:
        return Verdict("fail", f"the policy refuses it: {joined(failed)}", checks)
    return Verdict("pass", "every rule of the policy is kept", checks)


def _platforms(rule: ImageRule, evidence: Evidence) -> Check:
    wanted = sorted({*rule.platforms, *evidence.nodes})
    missing = sorted(set(wanted) - set(evidence.platforms))
    why = f"no image for {joined(missing)}: its pods would end in 'no match for platform in manifest'"
    return _check("platforms", not missing, joined(evidence.platforms), joined(wanted, empty="any"), why)


def _version(evidence: Evidence, version: str) -> Check:
    own = evidence.version
    why = f"the image says that it is {own}"
    return _check("version", own in ("", version), own or f"{version} (the image says nothing)", version, why)


def _signature(rule: SignatureRule, evidence: Evidence) -> Check:
    who = f"key {rule.key}" if rule.key else rule.identity or "anybody"
    if not rule.required:
        return Check("signature", "pass", f"{evidence.signatures} there", "not required", "")
    if not evidence.signatures:
        return _check("signature", False, "none", f"signed by {who}", "nobody signed this digest")
    if rule.verified:
        value = (
            f"verified: {evidence.signed_by}" if evidence.signed_by else f"{evidence.signatures} there, not verified"
        )
        return _check("signature", bool(evidence.signed_by), value, f"signed by {who}", evidence.signature_note)
    return Check("signature", "pass", f"{evidence.signatures} there", "present", "")


def _scans(rule: ImageRule, evidence: Evidence, now: datetime) -> list[Check]:
    """Judge the newest report of each platform: is there one, is it signed, how old is it, what did it find?"""
    wanted = rule.scan
    if not wanted.required:
        return [Check("scan", "pass", f"{len(evidence.scans)} reports", "not required", "")]
    newest: dict[str, Scan] = {}
    for scan in sorted((s for s in evidence.scans if s.finished_at), key=lambda s: s.finished_at or now):
        newest[scan.platform] = scan
    # Without platforms in the rule, every image of an index counts: one report of one of them says nothing of the rest.
    asked = set(rule.platforms) or (set(evidence.platforms) if len(evidence.platforms) > 1 else set())
    missing = sorted(asked - set(newest)) if asked else ([] if newest else ["the image"])
    why = f"no report of {joined(missing)}" + (f" ({evidence.scan_note})" if evidence.scan_note else "")
    checks = [_check("scan", not missing, joined(sorted(newest), empty="none"), "every platform scanned", why)]
    if missing:
        return checks
    if wanted.verified:
        said = "verified" if evidence.scans_verified else "there, not verified"
        checks.append(
            _check("scan signature", evidence.scans_verified, said, "signed as the image", evidence.scan_note)
        )
    moments = [scan.finished_at for scan in newest.values() if scan.finished_at]
    oldest, latest = min(moments), max(moments)
    age = now - oldest
    fresh = age <= timedelta(days=wanted.max_age_days) and latest - now <= _CLOCK_SKEW
    why = "scan it again" if latest - now <= _CLOCK_SKEW else "its time lies in the future"
    checks.append(
        _check(
            "scan age", fresh, f"{age.total_seconds() / 86400:.1f} days", f"at most {wanted.max_age_days:g} days", why
        )
    )
    worst = max((s.worst(only_fixable=wanted.only_fixable) for s in newest.values()), key=SEVERITIES.index)
    let_through = SEVERITIES.index(worst) <= SEVERITIES.index(wanted.max_severity)
    kind = "fixable " if wanted.only_fixable else ""
    rule_text = f"no {kind}finding above {wanted.max_severity}"
    checks.append(_check("findings", let_through, _found(newest.values(), wanted), rule_text, "update what is found"))
    return checks


def _found(scans: Iterable[Scan], rule: ScanRule) -> str:
    """Say what was found, worst first."""
    totals: Counter[str] = Counter()
    for scan in scans:
        totals.update(scan.fixable if rule.only_fixable else scan.findings)
    kind = " fixable" if rule.only_fixable else ""
    return joined((f"{totals[name]} {name}" for name in reversed(SEVERITIES) if totals[name]), empty="nothing") + kind
