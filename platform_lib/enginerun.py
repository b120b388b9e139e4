"""How is a container engine called, and what do its many error texts mean to a person?

One function streams a long command, one returns a short answer; both end at a deadline and turn a failure into the
error whose next step helps. What to call is ``container``'s business.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from platform_lib.errors import ImageError, PlatformError, ToolMissing, Unreachable, WaitTimeout
from platform_lib.settings import child_environment

TAIL_LINES = 12
"""Enough to hold the failing command and its message, short enough for a terminal."""
_KEPT_LINES = 400
_END_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class _Meaning:
    """A piece of an engine's output, the error it stands for, what was seen, and the next step."""

    pattern: re.Pattern[str]
    error: type[PlatformError]
    seen: str
    hint: str


def _means(pattern: str, error: type[PlatformError], seen: str, hint: str) -> _Meaning:
    return _Meaning(re.compile(pattern, re.IGNORECASE), error, seen, hint)


_MEANINGS = (
    _means(
        r"permission denied while trying to connect|connect: permission denied",
        Unreachable,
        "the daemon's socket refuses this user, expected access",
        "add the user to group docker and log in again, or use rootless podman or buildah",
    ),
    _means(
        r"cannot connect to the docker daemon|error during connect|is the docker daemon running",
        Unreachable,
        "the daemon does not answer, expected a running one",
        "start it (systemctl start docker), or correct DOCKER_HOST",
    ),
    _means(
        r"buildx component is missing|--mount option requires BuildKit|unknown flag: --mount",
        ToolMissing,
        "this docker cannot use BuildKit, expected one that can",
        "install docker-buildx-plugin, or use podman or buildah",
    ),
    _means(
        r"no space left on device|disk quota exceeded",
        ImageError,
        "the disk is full, expected room for the image (about 3 GB for a build of the workbench)",
        "docker system prune, or buildah rm --all and buildah prune",
    ),
    _means(
        r"server gave HTTP response to HTTPS client|first record does not look like a TLS handshake",
        Unreachable,
        "the registry speaks plain HTTP, expected HTTPS",
        "allow it for a registry on loopback (--insecure); docker needs insecure-registries in its daemon.json",
    ),
    _means(
        r"unauthorized|authentication required|no basic auth credentials|access to the resource is denied|"
        r"(?<!permission )denied: |permission_denied|invalid username/password|403 forbidden",
        ImageError,
        "the registry refused, expected a login that may push there",
        "log in with the engine itself (docker login HOST) and check the name of the repository",
    ),
    _means(
        r"no matching manifest for|no image found in .* for architecture",
        ImageError,
        "the base image has no variant for this platform, expected one",
        "choose linux/amd64 or linux/arm64, or a base that has the platform",
    ),
    _means(
        r"manifest unknown|manifest for .* not found|image not known|no such image|does not exist locally|"
        r"pull access denied|An image does not exist|not found: manifest",
        ImageError,
        "an image that it needs is not there, expected it in the store or the registry",
        "check the name and the digest; for a base image, PYTHON_IMAGE",
    ),
    _means(
        r"connection refused|no such host|i/o timeout|network is unreachable|TLS handshake timeout|"
        r"temporary failure in name resolution|failed to establish a new connection|context deadline exceeded",
        Unreachable,
        "a registry or package index did not answer, expected one",
        "check the network and the name; Python packages can be brought along (--wheels)",
    ),
    _means(
        r"do not match the hashes|hash mismatch",
        ImageError,
        "a package is not the one that was locked, expected its hash",
        "do not go on: find out who serves another file, or refresh the locks with scripts/lock.sh",
    ),
)


def explained(doing: str, output: str) -> PlatformError:
    """Return the error that an engine's output stands for; it always carries the last lines as ``log_tail``."""
    tail = "\n".join(output.strip().splitlines()[-TAIL_LINES:])
    for meaning in _MEANINGS:
        match = meaning.pattern.search(output)
        if match:
            line = next((text.strip() for text in output.splitlines() if match.group(0) in text), match.group(0))
            return meaning.error(f"{doing}: {meaning.seen} ({line[:300]})", hint=meaning.hint, log_tail=tail)
    return ImageError(
        f"{doing}: failed, expected exit code 0; its last lines:\n{tail}",
        hint="correct the step that the lines name",
        log_tail=tail,
    )


def run(
    command: Sequence[str],
    *,
    timeout_s: float,
    doing: str,
    extra_env: Mapping[str, str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> str:
    """Run a long command, handing on each line; return its last lines.

    Args:
        command: Argument list.
        timeout_s: Deadline; the command is ended then.
        doing: Opens the error text: object and activity.
        extra_env: Added to the environment.
        progress: Gets each line, without its end.

    Raises:
        WaitTimeout: The deadline passed.
        PlatformError: It failed; see ``explained``.
    """
    kept: deque[str] = deque(maxlen=_KEPT_LINES)
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=child_environment(extra_env),
    )
    late = threading.Event()

    def stop() -> None:
        late.set()
        process.terminate()
        try:
            process.wait(_END_GRACE_S)
        except subprocess.TimeoutExpired:  # the reader below waits for its end, whatever it does with the signal
            process.kill()

    timer = threading.Timer(timeout_s, stop)
    timer.daemon = True
    timer.start()
    try:
        for line in process.stdout or ():
            kept.append(line.rstrip())
            if progress is not None:
                progress(line.rstrip())
        process.wait()
    finally:
        timer.cancel()
        _end(process)
    if late.is_set():
        last = kept[-1] if kept else "nothing"
        raise WaitTimeout(
            f"{doing}: not done after {timeout_s:g} s, last line seen: {last}",
            hint="raise APQX_IMAGE_BUILD_TIMEOUT_S or APQX_IMAGE_PUSH_TIMEOUT_S (apqx up: --timeout-s), "
            "or look at the network",
            wanted=doing,
            last_seen=last,
            waited_s=timeout_s,
        )
    if process.returncode != 0:
        raise explained(doing, "\n".join(kept))
    return "\n".join(kept)


def _end(process: subprocess.Popen[str]) -> None:
    """Make sure that the command is gone, whatever interrupted us."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def finished(command: Sequence[str], *, timeout_s: float, doing: str) -> str:
    """Run a short command and return what it printed.

    Raises:
        Unreachable: No answer in time.
        PlatformError: It failed; see ``explained``.
    """
    try:
        done = subprocess.run(
            list(command),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            env=child_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unreachable(
            f"{doing}: no answer, expected one within {timeout_s:g} s", hint="restart the engine", waited_s=timeout_s
        ) from error
    if done.returncode != 0:
        raise explained(doing, done.stderr or done.stdout)
    return done.stdout.strip()
