"""An image backend of your own: pictures of one flat colour, which follows from prompt and seed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from io import BytesIO

from PIL import Image

from gems_actors import GeneratedImage, ImageConfig, ImageRequest


class FlatColour:
    capacity = 8  # requests that it takes at once

    def figures(self) -> dict[str, float]:
        return {}  # shown by `gems status`

    async def generate(self, request: ImageRequest) -> GeneratedImage:
        red, green, blue, *_ = sha256(f"{request.seed} {request.prompt}".encode()).digest()
        png = BytesIO()
        Image.new("RGB", (request.width_px, request.height_px), (red, green, blue)).save(png, "PNG")
        return GeneratedImage(png.getvalue(), "image/png", request.width_px, request.height_px)


@asynccontextmanager
async def open_flat(config: ImageConfig) -> AsyncIterator[FlatColour]:
    yield FlatColour()
