"""What runs inside the Job? The book, as anywhere else; then the evidence goes to the store.

``python -m platform_lib.oncluster.worker /etc/apqx/order.json``. Leaves with the run's exit code and, for those who
watch the Job, with one line of JSON as the container's termination message.
"""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from platform_lib import runbook
from platform_lib.errors import EXIT_FAILED, InvalidInput, PlatformError
from platform_lib.model import Platform
from platform_lib.oncluster import results
from platform_lib.providers import state
from platform_lib.settings import settings

TERMINATION_LOG = Path("/dev/termination-log")
"""Where Kubernetes reads the termination message (the default terminationMessagePath)."""
MESSAGE_BYTES = 4096


def main(order: Path) -> int:
    """Do what the order says; return the exit code."""
    # Kubernetes ends a pod with SIGTERM; the runner treats Ctrl-C as "stop, and let the book clean up".
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    said: dict[str, Any] = {"status": "failed", "exit_code": EXIT_FAILED}
    try:
        said = _run(_read(order))
    except KeyboardInterrupt:
        said |= {"status": "interrupted", "message": "ended before the book began"}
    except PlatformError as error:
        said |= {"message": str(error), "exit_code": error.exit_code}
    text = json.dumps(said)
    _say(text)
    with suppress(OSError):  # not in a container
        TERMINATION_LOG.write_text(text[:MESSAGE_BYTES])
    return int(said["exit_code"])


def _read(order: Path) -> dict[str, Any]:
    """Read the order and keep the endpoints where the library looks for them."""
    try:
        told: dict[str, Any] = json.loads(order.read_text())
        platform = dict(told["platform"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"order {order} - not readable: {error!r}", hint="it is written by apqx run --on cluster"
        ) from error
    current = settings()
    platform["home"] = str(current.home)
    current.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    current.runs_dir.mkdir(parents=True, exist_ok=True)
    state.write_private(state.Layout(current.home).endpoints, json.dumps(platform))
    state.write_endpoints(_checked(current.home))
    return told


def _checked(home: Path) -> Platform:
    """Read the endpoints as every other command does."""
    return state.read_endpoints(home)


def _run(told: dict[str, Any]) -> dict[str, Any]:
    """Execute the book and put its evidence away; a store that refuses is a failure of its own."""
    result = runbook.run(told["book"], told["parameters"], progress=_say)
    said = {
        "run": result.run_id,
        "status": result.status,
        "exit_code": result.exit_code,
        "key_figure": result.key_figure,
        "message": result.message or (result.error or {}).get("message", ""),
        "duration_s": round(result.duration_s, 3),
    }
    try:
        said["results"] = results.put(result.folder, told["results"])
    except PlatformError as error:
        said |= {"exit_code": result.exit_code or EXIT_FAILED, "lost": str(error)}
    return said


def _say(line: str) -> None:
    """Write a line to the pod's log."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m platform_lib.oncluster.worker ORDER")
    sys.exit(main(Path(sys.argv[1])))
