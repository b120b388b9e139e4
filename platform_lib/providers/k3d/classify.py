"""What went wrong when docker or k3d failed, and what is the next step? One table over their own words; pure.

Source: k3d v5.9.0 (cmd/cluster, pkg/client, pkg/runtimes/docker) wraps the daemon's answer at the end of its own line;
the answers are those of the Docker engine 20 to 29 and of the registries behind it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from platform_lib.errors import (
    BootstrapFailed,
    GuardRefused,
    ImageError,
    InvalidInput,
    PlatformError,
    ToolMissing,
    Unreachable,
    WaitTimeout,
)

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_LEVEL = re.compile(r"^(?:FATA|ERRO)\[\d+\]\s*")
_TAIL = 400


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of failure.

    Attributes:
        name: Short name, for tests and statistics.
        pattern: What its text looks like; groups fill the message.
        error: Class of the error.
        message: What was observed against what was wanted; ``{0}`` is the first group.
        hint: The next step.
    """

    name: str
    pattern: re.Pattern[str]
    error: type[PlatformError]
    message: str
    hint: str


def _trouble(name: str, pattern: str, error: type[PlatformError], message: str, hint: str) -> Trouble:
    """Return a row of the table; ``{image}`` in a pattern is an image name."""
    image = r"(?:docker\.io/)?([a-z0-9][\w./:@-]*[\w])"
    return Trouble(name, re.compile(pattern.replace("{image}", image), re.IGNORECASE), error, message, hint)


TROUBLES = (
    _trouble(
        "socket permission",
        r"permission denied while trying to connect to the docker (?:daemon socket|API) at (\S+?):?(?:\s|$)",
        GuardRefused,
        "docker socket {0} - permission denied, expected a user who may use it",
        "sudo usermod -aG docker $USER and log in again (that gives root's rights here; rootless Docker does not)",
    ),
    _trouble(
        "daemon not running",
        r"(?:Cannot connect to the Docker daemon at|failed to connect to the docker API at) (\S+?)[.;]?(?:\s|$)",
        Unreachable,
        "docker daemon - no answer at {0}, expected a running one",
        "start it: sudo systemctl start docker, or start Docker Desktop; another address: DOCKER_HOST",
    ),
    _trouble(
        "daemon address",
        r"error during connect: \w+ \"?https?://([^/\"\s]+)[^\"\s]*\"?: ([^\n]{1,200})",
        Unreachable,
        "docker daemon - not reached at {0} ({1}), expected a running one",
        "check DOCKER_HOST, else the address in docker context ls; without either, docker asks this machine's daemon",
    ),
    _trouble(
        "client too old",
        r"client version (\S+) is too old. Minimum supported API version is (\S+?),",
        ToolMissing,
        "k3d - speaks Docker API {0}, this daemon wants at least {1}",
        "install a newer k3d: https://k3d.io/stable/#installation",
    ),
    _trouble(
        "no space",
        r"(?:([^\s:]+): )?no space left on device",
        BootstrapFailed,
        "docker - no space left on the disk of its data ({0})",
        "look: docker system df; free some: docker image prune, docker builder prune",
    ),
    _trouble(
        "port taken",
        r"(?:Bind for |listen tcp4? |failed to bind host port (?:for )?)([\d.]+):(\d+)[^\n]*"
        r"(?:port is already allocated|address already in use)",
        GuardRefused,
        "port {0}:{1} - taken, expected it free",
        "see who has it: docker ps --filter publish={1}; or choose another with APQX_PORT_* or APQX_K3D_REGISTRY_PORT",
    ),
    _trouble(
        "cluster exists",
        r"Failed to create cluster '([^']+)' because a cluster with that name already exists",
        GuardRefused,
        "cluster {0} - exists already, expected none of that name",
        "choose another name with APQX_CLUSTER_NAME, or delete that one: k3d cluster delete {0}",
    ),
    _trouble(
        "registry exists",
        r"A registry node with that name already exists",
        GuardRefused,
        "registry - a container of its name exists already, expected none",
        "look: k3d registry list; delete it: k3d registry delete NAME",
    ),
    _trouble(
        "rate limit",
        r"toomanyrequests|pull rate limit|429 Too Many Requests",
        ImageError,
        "image - the registry's pull rate limit is reached",
        "log in (docker login) for a higher limit, wait, or set APQX_K3D_IMAGE to a mirror",
    ),
    _trouble(
        "image architecture",
        r"no matching manifest for (\S+) in the manifest list",
        ImageError,
        "image - it is not published for {0}, expected this machine's architecture",
        "choose another version with APQX_K3D_IMAGE",
    ),
    _trouble(
        "image unauthorised",
        r"unauthorized|authentication required|no basic auth credentials|denied: requested access|403 Forbidden",
        ImageError,
        "image - the registry wants credentials that this docker does not have",
        "docker login REGISTRY, and check that the account may read the image",
    ),
    _trouble(
        "image not found",
        r"(?:manifest for {image} not found|pull access denied for {image},|manifest unknown)",
        ImageError,
        "image {0} - not found in its registry, expected an image of that name and tag",
        "check APQX_K3D_IMAGE (tags of k3s: https://hub.docker.com/r/rancher/k3s/tags)",
    ),
    _trouble(
        "name resolution",
        r"lookup (\S+?)(?: on \S+)?: (?:no such host|Temporary failure in name resolution|server misbehaving|"
        r"i/o timeout|read udp)",
        Unreachable,
        "registry {0} - its name cannot be resolved",
        "check this machine's DNS and network; behind a proxy, configure the daemon (docker info shows HTTP Proxy)",
    ),
    _trouble(
        "certificate",
        r"x509: ([^\n]{1,120})",
        Unreachable,
        "registry - its certificate is not trusted ({0})",
        "a proxy that opens TLS needs its authority in /etc/docker/certs.d and in the system's store",
    ),
    _trouble(
        "registry timeout",
        r"TLS handshake timeout|Client\.Timeout exceeded|dial tcp [^\n]*(?:i/o timeout|connection refused)|"
        r"net/http: request canceled",
        Unreachable,
        "registry - no answer in time",
        "check the network and its proxy, then run the command again: what was pulled stays",
    ),
    _trouble(
        "nodes not ready",
        r"(?:Node (\S+) failed to get ready|deadline exceeded while waiting for log message '[^']*' of node (\S+?):)",
        WaitTimeout,
        "node {0} - did not start in time",
        "look: docker logs {0}; more time: APQX_K3D_CREATE_TIMEOUT_S",
    ),
    _trouble(
        "time-out",
        r"context deadline exceeded",
        WaitTimeout,
        "k3d - its own time-out passed before the servers were ready",
        "more time: APQX_K3D_CREATE_TIMEOUT_S; a slow first pull is usual, run it again",
    ),
    _trouble(
        "config refused",
        r"(?:Schema Validation failed[^\n]*|provided cluster name '[^']+' does not match requirements[^\n]*|"
        r"failed to (?:filter nodes|validate volume mount)[^\n]*)",
        InvalidInput,
        "k3d config - refused: {line}",
        "correct [k3d] in apqx.toml",
    ),
)
"""Most specific first: a failed pull is reported inside a failed create."""


def classify(command: str, stderr: str, returncode: int = 1) -> PlatformError:
    """Turn what a failed command said into an error with a next step.

    Args:
        command: The command for the reader, ``k3d cluster create apqx``.
        stderr: What it wrote there.
        returncode: What it ended with; negative: the signal that killed it.

    Returns:
        The error; ``trouble`` in its context names the row of the table, ``unknown`` when none fits.
    """
    text = _ANSI.sub("", stderr)
    for trouble in TROUBLES:
        found = trouble.pattern.search(text)
        if found:
            groups = [group for group in found.groups() if group] or ["unknown"]
            groups += ["unknown"] * 2
            words = {"line": found.group(0)}
            message = trouble.message.format(*groups, **words)
            said = {"stage": command} if trouble.error is BootstrapFailed else {}
            return trouble.error(
                message,
                hint=trouble.hint.format(*groups, **words),
                trouble=trouble.name,
                command=command,
                log_tail=text[-2 * _TAIL :],
                **said,
            )
    return PlatformError(
        f"{command} - failed with {returncode}: {last_words(text)}",
        hint="run it by hand with --verbose to see more",
        trouble="unknown",
        command=command,
        log_tail=text[-2 * _TAIL :],
    )


def last_words(text: str) -> str:
    """Return the last line that says something, without its log level; k3d's verdict comes last, its reason before."""
    lines = [_LEVEL.sub("", line).strip() for line in _ANSI.sub("", text).splitlines() if line.strip()]
    reasons = [
        line for line in lines if not line.startswith(("Cluster creation FAILED", "Failed to create cluster >>>"))
    ]
    return (reasons or lines or ["it said nothing"])[-1][-_TAIL:]
