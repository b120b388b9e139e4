"""How does the Prometheus configuration from the cluster become one that runs here? Pure; no I/O.

The ConfigMaps ``prometheus-config``, ``prometheus-rules`` and ``prometheus-slo-rules`` of the namespace
``monitoring`` are the same on every platform. Only what differs by platform is rewritten: Debian's Prometheus has
no Kubernetes service discovery compiled in, so ``kubernetes_sd_configs`` become ``http_sd_configs`` against the
scraper, which serves the same ``__meta_kubernetes_*`` labels. Relabelling rules are left as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from platform_lib.embedded.config import Config
from platform_lib.errors import ManifestError

ROLES = ("pod", "node")
"""Discovery roles that the scraper serves."""
IN_CLUSTER = "/var/run/secrets/kubernetes.io/serviceaccount/"
PLATFORM_JOB, TRAEFIK_JOB, KUBELET_JOB = "kube-state-metrics", "traefik", "kubelet"
FIRST_INTERVALS = {"scrape_interval": "1s", "scrape_timeout": "900ms", "evaluation_interval": "5s"}
"""Until the cluster has its own configuration, which says the same."""


def folder(config: Config) -> Path:
    """Return the folder of Prometheus's files."""
    return config.cluster_dir / "prometheus"


def config_file(config: Config) -> Path:
    """Return the path of the rendered configuration."""
    return folder(config) / "prometheus.yml"


def rules_folder(config: Config) -> Path:
    """Return the folder that rule files are written to."""
    return folder(config) / "rules"


def command(config: Config) -> list[str]:
    """Return Prometheus's command line."""
    return [
        config.prometheus,
        f"--config.file={config_file(config)}",
        f"--storage.tsdb.path={folder(config) / 'data'}",
        "--storage.tsdb.retention.time=24h",
        f"--web.listen-address=127.0.0.1:{config.ports.prometheus}",
        f"--web.external-url=http://127.0.0.1:{config.ports.prometheus}/",
        "--web.enable-lifecycle",
        "--log.level=warn",
    ]


def render(text: str | None, config: Config, *, token_file: Path) -> str:
    """Return the configuration to run with.

    Args:
        text: ``prometheus.yml`` from the ConfigMap; None while the cluster has none yet.
        config: The platform.
        token_file: Bearer token with which kubelets answer.

    Raises:
        ManifestError: The text is not YAML, or not a mapping of the expected shape.
    """
    document: dict[str, Any] = _parse(text) if text is not None else {"global": FIRST_INTERVALS}
    document["rule_files"] = [str(rules_folder(config) / "*.yml")]
    document.pop("alerting", None)  # there is no Alertmanager here; alerts are read from Prometheus
    jobs = [_localise(job, config, token_file) for job in document.get("scrape_configs") or []]
    names = {job.get("job_name") for job in jobs}
    document["scrape_configs"] = jobs + [
        job for job in _platform_jobs(config, token_file) if job["job_name"] not in names
    ]
    return yaml.safe_dump(document, sort_keys=False)


def rule_files(data: Mapping[str, str]) -> dict[str, str]:
    """Return the rule files (name to text) of a ConfigMap's data; names end in ``.yml``."""
    return {f"{name.removesuffix('.yaml').removesuffix('.yml')}.yml": text for name, text in data.items()}


def _parse(text: str) -> dict[str, Any]:
    """Read the configuration, or say what is wrong with it."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ManifestError(
            f"prometheus.yml - not valid YAML: {error}",
            hint="correct ConfigMap monitoring/prometheus-config in git",
        ) from error
    jobs = document.get("scrape_configs") or [] if isinstance(document, dict) else None
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise ManifestError(
            "prometheus.yml - want a mapping with a list of scrape_configs",
            hint="correct ConfigMap monitoring/prometheus-config in git",
        )
    result: dict[str, Any] = document
    return result


def _localise(job: dict[str, Any], config: Config, token_file: Path) -> dict[str, Any]:
    """Replace Kubernetes discovery and in-cluster file names in one scrape job."""
    job = dict(job)
    discoveries = job.pop("kubernetes_sd_configs", None) or []
    if discoveries:
        job["http_sd_configs"] = [_discovery(item, job, config) for item in discoveries]
    authorization = job.get("authorization") or {}
    if str(authorization.get("credentials_file", "")).startswith(IN_CLUSTER):
        # On a real cluster the account token opens kubelets; here they have a token and plain HTTP.
        job |= {"scheme": "http", "authorization": {"credentials_file": str(token_file)}}
        job.pop("tls_config", None)
    return job


def _discovery(item: dict[str, Any], job: dict[str, Any], config: Config) -> dict[str, Any]:
    """Return the discovery that serves a role here; namespaces and label selectors become its query."""
    role = item.get("role", "pod")
    if role not in ROLES:
        raise ManifestError(
            f"prometheus.yml job {job.get('job_name')} - discovery role {role!r}, want one of {ROLES}",
            hint="use role pod; see docs/embedded-scope.md",
        )
    query = [("namespace", name) for name in (item.get("namespaces") or {}).get("names") or ()]
    query += [("label", s["label"]) for s in item.get("selectors") or () if s.get("role") == role and "label" in s]
    url = f"http://127.0.0.1:{config.ports.scrape}/sd/{role}s"
    return {"url": f"{url}?{urlencode(query)}" if query else url, "refresh_interval": "1s"}


def _platform_jobs(config: Config, token_file: Path) -> list[dict[str, Any]]:
    """Return the jobs that watch the platform's own processes, for a configuration that lacks them."""
    kubelets = [
        {"targets": [f"{node.address}:{config.ports.kubelet}"], "labels": {"node": node.name}} for node in config.nodes
    ]
    return [
        {"job_name": TRAEFIK_JOB, "static_configs": [{"targets": [f"127.0.0.1:{config.ports.traefik}"]}]},
        {
            "job_name": PLATFORM_JOB,
            "honor_labels": True,
            "static_configs": [{"targets": [f"127.0.0.1:{config.ports.scrape}"]}],
        },
        {
            "job_name": KUBELET_JOB,
            "honor_labels": True,
            "metrics_path": "/metrics/cadvisor",
            "authorization": {"credentials_file": str(token_file)},
            "static_configs": kubelets,
        },
    ]
