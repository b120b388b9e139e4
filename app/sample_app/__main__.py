"""Start the application: ``python -m sample_app``. Exit code 2 means the environment is unusable."""

from __future__ import annotations

import sys

from sample_app.config import ConfigError, load


def main() -> int:
    """Read the settings and serve until SIGTERM."""
    try:
        settings = load()
    except ConfigError as error:
        sys.stderr.write(f"sample_app does not start: {error}\n")
        return 2
    # Imported late: a refusal should not need gunicorn.
    from sample_app.server import serve

    serve(settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
