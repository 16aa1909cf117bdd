"""Exit codes, and the one line that explains a failure."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Iterator
from pathlib import Path

import click
from click.exceptions import NoArgsIsHelpError

from gems_actors.cli.suggestions import Group
from gems_actors.os_process import EXIT_CONFIG
from gems_actors.terminal_text import printable, visible_surrogates

DONE = 0
FAILED = 1
"""Something failed, or no mesh answered."""
USAGE = 2
QUEUE_AGAIN = 75
"""`EX_TEMPFAIL` of sysexits.h: the same command continues later, because a batch system reclaimed the node or model
servers were away for too long."""
BAD_CONFIG = EXIT_CONFIG
"""`EX_CONFIG` of sysexits.h; also for an address in use, and for a router that refuses this client."""
INTERRUPTED = 130
"""Ctrl-C, SIGTERM or `gems cancel` ended the command early, gracefully or not."""


def end_of(error: BaseException) -> tuple[str, int]:
    """Return the line that explains a failure, and the exit code; no line if the reader of a pipe left."""
    leaves = [*_leaves(error)]
    if any(isinstance(leaf, (KeyboardInterrupt, click.Abort)) for leaf in leaves):
        return _one_line("interrupted"), INTERRUPTED  # import nothing here: Ctrl-C may have interrupted an import
    # imported here: 40 ms that `gems --version` does not need
    from gems_actors import errors
    from gems_actors.files import os_reason
    from skills import SkillError

    causes = sorted(leaves, key=lambda leaf: not isinstance(leaf, (errors.GemsError, click.ClickException)))
    match cause := causes[0]:
        case click.ClickException():
            return _one_line(_message_of(cause)), cause.exit_code
        case errors.ConfigError() | errors.AddressInUseError() | errors.MeshRefusedError():
            return _one_line(str(cause)), BAD_CONFIG
        case errors.UsageError():
            return _one_line(str(cause)), USAGE
        case errors.ResumableError():
            return _one_line(str(cause)), QUEUE_AGAIN
        case errors.GemsError() | SkillError():
            return _one_line(str(cause)), FAILED
        case BrokenPipeError() | SystemExit():  # `gems skills list | head -1`, which is how click ends for it
            return "", DONE
        case OSError(errno=errno.ENOSPC | errno.EDQUOT, filename=None):
            return _one_line(f"standard output: expected space for the output, got: {cause.strerror}"), FAILED
        case OSError():  # a disk or folder that was fine when the command began, or a limit of the system
            where = f"{os.fsdecode(cause.filename)}: " if isinstance(cause.filename, str | bytes) else ""
            return _one_line(f"{where}expected a working file or folder, got: {os_reason(cause)}"), FAILED
        case _:
            frames = traceback.extract_tb(cause.__traceback__)
            where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown line"
            return _one_line(f"internal error: {type(cause).__name__}: {cause} (at {where})"), FAILED


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _message_of(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    if isinstance(error, click.BadParameter) and error.param is not None and error.message:
        param = error.param
        is_option = isinstance(param, click.Option)
        name = max(param.opts, key=len) if is_option else param.make_metavar(click.Context(click.Command("gems")))
        return f"{name}: {error.message}"
    text = error.format_message().removesuffix(".")
    if isinstance(error, NoArgsIsHelpError):
        text = "Missing arguments"
        if context is not None and isinstance(context.command, Group):
            text = f"COMMAND: expected one of {', '.join(context.command.list_commands(context))}, got none"
    return text if ", got" in text or context is None else f"{text} (see {context.command_path} --help)"


def _one_line(text: str) -> str:
    return f"gems: {printable(visible_surrogates(text))}"
