"""Frames and streams of any kind harm neither server: the short form of `make fuzz TARGET=frames`."""

from __future__ import annotations

import pytest

from tests.faults.servers import MIB
from tests.fuzzing.frames import fuzz_servers

pytestmark = pytest.mark.slow


def test_servers_live_and_serve_while_mutated_frames_arrive() -> None:
    outcome = fuzz_servers(20_000, 15)
    assert outcome.router_peak_bytes < 200 * MIB
    assert outcome.pictures_peak_bytes < 200 * MIB
    assert outcome.pictures_stored > 0
