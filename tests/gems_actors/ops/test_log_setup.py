"""Logs that strangers cannot flood."""

from __future__ import annotations

import pytest
import structlog
from structlog.testing import capture_logs

from gems_actors.config import LogConfig
from gems_actors.ops.log_setup import RateLimitedLog, configure_logging, kept_logging


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


@pytest.mark.parametrize("is_configured", [False, True])
@pytest.mark.parametrize("first_to_end", [0, 1])
def test_calls_that_overlap_leave_the_configuration_of_their_caller(is_configured: bool, first_to_end: int) -> None:
    structlog.reset_defaults()
    if is_configured:
        structlog.configure(cache_logger_on_first_use=False, processors=[structlog.processors.JSONRenderer()])
    before = structlog.get_config()
    calls = [kept_logging(), kept_logging()]
    for call in calls:
        call.__enter__()
        configure_logging(LogConfig(), role="client")
    calls[first_to_end].__exit__(None, None, None)
    assert structlog.get_config() != before  # the other call still logs as it wants to
    calls[1 - first_to_end].__exit__(None, None, None)
    assert structlog.get_config() == before
    assert structlog.is_configured() == is_configured
    structlog.reset_defaults()
