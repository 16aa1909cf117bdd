"""The files of the page, which are part of the package; a browser that has them may load nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from gems_actors.app.style import STYLE_SHEET

_FOLDER: Final = Path(__file__).parent.parent / "static"
_MEDIA_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""No inline script or style, nothing from elsewhere, and no page around it."""


class PageFile(NamedTuple):
    """A file as it is sent."""

    data: bytes
    media_type: str
    tag: str
    """Digest of the content, by which a browser asks whether it has changed."""


def read_files() -> Mapping[str, PageFile]:
    """Return the files of the page by name."""
    return {path.name: _read(path) for path in (*_FOLDER.iterdir(), STYLE_SHEET) if path.suffix in _MEDIA_TYPES}


def _read(path: Path) -> PageFile:
    data = path.read_bytes()
    return PageFile(data, _MEDIA_TYPES[path.suffix], f'"{sha256(data).hexdigest()[:32]}"')
