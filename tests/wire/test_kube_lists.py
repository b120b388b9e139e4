"""What a real API server leaves out of lists is put back: kind and version of each item."""

import json
from types import SimpleNamespace

import pytest

from platform_lib.rules import manifests
from platform_lib.wire import kube

# As kube-apiserver answers: items of built-in kinds carry neither kind nor apiVersion, custom resources carry both.
PODS = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": [{"spec": {"containers": [{"image": "a"}]}}]}  # fmt: skip  # noqa: E501
APPS = {"kind": "ApplicationList", "apiVersion": "argoproj.io/v1alpha1", "metadata": {}, "items": [{"kind": "Application", "apiVersion": "argoproj.io/v1alpha1"}]}  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("answer", "gvr", "kind", "version"),
    [
        (PODS, kube.PODS, "Pod", "v1"),
        (APPS, kube.APPLICATIONS, "Application", "argoproj.io/v1alpha1"),
        ({"kind": "PodList", "apiVersion": "v1", "items": None}, kube.PODS, "", ""),
    ],
)
def test_items_carry_kind_and_version(
    answer: dict, gvr: str, kind: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = SimpleNamespace(data=json.dumps(answer).encode())
    client = kube.Kube.__new__(kube.Kube)
    monkeypatch.setattr(client, "call", lambda *_args, **_options: body, raising=False)
    items, _ = client.list(gvr)
    assert [(i["kind"], i["apiVersion"]) for i in items] == ([(kind, version)] if kind else [])
    assert [manifests.images(i) for i in items if kind == "Pod"] in ([], [["a"]])
