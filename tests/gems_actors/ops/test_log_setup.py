"""Logs that strangers cannot flood."""

from __future__ import annotations

import structlog
from structlog.testing import capture_logs

from gems_actors.ops.log_setup import RateLimitedLog


def test_ten_lines_per_second_are_logged_and_the_rest_is_counted() -> None:
    now = 100.0
    with capture_logs() as lines:
        log = RateLimitedLog(structlog.get_logger(), lambda: now)
        for number in range(25):
            log.warning("stranger_refused", number=number)
        now += 1
        log.warning("stranger_refused", number=25)
    assert [line["number"] for line in lines if "number" in line] == [*range(10), 25]
    assert [line["count"] for line in lines if line["event"] == "lines_left_out"] == [15]
