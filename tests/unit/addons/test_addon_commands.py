"""What a person gets from ``apqx addon`` on a machine where nothing runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from platform_lib import addons, admission
from platform_lib.cli import app
from platform_lib.errors import InvalidInput

POD = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: Pod
metadata: {name: odd, namespace: shop}
spec: {containers: [{name: a, image: "nginx:latest"}]}
"""


def test_the_catalogue_is_shown_where_no_platform_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APQX_HOME", str(tmp_path))
    seen = CliRunner().invoke(app, ["addon", "list"])
    assert seen.exit_code == 0 and all(name in seen.stdout for name in addons.catalogue())
    assert seen.stdout.count("unknown (no platform is up)") == len(addons.catalogue())
    listed = json.loads(CliRunner().invoke(app, ["addon", "list", "--json"]).stdout)
    assert {one["enabled"] for one in listed} == {None} and any(one["cores"] > 0 for one in listed)


def test_manifests_are_read_under_both_names(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yml").write_text("resources: [pod.yml]\n")
    with pytest.raises(InvalidInput, match="and 0 manifests"):
        admission.check(tmp_path)
    (tmp_path / "pod.yml").write_text(POD)
    assert admission.check(tmp_path).pods == 1
