"""How does an image that was built elsewhere become desired state? Evidence, policy, one commit.

``image_evidence`` asks the registry and cosign, ``rules.image_policy`` judges by the policy of the branch that would
be changed, and a promotion commits the digest with the evidence in its message. It does not wait for the rollout:
Argo CD, or ``sync``, does that. What one deploys from this machine's own build is ``deploy``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from platform_lib import journal
from platform_lib.errors import Forbidden, GuardRefused, InvalidInput, SettingsError, Unreachable
from platform_lib.image_evidence import look
from platform_lib.model import App, Outcome, Plan, Platform, Step, Verdict, _Table, joined
from platform_lib.operation import operation
from platform_lib.rules import image_policy
from platform_lib.rules.image_policy import POLICY_FILE, ImageRule, Policy
from platform_lib.rules.manifests import image_of, parse_manifests, version_of
from platform_lib.settings import settings
from platform_lib.wait import now
from platform_lib.wire import kube, manifest_edit
from platform_lib.wire.git import AUTHOR, repository
from platform_lib.wire.registry import Reference, parse

_VERSION = "org.opencontainers.image.version"
GITOPS = "gitops"
"""Name and context of a destination that is a repository alone: no cluster is asked."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Promotion(_Table):
    """What a promotion would do, and why it may or may not.

    Attributes:
        image: Reference by digest.
        version: Version label it gets.
        base: Commit that policy and manifest were read from.
        verdict: One row for each rule of the policy.
        plan: Steps; none when git names this image already.
        message: Of the commit: the evidence.
    """

    image: str
    version: str
    base: str
    verdict: Verdict
    plan: Plan
    message: str

    def rows(self) -> list[tuple[str, str]]:
        """Return the verdict first, then the steps."""
        return [("image", self.image), *self.verdict.rows(), *self.plan.rows()]

    def require_pass(self) -> None:
        """Refuse an image that the policy refuses.

        Raises:
            GuardRefused: Names each rule that is not kept.
        """
        _require(self.verdict, self.image)


def destination(repository_url: str, *, branch: str) -> Platform:
    """Return a destination that is a GitOps repository alone, for a pipeline without a cluster.

    Its context is ``gitops``: it must be on the allow-list (``APQX_ALLOWED_CONTEXTS='["gitops"]'``) like any other.
    """
    home = settings().home
    return Platform(
        name=GITOPS,
        provider="existing",
        kubeconfig=home / "no-kubeconfig",
        context=GITOPS,
        prometheus_url="",
        ingress_url="",
        gitops_repo=repository_url,
        gitops_branch=branch,
        home=home,
    )


def on_branch(platform: Platform, to: str) -> Platform:
    """Return a platform with the branch of ``NAME`` or ``NAME/BRANCH``.

    Raises:
        GuardRefused: The name is another platform's: what is promoted must not land somewhere else by a slip.
    """
    name, _, branch = to.partition("/")
    if name != platform.name:
        raise GuardRefused(
            f"platform {name} - the one that is up is {platform.name}, expected the same",
            hint=f"promote with --to {platform.name}, or set APQX_HOME to the other one's state folder",
        )
    return replace(platform, gitops_branch=branch or platform.gitops_branch)


def plan_promote(platform: Platform, app: App, *, image: str, version: str = "") -> Promotion:
    """Look the evidence up and judge it, without changing anything.

    Args:
        platform: Whose GitOps repository and branch would be changed.
        app: What.
        image: Reference by digest, with the name of the registry.
        version: Version label; empty: what the image says of itself.

    Returns:
        Verdict and plan; the plan is there also when the verdict refuses.

    Raises:
        InvalidInput: The reference cannot be one, or no version is known.
        GuardRefused: The reference alone breaks the policy: a tag, or a repository that no rule names.
        SettingsError: The branch has no policy, or it cannot be used.
        ImageError, Unreachable: The registry does not have the image, or does not let us look.
        GitError, ManifestError: Desired state cannot be read.
    """
    reference, branch = parse(image), platform.gitops_branch
    repo = repository(platform)
    with repo.current() as tree:
        base = repo.run("rev-parse", "HEAD")
        policy = image_policy.read(_text(tree / POLICY_FILE, branch))
        rule = _admitted(policy, reference, branch)
        before = _text(tree / app.deployment_file, branch)
        evidence = replace(look(reference, rule, tree), nodes=_nodes(platform))
    wanted = version or evidence.version
    if not wanted:
        raise InvalidInput(
            f"image {image} - carries no label {_VERSION}, expected one", hint="name the version: --version 1.4.0"
        )
    pinned = f"{reference.name}@{reference.digest}"
    manifest_edit.check_release(pinned, wanted)
    verdict = image_policy.judge(policy, evidence, branch=branch, version=wanted, now=now())
    plan = _plan(platform, app, before, pinned, wanted)
    return Promotion(pinned, wanted, base, verdict, plan, _message(app, pinned, wanted, verdict, base))


@operation("promote", locked=False)  # one push is one step: git itself says who was first
def promote(
    platform: Platform,
    app: App,
    *,
    image: str,
    version: str = "",
    author: str = AUTHOR,
    progress: Progress | None = None,
) -> Outcome:
    """Commit an image to desired state when the policy lets it through.

    Args:
        platform: Whose GitOps repository and branch is changed.
        app: What.
        image: Reference by digest, with the name of the registry.
        version: Version label; empty: what the image says of itself.
        author: ``Name <mail>`` of the commit.
        progress: Called with each step.

    Returns:
        Figures ``commit``, ``digest``, ``version``, ``changed``; the verdict is part of it.

    Raises:
        GuardRefused: The policy refuses the image, or the destination may not be changed; nothing was.
        GitError: The push was refused, or somebody changed the same lines since the plan (``kind`` conflict).
        InvalidInput, SettingsError, ImageError, Unreachable, ManifestError: See ``plan_promote``.
    """
    said = progress or (lambda _line: None)
    started = now()
    said(f"look: {image} and the policy of branch {platform.gitops_branch}")
    promotion = plan_promote(platform, app, image=image, version=version)
    promotion.require_pass()
    judged = now()
    said(f"commit: {promotion.version} to {platform.gitops_branch}")
    commit = _commit(platform, app, promotion, author) if promotion.plan.steps else None
    pushed = now()
    if commit:
        journal.current().append("git", "commit", app.name, cause=f"promote {promotion.version}", commit=commit)
    figures: dict[str, Any] = {
        "commit": commit or promotion.base,
        "digest": promotion.image.partition("@")[2],
        "version": promotion.version,
        "changed": commit is not None,
    }
    outcome = Outcome(
        "promote",
        True,
        started,
        pushed,
        figures=figures,
        stages=(
            ("evidence", (judged - started).total_seconds()),
            ("commit and push", (pushed - judged).total_seconds()),
        ),
        message=f"{app.name} {promotion.version} is on {platform.gitops_branch}"
        + ("" if commit else " already; nothing was committed"),
        verdict=promotion.verdict,
    )
    journal.current().append("promote", "outcome", app.name, cause=figures["commit"], **figures)
    return outcome


def _nodes(platform: Platform) -> tuple[str, ...]:
    """Return the platforms of the nodes; none where only a repository is known, or where no cluster is up.

    A cluster that does not answer, or does not let us list its nodes, is no reason to refuse: git is what is changed,
    and the policy names platforms too.
    """
    if platform.name == GITOPS or not platform.kubeconfig.is_file():
        return ()
    try:
        nodes, _ = kube.connect(platform).list(kube.NODES)
    except (Unreachable, Forbidden):
        return ()
    labels = [(node["metadata"].get("labels") or {}) for node in nodes]
    found = {(one.get("kubernetes.io/os", "linux"), one.get("kubernetes.io/arch", "")) for one in labels}
    return tuple(sorted(f"{system}/{machine}" for system, machine in found if machine))


def _admitted(policy: Policy, reference: Reference, branch: str) -> ImageRule:
    """Return the rule for an image, before anybody is asked about it.

    Raises:
        GuardRefused: It is named by a tag, or no rule allows its repository on this branch.
    """
    named = image_policy.judge_name(
        policy, name=reference.name, tag=reference.tag, digest=reference.digest, branch=branch
    )
    rule = policy.rule_for(reference.name, branch)
    if rule is None or not named.ok:
        _require(named, str(reference))
        raise AssertionError("unreachable: a name without a rule fails its verdict")
    return rule


def _require(verdict: Verdict, image: str) -> None:
    """Refuse what the policy refuses, naming each rule and its reason."""
    if verdict.ok:
        return
    failed = [f"{c.name}: {c.value}, wanted {c.rule} ({c.reason})" for c in verdict.checks if c.status != "pass"]
    raise GuardRefused(
        f"image {image} - {joined(failed)}",
        hint=f"nothing was changed; the policy is {POLICY_FILE} of the branch",
        verdict=verdict,
    )


def _text(path: Path, branch: str) -> str:
    """Read a file of the GitOps repository.

    Raises:
        SettingsError: It is not there; without a policy nothing is let through.
    """
    try:
        return path.read_text()
    except FileNotFoundError as error:
        raise SettingsError(
            f"{'/'.join(path.parts[-3:])} - absent on branch {branch}, expected to be part of desired state",
            hint=f"commit it: this project's own {POLICY_FILE} is a start",
        ) from error


def _plan(platform: Platform, app: App, before: str, image: str, version: str) -> Plan:
    """Say what would be committed."""
    inputs = {"app": app.name, "image": image, "version": version, "branch": platform.gitops_branch}
    title = f"promote {app.name} {version}"
    if manifest_edit.set_release(before, image=image, version=version) == before:
        return Plan(title, inputs=inputs)
    documents = parse_manifests(before, app.deployment_file)
    old = next(document for document in documents if document["kind"] == "Deployment")
    change = f"{version_of(old) or 'no version'} to {version}, {image_of(old)[-12:]} to {image[-12:]}"
    return Plan(
        title,
        (
            Step("commit", app.deployment_file, change),
            Step("push", platform.gitops_branch, "Argo CD reads desired state from this branch only"),
        ),
        inputs,
    )


def _message(app: App, image: str, version: str, verdict: Verdict, base: str) -> str:
    """Return the commit message: what, and the evidence that let it through."""
    rows = [f"- {check.name}: {check.value}" for check in verdict.checks]
    return "\n".join(
        (f"Promote {app.name} {version}", "", f"Image: {image}", f"Policy: {POLICY_FILE} at {base[:12]}", *rows)
    )


def _commit(platform: Platform, app: App, promotion: Promotion, author: str) -> str | None:
    """Commit and push; None when somebody else promoted the same image meanwhile."""

    def edit(tree: Path) -> str | None:
        path = tree / app.deployment_file
        changed = manifest_edit.write_release(path, image=promotion.image, version=promotion.version)
        return promotion.message if changed else None

    return repository(platform, author=author).change(edit, base=promotion.base, rests_on=(POLICY_FILE,))
