"""The group of all commands.

The module of a command is imported only when the command runs, so that `gems --help` loads neither trio, ZeroMQ nor
rich. Results go to standard output, everything else to standard error, where a failure is one line.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import click
from click.shell_completion import CompletionItem

from gems_actors import __version__
from gems_actors.cli.exit_codes import BAD_CONFIG, end_of
from gems_actors.cli.suggestions import Group
from gems_actors.os_process import protect_files, raise_at_stop_signals, set_title
from gems_actors.terminal_text import protect_standard_streams

COMMANDS = {
    "draw": ("draw:draw", "Draw one prompt, and watch it improve from round to round."),
    "bulk": ("bulk:bulk", "Draw every prompt of a file."),
    "eval": ("evaluate:evaluate", "Draw the prompts of a benchmark for its official scorer."),
    "verify": ("verify:verify", "Fit the verifier's thresholds to known answers."),
    "history": ("history:history", "List this user's latest draws and bulks, wherever their files are."),
    "show": ("history:show", "Show a draw or bulk of the history."),
    "runs": ("control:runs", "List running runs, and the latest that memory knows."),
    "pause": ("control:pause", "Pause a run or trajectory."),
    "resume": ("control:resume", "Resume a run or trajectory."),
    "cancel": ("control:cancel", "Cancel a run or trajectory."),
    "up": ("mesh:up", "Run a mesh in the foreground."),
    "agent": ("mesh:agent", "Run roles on this host for a mesh whose router runs elsewhere."),
    "status": ("mesh:status", "Show the roles and actors of a running mesh."),
    "scale": ("mesh:scale", "Change the number of actors of a role."),
    "down": ("mesh:down", "Drain and stop a running mesh."),
    "role": ("mesh:role", "Run one role in this process."),
    "mcp": ("mcp:mcp", "Serve a mesh as tools for agents, by the Model Context Protocol."),
    "slurm": ("slurm:slurm", "Run a mesh as jobs of a Slurm cluster."),
    "keys": ("keys:keys", "Create the keys of a mesh that serves other hosts."),
    "memory": ("memory:memory", "List and show what memory holds, and maintain its log."),
    "skills": ("skills:skills", "List, show, check, try and learn skills."),
    "config": ("config:config", "Print every setting with its default, type and meaning."),
    "doctor": ("doctor:doctor", "Check installation, settings, servers and folders."),
}
"""Module and function of each command, and its line in the help, which needs no import."""


_TAKE_PROMPTS = ("draw", "bulk", "eval", "memory")


class _LazyGroup(Group):
    """A group that imports the module of a command when the command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"gems_actors.cli.{module}"), name)
        raise_at_stop_signals()
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [CompletionItem(name, help=line) for name, (_, line) in COMMANDS.items() if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=_LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gems", message="%(prog)s %(version)s")
@click.pass_context
def gems(context: click.Context) -> None:
    """Follow hard image prompts: plan, draw, verify, remember and refine. Each role is a process.

    Exit codes: 0 success, 1 failure, 2 usage error, 75 requeue the job, 78 invalid configuration, 130 interrupted or
    cancelled.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def run_command(arguments: Sequence[str] | None) -> int:
    """Run one command and return the exit code; without `arguments`, those of this process count."""
    if sys.platform == "win32":
        click.echo(f"gems: expected Linux, got {sys.platform}; use WSL", err=True)
        return BAD_CONFIG
    _open_closed_streams()
    protect_standard_streams()
    protect_files("private")  # until the settings of a command say otherwise
    _hide_prompt(sys.argv[1:] if arguments is None else arguments)
    try:
        code = gems.main(args=arguments, prog_name="gems", standalone_mode=False)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt, SystemExit, BaseExceptionGroup) as error:
        line, code = end_of(error)
        if line and sys.flags.dev_mode:
            raise
        try:
            sys.stdout.flush()
        except OSError:  # keep the interpreter from writing at exit what standard output did not accept
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        with suppress(OSError):  # standard error is closed
            click.echo(line, err=True, nl=line != "")
    return code or 0


def _hide_prompt(words: Sequence[str]) -> None:
    """Remove the arguments of commands that take a prompt from `ps`, where every user of the host could read them."""
    if words and words[0] in _TAKE_PROMPTS:
        set_title("gems", f"gems {words[0]}")


def _open_closed_streams() -> None:
    """Open closed standard streams as the null device, so that no socket or file gets their descriptors."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is that of the stream
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode))
