"""Open the model backends that the settings name; the only module that knows which ones are built in.

A backend is imported when it is opened, so a planner never loads the libraries of a generator.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from gems_actors.backends import ChatModel, ImageModel, TextReader
from gems_actors.backends.traced import TracedChatModel, TracedImageModel
from gems_actors.config import ChatModelConfig, MeshConfig, ModelServerConfig, load_code
from gems_actors.errors import ConfigError
from gems_actors.ops import tracing


@asynccontextmanager
async def open_image_model(
    config: MeshConfig, tell: Callable[[str], None] = lambda note: None
) -> AsyncIterator[ImageModel]:
    """Open the image model; `tell` receives progress notes while that takes long."""
    async with _open_image(config, tell) as model:
        yield TracedImageModel(model, config.image.shown_name) if tracing.is_on() else model


@asynccontextmanager
async def _open_image(config: MeshConfig, tell: Callable[[str], None]) -> AsyncIterator[ImageModel]:
    match config.image.backend:
        case "storyboard":
            from gems_actors.backends.storyboard import StoryboardImageModel

            yield StoryboardImageModel(config.storyboard.planted)
        case "diffusers":
            from gems_actors.backends.diffusion.models import gpu_lock_dir, open_diffusion

            size = config.draw.width_px, config.draw.height_px
            async with open_diffusion(config.image, size=size, locks=gpu_lock_dir(), tell=tell) as model:
                yield model
        case "openai":
            from gems_actors.backends.openai_images import open_openai_images

            async with open_openai_images(config.image) as model:
                yield model
        case "gems":
            from gems_actors.backends.gems_images import open_gems_images

            async with open_gems_images(config.image) as model:
                yield model
        case name:
            async with _open_own("image.backend", name, config, config.image, ("capacity", "generate")) as model:
                yield model


@asynccontextmanager
async def open_chat_model(config: MeshConfig, role: str) -> AsyncIterator[ChatModel]:
    """Open the chat model of a role."""
    settings = config.chat.of(role)
    table = "chat" if settings.url == config.chat.url else f"chat.roles.{role}"
    async with _open_chat(config, settings, table, is_verifier=role == "verifier") as model:
        yield model


@asynccontextmanager
async def open_second_opinion(config: MeshConfig) -> AsyncIterator[ChatModel | None]:
    """Open the model that decides when the verifier's is unsure; None if the settings name none."""
    if config.verify.second_opinion is None:
        yield None
        return
    settings = config.verify.second_opinion.over(config.chat.of("verifier"))
    async with _open_chat(config, settings, "verify.second_opinion", is_verifier=True) as model:
        yield model


@asynccontextmanager
async def open_text_reader(config: MeshConfig) -> AsyncIterator[TextReader | None]:
    """Open what reads the texts in pictures; None if the chat model does."""
    if config.verify.text == "model":
        yield None
        return
    from gems_actors.backends.ocr.reader import open_ocr

    async with open_ocr() as reader:
        yield reader


@asynccontextmanager
async def _open_own(
    setting: str, name: str, config: MeshConfig, settings: ModelServerConfig, members: tuple[str, ...]
) -> AsyncIterator[Any]:
    """Open a model of the user's own, after checking that it is one."""
    try:
        manager = load_code(setting, name, config.import_path)(settings)
    except TypeError as error:
        raise ConfigError(f"{setting}: expected {name} to take the model's settings, got: {error}") from error
    if not hasattr(manager, "__aenter__"):
        got = type(manager).__name__
        if isinstance(manager, Coroutine):
            manager.close()  # or Python warns, some time later, that it was never awaited
        raise ConfigError(f"{setting}: expected {name} to return an async context manager, got {got}")
    async with manager as model:
        for member in ("figures", *members):
            if not hasattr(model, member):
                got = type(model).__name__
                raise ConfigError(f"{setting}: expected {name} to yield a model with {member}, got {got} without it")
        yield model


@asynccontextmanager
async def _open_chat(
    config: MeshConfig, settings: ChatModelConfig, table: str, *, is_verifier: bool
) -> AsyncIterator[ChatModel]:
    async with AsyncExitStack() as stack:
        model: ChatModel
        match settings.backend:
            case "storyboard":
                from gems_actors.backends.storyboard import StoryboardChatModel
                from gems_actors.backends.storyboard.verifier_error import NO_ERRORS

                laboratory = config.storyboard
                errors = laboratory.verifier_error if is_verifier else NO_ERRORS
                model = StoryboardChatModel(errors=errors, follows_rules=bool(laboratory.planted))
            case "openai":
                from gems_actors.backends.openai_chat import open_openai_chat

                model = await stack.enter_async_context(open_openai_chat(settings, table))
            case "replay":
                from gems_actors.backends.record_replay import ReplayChatModel

                model = ReplayChatModel(Path(config.chat.replay or ""))
            case name:
                own = _open_own(f"{table}.backend", name, config, settings, ("note", "chat"))
                model = await stack.enter_async_context(own)
        if config.chat.record is not None:
            from gems_actors.backends.record_replay import RecordingChatModel, open_recording

            model = RecordingChatModel(model, stack.enter_context(open_recording(Path(config.chat.record))))
        yield TracedChatModel(model, settings.model or settings.backend) if tracing.is_on() else model
