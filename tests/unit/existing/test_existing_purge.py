"""Argo CD is removed from somebody's cluster only when it is certain that nobody uses it."""

from pathlib import Path

import pytest

from platform_lib.errors import ApiError, Forbidden, Unreachable
from platform_lib.model import Platform
from platform_lib.providers import endpoints
from platform_lib.settings import settings
from platform_lib.wire import kube


class Refusing:
    """A cluster whose list of Applications answers with an error; every deletion is kept."""

    def __init__(self, error: Exception) -> None:
        self.error, self.deleted = error, list[str]()

    def list(self, _gvr: str, *_args: object, **_options: object) -> None:
        raise self.error

    def json(self, method: str, path: str) -> None:
        if method == "DELETE":
            self.deleted.append(path)


@pytest.mark.parametrize(
    "error",
    [
        Forbidden("GET applications - answered 403", status=403, reason="Forbidden"),
        ApiError("GET applications - answered 503", status=503, reason="ServiceUnavailable"),
        Unreachable("GET applications - no answer"),
    ],
    ids=["forbidden", "overloaded", "silent"],
)
def test_what_may_not_be_seen_is_not_taken_for_absent(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Refusing(error)
    monkeypatch.setattr(kube, "connect", lambda _platform: cluster)
    platform = Platform("theirs", "existing", tmp_path / "kubeconfig", "theirs", "", "", "", tmp_path)
    with pytest.raises(type(error)):
        endpoints.remove_argocd(platform, settings(), lambda _line: None)
    assert not cluster.deleted
