"""How is the real Traefik configured to be this cluster's ingress controller?

Writes its two files and says how to start it; starting it is the supervisor's business.
Source: Traefik 3 reference documentation; values measured against this API, see the comments.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from platform_lib.embedded.config import Config

LATENCY_BUCKETS_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0]
"""Traefik's own default (0.1, 0.3, 1.2, 5) cannot tell 20 ms from 90 ms."""
THROTTLE = "10ms"
"""Pause between two configuration loads: the default of 2 s delays the second change of every rollout."""
IDLE_CONNECTION = "1s"
"""Must be shorter than the keep-alive of any backend, or a request meets a closing connection."""


def folder(config: Config) -> Path:
    """Return the folder of Traefik's files."""
    return config.cluster_dir / "traefik"


def access_log(config: Config) -> Path:
    """Return the JSON access log, one line a request."""
    return config.cluster_dir / "logs" / "traefik-access.log"


def static_config(config: Config) -> dict[str, Any]:
    """Return the install configuration.

    Entry points bind 127.0.0.1: a wildcard listener would take the same port on every pod address. Both
    are ``asDefault``, or routers would attach to the metrics entry point as well.
    """
    ports = config.ports
    return {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "INFO", "format": "json"},
        "accessLog": {
            "filePath": str(access_log(config)),
            "format": "json",
            "bufferingSize": 64,
            "fields": {"headers": {"defaultMode": "drop"}},
        },
        "api": {"insecure": True, "dashboard": False},
        "ping": {},
        "entryPoints": {
            "web": {"address": f"127.0.0.1:{ports.web}", "asDefault": True},
            "websecure": {"address": f"127.0.0.1:{ports.websecure}", "asDefault": True, "http": {"tls": {}}},
            "traefik": {"address": f"127.0.0.1:{ports.traefik}"},
        },
        "metrics": {
            "prometheus": {
                "addEntryPointsLabels": True,
                "addServicesLabels": True,
                "addRoutersLabels": True,
                "buckets": LATENCY_BUCKETS_S,
            }
        },
        "serversTransport": {"forwardingTimeouts": {"idleConnTimeout": IDLE_CONNECTION, "dialTimeout": "2s"}},
        "providers": {
            "providersThrottleDuration": THROTTLE,
            "file": {"filename": str(folder(config) / "tls.yml"), "watch": False},
            "kubernetesIngress": {
                "endpoint": config.api_url,
                "token": config.token("traefik"),
                "certAuthFilePath": str(config.ca_file),
                "ingressClass": "traefik",
                "allowEmptyServices": True,
            },
        },
    }


def tls_config(config: Config) -> dict[str, Any]:
    """Return the dynamic configuration: the certificate served when an Ingress names none."""
    pair = {
        "certFile": str(config.pki_dir / "server.crt"),
        "keyFile": str(config.pki_dir / "server.key"),
    }
    return {"tls": {"stores": {"default": {"defaultCertificate": pair}}}}


def prepare(config: Config) -> list[str]:
    """Write Traefik's files and return its command line."""
    target = folder(config)
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    static = target / "traefik.yml"
    static.touch(mode=0o600, exist_ok=True)
    static.write_text(json.dumps(static_config(config), indent=1))
    (target / "tls.yml").write_text(json.dumps(tls_config(config), indent=1))
    return [config.traefik, f"--configfile={static}"]
