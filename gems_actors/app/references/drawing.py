"""Draw from pictures: put them into the store, and choose the size of what is drawn from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from msgspec import structs

from gems_actors.app.options import DrawOptions
from gems_actors.app.references.pictures import MIN_SIDE_PX, Reference
from gems_actors.blobs import BlobStore
from protocol.limits import MAX_SIDE_PX
from protocol.messages import DrawSettings

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
