"""What does git's refusal mean, and what is the next step? Pure: the text of an answer in, an error out.

Git and the hosts behind it answer in prose. The phrases here were taken from recorded answers of git itself, GitHub
and GitLab; what none of them fits is passed on as it is. Who runs git is ``wire.git``.

Source: git's push, fetch and clone messages; GitHub docs "About protected branches" (GH006, GH013) and "About large
files on GitHub" (GH001); GitLab docs "Protected branches".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from platform_lib.errors import GitError, InvalidInput
from platform_lib.model import joined

OVERTAKEN = (
    "fetch first",
    "non-fast-forward",
    "cannot lock ref",
    "incorrect old value provided",
    "failed to update ref",
    "remote ref updated since checkout",
)
"""Somebody else was faster; the same change on top of theirs may go through."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """One kind of refusal.

    Attributes:
        kind: Short name for programs, in the error's ``kind``.
        pattern: What git or the host writes.
        observed: What that means; ``{branch}`` and ``{remote}`` are filled in.
        hint: The next step.
    """

    kind: str
    pattern: re.Pattern[str]
    observed: str
    hint: str


def _meaning(kind: str, pattern: str, observed: str, hint: str) -> Meaning:
    """Build a meaning; phrases are looked for without regard to case."""
    return Meaning(kind, re.compile(pattern, re.IGNORECASE), observed, hint)


MEANINGS = (
    _meaning(
        "large file",
        r"GH001|Large files detected|exceeds GitHub.s file size limit|pack exceeds maximum allowed size",
        "branch {branch} of {remote} - a file is larger than the host takes, expected only text",
        "desired state is text: take the file out of gitops/, then run again",
    ),
    _meaning(
        "secret in push",
        r"GITHUB PUSH PROTECTION|Push cannot contain secrets",
        "branch {branch} of {remote} - the host found a credential in the commit, expected none",
        "take it out, replace it where it was issued, and commit a reference (env:NAME, file:PATH) instead",
    ),
    _meaning(
        "protected branch",
        r"GH006|GH013|protected branch hook declined|not allowed to (force )?push (code )?to (a )?protected branch",
        "branch {branch} of {remote} - protected, a direct push is refused, expected to accept one",
        "push to another branch and open a pull request, or allow this identity in the rules of the branch",
    ),
    _meaning(
        "checked out",
        r"refusing to update checked out branch|branch is currently checked out",
        "branch {branch} of {remote} - checked out in a repository with a work tree, expected a bare repository",
        "push to a bare repository: git clone --bare {remote} gitops.git",
    ),
    _meaning(
        "no write access",
        r"Write access to repository not granted|Permission to \S+ denied to|returned error: 403|deploy key.*read.only"
        r"|not allowed to push|marked as read.only",
        "{remote} - this identity may read and not write, expected a token with write access",
        "give a token with contents: write for just this repository, as a reference: APQX_GIT_TOKEN=env:NAME",
    ),
    _meaning(
        "not authorised",
        r"Authentication failed|could not read (Username|Password)|Invalid username or (password|token)"
        r"|Access denied|Permission denied \(publickey|returned error: 401|terminal prompts disabled"
        r"|Host key verification failed|Bad credentials",
        "{remote} - not authorised, the token is missing, expired or of another host",
        "issue a new token and give it as a reference: APQX_GIT_TOKEN=env:NAME or file:/path",
    ),
    _meaning(
        "not found",
        r"Repository not found|does not appear to be a git repository|returned error: 404"
        r"|repository '.*' (not found|does not exist)|project you were looking for could not be found",
        "{remote} - no repository there that this identity can see, expected one",
        "check the address; a private repository also answers like this to a token without access",
    ),
    _meaning(
        "branch missing",
        r"Remote branch .* not found in upstream|couldn't find remote ref",
        "branch {branch} of {remote} - absent, expected to exist",
        "push the desired state first, or name another branch: APQX_GIT_BRANCH",
    ),
    _meaning(
        "hook declined",
        r"pre-receive hook declined|update hook declined|\(hook declined\)|hook declined",
        "branch {branch} of {remote} - refused by a hook of the host",
        "check that the repository accepts pushes from here (hooks, rights), then run again",
    ),
    _meaning(
        "unreachable",
        r"Could not resolve host|Connection refused|Failed to connect|Connection timed out|Operation timed out"
        r"|Network is unreachable|no answer within|Connection reset|early EOF|remote end hung up",
        "{remote} - no answer, expected a git server",
        "check network and proxy, then run again; nothing was pushed",
    ),
    _meaning(
        "disk full",
        r"No space left on device|Disk quota exceeded",
        "private clone of {remote} - no space left on the disk",
        "free space in the state folder (APQX_HOME), then run again",
    ),
)
"""Looked through from the top: what is more exact stands above what is more general."""


def overtaken(stderr: str) -> bool:
    """Tell whether a push lost a race, so that it may be tried again on top of the newest commit."""
    return any(word in stderr for word in OVERTAKEN) and not any(
        meaning.pattern.search(stderr) for meaning in MEANINGS[:4]
    )


def explain(command: str, stderr: str, *, remote: str, branch: str) -> GitError:
    """Return the error of a failed command: what was observed, what git said, the next step.

    Args:
        command: First word after ``git``.
        stderr: What it wrote.
        remote: Path or URL of the repository.
        branch: Branch that was read or pushed to.

    Returns:
        A ``GitError`` with ``kind`` (see ``MEANINGS``; ``other`` when none fits), ``command`` and ``stderr``, without
        credentials of a URL.
    """
    text, place = without_password(stderr), without_password(remote)
    for meaning in MEANINGS:
        if meaning.pattern.search(text):
            return GitError(
                f"{meaning.observed.format(branch=branch, remote=place)} (git {command}: {said(text)})",
                hint=meaning.hint.format(branch=branch, remote=place),
                command=command,
                stderr=text[-2000:],
                kind=meaning.kind,
            )
    return GitError(
        f"git {command} - failed: {said(text)}",
        hint="see that the repository exists and can be reached",
        command=command,
        stderr=text[-2000:],
        kind="other",
    )


def conflict(files: list[str], *, branch: str, theirs: str) -> GitError:
    """Return the error of a change that does not fit on what somebody else pushed meanwhile.

    Args:
        files: Paths that both changed in the same place.
        branch: Branch that both wanted to push to.
        theirs: Their newest commit, for the reader.
    """
    return GitError(
        f"branch {branch} - {joined(files)} was changed there meanwhile ({theirs}), "
        "expected the lines that this change was planned on",
        hint="nothing was pushed; look at their change and plan again",
        command="rebase",
        stderr="",
        kind="conflict",
        files=tuple(files),
    )


def rewritten(*, branch: str, remote: str, base: str, related: bool) -> GitError:
    """Return the error of a branch whose history no longer holds the commit that a change was planned on."""
    how = "was rewritten (force-push)" if related else "was replaced by an unrelated history"
    return GitError(
        f"branch {branch} of {without_password(remote)} - {how}: commit {base[:7]}, which this change was planned on, "
        "is not part of it any more",
        hint="nothing was pushed; find out who replaced it, then plan again",
        command="merge-base",
        stderr="",
        kind="rewritten" if related else "unrelated histories",
    )


def detached(*, branch: str, remote: str, what: str, branches: list[str]) -> GitError:
    """Return the error of a name that is no branch: what Argo CD follows by it cannot be pushed to."""
    return GitError(
        f"{branch} of {without_password(remote)} - {what}, expected a branch (a detached HEAD cannot be pushed to)",
        hint=f"name a branch: {joined(branches, empty='the repository has none yet, push desired state first')}",
        command="ls-remote",
        stderr="",
        kind="detached",
    )


def check_remote(remote: str) -> None:
    """Refuse a URL that carries a password: it would be seen in process lists and in the clone's configuration.

    Raises:
        InvalidInput: Does not repeat the password.
    """
    if re.match(r"[a-z+]+://[^/@]*:[^/@]+@", remote):
        raise InvalidInput(
            f"repository {without_password(remote)} - the URL carries a password, expected none",
            hint="give it as a reference: APQX_GIT_TOKEN=env:NAME, and take it out of the URL",
        )


def without_password(text: str) -> str:
    """Return a text without the user part of its URLs."""
    return re.sub(r"(\b[a-z][a-z+.-]*://)[^\s/@'\"]+@", r"\1", text)


def said(text: str) -> str:
    """Return the lines of git's answer that say something, in one line."""
    lines = [line.strip().removeprefix("remote:").strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("hint:", "To ", "error: failed to push"))]
    return "; ".join(kept[-6:]) or "no message"
