"""The sample application as the tests see it: from its folder, with settings given by hand."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "app"))


@pytest.fixture
def project() -> Path:
    """Folder of the repository."""
    return ROOT


@pytest.fixture(autouse=True)
def quiet_logger() -> Iterator[None]:
    """Give the application's logger back as it was: each application brings its own handler."""
    logger = logging.getLogger("sample_app")
    before = logger.handlers[:], logger.level
    yield
    logger.handlers[:], logger.level = before


@pytest.fixture
def make_client() -> Callable[..., Any]:
    """Return a function that builds a test client; keyword arguments are faults."""
    from sample_app import create_app
    from sample_app.config import Faults, Settings

    def make(**faults: Any) -> Any:
        settings = Settings(
            version="1.2.3",
            image_digest=f"sha256:{'ab' * 32}",
            pod="pod-1",
            namespace="ns",
            node="node-1",
            faults=Faults(**faults),
        )
        return create_app(settings).test_client()

    return make
