"""Log setup of a process: structlog on standard error, with role and actor name bound to every line."""

from __future__ import annotations

import io
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

import structlog

from gems_actors.config import LogConfig
from gems_actors.terminal_text import Painting, printable, printable_lines

MAX_LINES_PER_S = 10


def configure_logging(settings: LogConfig, **bound: str) -> None:
    """Configure the log of this process; the keys in `bound` are added to every line."""
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    file: TextIO = sys.stderr
    if settings.format == "json":
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        colours = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write_traceback)
        processors += [_escape_values, colours]
        file = cast("TextIO", Painting(sys.stderr))  # it has what structlog calls
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**bound)


class _KeptConfiguration:
    """The configuration of structlog that a program had before it called us, until the last of its calls ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._before: dict[str, Any] | None = None

    def keep(self) -> None:
        with self._lock:
            if self._calls == 0:
                self._before = structlog.get_config() if structlog.is_configured() else None
            self._calls += 1

    def restore(self) -> None:
        with self._lock:
            self._calls -= 1
            if self._calls:
                return
            if self._before is None:
                structlog.reset_defaults()
            else:
                structlog.configure(**self._before)


_KEPT = _KeptConfiguration()  # one for the process, as the configuration itself


@contextmanager
def kept_logging() -> Iterator[None]:
    """Restore the caller's own configuration of structlog at the end; of calls in several threads, that of the last."""
    _KEPT.keep()
    try:
        yield
    finally:
        _KEPT.restore()


def _escape_values(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Keep texts of peers and servers from commanding a terminal or adding lines; `repr` does so for other types."""
    return {key: printable(value) if isinstance(value, str) else value for key, value in event.items()}


def _write_traceback(file: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    file.write(printable_lines(text.getvalue()))


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
