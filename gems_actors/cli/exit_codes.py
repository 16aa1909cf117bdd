"""How a command ends: its exit codes, and a failure as one line."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from pathlib import Path

import click

DONE = 0
FAILED = 1
"""Some of what was asked for failed, or nobody was there to ask."""
USAGE = 2
QUEUE_AGAIN = 75
"""`EX_TEMPFAIL` of sysexits.h: a batch system took the node back, and the work goes on once it gives another."""
BAD_CONFIG = 78
"""`EX_CONFIG` of sysexits.h; also that somebody else listens at the configured address, or that a router refuses us."""
INTERRUPTED = 130
"""Ctrl-C, SIGTERM or `gems cancel` ended the work early, gently or not."""


def end_of(error: BaseException) -> tuple[str, int]:
    """Return the line that explains a failure, and the exit code; of a reader that has seen enough no line."""
    leaves = [*_leaves(error)]
    if any(isinstance(leaf, (KeyboardInterrupt, click.Abort)) for leaf in leaves):
        return _one_line("interrupted"), INTERRUPTED  # and nothing imported: it may have broken an import off
    # 40 ms that `gems --version` need not pay
    from gems_actors.errors import AddressInUseError, ConfigError, GemsError, MeshRefusedError, UsageError
    from skills import SkillError

    causes = sorted(leaves, key=lambda leaf: not isinstance(leaf, (GemsError, click.ClickException)))
    match cause := causes[0]:
        case click.ClickException():
            return _one_line(_words_of(cause)), cause.exit_code
        case ConfigError() | AddressInUseError() | MeshRefusedError():
            return _one_line(str(cause)), BAD_CONFIG
        case UsageError():
            return _one_line(str(cause)), USAGE
        case GemsError() | SkillError():
            return _one_line(str(cause)), FAILED
        case BrokenPipeError() | SystemExit():  # `gems skills list | head -1`, which is how click ends for it
            return "", DONE
        case OSError(errno=errno.ENOSPC | errno.EDQUOT, filename=None):
            return _one_line(f"standard output: expected room for what there is to say, got: {cause.strerror}"), FAILED
        case _:
            return _one_line(f"a fault of ours: {type(cause).__name__}: {cause} (at {_place_of(cause)})"), FAILED


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _words_of(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    if isinstance(error, click.BadParameter) and error.param is not None and error.message:
        return f"{_name_of(error.param)}: {error.message}"
    words = error.format_message().removesuffix(".")
    return words if ", got" in words or context is None else f"{words} (see {context.command_path} --help)"


def _name_of(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return parameter.make_metavar(click.Context(click.Command("gems")))


def _place_of(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"


def _one_line(text: str) -> str:
    return "gems: " + " ".join(text.split())
