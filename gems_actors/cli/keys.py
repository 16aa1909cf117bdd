"""`gems keys`: creates the keys of a mesh that serves other hosts."""

from __future__ import annotations

from pathlib import Path

import click

from gems_actors.cli.exit_codes import DONE
from gems_actors.cli.options import config_options
from gems_actors.cli.suggestions import Group
from gems_actors.config import MeshConfig, with_installed_roles
from gems_actors.errors import ConfigError
from gems_actors.files import os_reason
from gems_actors.security.keys import ALLOW_LIST_NAME, add_key, make_mesh_keys
from gems_actors.security.permissions import BUILT_IN_PERMISSIONS, Permissions, check_grants, check_principal_name

_MAY_HELP = f"Grants of the key: {', '.join(BUILT_IN_PERMISSIONS.grants)}, or a role of your own from --config."


@click.group(cls=Group)
def keys() -> None:
    """Create the keys of a mesh that serves other hosts."""


@keys.command("new", short_help="Create the keys of a new mesh.")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
def new_keys(folder: Path) -> int:
    """Create the keys of a new mesh in DIR: those of its router, agents, clients and admins, and the allow list.

    Keep DIR on the router's host. Every other host needs one secret key and router.pub.
    """
    try:
        files = make_mesh_keys(folder)
    except FileExistsError as error:
        raise click.UsageError(f"DIR: expected a folder without keys, got one that has {error}") from error
    except OSError as error:
        raise click.UsageError(f"DIR: {folder}: expected a folder to write to, got: {os_reason(error)}") from error
    for file in files:
        click.echo(file)
    return DONE


@keys.command("add", short_help="Create another key and allow it.")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.argument("name", metavar="NAME")
@click.option("--may", required=True, metavar="GRANT[,GRANT]...", help=_MAY_HELP)
@config_options
def add_keys(folder: Path, name: str, may: str, config: MeshConfig) -> int:
    """Create another key, DIR/NAME.key, and allow it; a running router accepts it within seconds."""
    grants = [grant.strip() for grant in may.split(",")]
    permissions = Permissions(with_installed_roles(config, grants).role_specs)
    try:
        check_principal_name(name)
    except ConfigError as error:
        raise click.UsageError(f"NAME: {error}") from error
    try:
        check_grants(grants, permissions)
    except ConfigError as error:
        raise click.UsageError(f"--may: {error} (or a role of your own, with --config)") from error
    try:
        click.echo(add_key(folder, name, grants))
    except FileExistsError as error:
        raise click.UsageError(f"NAME: expected an unused name, got that of {error.filename}") from error
    except OSError as error:
        wanted = f"a folder with an {ALLOW_LIST_NAME}, as created by `gems keys new`"
        raise click.UsageError(f"DIR: {folder}: expected {wanted}, got: {os_reason(error)}") from error
    return DONE
