"""The models that clients choose from: the image model of the mesh with each strategy of spending images on it.

A client that can only name a model can so choose the loop. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from gems_actors.app.options import STRATEGIES
from gems_actors.config import MeshConfig
from gems_actors.gateway.api_errors import ApiError

_LOOP: Final = "gems"


def models_of(config: MeshConfig) -> Mapping[str, str]:
    """Return the strategy of each model by its id: that of the image model alone, or with `+` and the strategy."""
    name = re.sub(r"[^a-z0-9._-]+", "-", config.image.shown_name.rpartition("/")[2].lower()).strip("-") or "image"
    return {(name if strategy == "single" else f"{name}+{strategy}"): strategy for strategy in STRATEGIES}


def strategy_of(model: str | None, config: MeshConfig) -> tuple[str, str]:
    """Return the id and the strategy of the model that a request names; by default that of the whole loop.

    Raises:
        ApiError: there is no such model.
    """
    models = models_of(config)
    if model is None or model.lower() == _LOOP:
        return next((id_, strategy) for id_, strategy in models.items() if strategy == _LOOP)
    if (found := models.get(model.lower())) is None:
        known = ", ".join(models)
        raise ApiError(
            404, f"model: expected one of {known}, got {model[:200]!r}", code="model_not_found", param="model"
        )
    return model.lower(), found
