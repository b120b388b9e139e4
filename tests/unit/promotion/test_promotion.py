"""Promotions against Debian's docker-registry: what is beside an image decides, and what is refused changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from registry_tools import STRICT, Shelf, b64, git, report, signature

from platform_lib import promotion
from platform_lib.errors import GitError, GuardRefused, ImageError, InvalidInput, SettingsError
from platform_lib.image import build_image

COSIGN = """\
#!/bin/sh
# Stands in for cosign, which cannot be had here: notes how it was called and answers what it would.
printf '%s\\n' "$*" >> "{folder}/calls"
[ -z "$DOCKER_CONFIG" ] || cat "$DOCKER_CONFIG/config.json" >> "{folder}/configs"
case "$1" in
verify) [ -f "{folder}/signed" ] && echo '[{{"critical":{{}}}}]' && exit 0 ;;
verify-attestation) [ -f "{folder}/attested" ] && cat "{folder}/attested" && exit 0 ;;
esac
echo 'Error: no matching signatures: none of the expected identities matched what was in the certificate' >&2
exit 10
"""


@pytest.fixture
def cosign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cosign-bin"
    folder.mkdir()
    program = folder / "cosign"
    program.write_text(COSIGN.format(folder=folder))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def verified(cosign: Path, *statements: dict) -> None:
    (cosign / "signed").touch()
    (cosign / "attested").write_text("".join(json.dumps({"payload": b64(s)}) + "\n" for s in statements))


def good(shelf: Shelf, cosign: Path) -> str:
    """An image for both architectures with everything the policy asks for."""
    digest = shelf.index("amd64", "arm64")
    reports = [report(digest, ("LOW", "1"), architecture=name) for name in ("amd64", "arm64")]
    shelf.bundles(digest, signature(digest), *reports)
    verified(cosign, *reports)
    return f"{shelf.name}@{digest}"


def refused(platform, app, image: str, remote: Path) -> str:
    before = git("rev-parse", "main", folder=remote)
    with pytest.raises(GuardRefused) as caught:
        promotion.promote(platform, app, image=image)
    assert git("rev-parse", "main", folder=remote) == before
    return str(caught.value)


def test_an_image_that_keeps_every_rule_is_committed_with_its_evidence(platform, app, remote, shelf, cosign) -> None:
    image = good(shelf, cosign)
    outcome = promotion.promote(platform, app, image=image)
    text = git("show", f"main:{app.deployment_file}", folder=remote)
    assert image in text and "app.kubernetes.io/version: 1.4.0  # rewritten by a deploy" in text
    assert text.startswith("# Why this file")
    message = git("log", "-1", "--format=%B", folder=remote)
    assert message.startswith("Promote sample-app 1.4.0") and f"Image: {image}" in message
    assert "- signature: verified" in message and "- findings: 2 low fixable" in message
    assert outcome.figures["changed"] and outcome.figures["commit"] == git("rev-parse", "main", folder=remote)
    assert outcome.verdict.ok


def test_the_same_promotion_again_commits_nothing(platform, app, remote, shelf, cosign) -> None:
    image = good(shelf, cosign)
    first = promotion.promote(platform, app, image=image)
    again = promotion.promote(platform, app, image=image)
    assert not again.figures["changed"] and "nothing was committed" in again.message
    assert git("rev-parse", "main", folder=remote) == first.figures["commit"]


def test_cosign_is_told_whom_to_expect_and_finds_the_token_in_a_private_file(
    platform, app, shelf, cosign, monkeypatch
) -> None:
    monkeypatch.setenv("READS", "aRegistryTokenValue")
    monkeypatch.setenv("APQX_REGISTRY_TOKEN", "env:READS")
    promotion.promote(platform, app, image=good(shelf, cosign))
    calls = (cosign / "calls").read_text()
    assert "--certificate-identity-regexp ^https://github" in calls and "--allow-http-registry" in calls
    assert "--certificate-oidc-issuer https://token.actions.githubusercontent.com" in calls
    assert "verify-attestation --type vuln" in calls and "aRegistryTokenValue" not in calls
    assert shelf.host in json.loads((cosign / "configs").read_text().split("}}}")[0] + "}}}")["auths"]


def test_a_tag_is_refused_without_asking_the_registry(platform, app, remote) -> None:
    for tag in ("", ":latest", ":1.4.0"):
        assert "a tag can move" in refused(platform, app, f"127.0.0.1:9/you/sample-app{tag}", remote)


def test_an_unsigned_and_unscanned_image_is_refused_with_both_reasons(platform, app, remote, shelf, cosign) -> None:
    text = refused(platform, app, f"{shelf.name}@{shelf.index('amd64', 'arm64')}", remote)
    assert "nobody signed this digest" in text and "no report of linux/amd64, linux/arm64" in text
    assert not (cosign / "calls").exists()


def test_a_signature_that_nobody_verified_is_none(platform, app, remote, shelf, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join(("/usr/bin", "/bin")))
    if shutil.which("cosign", path="/usr/bin:/bin"):
        pytest.skip("this machine has cosign where git is")
    digest = shelf.index("amd64", "arm64")
    shelf.sign_by_tag(digest)
    shelf.scan_by_tag(digest, *(report(digest, architecture=name) for name in ("amd64", "arm64")))
    text = refused(platform, app, f"{shelf.name}@{digest}", remote)
    assert "1 there, not verified" in text and "cosign is not on PATH" in text and "scan signature" in text


def test_a_signature_of_somebody_else_is_refused_in_cosigns_words(platform, app, remote, shelf, cosign) -> None:
    image = good(shelf, cosign)
    (cosign / "signed").unlink()
    assert "none of the expected identities matched" in refused(platform, app, image, remote)


def test_a_signature_copied_from_another_image_does_not_count(platform, app, remote, shelf, cosign) -> None:
    digest = shelf.index("amd64", "arm64")
    shelf.sign_by_tag(digest, about="sha256:" + "b" * 64)
    assert "nobody signed this digest" in refused(platform, app, f"{shelf.name}@{digest}", remote)


def test_only_verified_reports_count(platform, app, remote, shelf, cosign) -> None:
    """What lies in the registry says low; what cosign verified says critical."""
    digest = shelf.index("amd64", "arm64")
    shelf.bundles(digest, signature(digest), *(report(digest, architecture=name) for name in ("amd64", "arm64")))
    verified(cosign, report(digest, ("CRITICAL", "2")), report(digest, architecture="arm64"))
    assert "1 critical fixable" in refused(platform, app, f"{shelf.name}@{digest}", remote)


def test_an_index_without_an_architecture_is_refused_by_its_name(platform, app, remote, shelf, cosign) -> None:
    digest = shelf.index("amd64")
    text = refused(platform, app, f"{shelf.name}@{digest}", remote)
    assert "platforms: linux/amd64, wanted linux/amd64, linux/arm64 (no image for linux/arm64" in text


def test_a_single_image_says_its_platform_in_its_configuration(platform, app, remote, shelf, cosign) -> None:
    digest = shelf.image("s390x")
    assert "platforms: linux/s390x" in refused(platform, app, f"{shelf.name}@{digest}", remote)


def test_an_image_that_is_not_in_the_registry_is_named(platform, app, shelf, cosign) -> None:
    with pytest.raises(ImageError, match=r"not in the registry, expected to have been pushed") as caught:
        promotion.plan_promote(platform, app, image=f"{shelf.name}@sha256:{'c' * 64}")
    assert caught.value.kind == "not found"


def test_an_image_without_a_version_asks_for_one(platform, app, remote, shelf, cosign, policy) -> None:
    policy(STRICT.replace('platforms = ["linux/amd64", "linux/arm64"]', "") + "required = false\n")
    image = f"{shelf.name}@{shelf.image(version='')}"
    with pytest.raises(InvalidInput, match=r"--version 1\.4\.0"):
        promotion.plan_promote(platform, app, image=image)


def test_a_version_that_the_image_denies_is_refused(platform, app, shelf, cosign) -> None:
    found = promotion.plan_promote(platform, app, image=good(shelf, cosign), version="2.0.0")
    assert not found.verdict.ok and "the image says that it is 1.4.0" in str(found)


def test_a_public_key_of_the_repository_verifies(platform, app, remote, shelf, cosign, policy) -> None:
    keyed = (
        STRICT.replace("identity", "# identity")
        .replace("issuer", "# issuer")
        .replace(
            "[image.signature]", '[image.signature]\nkey = "gitops/promotion/cosign.pub"\ntransparency_log = false'
        )
    )
    policy(keyed, **{"cosign.pub": "-----BEGIN PUBLIC KEY-----\n"})
    promotion.promote(platform, app, image=good(shelf, cosign))
    assert "/gitops/promotion/cosign.pub --insecure-ignore-tlog=true" in (cosign / "calls").read_text()


def test_a_public_key_outside_the_repository_is_refused(platform, app, shelf, cosign, policy, tmp_path) -> None:
    (tmp_path / "own.pub").write_text("mine")
    keyed = (
        STRICT.replace("identity", "# identity")
        .replace("issuer", "# issuer")
        .replace("[image.signature]", f'[image.signature]\nkey = "{tmp_path}/own.pub"')
    )
    policy(keyed)
    with pytest.raises(SettingsError, match="is no file of the GitOps repository"):
        promotion.plan_promote(platform, app, image=good(shelf, cosign))


def test_without_a_policy_nothing_is_let_through(platform, app, remote, shelf, tmp_path) -> None:
    tree = tmp_path / "t"
    git("clone", "-q", str(remote), str(tree), folder=tmp_path)
    git("rm", "-q", "-r", "gitops/promotion", folder=tree)
    git("commit", "-qm", "No policy", folder=tree)
    git("push", "-q", "origin", "main", folder=tree)
    with pytest.raises(SettingsError, match=r"gitops/promotion/policy\.toml - absent on branch main"):
        promotion.plan_promote(platform, app, image=f"{shelf.name}@sha256:{'c' * 64}")


def test_somebody_who_changed_the_same_lines_meanwhile_is_a_conflict(
    platform, app, remote, shelf, cosign, monkeypatch
) -> None:
    image, planned = good(shelf, cosign), promotion.plan_promote

    def overtaken(*args, **kwargs):
        found = planned(*args, **kwargs)
        tree = platform.home / "other"
        git("clone", "-q", str(remote), str(tree), folder=platform.home)
        path = tree / app.deployment_file
        path.write_text(path.read_text().replace("1" * 64, "7" * 64))
        git("commit", "-qam", "Hotfix", folder=tree)
        git("push", "-q", "origin", "main", folder=tree)
        return found

    monkeypatch.setattr(promotion, "plan_promote", overtaken)
    with pytest.raises(GitError) as caught:
        promotion.promote(platform, app, image=image)
    assert caught.value.kind == "conflict" and app.deployment_file in str(caught.value)
    assert git("log", "-1", "--format=%s", folder=remote) == "Hotfix"


def test_a_policy_that_was_changed_meanwhile_is_asked_again(
    platform, app, remote, shelf, cosign, policy, monkeypatch
) -> None:
    image, planned = good(shelf, cosign), promotion.plan_promote

    def overtaken(*args, **kwargs):
        found = planned(*args, **kwargs)
        policy(STRICT.replace('max_severity = "medium"', 'max_severity = "none"'))
        return found

    monkeypatch.setattr(promotion, "plan_promote", overtaken)
    with pytest.raises(GitError, match=r"gitops/promotion/policy\.toml was changed there meanwhile") as caught:
        promotion.promote(platform, app, image=image)
    assert caught.value.kind == "conflict"
    assert git("log", "-1", "--format=%s", folder=remote) == "Another policy"


def test_a_destination_that_is_not_on_the_allow_list_is_refused(platform, app, remote, shelf, cosign) -> None:
    with pytest.raises(GuardRefused, match="not on the allow-list"):
        promotion.promote(replace(platform, context="production"), app, image=good(shelf, cosign))


def test_a_slip_in_the_platforms_name_is_refused(platform) -> None:
    with pytest.raises(GuardRefused, match="platform prod - the one that is up is apqx"):
        promotion.on_branch(platform, "prod/main")
    assert promotion.on_branch(platform, "apqx/release/1").gitops_branch == "release/1"


def test_a_pipeline_promotes_to_a_repository_alone(remote, app, shelf, cosign, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("APQX_HOME", str(tmp_path / "home"))
    there = promotion.destination(str(remote), branch="main")
    with pytest.raises(GuardRefused, match="gitops"):
        promotion.promote(there, app, image=good(shelf, cosign))
    monkeypatch.setenv("APQX_ALLOWED_CONTEXTS", '["gitops"]')
    assert promotion.promote(there, app, image=good(shelf, cosign)).figures["changed"]


def test_an_image_of_our_own_layout_goes_through_a_real_push(platform, app, remote, shelf, policy, tmp_path) -> None:
    """The library's build, skopeo, docker-registry: the digest stays what the build said."""
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed (apt-get install skopeo)")
    policy(STRICT.split("platforms")[0] + "[image.signature]\nrequired = false\n[image.scan]\nrequired = false\n")
    built = build_image(Path(__file__).parents[3] / "app", tmp_path / "images", version="3.1.0", repository=shelf.name)
    source = f"oci:{tmp_path}/images:{shelf.name}:3.1.0"
    command = ["skopeo", "--insecure-policy", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false", source]
    subprocess.run([*command, f"docker://{shelf.name}:3.1.0"], check=True, timeout=60)
    outcome = promotion.promote(platform, app, image=built.reference)
    assert outcome.figures["digest"] == built.digest and outcome.figures["version"] == "3.1.0"
    assert built.reference in git("show", f"main:{app.deployment_file}", folder=remote)


def test_the_command_says_verdict_and_exit_code(remote, shelf, cosign, tmp_path) -> None:
    image = good(shelf, cosign)
    environment = dict(os.environ) | {"APQX_HOME": str(tmp_path / "home"), "APQX_ALLOWED_CONTEXTS": '["gitops"]'}

    def apqx(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name("apqx")
        command = [program, "image", "promote", *arguments, "--repository", str(remote)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    refused = apqx(f"{shelf.name}:latest")
    assert refused.returncode == 3 and "a tag can move" in refused.stderr and "Traceback" not in refused.stderr
    planned = apqx(image, "--dry-run")
    assert planned.returncode == 0 and "pass: every rule of the policy is kept" in planned.stdout
    assert git("log", "-1", "--format=%s", folder=remote) == "Start"
    done = apqx(image, "--to", "main")
    assert done.returncode == 0, done.stderr
    assert git("log", "-1", "--format=%s", folder=remote) == "Promote sample-app 1.4.0"
    assert apqx(image, "--to", "nowhere").returncode == 1


def test_nodes_of_another_architecture_refuse_the_image(platform, app, remote, shelf, cosign, monkeypatch) -> None:
    monkeypatch.setattr(promotion, "_nodes", lambda _platform: ("linux/riscv64",))
    assert "no image for linux/riscv64" in refused(platform, app, good(shelf, cosign), remote)


def test_an_image_that_a_deleted_registry_had_is_known_to_be_lost(shelf, monkeypatch) -> None:
    """What k3d's ``up`` asks of the digest that the user's repository names; see providers/k3d/images.lost."""
    from platform_lib.providers.k3d import config, images
    from platform_lib.settings import settings

    host, _, port = shelf.host.partition(":")
    assert host == config.LOOPBACK
    monkeypatch.setenv("APQX_K3D_REGISTRY_PORT", port)
    current = settings()
    there = shelf.image()
    inside = f"{config.registry_name(current)}:{config.REGISTRY_PORT_INSIDE}/{shelf.repository}"
    assert not images.lost(current, f"{inside}@{there}")
    assert images.lost(current, f"{inside}@sha256:{'0' * 64}")
    assert not images.lost(current, f"ghcr.io/you/shop@sha256:{'0' * 64}")
