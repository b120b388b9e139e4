"""What does the application tell about itself? Prometheus metrics and one line of JSON per event."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from sample_app import faults
from sample_app.config import Settings

LOGGER = "sample_app"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds. A plain answer takes about 1 ms and a drill adds up to seconds; 13 steps keep a quantile
within a factor of 2.5 anywhere between."""


class Metrics:
    """The metrics of one application instance, in a registry of its own.

    One process serves all requests with threads, so plain in-memory values are complete.
    """

    def __init__(self, settings: Settings) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "http_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.duration = Histogram(
            "http_request_duration_seconds",
            "Time from the start of a request to its response.",
            ["method", "route"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        build = Gauge("app_build_info", "Always 1; the version is the label.", ["version"], registry=self.registry)
        build.labels(settings.version).set(1)
        fault = Gauge(
            "sample_app_fault_enabled", "1 while this fault is switched on.", ["fault"], registry=self.registry
        )
        for name, on in faults.states(settings.faults).items():
            fault.labels(name).set(int(on))
        ProcessCollector(registry=self.registry)

    def observe(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.requests.labels(method, route, str(status)).inc()
        self.duration.labels(method, route).observe(seconds)


class JsonFormatter(logging.Formatter):
    """Render a record as one line of JSON; fields come from ``extra={"fields": {...}}``."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._constant = {"pod": settings.pod, "version": settings.version}

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a JSON object without a line break inside."""
        seconds, millis = int(record.created), int(record.msecs)
        line: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{millis:03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **self._constant,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, separators=(",", ":"), default=str)


def configure_logging(settings: Settings) -> logging.Handler:
    """Send the application's log to standard output as JSON and return the handler.

    Calling it again replaces the handler, so two applications in one process do not log twice.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(settings))
    logger = logging.getLogger(LOGGER)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    return handler
