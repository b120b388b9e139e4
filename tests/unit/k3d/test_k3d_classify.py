"""What docker and k3d say when they fail, and what a person reads instead.

Recorded: the lines of a daemon that does not run, or whose name is none, are docker 28's; the others are written from
k3d v5.9.0's and the Docker engine's sources and from reports in their trackers, with k3d's own wrapping around them.
"""

import pytest

from platform_lib import errors
from platform_lib.providers.k3d.classify import classify, last_words

WRAPPED = (
    "ERRO[0021] Failed Cluster Start: Failed to add one or more helper nodes: runtime failed to start node "
    "'k3d-apqx-serverlb': docker failed to start container for node 'k3d-apqx-serverlb': Error response from daemon: "
)
ROLLED_BACK = (
    "\nERRO[0021] Failed to create cluster >>> Rolling Back \nFATA[0024] Cluster creation FAILED, "
    "all changes have been rolled back! "
)
PULL = (
    "ERRO[0002] failed Cluster Creation: failed setup of server/agent node k3d-apqx-server-0: failed to create node: "
    "runtime failed to create node 'k3d-apqx-server-0': failed to create container for node 'k3d-apqx-server-0': "
    "docker failed to pull image 'docker.io/rancher/k3s:v9': docker failed to pull the image "
    "'docker.io/rancher/k3s:v9': "
)
CASES = [
    (
        "daemon not running",
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
        errors.Unreachable,
        "no answer at unix:///var/run/docker.sock, expected a running one",
        "systemctl start docker",
    ),
    (
        "daemon not running",
        "failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct and if the "
        "daemon is running: dial unix /var/run/docker.sock: connect: no such file or directory",
        errors.Unreachable,
        "no answer at unix:///var/run/docker.sock,",
        "DOCKER_HOST",
    ),
    (
        "daemon not running",
        "FATA[0000] runtime failed to list nodes: docker failed to get containers with labels 'map[app:k3d]': failed "
        "to list containers: Cannot connect to the Docker daemon at tcp://127.0.0.1:2375. Is the docker daemon "
        "running?",
        errors.Unreachable,
        "no answer at tcp://127.0.0.1:2375,",
        "Docker Desktop",
    ),
    (
        "daemon address",
        'error during connect: Get "http://foo:2375/v1.50/version": dial tcp: lookup foo on 127.0.0.53:53: no such '
        "host",
        errors.Unreachable,
        "docker daemon - not reached at foo:2375 (dial tcp: lookup foo on 127.0.0.53:53: no such host)",
        "check DOCKER_HOST",
    ),
    (
        "daemon address",
        "FATA[0000] runtime failed to list nodes: docker failed to get containers: failed to list containers: error "
        'during connect: Get "https://build.example:2376/v1.50/containers/json": x509: certificate signed by unknown '
        "authority",
        errors.Unreachable,
        "not reached at build.example:2376 (x509: certificate signed by unknown authority)",
        "docker context ls",
    ),
    (
        "socket permission",
        "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
        'Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.50/version": dial unix /var/run/docker.sock: '
        "connect: permission denied",
        errors.GuardRefused,
        "docker socket unix:///var/run/docker.sock - permission denied",
        "usermod -aG docker",
    ),
    (
        "socket permission",
        "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock",
        errors.GuardRefused,
        "permission denied",
        "rootless",
    ),
    (
        "port taken",
        WRAPPED + "driver failed programming external connectivity on endpoint k3d-apqx-serverlb (c58c): "
        "Bind for 127.0.0.1:8080 failed: port is already allocated" + ROLLED_BACK,
        errors.GuardRefused,
        "port 127.0.0.1:8080 - taken",
        "publish=8080",
    ),
    (
        "port taken",
        WRAPPED
        + "driver failed programming external connectivity on endpoint k3d-apqx-serverlb (c58c): Error starting "
        "userland proxy: listen tcp4 127.0.0.1:8443: bind: address already in use" + ROLLED_BACK,
        errors.GuardRefused,
        "port 127.0.0.1:8443 - taken",
        "publish=8443",
    ),
    (
        "port taken",
        WRAPPED + "failed to set up container networking: driver failed programming external connectivity on endpoint "
        "k3d-apqx-serverlb (c5): failed to bind host port 127.0.0.1:9100/tcp: address already in use" + ROLLED_BACK,
        errors.GuardRefused,
        "port 127.0.0.1:9100 - taken",
        "APQX_PORT_",
    ),
    (
        "port taken",
        WRAPPED + "failed to bind host port for 127.0.0.1:5050:172.18.0.2:5000/tcp: address already in use",
        errors.GuardRefused,
        "port 127.0.0.1:5050 - taken",
        "APQX_K3D_REGISTRY_PORT",
    ),
    (
        "no space",
        "failed to register layer: write /bin/k3s: no space left on device",
        errors.BootstrapFailed,
        "no space left on the disk of its data (/bin/k3s)",
        "docker system df",
    ),
    (
        "image not found",
        "Error response from daemon: manifest for rancher/k3s:v9 not found: manifest unknown: manifest unknown",
        errors.ImageError,
        "image rancher/k3s:v9 - not found",
        "APQX_K3D_IMAGE",
    ),
    (
        "image not found",
        PULL + "Error response from daemon: manifest for rancher/k3s:v9 not found: manifest unknown" + ROLLED_BACK,
        errors.ImageError,
        "image rancher/k3s:v9 - not found",
        "tags",
    ),
    (
        "image not found",
        "Error response from daemon: pull access denied for rancher/k3z, repository does not exist or may require "
        "'docker login'",
        errors.ImageError,
        "image rancher/k3z - not found",
        "check APQX_K3D_IMAGE",
    ),
    (
        "image unauthorised",
        'Error response from daemon: Head "https://ghcr.io/v2/x/k3s/manifests/v1": unauthorized',
        errors.ImageError,
        "wants credentials",
        "docker login",
    ),
    (
        "image unauthorised",
        "Error response from daemon: pull access denied for x/y, repository does not exist or may require "
        "authorization: server message: insufficient_scope: authorization failed: denied: requested access to the "
        "resource is denied",
        errors.ImageError,
        "wants credentials",
        "docker login",
    ),
    (
        "rate limit",
        "Error response from daemon: toomanyrequests: You have reached your unauthenticated pull rate limit. "
        "https://www.docker.com/increase-rate-limit",
        errors.ImageError,
        "pull rate limit",
        "docker login",
    ),
    (
        "name resolution",
        'Error response from daemon: Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io on '
        "127.0.0.53:53: no such host",
        errors.Unreachable,
        "registry registry-1.docker.io - its name cannot be resolved",
        "DNS",
    ),
    (
        "name resolution",
        'Error response from daemon: Get "https://ghcr.io/v2/": dial tcp: lookup ghcr.io: Temporary failure in name '
        "resolution",
        errors.Unreachable,
        "registry ghcr.io",
        "proxy",
    ),
    (
        "registry timeout",
        'Error response from daemon: Get "https://registry-1.docker.io/v2/": net/http: TLS handshake timeout',
        errors.Unreachable,
        "no answer in time",
        "run the command again",
    ),
    (
        "certificate",
        'Get "https://registry-1.docker.io/v2/": x509: certificate signed by unknown authority',
        errors.Unreachable,
        "certificate signed by unknown authority",
        "certs.d",
    ),
    (
        "image architecture",
        "no matching manifest for linux/arm64/v8 in the manifest list entries",
        errors.ImageError,
        "not published for linux/arm64/v8",
        "another version",
    ),
    (
        "cluster exists",
        "FATA[0000] Failed to create cluster 'apqx' because a cluster with that name already exists ",
        errors.GuardRefused,
        "cluster apqx - exists already",
        "k3d cluster delete apqx",
    ),
    (
        "registry exists",
        "ERRO[0000] Failed Cluster Preparation: Failed to create registry: Failed to create registry: A registry node "
        "with that name already exists",
        errors.GuardRefused,
        "registry - a container of its name exists already",
        "k3d registry list",
    ),
    (
        "nodes not ready",
        "ERRO[0300] Failed Cluster Start: Failed to start server k3d-apqx-server-0: Node k3d-apqx-server-0 failed "
        "to get ready: error waiting for log line `k3s is up and running` from node 'k3d-apqx-server-0'" + ROLLED_BACK,
        errors.WaitTimeout,
        "node k3d-apqx-server-0 - did not start in time",
        "docker logs k3d-apqx-server-0",
    ),
    (
        "time-out",
        "ERRO[0300] Failed Cluster Start: Failed to add one or more agents: context deadline exceeded" + ROLLED_BACK,
        errors.WaitTimeout,
        "its own time-out passed",
        "APQX_K3D_CREATE_TIMEOUT_S",
    ),
    (
        "client too old",
        "Error response from daemon: client version 1.43 is too old. Minimum supported API version is 1.44, please "
        "upgrade your client to a newer version",
        errors.ToolMissing,
        "speaks Docker API 1.43, this daemon wants at least 1.44",
        "newer k3d",
    ),
    (
        "config refused",
        "FATA[0000] Schema Validation failed for config file /x/config.yaml: - (root): Additional property worker is "
        "not allowed",
        errors.InvalidInput,
        "Additional property worker is not allowed",
        "[k3d]",
    ),
]


@pytest.mark.parametrize(("trouble", "stderr", "kind", "said", "hint"), CASES)
def test_what_they_say_is_understood(
    trouble: str, stderr: str, kind: type[errors.PlatformError], said: str, hint: str
) -> None:
    seen = classify("k3d cluster create", stderr)
    assert (seen.trouble, type(seen)) == (trouble, kind)
    assert said in seen.message
    assert hint in seen.hint


def test_colours_do_not_hide_a_reason() -> None:
    red = "\x1b[31mFATA\x1b[0m[0000] Failed to create cluster 'x' because a cluster with that name already exists "
    assert classify("k3d cluster create", red).trouble == "cluster exists"


def test_what_nobody_knows_is_told_with_its_reason_not_with_k3ds_verdict() -> None:
    said = "ERRO[0003] Failed Cluster Start: the moon is full" + ROLLED_BACK
    seen = classify("k3d cluster create", said, 1)
    assert seen.trouble == "unknown"
    assert seen.message == "k3d cluster create - failed with 1: Failed Cluster Start: the moon is full"
    assert "rolled back" in seen.log_tail
    assert last_words("") == "it said nothing"
