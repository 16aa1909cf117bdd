"""Logs that strangers cannot fill."""

from __future__ import annotations

import time

import pytest
import structlog
from structlog.testing import capture_logs

from gems_actors.ops.log_setup import RateLimitedLog


def test_what_strangers_cause_is_logged_ten_times_a_second_and_then_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with capture_logs() as lines:
        log = RateLimitedLog(structlog.get_logger())
        for number in range(25):
            log.warning("stranger_refused", number=number)
        now += 1
        log.warning("stranger_refused", number=25)
    assert [line["number"] for line in lines if "number" in line] == [*range(10), 25]
    assert [line["count"] for line in lines if line["event"] == "lines_left_out"] == [15]
