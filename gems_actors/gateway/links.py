"""Addresses of pictures for clients that want no base64: unguessable, valid for an hour, and only while we run."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from gems_actors.app.picture_files import PictureFormat
from protocol.messages import ImageRef

LIFETIME_S: Final = 3600.0
_MAX_LINKS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Linked:
    """A picture that has an address."""

    image: ImageRef
    picture_format: PictureFormat
    compression: int | None
    until: float


class Links:
    """The addresses given out; the oldest go first."""

    def __init__(self) -> None:
        self._links: OrderedDict[str, Linked] = OrderedDict()

    def add(self, now: float, image: ImageRef, picture_format: PictureFormat, compression: int | None) -> str:
        """Return the name of a picture in its address."""
        name = f"{secrets.token_urlsafe(24)}.{picture_format}"
        self._links[name] = Linked(image, picture_format, compression, now + LIFETIME_S)
        if len(self._links) > _MAX_LINKS:
            self._links.popitem(last=False)
        return name

    def find(self, now: float, name: str) -> Linked | None:
        """Return the picture at an address; None if there is none any more."""
        found = self._links.get(name)
        return found if found is not None and found.until > now else None
