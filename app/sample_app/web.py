"""What does the application answer? ``create_app`` builds the Flask application; it starts nothing."""

from __future__ import annotations

import logging
import re
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Flask, Response, current_app, g, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from werkzeug.exceptions import HTTPException

from sample_app import telemetry, tracing
from sample_app.config import Settings, load
from sample_app.faults import RequestFaults
from sample_app.lifecycle import Lifecycle

MAX_WORK_MS = 5000
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_FAULTY = frozenset({"/", "/work"})

log = logging.getLogger(telemetry.LOGGER)
pages = Blueprint("pages", __name__)


class State:
    """What the routes share: reached through ``app.extensions["sample_app"]``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = telemetry.Metrics(settings)
        self.lifecycle = Lifecycle(never_ready=settings.faults.never_ready)
        self.faults = RequestFaults(settings.faults)
        self.tracing = tracing.Tracing(settings)


def create_app(settings: Settings | None = None) -> Flask:
    """Build an application with its own metrics and state.

    Args:
        settings: Default: read from the environment.

    Returns:
        A WSGI application; nothing is bound or started.

    Raises:
        ConfigError: The environment holds an unusable value.
    """
    settings = settings or load()
    telemetry.configure_logging(settings)
    app = Flask("sample_app", static_folder=None)
    app.extensions["sample_app"] = State(settings)
    app.register_blueprint(pages)
    app.before_request(_start)
    app.after_request(_finish)
    app.register_error_handler(Exception, _error)
    return app


def state(app: Any = None) -> State:
    """Return the shared state of ``app``, or of the application that serves the current request."""
    found: State = (app or current_app).extensions["sample_app"]
    return found


@pages.get("/")
def index() -> Response:
    """Say who answers: this is what tells old from new during a rollout."""
    settings = state().settings
    return jsonify(
        version=settings.version,
        image_digest=settings.image_digest,
        pod=settings.pod,
        namespace=settings.namespace,
        node=settings.node,
        time=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )


@pages.get("/health")
def health() -> Response:
    """Answer 200 while the process can answer at all; a failure here means: restart it."""
    return jsonify(status="ok")


@pages.get("/ready")
def ready() -> tuple[Response, int]:
    """Answer 200 while new requests are welcome, 503 with the reason otherwise."""
    reason = state().lifecycle.reason
    if reason:
        return jsonify(status="not ready", reason=reason), 503
    return jsonify(status="ready"), 200


@pages.get("/metrics")
def metrics() -> Response:
    """Expose the metrics in the Prometheus text format."""
    return Response(generate_latest(state().metrics.registry), content_type=CONTENT_TYPE_LATEST)


@pages.get("/work")
def work() -> tuple[Response, int]:
    """Burn ``ms`` milliseconds of CPU time (0 to 5000, default 50), for autoscaling."""
    text = request.args.get("ms", "50")
    if not (text.isascii() and text.isdigit() and int(text[:5]) <= MAX_WORK_MS and len(text) <= 4):
        return jsonify(error="bad request", detail=f"ms must be a whole number from 0 to {MAX_WORK_MS}"), 400
    end = time.thread_time() + int(text) / 1000
    rounds = 0
    while time.thread_time() < end:
        rounds += sum(range(500)) > 0
    return jsonify(worked_ms=int(text), rounds=rounds), 200


def _start() -> tuple[Response, int] | None:
    """Take the time, find the request id, and let a fault have its way."""
    g.started = time.perf_counter()
    given = request.headers.get("X-Request-Id", "")
    # A foreign id ends up in the log, so only harmless characters are taken over.
    g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    g.span = state().tracing.begin(method=_method(), route=_route(), path=request.path, headers=request.headers)
    if request.path in _FAULTY and state().faults.apply():
        return jsonify(error="internal server error", detail="fault error_ratio"), 500
    return None


def _finish(response: Response) -> Response:
    """Label the response, count it and write its log line."""
    shared, seconds = state(), time.perf_counter() - g.started
    route, method = _route(), _method()
    response.headers["X-Request-Id"] = g.request_id
    response.headers["X-App-Version"] = shared.settings.version
    response.headers["X-App-Pod"] = shared.settings.pod
    shared.metrics.observe(method=method, route=route, status=response.status_code, seconds=seconds)
    fields = {
        "request_id": g.request_id,
        "method": method,
        "path": request.path,
        "route": route,
        "status": response.status_code,
        "duration_ms": round(seconds * 1000, 3),
        "remote": request.remote_addr,
        **tracing.ids(g.span),
    }
    log.info("request", extra={"fields": fields})
    shared.tracing.end(g.span, status=response.status_code, request_id=g.request_id)
    return response


def _route() -> str:
    """Return the rule, not the path: paths are unlimited, and each would become a time series."""
    return request.url_rule.rule if request.url_rule else "unmatched"


def _method() -> str:
    """Return the method, for the same reason one of a known few."""
    return request.method if request.method in _METHODS else "OTHER"


def _error(error: Exception) -> tuple[Response, int]:
    """Answer any error as JSON; only an unexpected one leaves a traceback in the log."""
    if isinstance(error, HTTPException):
        code = error.code or 500
        return jsonify(error=error.name.lower(), detail=error.description), code
    log.error("unhandled exception", exc_info=error, extra={"fields": {"request_id": g.get("request_id", "")}})
    return jsonify(error="internal server error"), 500
