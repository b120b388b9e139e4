"""Dashboards as code: the same panels in Grafana and in a notebook.

``spec`` holds what a dashboard is and the built-in ones, ``grafana`` writes and reads Grafana's JSON, ``rendering``
fills the panels from Prometheus and draws them, where no Grafana runs.
"""

from __future__ import annotations

from platform_lib.dashboards.grafana import document
from platform_lib.dashboards.rendering import Rendering, load, render
from platform_lib.dashboards.spec import Dashboard, Panel, Target, catalogue, one

__all__ = ["Dashboard", "Panel", "Rendering", "Target", "catalogue", "document", "load", "one", "render"]
