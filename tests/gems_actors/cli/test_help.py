"""The help of every command."""

from __future__ import annotations

from collections.abc import Iterator

import click

from gems_actors.cli.commands import gems


def commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """Yield the name and the help of a command and of all below it."""
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, click.Context(found, info_name=name, parent=context, terminal_width=80))


def test_every_page_of_help_fits_80_columns() -> None:
    pages = dict(commands(gems, click.Context(gems, info_name="gems", terminal_width=80)))
    assert {"gems bulk retry", "gems skills learn", "gems verify calibrate"} <= set(pages)
    assert [line for page in pages.values() for line in page.splitlines() if len(line) > 80] == []
