"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from gems_actors.app import options as values
from gems_actors.app.bulk.images.budget import ImageBudget
from gems_actors.app.options import DrawOptions
from gems_actors.cli.suggestions import suggestion_for
from gems_actors.config import MeshConfig
from gems_actors.config.presets import PRESETS
from gems_actors.errors import UsageError
from gems_actors.os_process import protect_files
from protocol.limits import MAX_CANDIDATES, MAX_ROUNDS, MAX_STEPS

CommandT = TypeVar("CommandT", bound=Callable[..., Any])
ValueT = TypeVar("ValueT")
Option = Callable[[CommandT], CommandT]
_SURELY_MISTYPED = 0.8
"""Similarity to a subcommand above which an argument is that subcommand, mistyped, and not a file or benchmark."""


class _UnnamedContext(click.Context):
    @property
    def command_path(self) -> str:
        """The command line up to the group: the name of this command is empty."""
        return super().command_path.rstrip()


class DefaultCommand(click.Command):
    """The command of a `DefaultGroup` that runs when no other command is named."""

    context_class = _UnnamedContext


class DefaultGroup(click.Group):
    """A group with a default command, which gets all arguments that name no other command, nor nearly name one."""

    default: DefaultCommand

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the named command or the default one."""
        if args and args[0] in self.commands:
            return super().resolve_command(ctx, args)
        if args and not ctx.resilient_parsing and not Path(args[0]).exists():
            hint = suggestion_for(args[0], self.commands, cutoff=_SURELY_MISTYPED)
            if hint:
                raise click.UsageError(f"COMMAND: expected one of {', '.join(self.commands)}, got {args[0]!r}{hint}")
        return "", self.default, args

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands, and the options of the default one."""
        return [*super().shell_complete(ctx, incomplete), *self.default.shell_complete(ctx, incomplete)]


def one_of(*names: str) -> Callable[[str], str]:
    """Return the type of an option with some possible values."""

    def parse_name(value: str) -> str:
        if value not in names:
            hint = suggestion_for(value, names)
            raise click.BadParameter(f"expected one of {', '.join(names)}, got {value!r}{hint}")
        return value

    return parse_name


def between(smallest: int, largest: int) -> Callable[[str], int]:
    """Return the type of an option whose value is an integer from `smallest` to `largest`."""

    def parse_number(value: str) -> int:
        if not re.fullmatch(r"-?\d{1,20}", str(value)) or not smallest <= int(value) <= largest:
            raise click.BadParameter(f"expected {smallest} to {largest}, got {str(value)!r}")
        return int(value)

    return parse_number


def parsed_by(parse: Callable[[str], ValueT]) -> Callable[[str], ValueT]:
    """Return the type of an option whose value `parse` reads; its `UsageError` is reported with the option's name."""

    def parse_value(value: str) -> ValueT:
        try:
            return parse(value)
        except UsageError as error:
            raise click.BadParameter(str(error)) from error

    return parse_value


def number_option(
    name: str, largest: int, metavar: str, help_text: str, *, smallest: int = 1, default: int | None = None
) -> Callable[[CommandT], CommandT]:
    """Return an option whose value is an integer from `smallest` to `largest`."""
    return click.option(name, type=between(smallest, largest), default=default, metavar=metavar, help=help_text)


def path_option(*names: str, metavar: str, help_text: str, required: bool = False) -> Callable[[CommandT], CommandT]:
    """Return an option whose value is a path."""
    return click.option(*names, type=click.Path(path_type=Path), required=required, metavar=metavar, help=help_text)


def choice_option(
    *flags: str, names: Sequence[str], help_text: str, metavar: str = "", **more: Any
) -> Callable[[CommandT], CommandT]:
    """Return an option with some possible values, which the help lists unless they have a `metavar`."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return click.option(
        *flags, type=one_of(*names), metavar=metavar or "|".join(names), help=help_text, shell_complete=complete, **more
    )


def seed_option(help_text: str, default: int | None = None) -> Callable[[CommandT], CommandT]:
    """Return `--seed`."""
    return number_option("--seed", values.MAX_SEED, "S", help_text, smallest=0, default=default)


rounds_option = number_option("--rounds", MAX_ROUNDS, "N", "Maximum rounds (default 5).")
strategy_option = choice_option(
    "--strategy", names=values.STRATEGIES, help_text="How to spend --images (default gems)."
)
images_option = number_option("--images", MAX_CANDIDATES, "N", "Maximum images drawn for one picture.")
candidates_option = number_option("--candidates", MAX_CANDIDATES, "N", "Images drawn per round (default 1).")
memory_option = choice_option("--memory", names=values.MEMORY_MODES, help_text="What the refiner sees (default full).")
size_option = click.option(
    "--size", type=parsed_by(values.parse_size), metavar="WxH", help="Width and height in pixels."
)
steps_option = number_option("--steps", MAX_STEPS, "N", "Denoising steps.")
guidance_option = click.option("--guidance", type=parsed_by(values.parse_guidance), metavar="G", help="Guidance scale.")
negative_option = click.option(
    "--negative",
    "negative_prompt",
    type=parsed_by(values.parse_negative),
    metavar="PROMPT",
    help="What the picture must not show.",
)
strength_option = click.option(
    "--strength",
    type=parsed_by(values.parse_strength),
    metavar="X",
    help="How much image to image changes, above 0 to 1.",
)
exact_option = click.option("--exact", is_flag=True, help="Disable batching, for bit-exact output.")
skill_option = click.option("--skill", metavar="ID", help="Skill to use (default: planner's choice).")
wait_option = click.option(
    "--wait-for-servers",
    "wait_for_servers_s",
    type=between(0, 7 * 86_400),
    default=600,
    metavar="SECONDS",
    help="Time to wait for model servers, at the start and later (default 600).",
)
preset_option = choice_option("--preset", names=tuple(PRESETS), help_text="Named set of settings.")
config_option = path_option("--config", "config_file", metavar="FILE", help_text="TOML file with the mesh's settings.")
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="One setting, such as roles.verifier.count=4."
)
router_option = click.option(
    "--router",
    type=parsed_by(values.parse_address),
    envvar="GEMS_ROUTER",
    metavar="ADDRESS",
    help="Address of a running mesh, or several.",
)


def read_settings(config_file: Path | None, overrides: Sequence[str], preset: str | None = None) -> MeshConfig:
    """Return the settings that these options select, and protect the files of this command as they say."""
    config = values.read_config(config_file, overrides, preset)
    protect_files(config.access)
    return config


def config_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add `--config` and `--set`, and give the command the settings that they select as `config`."""

    @wraps(command)
    def with_config(*, config_file: Path | None, overrides: tuple[str, ...], **others: Any) -> int:
        return command(config=read_settings(config_file, overrides), **others)

    return config_option(set_option(with_config))


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def consent_option(command: Callable[..., int]) -> Callable[..., int]:
    """Add `--keep` and `--redraw`, and give the command the chosen one, or None, as `consent`."""

    @wraps(command)
    def with_consent(*, keep: bool, redraw: bool, **others: Any) -> int:
        if keep and redraw:
            raise click.UsageError("--keep: expected either it or --redraw, got both")
        return command(consent="keep" if keep else "redraw" if redraw else None, **others)

    keep_help = "Keep finished pictures of other settings, now and in later runs."
    redraw_help = "Draw finished pictures of other settings again, in place of the old ones."
    flags = (
        click.option("--keep", is_flag=True, help=keep_help),
        click.option("--redraw", is_flag=True, help=redraw_help),
    )
    return flags[0](flags[1](with_consent))


def image_budget_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that limit the images of a whole run, passed as one `image_budget`."""

    @wraps(command)
    def with_budget(run_images: int | None, mean_images: float | None, **others: Any) -> int:
        if run_images is not None and mean_images is not None:
            raise click.UsageError("--run-images: expected either it or --mean-images, got both")
        is_limited = run_images is not None or mean_images is not None
        return command(image_budget=ImageBudget(run_images, mean_images) if is_limited else None, **others)

    of_run = number_option("--run-images", 10**9, "N", "Maximum images of the whole run, spread over its tasks.")
    mean = click.option(
        "--mean-images", type=parsed_by(values.parse_mean), metavar="X", help="The same as a mean over the tasks."
    )
    return of_run(mean(with_budget))


def draw_options(*own: Callable[..., Any]) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Return a decorator that adds `own` options and those of all drawing commands, passed as one `DrawOptions`."""
    of_pictures = (
        candidates_option, size_option, steps_option, guidance_option, negative_option, strength_option, exact_option,
        skill_option,
    )  # fmt: skip
    names = {field.name for field in fields(DrawOptions)}

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        @wraps(command)
        def with_record(**others: Any) -> int:
            options = DrawOptions(**{key: others.pop(key) for key in names & others.keys()})
            read_settings(
                options.config_file, options.overrides, options.preset
            )  # before the command creates its first file
            return command(options=options, **others)

        of_mesh = (memory_option, preset_option, config_option, set_option, router_option)
        for parameter in reversed((rounds_option, *own, *of_pictures, *of_mesh)):
            with_record = parameter(with_record)
        return with_record

    return decorate
