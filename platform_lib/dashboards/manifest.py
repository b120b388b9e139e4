"""How does Grafana get the dashboards? A ConfigMap with its label, generated and compared by a test."""

from __future__ import annotations

import io
import json

from platform_lib.dashboards import grafana, spec
from platform_lib.model import App

PATH = "gitops/addons/grafana/dashboards/dashboards.yaml"
NAMESPACE = "monitoring"
LABEL = "grafana_dashboard"
"""What the side car of Grafana's chart looks for."""
_HEAD = """# Generated from platform_lib/dashboards by `apqx dashboard grafana --write`; a test compares them.
# yamllint disable rule:line-length
"""


def text() -> str:
    """Return the manifest, the same bytes for the same dashboards."""
    from ruamel.yaml import YAML
    from ruamel.yaml.scalarstring import LiteralScalarString

    data = {
        f"{name}.json": LiteralScalarString(json.dumps(grafana.document(one, App()), indent=1) + "\n")
        for name, one in spec.catalogue().items()
    }
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "apqx-dashboards",
            "namespace": NAMESPACE,
            "labels": {LABEL: "1", "app.kubernetes.io/part-of": "apqx"},
        },
        "data": data,
    }
    writer, buffer = YAML(), io.StringIO()
    writer.width = 4096
    writer.dump(document, buffer)
    return _HEAD + buffer.getvalue()
