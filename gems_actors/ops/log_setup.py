"""Logs of one process: structlog on standard error, the role and the actor's name bound to every line."""

from __future__ import annotations

import logging
import sys
import time

import structlog

from gems_actors.config import LogConfig

_LINES_PER_S = 10


def configure_logging(settings: LogConfig, **bound: str) -> None:
    """Set up this process's log; `bound` stands on every line."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if settings.format == "json" else _unchanged,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**bound)


def _unchanged(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return event


class RateLimitedLog:
    """A log for what strangers can cause: at most ten lines a second, and then how many there would have been."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        self._log = log
        self._second = 0
        self._said = 0

    def warning(self, event: str, **keys: object) -> None:
        """Log, or count where there was enough to read in this second."""
        second = int(time.monotonic())
        if second != self._second:
            if self._said > _LINES_PER_S:
                self._log.warning("lines_left_out", count=self._said - _LINES_PER_S)
            self._second, self._said = second, 0
        self._said += 1
        if self._said <= _LINES_PER_S:
            self._log.warning(event, **keys)
