"""Which settings did the environment give? The only reader of environment variables.

An unset or empty variable means the default. Anything that cannot be used is refused at the start:
a service that starts with half of its configuration fails later and elsewhere.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HTTP_URL = re.compile(r"https?://[^\s/@]+(/\S*)?")
"""Without user and password: a secret in a URL ends up in logs."""


class ConfigError(ValueError):
    """An environment variable holds a value that cannot be used."""


@dataclass(frozen=True)
class Faults:
    """Switches for drills; 0 and False are off, which is the default of each.

    Attributes:
        error_ratio: Share of the requests to ``/`` and ``/work`` answered with 500, from 0 to 1.
        latency_ms: Milliseconds added to each request to ``/`` and ``/work``, 0 to 60 000.
        never_ready: ``/ready`` answers 503 for ever.
        crash_after_s: The whole program ends with exit code 1 this long after its start, 0 to 86 400.
        leak_mb_per_s: Mebibytes of memory taken each second and never given back, 0 to 1024.
    """

    error_ratio: float = 0.0
    latency_ms: float = 0.0
    never_ready: bool = False
    crash_after_s: float = 0.0
    leak_mb_per_s: float = 0.0


@dataclass(frozen=True)
class Settings:
    """Everything that differs between two instances of the application.

    Attributes:
        version: Version of the code, from the file VERSION that the image build writes.
        image_digest: Digest of the image as the Deployment names it; empty when not told.
        pod, namespace, node: Where this instance runs; ``pod`` defaults to the host name.
        bind_address: Address to listen on. Default: all, as container images do.
        port: TCP port, 1 to 65 535.
        threads: Requests served at the same time, 1 to 64.
        drain_s: How long new requests are still served after SIGTERM while ``/ready`` answers 503,
            0 to 30. Half a second covers a probe or a proxy that has not heard of the end yet.
        graceful_s: How long requests in flight may take to finish after SIGTERM, 1 to 300; must stay
            below the pod's termination grace period.
        keepalive_s: How long an idle connection stays open, 1 to 3600. Longer than any proxy in front
            keeps it, so that the proxy closes first and never sends into a closing connection.
        otlp_endpoint: Where spans are sent (OTLP over HTTP, the full URL of the traces); empty: no tracing.
    """

    version: str
    image_digest: str = ""
    pod: str = ""
    namespace: str = ""
    node: str = ""
    bind_address: str = "0.0.0.0"  # noqa: S104 - inside a container, see above
    port: int = 8080
    threads: int = 8
    drain_s: float = 0.5
    graceful_s: float = 20.0
    keepalive_s: int = 75
    otlp_endpoint: str = ""
    faults: Faults = field(default_factory=Faults)


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check every setting.

    Args:
        environment: Variables to read; default: those of the process.

    Raises:
        ConfigError: One variable is unusable; the message names it, the value and what is wanted.
    """
    env = os.environ if environment is None else environment
    return Settings(
        version=_version(),
        image_digest=_digest(env, "IMAGE_DIGEST"),
        pod=env.get("POD_NAME") or socket.gethostname(),
        namespace=env.get("POD_NAMESPACE", ""),
        node=env.get("NODE_NAME", ""),
        bind_address=_address(env, "BIND_ADDRESS", "0.0.0.0"),  # noqa: S104
        port=int(_number(env, "PORT", 8080, 1, 65535, whole=True)),
        threads=int(_number(env, "THREADS", 8, 1, 64, whole=True)),
        drain_s=_number(env, "DRAIN_S", 0.5, 0, 30),
        graceful_s=_number(env, "GRACEFUL_S", 20, 1, 300),
        keepalive_s=int(_number(env, "KEEPALIVE_S", 75, 1, 3600, whole=True)),
        otlp_endpoint=_otlp(env),
        faults=Faults(
            error_ratio=_number(env, "FAULT_ERROR_RATIO", 0, 0, 1),
            latency_ms=_number(env, "FAULT_LATENCY_MS", 0, 0, 60_000),
            never_ready=_switch(env, "FAULT_NEVER_READY"),
            crash_after_s=_number(env, "FAULT_CRASH_AFTER_S", 0, 0, 86_400),
            leak_mb_per_s=_number(env, "FAULT_LEAK_MB_PER_S", 0, 0, 1024),
        ),
    )


def _version() -> str:
    return Path(__file__).with_name("VERSION").read_text(encoding="utf-8").strip()


def _refuse(name: str, value: str, wanted: str) -> ConfigError:
    return ConfigError(f"{name} is {value!r}, wanted {wanted}; correct or remove it in the Deployment's env")


def _number(
    env: Mapping[str, str], name: str, default: float, low: float, high: float, *, whole: bool = False
) -> float:
    text = env.get(name, "").strip()
    if not text:
        return default
    wanted = f"a{' whole' if whole else ''} number from {low:g} to {high:g}"
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        raise _refuse(name, text, wanted) from None
    if not low <= value <= high:  # also refuses nan
        raise _refuse(name, text, wanted)
    return value


def _switch(env: Mapping[str, str], name: str) -> bool:
    text = env.get(name, "").strip().lower()
    if text in {"", "0", "false", "no", "off"}:
        return False
    if text in {"1", "true", "yes", "on"}:
        return True
    raise _refuse(name, text, "true or false")


def _digest(env: Mapping[str, str], name: str) -> str:
    text = env.get(name, "").strip()
    if text and not _DIGEST.fullmatch(text):
        raise _refuse(name, text, "sha256: and 64 hexadecimal digits")
    return text


def _otlp(env: Mapping[str, str]) -> str:
    """Return the URL that spans go to: the one for traces as it is, else the common one with the path for traces.

    Source: OpenTelemetry specification, protocol/exporter.md (endpoint URLs for OTLP/HTTP).
    """
    if _switch(env, "OTEL_SDK_DISABLED"):
        return ""
    name = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    url = env.get(name, "").strip()
    if not url:
        name = "OTEL_EXPORTER_OTLP_ENDPOINT"
        base = env.get(name, "").strip()
        url = f"{base.rstrip('/')}/v1/traces" if base else ""
    if url and not _HTTP_URL.fullmatch(url):
        raise _refuse(name, env[name], "a URL such as http://collector.observability.svc:4318")
    return url


def _address(env: Mapping[str, str], name: str, default: str) -> str:
    text = env.get(name, "").strip() or default
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise _refuse(name, text, "an IPv4 or IPv6 address") from None
    return text
