"""Draw from pictures: put them into the store, and choose the size of what is drawn from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import trio
from msgspec import structs

from gems_actors.app.options import DrawOptions
from gems_actors.app.references.pictures import (
    MIN_SIDE_PX,
    BadReferenceError,
    GivenImage,
    Reference,
    read_references,
)
from gems_actors.blobs import BlobStore, blob_store
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig, load_config
from gems_actors.errors import UsageError
from protocol.limits import MAX_SIDE_PX
from protocol.messages import DrawSettings, ImageRef

_MULTIPLE_PX: Final = 16
"""Sides that every image model of ours draws are multiples of this."""
_MAX_RATIO: Final = 4.0
"""Ratio of the sides up to which a picture has that of its reference; image models were not trained on longer ones."""


class Pictured(Protocol):
    """What has the size of a picture."""

    @property
    def width_px(self) -> int:
        """Its width as it is shown."""

    @property
    def height_px(self) -> int:
        """Its height."""


async def put_images(
    mesh: Mesh, image: GivenImage | Sequence[GivenImage], config: MeshConfig | None = None
) -> tuple[ImageRef, ...]:
    """Put pictures into a mesh's store and return what `DrawPicture.references` names them by.

    Each is the path or bytes of a PNG, JPEG or WebP file of up to 50 MiB, with sides of 16 to 8192 px, or an image of
    Pillow; up to 16. `config` says where the mesh stores pictures; by default the environment does.

    Raises:
        UsageError: one of them cannot be used.
        BlobError: one of them cannot be stored.
        ConfigError: the store cannot be used with these settings.
    """
    try:
        references = await trio.to_thread.run_sync(read_references, image)
    except BadReferenceError as error:
        raise UsageError(f"image: {error}") from error
    blobs = blob_store(load_config() if config is None else config, mesh.address)
    async with blobs.open():
        await keep_references(blobs, references)
    return tuple(one.ref for one in references)


async def keep_references(blobs: BlobStore, references: Iterable[Reference]) -> None:
    """Put pictures into the store, where requests name them by their `ref`.

    Raises:
        BlobError: one of them cannot be stored.
    """
    for one in references:
        await blobs.put(one.data, media_type=one.media_type, width_px=one.width_px, height_px=one.height_px)


def sized_like(first: Pictured, settings: DrawSettings, *, max_side_px: int = MAX_SIDE_PX) -> DrawSettings:
    """Return the settings of a picture that is drawn from another one, where no size was given.

    It has the proportions of that picture, up to 4 to 1, and as many pixels as the settings say, in multiples of 16 px;
    fewer if a side would be longer than `max_side_px`.
    """
    ratio = min(max(first.width_px / first.height_px, 1 / _MAX_RATIO), _MAX_RATIO)
    area = settings.width_px * settings.height_px
    width_px, height_px = math.sqrt(area * ratio), math.sqrt(area / ratio)
    scale = min(1.0, max_side_px // _MULTIPLE_PX * _MULTIPLE_PX / max(width_px, height_px))
    return structs.replace(settings, width_px=_rounded(width_px * scale), height_px=_rounded(height_px * scale))


def settings_from(references: Sequence[Reference], settings: DrawSettings, options: DrawOptions) -> DrawSettings:
    """Return the settings of a picture drawn from references, if any: of their proportions, unless a size was given."""
    return settings if not references or options.size is not None else sized_like(references[0], settings)


def _rounded(side_px: float) -> int:
    return max(round(side_px / _MULTIPLE_PX) * _MULTIPLE_PX, MIN_SIDE_PX)
