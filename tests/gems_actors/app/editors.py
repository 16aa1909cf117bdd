"""An image model that draws from pictures: the first one in inverted colours, or a plain one without any."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Final

from PIL import Image, ImageOps

from gems_actors import GeneratedImage, ImageConfig, ImageRequest

INVERTING: Final = f"image.backend={__name__}:open_inverter"
"""The setting that selects it."""


class Inverter:
    """Draws a picture whose colours are those of the first reference, inverted."""

    capacity = 4
    can_edit = True

    def figures(self) -> dict[str, float]:
        return {}

    async def generate(self, request: ImageRequest) -> GeneratedImage:
        size = request.width_px, request.height_px
        image = Image.new("RGB", size, "gray")
        if request.references:
            with Image.open(BytesIO(request.references[0].data)) as given:
                image = ImageOps.invert(given.convert("RGB")).resize(size)
        file = BytesIO()
        image.save(file, "PNG")
        return GeneratedImage(file.getvalue(), "image/png", *size)


@asynccontextmanager
async def open_inverter(config: ImageConfig) -> AsyncIterator[Inverter]:
    yield Inverter()
