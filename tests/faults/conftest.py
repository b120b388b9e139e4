from __future__ import annotations

import sys
from pathlib import Path

# The process starter is shared with the contract tests.
sys.path.insert(0, str(Path(__file__).parent.parent / "contract"))
