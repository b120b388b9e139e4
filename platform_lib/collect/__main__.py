"""Run the collector of the platform that the settings name: ``python -m platform_lib.collect``."""

import os
import sys

if __name__ == "__main__":
    os.nice(10)  # writing down what happened must not slow down what happens
    from platform_lib.collect.program import main

    sys.exit(main())
