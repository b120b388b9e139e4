"""By which names do objects refer to their Application? With its namespace before, where that is not Argo CD's."""

from __future__ import annotations

from platform_lib.inspection import comparison

APPLICATION = {"metadata": {"name": "web", "namespace": "team-a"}}


def tracked(by: str) -> dict:
    note = {"argocd.argoproj.io/tracking-id": f"{by}:apps/Deployment:shop/web"}
    meta = {"name": "web", "namespace": "shop", "annotations": note}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta}


def test_an_application_does_not_share_an_object_with_itself() -> None:
    assert comparison._shared(tracked("team-a_web"), APPLICATION) == ""
    assert comparison._shared(tracked("web"), APPLICATION) == ""
    assert comparison._shared(tracked("team-b_web"), APPLICATION) == "shared with Application team-b_web"
