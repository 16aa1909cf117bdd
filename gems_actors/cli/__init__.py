"""The command line `gems`: parses flags, calls `gems_actors.app`, and prints. What works without a terminal is in app.

This module handles signals from its first instruction on, so it imports nothing before that; `commands` has the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

from gems_actors.os_process import run_to_the_end


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; a failure is one line on standard error and never a traceback.

    Without `arguments`, those of this process count, and the process is about to end: signals are ignored from then on.
    """
    return run_to_the_end(_run) if arguments is None else _run(arguments)


def _run(arguments: Sequence[str] | None = None) -> int:
    from gems_actors.cli.commands import run_command

    return run_command(arguments)
