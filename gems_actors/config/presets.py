"""Presets: named sets of settings, for `--preset NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from msgspec import structs

from gems_actors.config.schema import MeshConfig
from gems_actors.errors import ConfigError


class Preset(NamedTuple):
    """A named set of settings, which a file and the environment do not override, and single flags do."""

    about: str
    """What it is for, in one line."""
    settings: Mapping[str, Any]
    """Values by key, such as `verify.mode`."""


PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        "thrifty": Preset(
            "Few calls of chat models, for up to eight rounds: no skill, one call to check a picture, one to refine.",
            {"verify.mode": "batch", "draw.lesson_by": "refiner", "draw.skill": "none", "draw.max_rounds": 8},
        ),
        "diverse": Preset(
            "As thrifty, for up to four rounds with two candidates, from different prompts; close ones are compared.",
            {
                "verify.mode": "batch",
                "draw.lesson_by": "refiner",
                "draw.skill": "none",
                "draw.max_rounds": 4,
                "draw.candidates": 2,
                "draw.choose": "pairwise",
            },
        ),
    }
)
"""All presets by name."""


def preset_tree(name: str) -> dict[str, Any]:
    """Return the settings of a preset as the tables of a file.

    Raises:
        ConfigError: there is no such preset.
    """
    if (preset := PRESETS.get(name)) is None:
        raise ConfigError(f"--preset: expected one of {', '.join(PRESETS)}, got {name!r}")
    tree: dict[str, Any] = {}
    for key, value in preset.settings.items():
        *tables, last = key.split(".")
        inner = tree
        for table in tables:
            inner = inner.setdefault(table, {})
        inner[last] = value
    return tree


def with_preset(config: MeshConfig, name: str) -> MeshConfig:
    """Return the settings of a running mesh with those of a preset, for requests to it.

    The settings by which its actors were started stay as they are, such as `verify.mode`, whatever the preset says.

    Raises:
        ConfigError: there is no such preset.
    """
    return structs.replace(config, draw=structs.replace(config.draw, **preset_tree(name).get("draw", {})))
