"""Which application does the workbench deploy? A small Flask service that can be watched and broken.

It knows nothing of the workbench: only environment variables, HTTP and signals.

    config     environment -> Settings, or a clear refusal
    faults     the switches for drills
    telemetry  metrics and JSON logs
    lifecycle  starting, ready, draining
    web        create_app: the routes
    server     gunicorn: one process, several threads, a graceful end
"""

from sample_app.web import create_app

__all__ = ["create_app"]
