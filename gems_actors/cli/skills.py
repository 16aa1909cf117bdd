"""`gems skills`: lists, shows and checks the skills that the planner can choose from."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import click

from gems_actors.cli.exit_codes import DONE, FAILED
from gems_actors.cli.options import choice_option, config_options
from gems_actors.cli.suggestions import Group
from gems_actors.cli.terminal.tables import counted
from gems_actors.config import MeshConfig
from gems_actors.config.skill_folders import catalogue_of, own_skill_folders
from gems_actors.files import os_reason
from skills import SkillError, builtin_folder, check_skill

_FILE_NAME = "SKILL.md"


_LEARNING = ("trial", "report", "learn", "retire", "restore")
"""Commands of another module, which loads what draws: listing skills does not need it."""


class _SkillsGroup(Group):
    """The commands of this module and those of `skill_learning`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_LEARNING])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _LEARNING:
            return super().get_command(ctx, cmd_name)
        module = importlib.import_module("gems_actors.cli.skill_learning")
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(cls=_SkillsGroup)
def skills() -> None:
    """List, show, check, try and learn skills."""


@skills.command("list")
@config_options
def list_skills(config: MeshConfig) -> int:
    """List the skills that the planner can choose from.

    Skills that cannot be loaded are named on standard error."""
    catalogue = catalogue_of(config)
    manifest = catalogue.manifest()
    width = max((len(entry.id) for entry in manifest), default=0)
    for entry in manifest:
        click.echo(f"{entry.id:<{width}}  {' '.join(entry.description.split())}")
    skipped = catalogue.skipped()
    for found in skipped:
        click.echo(f"gems: skipped {found.path}: {found.reason}", err=True)
    for folder in own_skill_folders(config)[1:]:
        if folder.is_dir() and not _skills_in(folder):
            click.echo(f"gems: {folder}: expected a folder with skills, got none", err=True)
    return FAILED if skipped else DONE


@skills.command("show")
@click.argument("skill_id", metavar="ID")
@config_options
def show_skill(skill_id: str, config: MeshConfig) -> int:
    """Show a skill as the planner reads it."""
    catalogue = catalogue_of(config)
    reason = next((found for found in catalogue.skipped() if found.id == skill_id), None)
    if reason is not None and skill_id not in {skill.id for skill in catalogue.skills()}:
        raise click.ClickException(f"{reason.path}/{reason.reason}")
    try:
        skill = catalogue.get(skill_id)
    except SkillError as error:
        raise click.UsageError(f"ID: {error}") from error
    click.echo(f"{skill.id} ({skill.path})\n\n{skill.description}\n\n{skill.instructions}")
    return DONE


@skills.command("check")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]...")
@choice_option("--for", "target", names=["any", "gems"], default="any", help_text="Client (default any).")
@config_options
def check_skills(paths: tuple[Path, ...], target: str, config: MeshConfig) -> int:
    """Check skills and print one line per problem.

    A skill must follow the open Agent Skills format or that of GEMS; with `--for gems`, both, so that other clients and
    unmodified GEMS read it, too. Notes name what some clients do not read. PATH is the folder of a skill, its SKILL.md,
    or a folder of skills; by default, the built-in and the configured folders.
    """
    named = [("PATH", path) for path in paths]
    by_default = [("skills.folders", path) for path in _folders(config)]
    found = list(dict.fromkeys(path for source, path in named or by_default for path in _find(source, path)))
    problems = 0
    for path in found:
        checked = check_skill(path, for_gems=target == "gems")
        problems += len(checked.problems)
        for line in checked.problems:
            click.echo(f"{path}/{line}")
        for line in checked.notes:
            click.echo(f"note: {path}/{line}")
    if problems:
        click.echo(f"gems: {counted(problems, 'problem')} in {counted(len(found), 'skill')}", err=True)
        return FAILED
    click.echo(f"{counted(len(found), 'skill')}, no problems")
    return DONE


def _folders(config: MeshConfig) -> list[Path]:
    """Return the folders of all skills; that of learnt skills only if there are any."""
    learnt, *configured = own_skill_folders(config)
    return [builtin_folder(), *([learnt] if learnt.is_dir() and _skills_in(learnt) else []), *configured]


def _find(source: str, path: Path) -> Iterator[Path]:
    """Yield the folders of the skills that a path names; `source` is the argument or setting that it is from."""
    if path.name == _FILE_NAME and path.is_file():
        yield path.parent
    elif (path / _FILE_NAME).exists():
        yield path
    else:
        try:
            inner = _skills_in(path)
            deeper = [] if inner else sorted(item for item in path.iterdir() if item.is_dir() and _skills_in(item))
        except OSError as error:
            raise click.UsageError(f"{source}: {path}: expected a folder, got: {os_reason(error)}") from error
        if not inner:
            hint = f"; {deeper[0]} has some" if deeper else ""
            raise click.UsageError(
                f"{source}: {path}: expected a folder with skills, each a folder that contains a {_FILE_NAME}, "
                f"got none{hint}"
            )
        yield from inner


def _skills_in(folder: Path) -> list[Path]:
    return sorted(item for item in folder.iterdir() if (item / _FILE_NAME).exists())
