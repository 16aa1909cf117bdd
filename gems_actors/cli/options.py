"""Options that several commands share, and their values, refused in the words of all our errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from gems_actors.app.options import (
    MAX_SEED,
    MEMORY_MODES,
    STRATEGIES,
    parse_address,
    parse_guidance,
    parse_negative,
    parse_size,
)
from gems_actors.errors import UsageError
from protocol.limits import MAX_CANDIDATES, MAX_ROUNDS, MAX_STEPS

CommandT = TypeVar("CommandT", bound=Callable[..., Any])
ValueT = TypeVar("ValueT")


class _UnnamedContext(click.Context):
    @property
    def command_path(self) -> str:
        """How the command is called, without its own name, which is empty."""
        return super().command_path.rstrip()


class DefaultCommand(click.Command):
    """The command that a `DefaultGroup` has for what names none of the others."""

    context_class = _UnnamedContext


class DefaultGroup(click.Group):
    """A group that takes what names none of its commands for the arguments of one of them."""

    default: DefaultCommand

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is named, or the default one."""
        if args and args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return "", self.default, args


def one_of(*names: str) -> Callable[[str], str]:
    """Return the reader of one of some words."""

    def parse_name(value: str) -> str:
        if value not in names:
            raise click.BadParameter(f"expected one of {', '.join(names)}, got {value!r}")
        return value

    return parse_name


def between(smallest: int, largest: int) -> Callable[[str], int]:
    """Return the reader of a whole number from `smallest` to `largest`."""

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


def seed_option(help_text: str, default: int | None = None) -> Callable[[CommandT], CommandT]:
    """Add `--seed`."""
    return click.option("--seed", type=between(0, MAX_SEED), default=default, metavar="S", help=help_text)


rounds_option = click.option(
    "--rounds", type=between(1, MAX_ROUNDS), metavar="N", help="At most so many rounds (5 unless configured)."
)
strategy_option = click.option(
    "--strategy", type=one_of(*STRATEGIES), metavar="|".join(STRATEGIES), help="How --images are spent (gems)."
)
images_option = click.option(
    "--images",
    type=between(1, MAX_CANDIDATES),
    metavar="N",
    help="At most so many pictures for the one that is chosen.",
)
candidates_option = click.option(
    "--candidates", type=between(1, MAX_CANDIDATES), metavar="N", help="Pictures a round (1 unless configured)."
)
memory_option = click.option(
    "--memory", type=one_of(*MEMORY_MODES), metavar="|".join(MEMORY_MODES), help="What memory shows the refiner."
)
size_option = click.option("--size", type=parsed_by(parse_size), metavar="WxH", help="Width and height in pixels.")
steps_option = click.option("--steps", type=between(1, MAX_STEPS), metavar="N", help="Denoising steps of a picture.")
guidance_option = click.option("--guidance", type=parsed_by(parse_guidance), metavar="G", help="Guidance scale.")
negative_option = click.option(
    "--negative",
    "negative_prompt",
    type=parsed_by(parse_negative),
    metavar="PROMPT",
    help="What the picture must not show.",
)
exact_option = click.option("--exact", is_flag=True, help="Draw each picture alone, whatever else is drawn.")
config_option = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), metavar="FILE", help="The mesh's settings, a TOML file."
)
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="One setting, such as roles.verifier.count=4."
)
router_option = click.option(
    "--router",
    type=parsed_by(parse_address),
    envvar="GEMS_ROUTER",
    metavar="ADDRESS",
    help="Router of a running mesh, or several with commas.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
