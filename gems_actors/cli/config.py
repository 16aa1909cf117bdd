"""`gems config`: the reference of all settings, and where the values of this host are from."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from gems_actors.cli.exit_codes import DONE
from gems_actors.cli.options import config_option, json_option, preset_option, set_option
from gems_actors.cli.suggestions import Group
from gems_actors.cli.terminal.tables import table_lines
from gems_actors.config.loading import Origin, explain_config
from gems_actors.config.reference import list_settings, settings_as_markdown, settings_as_toml


@click.group(cls=Group, invoke_without_command=True)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the page of the configuration guide.")
@json_option
@click.pass_context
def config(context: click.Context, as_markdown: bool, as_json: bool) -> int:
    """Print every setting with its default, type and meaning, as a mesh file that sets the defaults."""
    if context.invoked_subcommand is not None:
        return DONE
    if as_markdown and as_json:
        raise click.UsageError("--markdown: expected it or --json, got both")
    if as_json:
        settings = [setting for _, found in list_settings().values() for setting in found]
        click.echo(msgspec.json.encode(settings).decode())
    else:
        click.echo(settings_as_markdown() if as_markdown else settings_as_toml().rstrip())
    return DONE


@config.command()
@click.argument("keys", nargs=-1, metavar="[KEY...]")
@config_option
@preset_option
@set_option
@json_option
def explain(
    keys: tuple[str, ...], config_file: Path | None, preset: str | None, overrides: tuple[str, ...], as_json: bool
) -> int:
    """Print where the values of settings are from.

    Without KEY, all settings that differ from their defaults; a KEY is a setting or a table, such as verify.mode.
    """
    found = explain_config(config_file, settings=overrides, preset=preset)
    if keys:
        known = {item.key for item in found}
        found = [item for item in [*found, *_defaults()] if item.source != "default" or item.key not in known]
        for key in keys:
            if not any(_is_in(item.key, key) for item in found):
                raise click.UsageError(f"KEY: expected a setting or table such as verify.mode, got {key!r}")
        found = [item for item in found if any(_is_in(item.key, key) for key in keys)]
    if as_json:
        click.echo(msgspec.json.encode([item._asdict() for item in found]).decode())
        return DONE
    rows = [(item.key, msgspec.json.encode(item.value).decode(), item.source) for item in found]
    click.echo(
        "\n".join(table_lines([("setting", "value", "from"), *rows], left=(0, 1)))
        if rows
        else "all settings are at defaults"
    )
    return DONE


def _defaults() -> list[Origin]:
    """Return the defaults of all settings whose keys are fixed."""
    tables = {header.strip("[]"): settings for header, (_, settings) in list_settings().items() if "NAME" not in header}
    return [
        Origin(f"{table}.{setting.name}" if table else setting.name, setting.default, "default")
        for table, settings in tables.items()
        for setting in settings
    ]


def _is_in(key: str, table: str) -> bool:
    return key == table or key.startswith(f"{table}.")
