"""Can this cluster be used, as whom, and is it one the library knows? Asked before anything is changed.

``preflight`` goes from the nearest to the farthest: the kubeconfig, the credentials' own dates, the network with its
TLS, the API server's version, the kinds that are needed. The first thing that is wrong is the error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from platform_lib import errors
from platform_lib.model import Obj, Platform, _Table
from platform_lib.wire import kube, kubeconfig

OLDEST = (1, 23)
"""First version with every API the library calls: autoscaling/v2 (1.23), server-side apply and policy/v1 (1.22)."""
TESTED = ((1, 33), (1, 36))
"""Versions that the pinned Argo CD 3.5 is tested with (its page "Tested versions"); others work until they do not."""
ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class Access(_Table):
    """A cluster that answered.

    Attributes:
        context: Context of the kubeconfig.
        server: URL of the API server.
        user: User entry of the kubeconfig.
        credentials: Kind of its credentials.
        version: As the server says it, such as ``v1.33.4+k3s1``.
        release: (major, minor).
    """

    context: str
    server: str
    user: str
    credentials: str
    version: str
    release: tuple[int, int]

    @property
    def tested(self) -> bool:
        """Whether the version is one that Argo CD is tested with."""
        return TESTED[0] <= self.release <= TESTED[1]


def preflight(platform: Platform, *, argocd: bool = False, timeout_s: float = ANSWER_S) -> Access:
    """Make sure that the cluster can be used; changes nothing.

    Args:
        platform: Its endpoints.
        argocd: The kinds of Argo CD must be served too.
        timeout_s: Time for one answer in seconds.

    Returns:
        What answered.

    Raises:
        SettingsError: Kubeconfig, context or credentials cannot be used.
        Unreachable: Nobody answers, or not an API server.
        Forbidden: The credentials were refused.
        NotFound: Argo CD's kinds are not served.
        UnsupportedSystem: The server is older than the library can drive.
    """
    found = kubeconfig.entry([platform.kubeconfig], platform.context)
    kubeconfig.check(found)
    connection = kube.connect(platform)
    document = connection.json("GET", "/version", timeout_s=timeout_s)
    release = release_of(document)
    if release < OLDEST:
        raise errors.UnsupportedSystem(
            f"API server {found.server} (context {found.context!r}) - is {_said(document)}, expected "
            f"{_text(OLDEST)} or newer; Argo CD is tested with {_text(TESTED[0])} to {_text(TESTED[1])}",
            hint="upgrade that cluster, or choose another context",
            version=_said(document),
        )
    if argocd:
        connection.json("GET", kube.path_of(kube.APPLICATIONS, platform.argocd_namespace), params={"limit": 1})
    return Access(found.context, found.server, found.user, found.credentials, _said(document), release)


def release_of(document: Obj) -> tuple[int, int]:
    """Return (major, minor) of an answer of ``/version``; providers append letters (``33+``, ``v1.33.4-eks-1``).

    Raises:
        Unreachable: The answer is no version: something else than an API server gave it.

    Example:
        >>> release_of({"major": "1", "minor": "33+", "gitVersion": "v1.33.4-eks-0"})
        (1, 33)
    """
    match = re.match(r"v?(\d+)\.(\d+)", str(document.get("gitVersion") or ""))
    parts = match.groups() if match else (document.get("major") or "", re.sub(r"\D+$", "", str(document.get("minor"))))
    if not all(str(part).isdigit() for part in parts):
        raise errors.Unreachable(
            f"GET /version - answered {str(document)[:80]!r}, expected the version of an API server",
            hint="check the server of the kubeconfig: something else answers there",
            url="/version",
            cause="page",
        )
    return int(parts[0]), int(parts[1])


def _said(document: Obj) -> str:
    """Return the version as the server says it."""
    return str(document.get("gitVersion") or f"v{document.get('major')}.{document.get('minor')}")


def _text(release: tuple[int, int]) -> str:
    """Render a release as people write it."""
    return f"v{release[0]}.{release[1]}"
