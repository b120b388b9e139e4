"""How does a request become a span? OpenTelemetry over OTLP when an endpoint is configured, nothing otherwise.

Without an endpoint no package of OpenTelemetry is imported, so tracing costs nothing where nobody looks at it. The
names follow the semantic conventions for HTTP servers. Probes and scrapes are left out: they would be most spans and
tell nothing. Every other ``OTEL_*`` variable (service name, sampler, headers, resource attributes) is read by the
SDK itself, as its specification says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sample_app.config import Settings

UNTRACED = frozenset({"/health", "/ready", "/metrics"})
EXPORT_TIMEOUT_S = 3.0
"""For one export: a collector that is away must not hold up the end of the process."""


class Tracing:
    """Makes one span a request; does nothing until it is started, and nothing at all without an endpoint.

    Args:
        settings: The endpoint, and who this instance is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._provider: Any = None
        self._tracer: Any = None

    def start(self) -> None:
        """Begin to export; call it in the process that serves, because a fork does not copy threads."""
        if not self._settings.otlp_endpoint or self._tracer is not None:
            return
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        # Merged last: what the person at the Deployment said of this service wins.
        resource = Resource.create(_resource(self._settings)).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=self._settings.otlp_endpoint, timeout=EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("sample_app", self._settings.version)

    def stop(self) -> None:
        """Send what is still held back; at most about ``EXPORT_TIMEOUT_S``."""
        if self._provider is not None:
            self._provider.force_flush(int(EXPORT_TIMEOUT_S * 1000))
            self._provider.shutdown()

    def begin(self, *, method: str, route: str, path: str, headers: Mapping[str, str]) -> Any:
        """Open the span of a request, as a child of the caller's where it sent ``traceparent``.

        Returns:
            The span, or None where this request is not traced.
        """
        if self._tracer is None or path in UNTRACED:
            return None
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        attributes = {"http.request.method": method, "http.route": route, "url.path": path, "url.scheme": "http"}
        # Header names arrive in any case; the propagator asks for lower case.
        carrier = {name.lower(): value for name, value in headers.items()}
        return self._tracer.start_span(
            f"{method} {route}", context=extract(carrier), kind=SpanKind.SERVER, attributes=attributes
        )

    @staticmethod
    def end(span: Any, *, status: int, request_id: str) -> None:
        """Close a span; a status of 500 and above makes it an error, as the conventions say for servers."""
        if span is None:
            return
        from opentelemetry.trace import StatusCode

        span.set_attribute("http.response.status_code", status)
        span.set_attribute("request.id", request_id)
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end()


def ids(span: Any) -> dict[str, str]:
    """Return trace and span id as a log line carries them; empty for a request that is not traced."""
    if span is None:
        return {}
    context = span.get_span_context()
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _resource(settings: Settings) -> dict[str, str]:
    """Return who sends the spans, by the names of the semantic conventions for resources."""
    known = {
        "service.name": "sample-app",
        "service.version": settings.version,
        "service.instance.id": settings.pod,
        "k8s.pod.name": settings.pod,
        "k8s.namespace.name": settings.namespace,
        "k8s.node.name": settings.node,
        "container.image.id": settings.image_digest,
    }
    return {key: value for key, value in known.items() if value}
