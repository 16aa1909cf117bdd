"""`gems skills`: lists, shows and checks the skills that the planner can choose from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from gems_actors.app.options import read_config
from gems_actors.cli.exit_codes import DONE, FAILED
from gems_actors.cli.options import config_option, config_options, set_option
from gems_actors.config import MeshConfig
from skills import Catalogue, builtin_folder, check_skill

_FILE_NAME = "SKILL.md"


@click.group()
def skills() -> None:
    """List, show and check skills."""


@skills.command("list")
@config_options
def list_skills(config: MeshConfig) -> int:
    """List the skills that the planner can choose from.

    Skills that cannot be loaded are named on standard error."""
    catalogue = Catalogue(_folders(config))
    manifest = catalogue.manifest()
    width = max((len(entry.id) for entry in manifest), default=0)
    for entry in manifest:
        click.echo(f"{entry.id:<{width}}  {' '.join(entry.description.split())}")
    skipped = catalogue.skipped()
    for found in skipped:
        click.echo(f"gems: skipped {found.path}: {found.reason}", err=True)
    return FAILED if skipped else DONE


@skills.command("show")
@click.argument("skill_id", metavar="ID")
@config_options
def show_skill(skill_id: str, config: MeshConfig) -> int:
    """Show a skill as the planner reads it."""
    catalogue = Catalogue(_folders(config))
    reason = next((found for found in catalogue.skipped() if found.id == skill_id), None)
    if reason is not None and skill_id not in {skill.id for skill in catalogue.skills()}:
        raise click.ClickException(f"{reason.path}/{reason.reason}")
    skill = catalogue.get(skill_id)
    click.echo(f"{skill.id} ({skill.path})\n\n{skill.description}\n\n{skill.instructions}")
    return DONE


@skills.command("check")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]...")
@config_option
@set_option
def check_skills(paths: tuple[Path, ...], config_file: Path | None, overrides: tuple[str, ...]) -> int:
    """Check skills and print one line per problem.

    They must follow the open specification and be readable for the planner. PATH is the folder of a skill, its
    SKILL.md, or a folder of skills; by default, the built-in and the configured folders.
    """
    found = list(dict.fromkeys(_find(paths or _folders(read_config(config_file, overrides)))))
    problems = [f"{path}/{line}" for path in found for line in check_skill(path)]
    for line in problems:
        click.echo(line)
    if problems:
        click.echo(f"gems: {len(problems)} problem(s) in {len(found)} skill(s)", err=True)
        return FAILED
    click.echo(f"{len(found)} skill(s), no problems")
    return DONE


def _folders(config: MeshConfig) -> list[Path]:
    return [builtin_folder(), *(Path(folder).expanduser() for folder in config.skills.folders)]


def _find(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the folders of the skills that the paths name."""
    for path in paths:
        if path.name == _FILE_NAME and path.is_file():
            yield path.parent
        elif (path / _FILE_NAME).exists():
            yield path
        else:
            try:
                inner = sorted(item for item in path.iterdir() if (item / _FILE_NAME).exists())
            except OSError as error:
                raise click.UsageError(f"PATH: {path}: expected a folder, got: {error.strerror}") from error
            if not inner:
                raise click.UsageError(f"PATH: {path}: expected a folder that contains a {_FILE_NAME}, got none")
            yield from inner
