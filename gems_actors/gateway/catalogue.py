"""The models that clients choose from: the image model of the mesh with each strategy, and each preset of the loop.

A client that can only name a model can so choose the loop. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from gems_actors.app.options import STRATEGIES
from gems_actors.config import MeshConfig
from gems_actors.config.presets import PRESETS
from gems_actors.gateway.api_errors import ApiError

_LOOP: Final = "gems"


class Model(NamedTuple):
    """How a model spends images."""

    strategy: str
    preset: str | None = None


def models_of(config: MeshConfig) -> Mapping[str, Model]:
    """Return each model by its id: that of the image model alone, or with `+` and the strategy, or a preset."""
    name = re.sub(r"[^a-z0-9._-]+", "-", config.image.shown_name.rpartition("/")[2].lower()).strip("-") or "image"
    models = {(name if strategy == "single" else f"{name}+{strategy}"): Model(strategy) for strategy in STRATEGIES}
    return models | {f"{name}+{preset}": Model(_LOOP, preset) for preset in PRESETS}


def model_of(model: str | None, config: MeshConfig) -> tuple[str, Model]:
    """Return the id and the model that a request names; by default that of the whole loop.

    Raises:
        ApiError: there is no such model.
    """
    models = models_of(config)
    if model is None or model.lower() == _LOOP:
        return next((id_, found) for id_, found in models.items() if found == Model(_LOOP))
    if (found := models.get(model.lower())) is None:
        known = ", ".join(models)
        raise ApiError(
            404, f"model: expected one of {known}, got {model[:200]!r}", code="model_not_found", param="model"
        )
    return model.lower(), found
