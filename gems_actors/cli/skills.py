"""`gems skills`: what the planner can choose from, and whether it is well written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from gems_actors.app.options import read_config
from gems_actors.cli.exit_codes import DONE, FAILED
from gems_actors.cli.options import config_option, set_option
from skills import Catalogue, builtin_folder, check_skill

_FILE_NAME = "SKILL.md"


@click.group()
def skills() -> None:
    """List, show and check skills."""


@skills.command("list", short_help="List the skills that the planner can choose from.")
@config_option
@set_option
def list_skills(config_file: Path | None, overrides: tuple[str, ...]) -> int:
    """List the skills that the planner can choose from; those it cannot load are named on standard error."""
    catalogue = Catalogue(_folders(config_file, overrides))
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
@config_option
@set_option
def show_skill(skill_id: str, config_file: Path | None, overrides: tuple[str, ...]) -> int:
    """Show a skill as the planner reads it."""
    catalogue = Catalogue(_folders(config_file, overrides))
    reason = next((found for found in catalogue.skipped() if found.id == skill_id), None)
    if reason is not None and skill_id not in {skill.id for skill in catalogue.skills()}:
        raise click.ClickException(f"{reason.path}/{reason.reason}")
    skill = catalogue.get(skill_id)
    click.echo(f"{skill.id} ({skill.path})\n\n{skill.description}\n\n{skill.instructions}")
    return DONE


@skills.command("check", short_help="Check skills, one line a problem.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]...")
@config_option
@set_option
def check_skills(paths: tuple[Path, ...], config_file: Path | None, overrides: tuple[str, ...]) -> int:
    """Check skills against the open specification and against what GEMS reads; one line a problem.

    PATH is a skill's folder, its SKILL.md, or a folder of skills; without one, the built-in and configured folders.
    """
    found = list(dict.fromkeys(_find(paths or _folders(config_file, overrides))))
    problems = [f"{path}/{line}" for path in found for line in check_skill(path)]
    for line in problems:
        click.echo(line)
    if problems:
        click.echo(f"gems: {len(problems)} problem(s) in {len(found)} skill(s)", err=True)
        return FAILED
    click.echo(f"{len(found)} skill(s), no problem")
    return DONE


def _folders(config_file: Path | None, overrides: Sequence[str]) -> list[Path]:
    configured = read_config(config_file, overrides).skills.folders
    return [builtin_folder(), *(Path(folder).expanduser() for folder in configured)]


def _find(paths: Sequence[Path]) -> Iterator[Path]:
    """Give the skill folders that are meant by paths."""
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
                raise click.UsageError(f"PATH: {path}: expected a folder with a {_FILE_NAME} in it, got none")
            yield from inner
