"""`gems mcp`: serve a mesh as tools for agents."""

from __future__ import annotations

from pathlib import Path

import click
import trio

from gems_actors.app.options import DrawOptions
from gems_actors.cli.exit_codes import DONE
from gems_actors.cli.options import config_option, read_settings, router_option, set_option
from gems_actors.errors import UsageError


@click.command()
@config_option
@set_option
@router_option
def mcp(config_file: Path | None, overrides: tuple[str, ...], router: str | None) -> int:
    """Serve the tools draw, show, recall and list_skills by the Model Context Protocol.

    Agents start this command and talk to it over its standard input and output. It starts a mesh, or uses the one at
    --router. Needs the extra [mcp].
    """
    read_settings(config_file, overrides)
    try:
        from gems_actors.app.mcp_tools import serve_stdio
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is missing; pip install 'gems-actors[mcp]'") from error
    trio.run(serve_stdio, DrawOptions(config_file=config_file, overrides=overrides, router=router))
    return DONE
