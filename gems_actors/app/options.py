"""Parsers of option values, and the settings that options stand for. Parsers raise `UsageError`; no click here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from gems_actors.addresses import ADDRESS_PATTERN, split_addresses
from gems_actors.app.prompts import PromptError, check_prompt
from gems_actors.config import MeshConfig, load_config
from gems_actors.config.checks import Checker
from gems_actors.config.values import ListenAddress
from gems_actors.errors import ConfigError, UsageError
from protocol.limits import MAX_ATTEMPTS, MAX_GUIDANCE, MAX_SIDE_PX
from protocol.messages import Budget, DrawSettings, MemoryMode

MAX_SEED: Final = 0xFFFFFFFF
MEMORY_MODES: Final[tuple[str, ...]] = get_args(MemoryMode)
STRATEGIES: Final = ("single", "rewrite", "best-of-n", "gems")
"""One image of the user's own prompt; one of a rewritten prompt; the best of N of the user's own; the whole loop."""
_SETTINGS: Final = (
    {"rounds": "max_rounds"}
    | {
        name: name
        for name in ("memory", "candidates", "size", "steps", "guidance", "negative_prompt", "exact", "skill")
    }
    | {"strength": "strength"}
)
"""The field of `DrawSettings` that each option sets, in run.json's order; `size` sets `width_px` and `height_px`."""
_MIN_SIDE_PX: Final = 16


def parse_size(value: str) -> tuple[int, int]:
    """Return the width and height of a picture in pixels from a text such as `768x512`."""
    match = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", value)
    sides = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(_MIN_SIDE_PX <= side <= MAX_SIDE_PX for side in sides):
        limits = f"with sides of {_MIN_SIDE_PX} to {MAX_SIDE_PX} pixels"
        raise UsageError(f"expected WIDTHxHEIGHT such as 768x512, {limits}, got {value!r}")
    return sides


def parse_mean(value: str) -> float:
    """Return a mean number of images a task."""
    try:
        mean = float(value)
    except ValueError:
        mean = -1.0
    if not 1 <= mean <= MAX_ATTEMPTS:
        raise UsageError(f"expected a number from 1 to {MAX_ATTEMPTS}, got {value!r}")
    return mean


def parse_guidance(value: str) -> float:
    """Return the guidance scale of the image model."""
    try:
        guidance = float(value)
    except ValueError:
        guidance = -1.0
    if not 0 <= guidance <= MAX_GUIDANCE:
        raise UsageError(f"expected a number from 0 to {MAX_GUIDANCE}, got {value!r}")
    return guidance


def parse_strength(value: str) -> float:
    """Return the share of the denoising that image to image applies."""
    try:
        strength = float(value)
    except ValueError:
        strength = 0.0
    if not 0 < strength <= 1:
        raise UsageError(f"expected a number above 0, up to 1, got {value!r}")
    return strength


def parse_negative(value: str) -> str:
    """Return a negative prompt, which may be empty."""
    try:
        return check_prompt(value) if value.strip() else ""
    except PromptError as error:
        raise UsageError(str(error)) from error


def parse_address(value: str) -> str:
    """Return the address of a router, or of several separated by commas."""
    if not all(re.fullmatch(ADDRESS_PATTERN, address) for address in split_addresses(value)):
        raise UsageError(f"expected an address such as tcp://HOST:PORT or ipc:///PATH, got {value!r}")
    return value


def parse_listen_address(value: str) -> str:
    """Return the address of an HTTP server."""
    try:
        Checker(Path(), ()).check(value, ListenAddress)
    except ConfigError as error:
        raise UsageError(str(error).removeprefix(": ")) from error
    return value


def parse_shard(value: str) -> tuple[int, int]:
    """Return shard number and count from a text such as `2/8`."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", value)
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"expected I/N such as 2/8, with I from 1 to N, got {value!r}")
    return number, count


def read_config(file: Path | None, overrides: Sequence[str], preset: str | None = None) -> MeshConfig:
    """Return the settings of a mesh, read from a file, the environment, a preset and `--set` flags.

    Raises:
        ConfigError: a setting is unknown or invalid; the message names its source.
    """
    for override in overrides:
        try:
            override.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(f"--set: expected UTF-8, got {override!a}") from error
    return load_config(file, settings=overrides, preset=preset)


def budget_of(config: MeshConfig) -> Budget:
    """Return the budget of one trajectory; its tokens are limited by those of the whole run."""
    budget = config.budget
    return Budget(max_calls=budget.max_calls_per_trajectory, max_tokens=budget.max_tokens_per_run)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawOptions:
    """How to draw; options that are None stay as configured."""

    rounds: int | None = None
    """Maximum rounds of a picture."""
    candidates: int | None = None
    """Images drawn in each round."""
    memory: MemoryMode | None = None
    """What the refiner sees of earlier rounds."""
    size: tuple[int, int] | None = None
    """Width and height in pixels."""
    steps: int | None = None
    guidance: float | None = None
    negative_prompt: str | None = None
    strength: float | None = None
    """Share of the denoising that image to image applies to a given picture, above 0 to 1."""
    exact: bool = False
    """Whether images are drawn one at a time instead of in batches, for bit-exact output."""
    skill: str | None = None
    """Skill id, or `none`; the planner chooses by default."""
    strategy: str | None = None
    """One of `STRATEGIES`, `gems` by default."""
    images: int | None = None
    """Images that the strategy may draw for one picture."""
    seed: int | None = None
    """Seed of the picture, or of all pictures of a run."""
    config_file: Path | None = None
    """TOML file with the settings of the mesh."""
    overrides: tuple[str, ...] = ()
    """Single settings as `KEY=VALUE`."""
    preset: str | None = None
    """Named set of settings, a key of `PRESETS`; `overrides` have precedence."""
    router: str | None = None
    """Address of a running mesh; by default a mesh is started and ends with the command."""

    def read_config(self) -> MeshConfig:
        """Return the settings of the mesh.

        Raises:
            ConfigError: a setting is unknown or invalid.
        """
        return read_config(self.config_file, self.overrides, self.preset)

    def settings(self) -> dict[str, Any]:
        """Return what differs from the configured settings, by the names that `draw_settings` knows.

        Raises:
            UsageError: the seed or the strategy is impossible, or strategy, images and rounds contradict one another.
        """
        if self.seed is not None and (type(self.seed) is not int or not 0 <= self.seed <= MAX_SEED):
            raise UsageError(f"--seed: expected 0 to {MAX_SEED}, got {self.seed!r}")
        chosen = {name: getattr(self, name) for name in _SETTINGS}
        candidates = self.candidates
        if candidates is None and self.images is not None and self.strategy in (None, "gems"):
            candidates = self.read_config().draw.candidates  # of which each round draws as many
        of_strategy = _strategy_settings(self.strategy, self.images, self.rounds, candidates)
        for name in ("candidates", "skill"):
            if chosen[name] is not None and of_strategy.get(name, chosen[name]) != chosen[name]:
                expected = f"expected --{name} {of_strategy[name]} or none"
                raise UsageError(f"--strategy: {self.strategy}: {expected}, got --{name} {chosen[name]}")
        chosen |= of_strategy
        return {name: value for name, value in chosen.items() if value is not None and value is not False}


def _strategy_settings(
    strategy: str | None, images: int | None, rounds: int | None, candidates: int | None
) -> dict[str, Any]:
    """Return the settings by which a strategy spends its images, so that strategies compare at equal cost."""
    if images is not None and rounds is not None:
        raise UsageError("--images: expected either it or --rounds, got both")
    match strategy:
        case "single" | "rewrite" if images not in (None, 1) or rounds not in (None, 1):
            raise UsageError(f"--strategy: {strategy} draws one picture, got {images or rounds}")
        case "single":
            return {"rounds": 1, "candidates": 1, "skill": "none"}
        case "rewrite":
            return {"rounds": 1, "candidates": 1}
        case "best-of-n":
            if images is None:
                raise UsageError("--strategy: best-of-n needs --images")
            return {"rounds": 1, "candidates": images, "skill": "none"}
        case _ if strategy not in (None, *STRATEGIES):
            raise UsageError(f"--strategy: expected one of {', '.join(STRATEGIES)}, got {strategy!r}")
    if images is None:
        return {"rounds": rounds}
    if images < (candidates or 1):
        raise UsageError(f"--images: expected at least --candidates, which is {candidates}, got {images}")
    return {"rounds": images // (candidates or 1)}


def draw_settings(config: MeshConfig, options: Mapping[str, Any]) -> DrawSettings:
    """Return how to draw: the configured settings, with options, named as in `DrawOptions`, in place of them.

    Raises:
        UsageError: an option is impossible.
    """
    chosen = {_SETTINGS[name]: value for name, value in options.items()}
    if "size" in chosen:
        try:
            chosen["width_px"], chosen["height_px"] = chosen.pop("size")
        except (TypeError, ValueError) as error:
            raise UsageError(f"size: expected width and height in pixels, got {options['size']!r}") from error
    try:
        Checker(Path(), ()).check(chosen, DrawSettings)
    except ConfigError as error:
        setting, colon, reason = str(error).partition(":")
        named = {setting: name for name, setting in _SETTINGS.items()} | {"width_px": "size", "height_px": "size"}
        raise UsageError(f"{named.get(setting, setting)}{colon}{reason}") from error
    return DrawSettings(**{**msgspec.structs.asdict(config.draw), **chosen})
