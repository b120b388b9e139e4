"""The embedded platform as a program: ``python -m platform_lib.embedded CONFIG.json [--guard|--supervise|--sweep]``.

Without an option it is the guardian, which starts the supervisor, which starts everything else.
``--sweep`` kills whatever of the platform still runs, at once, and cleans up after it.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from platform_lib.embedded.config import Config


def main(argv: list[str]) -> None:
    """Run one of the platform's own processes."""
    parser = argparse.ArgumentParser(prog="python -m platform_lib.embedded", description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--guard", type=int, metavar="PID", help="watch this supervisor")
    parser.add_argument("--supervise", type=int, metavar="PID", help="run as the supervisor of this guardian")
    parser.add_argument("--sweep", action="store_true", help="kill everything that is on record")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config = Config.load(arguments.config)
    if arguments.sweep:
        from platform_lib.embedded.sweep import sweep

        sweep(config)
    elif arguments.supervise is not None:
        from platform_lib.embedded.identity import identify, set_name
        from platform_lib.embedded.processes import Supervisor

        set_name("apqx-supervisor")
        Supervisor(config, arguments.config, identify(arguments.supervise)).run()
    else:
        from platform_lib.embedded.guardian import Guardian
        from platform_lib.embedded.identity import set_name

        set_name("apqx-guardian")
        Guardian(config, arguments.config).run(arguments.guard)


if __name__ == "__main__":
    main(sys.argv[1:])
