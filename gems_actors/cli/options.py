"""Options that several commands share, and their values, refused in the words of all our errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
import msgspec

from gems_actors.addresses import split_addresses
from gems_actors.app.prompts import PromptError, check_prompt
from gems_actors.config import MeshConfig, load_config
from gems_actors.errors import ConfigError
from protocol.limits import MAX_CANDIDATES, MAX_GUIDANCE, MAX_ROUNDS, MAX_SIDE_PX, MAX_STEPS
from protocol.messages import Budget, DrawSettings, MemoryMode

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

MAX_SEED = 0xFFFFFFFF
_MIN_SIDE_PX = 16
_MEMORY_MODES: tuple[str, ...] = get_args(MemoryMode)
STRATEGIES = ("single", "rewrite", "best-of-n", "gems")
"""The user's own words once; a rewritten prompt once; the best of several of the user's own; the whole loop."""
_ADDRESS = re.compile(r"ipc:///.+|tcp://([^/:\s]+|\[[0-9a-fA-F:]+\]):\d{1,5}")


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


def parse_size(value: str) -> tuple[int, int]:
    """Read width and height of a picture in pixels, such as `768x512`."""
    match = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", value)
    sides = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(_MIN_SIDE_PX <= side <= MAX_SIDE_PX for side in sides):
        limits = f"with sides of {_MIN_SIDE_PX} to {MAX_SIDE_PX} pixels"
        raise click.BadParameter(f"expected WIDTHxHEIGHT such as 768x512, {limits}, got {value!r}")
    return sides


def parse_guidance(value: str) -> float:
    """Read the strength of guidance."""
    try:
        guidance = float(value)
    except ValueError:
        guidance = -1.0
    if not 0 <= guidance <= MAX_GUIDANCE:
        raise click.BadParameter(f"expected a number from 0 to {MAX_GUIDANCE}, got {value!r}")
    return guidance


def parse_negative(value: str) -> str:
    """Read a negative prompt, which may be empty."""
    try:
        return check_prompt(value) if value.strip() else ""
    except PromptError as error:
        raise click.BadParameter(str(error)) from error


def parse_address(value: str) -> str:
    """Read where a router listens, or several do."""
    if not all(_ADDRESS.fullmatch(address) for address in split_addresses(value)):
        raise click.BadParameter(f"expected an address such as tcp://HOST:PORT or ipc:///PATH, got {value!r}")
    return value


def parse_shard(value: str) -> tuple[int, int]:
    """Read which of how many parts, such as `2/8`."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", value)
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        raise click.BadParameter(f"expected I/N such as 2/8, with I from 1 to N, got {value!r}")
    return number, count


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
    "--memory", type=one_of(*_MEMORY_MODES), metavar="|".join(_MEMORY_MODES), help="What memory shows the refiner."
)
size_option = click.option("--size", type=parse_size, metavar="WxH", help="Width and height of the picture in pixels.")
steps_option = click.option("--steps", type=between(1, MAX_STEPS), metavar="N", help="Denoising steps of a picture.")
guidance_option = click.option("--guidance", type=parse_guidance, metavar="G", help="Guidance of the image model.")
negative_option = click.option(
    "--negative", "negative_prompt", type=parse_negative, metavar="PROMPT", help="What the picture shall not be like."
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
    type=parse_address,
    envvar="GEMS_ROUTER",
    metavar="ADDRESS",
    help="Router of a running mesh, or several with commas.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def read_config(file: Path | None, overrides: Sequence[str]) -> MeshConfig:
    """Read the settings of a mesh from a file, the environment and flags.

    Raises:
        ConfigError: in one line, with the source, the key, what was expected and what was found.
    """
    for override in overrides:
        try:
            override.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(f"--set: expected UTF-8, got {override!a}") from error
    return load_config(file, settings=overrides)


def budget_of(config: MeshConfig) -> Budget:
    """Return what one trajectory may spend: never more than its whole run may."""
    budget = config.budget
    return Budget(max_calls=budget.max_calls_per_trajectory, max_tokens=budget.max_tokens_per_run)


def strategy_settings(
    strategy: str | None, images: int | None, rounds: int | None, memory: MemoryMode | None
) -> dict[str, Any]:
    """Return what a strategy sets, as `draw_settings` takes it, so that all of them can be compared at equal cost.

    Raises:
        UsageError: what is asked for does not go together.
    """
    asked = {"rounds": rounds, "memory": memory}
    if images is not None and rounds is not None:
        raise click.UsageError("--images: expected it or --rounds, got both")
    match strategy:
        case None | "gems":
            asked["rounds"] = rounds or images
        case "single" | "rewrite" if images not in (None, 1) or rounds not in (None, 1):
            raise click.UsageError(f"--strategy: {strategy} draws one picture, got {images or rounds}")
        case "single":
            asked |= {"rounds": 1, "candidates": 1, "skill": "none"}
        case "rewrite":
            asked |= {"rounds": 1, "candidates": 1}
        case "best-of-n":
            if images is None:
                raise click.UsageError("--strategy: best-of-n needs --images")
            asked |= {"rounds": 1, "candidates": images, "skill": "none"}
    return {name: value for name, value in asked.items() if value is not None}


def draw_settings(
    config: MeshConfig,
    *,
    rounds: int | None = None,
    candidates: int | None = None,
    memory: MemoryMode | None = None,
    size: tuple[int, int] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    negative_prompt: str | None = None,
    exact: bool | None = None,
    skill: str | None = None,
) -> DrawSettings:
    """Return how a prompt is to be drawn: as configured, where no option says otherwise."""
    width_px, height_px = size or (None, None)
    asked = {
        "max_rounds": rounds,
        "candidates": candidates,
        "memory": memory,
        "width_px": width_px,
        "height_px": height_px,
        "steps": steps,
        "guidance": guidance,
        "negative_prompt": negative_prompt,
        "exact": exact or None,
        "skill": skill,
    }
    chosen = {name: value for name, value in asked.items() if value is not None}
    return DrawSettings(**{**msgspec.structs.asdict(config.draw), **chosen})
