"""The command line `gems`: parses flags, calls `gems_actors.app`, and prints. What works without a terminal is in app.

This module handles signals from its first instruction on, so it imports nothing before that; `commands` has the rest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from gems_actors.os_process import ignore_stop_signals, interrupt_at_stop_signals

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; a failure is one line on standard error and never a traceback.

    Without `arguments`, those of this process count, and the process is about to end: signals are ignored from then on.
    """
    if arguments is not None:
        return _run(arguments)
    try:
        interrupt_at_stop_signals()
        code = _run(None)
    except KeyboardInterrupt:  # before the command began, or another one while the first was reported
        os.write(2, b"gems: interrupted\n")
        code = _INTERRUPTED
    finally:
        ignore_stop_signals()  # the interpreter restores their defaults, which would kill it on its way out
    if code == _INTERRUPTED:
        # An interpreter in which code that was built as text, such as that of a dataclass, was interrupted ends itself
        # by SIGINT, whatever its exit code is.
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    return code


def _run(arguments: Sequence[str] | None) -> int:
    from gems_actors.cli.commands import run_command

    return run_command(arguments)
