"""Parsers of option values and the settings that options stand for, without click."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from gems_actors.addresses import split_addresses
from gems_actors.app.prompts import PromptError, check_prompt
from gems_actors.config import MeshConfig, load_config
from gems_actors.errors import ConfigError, UsageError
from protocol.limits import MAX_GUIDANCE, MAX_SIDE_PX
from protocol.messages import Budget, DrawSettings, MemoryMode

MAX_SEED: Final = 0xFFFFFFFF
MEMORY_MODES: Final[tuple[str, ...]] = get_args(MemoryMode)
STRATEGIES: Final = ("single", "rewrite", "best-of-n", "gems")
"""One image of the user's own prompt; one of a rewritten prompt; the best of N of the user's own; the whole loop."""
_MIN_SIDE_PX: Final = 16
_ADDRESS = re.compile(r"ipc:///.+|tcp://([^/:\s]+|\[[0-9a-fA-F:]+\]):\d{1,5}")


def parse_size(value: str) -> tuple[int, int]:
    """Return the width and height of a picture in pixels from a text such as `768x512`.

    Raises:
        UsageError: the text is not a size, or a side is out of range.
    """
    match = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", value)
    sides = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(_MIN_SIDE_PX <= side <= MAX_SIDE_PX for side in sides):
        limits = f"with sides of {_MIN_SIDE_PX} to {MAX_SIDE_PX} pixels"
        raise UsageError(f"expected WIDTHxHEIGHT such as 768x512, {limits}, got {value!r}")
    return sides


def parse_guidance(value: str) -> float:
    """Return the guidance scale of the image model.

    Raises:
        UsageError: the text is not a number, or the number is out of range.
    """
    try:
        guidance = float(value)
    except ValueError:
        guidance = -1.0
    if not 0 <= guidance <= MAX_GUIDANCE:
        raise UsageError(f"expected a number from 0 to {MAX_GUIDANCE}, got {value!r}")
    return guidance


def parse_negative(value: str) -> str:
    """Return a negative prompt, which may be empty.

    Raises:
        UsageError: the prompt is too long or not UTF-8.
    """
    try:
        return check_prompt(value) if value.strip() else ""
    except PromptError as error:
        raise UsageError(str(error)) from error


def parse_address(value: str) -> str:
    """Return the address of a router, or of several separated by commas.

    Raises:
        UsageError: one of them is not a valid address.
    """
    if not all(_ADDRESS.fullmatch(address) for address in split_addresses(value)):
        raise UsageError(f"expected an address such as tcp://HOST:PORT or ipc:///PATH, got {value!r}")
    return value


def parse_shard(value: str) -> tuple[int, int]:
    """Return shard number and count from a text such as `2/8`.

    Raises:
        UsageError: the text is not I/N with I from 1 to N.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", value)
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"expected I/N such as 2/8, with I from 1 to N, got {value!r}")
    return number, count


def read_config(file: Path | None, overrides: Sequence[str]) -> MeshConfig:
    """Return the settings of a mesh, read from a file, the environment and `--set` flags.

    Raises:
        ConfigError: a setting is unknown or invalid; the message names its source.
    """
    for override in overrides:
        try:
            override.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(f"--set: expected UTF-8, got {override!a}") from error
    return load_config(file, settings=overrides)


def budget_of(config: MeshConfig) -> Budget:
    """Return the budget of one trajectory; its tokens are limited by those of the whole run."""
    budget = config.budget
    return Budget(max_calls=budget.max_calls_per_trajectory, max_tokens=budget.max_tokens_per_run)


def strategy_settings(
    strategy: str | None, images: int | None, rounds: int | None, memory: MemoryMode | None
) -> dict[str, Any]:
    """Return the settings of a strategy as keyword arguments of `draw_settings`.

    `images` is what a strategy may spend on one picture, so that strategies can be compared at equal cost.

    Raises:
        UsageError: the options contradict one another.
    """
    settings = {"rounds": rounds, "memory": memory}
    if images is not None and rounds is not None:
        raise UsageError("--images: expected either it or --rounds, got both")
    match strategy:
        case None | "gems":
            settings["rounds"] = rounds or images
        case "single" | "rewrite" if images not in (None, 1) or rounds not in (None, 1):
            raise UsageError(f"--strategy: {strategy} draws one picture, got {images or rounds}")
        case "single":
            settings |= {"rounds": 1, "candidates": 1, "skill": "none"}
        case "rewrite":
            settings |= {"rounds": 1, "candidates": 1}
        case "best-of-n":
            if images is None:
                raise UsageError("--strategy: best-of-n needs --images")
            settings |= {"rounds": 1, "candidates": images, "skill": "none"}
    return {name: value for name, value in settings.items() if value is not None}


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
    """Return how to draw a prompt: the configured settings, with the options that are not None in place of them."""
    width_px, height_px = size or (None, None)
    options = {
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
    chosen = {name: value for name, value in options.items() if value is not None}
    return DrawSettings(**{**msgspec.structs.asdict(config.draw), **chosen})
