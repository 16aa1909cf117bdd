"""`gems config`: the reference of all settings."""

from __future__ import annotations

import click
import msgspec

from gems_actors.cli.exit_codes import DONE
from gems_actors.cli.options import json_option
from gems_actors.config.reference import list_settings, settings_as_markdown, settings_as_toml


@click.command()
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the page of the configuration guide.")
@json_option
def config(as_markdown: bool, as_json: bool) -> int:
    """Print every setting with its default, type and meaning, as a mesh file that sets the defaults."""
    if as_markdown and as_json:
        raise click.UsageError("--markdown: expected it or --json, got both")
    if as_json:
        settings = [setting for _, found in list_settings().values() for setting in found]
        click.echo(msgspec.json.encode(settings).decode())
    else:
        click.echo(settings_as_markdown() if as_markdown else settings_as_toml().rstrip())
    return DONE
