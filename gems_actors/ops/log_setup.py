"""Log setup of a process: structlog on standard error, with role and actor name bound to every line."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

import structlog

from gems_actors.config import LogConfig

MAX_LINES_PER_S = 10


def configure_logging(settings: LogConfig, **bound: str) -> None:
    """Configure the log of this process; the keys in `bound` are added to every line."""
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.format == "json":
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        traceback = structlog.dev.plain_traceback
        processors.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=traceback))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**bound)


class RateLimitedLog:
    """Logs what strangers can cause: up to ten lines per second, then the number of lines left out."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._second = 0
        self._lines = 0

    def warning(self, event: str, **keys: object) -> None:
        """Log the event, or only count it once the limit of this second is reached."""
        second = int(self._clock())
        if second != self._second:
            if self._lines > MAX_LINES_PER_S:
                self._log.warning("lines_left_out", count=self._lines - MAX_LINES_PER_S)
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines <= MAX_LINES_PER_S:
            self._log.warning(event, **keys)
