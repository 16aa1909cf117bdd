"""Keeps the commands that run in the process of the tests apart from one another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _reset_log() -> Iterator[None]:
    """Undo a command's log configuration, so that the next test does not write into its captured streams."""
    yield
    structlog.reset_defaults()
