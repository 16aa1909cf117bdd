"""The command line: `gems`.

A command's module is imported when the command is named, so that `gems --version` loads neither trio, ZeroMQ nor rich.
Data goes to standard output, everything else to standard error, and a failure is one line there.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import click

from gems_actors import __version__
from gems_actors.cli.exit_codes import end_of

_COMMANDS = {
    "draw": ("draw:draw", "Draw one prompt and watch how it gets better."),
    "bulk": ("bulk:bulk", "Draw every prompt of a file."),
    "eval": ("evaluate:evaluate", "Draw a benchmark, and lay it out as its official scorer reads it."),
    "runs": ("control:runs", "List the runs that go on, and those that memory knows."),
    "pause": ("control:pause", "Have a run or a trajectory wait."),
    "resume": ("control:resume", "Let a run or a trajectory go on."),
    "cancel": ("control:cancel", "End a run or a trajectory for now."),
    "up": ("mesh:up", "Run a mesh in the foreground."),
    "agent": ("mesh:agent", "Play roles on this host for a mesh whose router runs elsewhere."),
    "status": ("mesh:status", "Show who is in a running mesh and what they do."),
    "scale": ("mesh:scale", "Change how many actors play a role."),
    "down": ("mesh:down", "Drain and end a running mesh."),
    "role": ("mesh:role", "Play one role in this process."),
    "slurm": ("slurm:slurm", "Run a mesh as jobs of a Slurm cluster."),
    "keys": ("keys:keys", "Make the keys of a mesh that serves other hosts."),
    "memory": ("memory:memory", "Look at what was drawn and learnt, and look after its log."),
    "skills": ("skills:skills", "List, show and check skills."),
    "doctor": ("doctor:doctor", "Say what is installed, reachable and writable, and what to do about the rest."),
}
"""Where each command is, and its line in the help, which must not cost the import of all of them."""


class _LazyGroup(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"gems_actors.cli.{module}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"COMMAND: expected one of {', '.join(_COMMANDS)}, got {args[0]!r}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gems", message="%(prog)s %(version)s")
@click.pass_context
def gems(context: click.Context) -> None:
    """Follow hard image prompts: plan, draw, verify, remember and refine, each role its own process.

    Exit codes: 0 done, 1 some failed, 2 usage, 75 to be queued again, 78 bad configuration, 130 interrupted or
    cancelled.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; a failure is one line on standard error and never a traceback."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a prompt may hold what this terminal cannot show
    try:
        code = gems.main(args=arguments, prog_name="gems", standalone_mode=False)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt, SystemExit, BaseExceptionGroup) as error:
        line, code = end_of(error)
        if line and sys.flags.dev_mode:
            raise
        _drop_unwritten_output()
        with suppress(OSError):  # nobody is there to be told
            click.echo(line, err=True, nl=line != "")
    return code or 0


def _open_closed_streams() -> None:
    """Give closed standard streams the null device, so that no socket or file of ours takes their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest that is free, so that of the stream
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode))


def _drop_unwritten_output() -> None:
    """Keep the interpreter from trying once more to write what standard output did not take."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
