"""Opens the model backends that the settings name; the only place that knows which exist.

A backend is imported when it is opened, so that a planner never loads what only a generator needs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import assert_never

from gems_actors.backends import ChatModel, ImageModel
from gems_actors.config import MeshConfig
from gems_actors.places import gpu_locks


@asynccontextmanager
async def open_image_model(
    config: MeshConfig, tell: Callable[[str], None] = lambda note: None
) -> AsyncIterator[ImageModel]:
    """Open the model that draws; `tell` is told what is being done while that takes long."""
    match config.image.backend:
        case "storyboard":
            from gems_actors.backends.storyboard import StoryboardImageModel

            yield StoryboardImageModel()
        case "diffusers":
            from gems_actors.backends.diffusion.models import open_diffusion

            size = config.draw.width_px, config.draw.height_px
            async with open_diffusion(config.image, size=size, locks=gpu_locks(), tell=tell) as model:
                yield model
        case "openai":
            from gems_actors.backends.openai_images import open_openai_images

            async with open_openai_images(config.image) as model:
                yield model
        case other:
            assert_never(other)


@asynccontextmanager
async def open_chat_model(config: MeshConfig, role: str) -> AsyncIterator[ChatModel]:
    """Open the model that answers for a role; all roles share one so far."""
    match config.chat.backend:
        case "storyboard":
            from gems_actors.backends.storyboard import StoryboardChatModel

            yield StoryboardChatModel()
        case "openai":
            from gems_actors.backends.openai_chat import open_openai_chat

            async with open_openai_chat(config.chat) as model:
                yield model
        case other:
            assert_never(other)
