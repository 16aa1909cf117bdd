"""The generator: draws a picture and stores it under its digest.

It must not know the purpose of the picture; it checks what the model returns before storing it.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import structlog
import trio

from actors.blob_actor import BlobActor
from gems_actors.actor import answers, is_interactive
from gems_actors.backends import GeneratedImage, ImageModel, ImagePart, ImageRequest
from gems_actors.backends.factory import open_image_model
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.errors import BackendError, UnsupportedError
from protocol.limits import MAX_SIDE_PX
from protocol.messages import GenerateImage, Image, ImageRef, Spent

_MIN_SIDE_PX: Final = 16

_log = structlog.get_logger()


class Generator(BlobActor):
    """Answers `GenerateImage`."""

    role = "generator"
    time_limit_s = math.inf  # image models have their own limits, and a full engine is slow rather than stuck
    model: ImageModel

    def __init__(self, config: MeshConfig, mesh: Mesh) -> None:
        super().__init__(config, mesh)
        self._note = ""
        self._model_note: Callable[[], str] = lambda: ""  # a model of the user's own need not have one
        self._can_edit = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Keep the store and the image model open."""
        async with super().open(), open_image_model(self.config, self._take_note) as model:
            self.use(model)
            yield

    def use(self, model: ImageModel) -> None:
        """Draw with a model from now on."""
        self.model, self.default_capacity = model, model.capacity
        self._model_note = getattr(model, "note", self._model_note)
        self._can_edit = bool(getattr(model, "can_edit", False))

    def _take_note(self, note: str) -> None:
        self._note = note
        if note:
            _log.info("model_prepared", doing=note)

    def note(self) -> str:
        """Return the progress of the image model while it is not ready, then what is wrong with its server."""
        return self._note or self._model_note()

    def figures(self) -> dict[str, float]:
        """Return the figures of the image model."""
        return self.model.figures()

    @answers
    async def generate(self, request: GenerateImage) -> Image:
        """Draw, check and store a picture, and return its reference."""
        begun = trio.current_time()
        if request.references and not self._can_edit:
            hint = (
                "set image.edits = true if its server can" if self.config.image.backend == "openai" else "use another"
            )
            got = f"{self.config.image.shown_name}, which does not; {hint}, or give no pictures"
            raise UnsupportedError(f"references: expected an image model that draws from pictures, got {got}")
        references = [await self._read_reference(image) for image in request.references]
        drawn = await self.model.generate(
            ImageRequest(
                request.prompt,
                request.seed,
                request.width_px,
                request.height_px,
                steps=request.steps,
                guidance=request.guidance,
                negative_prompt=request.negative_prompt,
                exact=request.exact,
                references=tuple(references),
                strength=request.strength,
                task_seed=request.task_seed,
                interactive=is_interactive(),
            )
        )
        check_picture(drawn)
        if ":" in self.config.image.backend:  # code of the user; the built-in backends made or decoded the file
            drawn = await _decode(drawn)
        ref = await self.blobs.put(
            drawn.data, media_type=drawn.media_type, width_px=drawn.width_px, height_px=drawn.height_px
        )
        seconds = trio.current_time() - begun
        _log.info("image_generated", digest=ref.digest, seconds=round(seconds, 4), **drawn.details)
        return Image(
            image=ref, spent=Spent(seconds=seconds, calls=1), can_be_edited=self._can_edit and drawn.can_be_edited
        )

    async def _read_reference(self, image: ImageRef) -> ImagePart:
        return ImagePart(await self.blobs.get(image), image.media_type)


async def _decode(drawn: GeneratedImage) -> GeneratedImage:
    """Return a picture that was decoded whole, with what its model says about it."""
    from gems_actors.backends.pictures import usable_picture  # not needed by the built-in backends

    try:
        usable = await trio.to_thread.run_sync(usable_picture, drawn.data)
    except ValueError as error:
        raise BackendError(f"image model: {error}") from error
    return replace(usable, details=drawn.details, can_be_edited=drawn.can_be_edited)


def check_picture(drawn: GeneratedImage) -> None:
    """Look at a picture's header.

    Raises:
        BackendError: it is not a picture, of another type or size than it says, or of a size that no message can carry.
    """
    says = f"{drawn.media_type} of {drawn.width_px}x{drawn.height_px} px"
    try:
        found = GeneratedImage.from_file(drawn.data)
    except ValueError as error:
        raise BackendError(
            f"image model: expected {says}, got {len(drawn.data)} bytes that are not a picture"
        ) from error
    is_ = f"{found.media_type} of {found.width_px}x{found.height_px} px"
    if is_ != says:
        raise BackendError(f"image model: expected {says}, got {is_}")
    if not all(_MIN_SIDE_PX <= side <= MAX_SIDE_PX for side in (drawn.width_px, drawn.height_px)):
        raise BackendError(f"image model: expected sides of {_MIN_SIDE_PX} to {MAX_SIDE_PX} px, got {is_}")
