"""Whether the image model and the model that judges its pictures go together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gems_actors.config import MeshConfig

_REAL_IMAGES: Final = ("openai", "gems", "diffusers")


def pairing_warnings(config: MeshConfig) -> Iterator[str]:
    """Yield what to change where one of the two models is the built-in stand-in and the other is not.

    A server may well draw storyboards, and a model may judge them, as in tests, so this is no error.
    """
    image, judge = config.image.backend, config.chat.of("verifier").backend
    if image in _REAL_IMAGES and judge == "storyboard":
        yield (
            f"image.backend is {image}, but the verifier's chat.backend is storyboard, which reads storyboards only: "
            "expect unsure for every requirement, or set chat.backend, chat.url and chat.model to a model that sees "
            "pictures"
        )
    if image == "storyboard" and judge == "openai":
        yield (
            "chat.backend is openai, but image.backend is storyboard, a stand-in that draws labelled tiles: "
            "set image.backend and image.url to draw with a real model"
        )
