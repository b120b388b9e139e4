"""What is here, what is missing, what would that cost, and how is it had? Facts for ``apqx doctor``; changes nothing.

``examine`` looks at this machine, ``cluster`` at a cluster behind a context of the kubeconfig.
"""

from __future__ import annotations

from platform_lib.doctor.cluster import Diagnosis, Finding, diagnose, rbac_text
from platform_lib.doctor.machine import PACKAGES, Fact, Report, examine, report

__all__ = ["PACKAGES", "Diagnosis", "Fact", "Finding", "Report", "diagnose", "examine", "rbac_text", "report"]
