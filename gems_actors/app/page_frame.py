"""The frame of a page that opens offline, loads nothing and runs no script."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape

from gems_actors.app.style import read_style


def page_head(title: str, heading: str) -> str:
    """Return everything up to the body of a page; `title` and `heading` are plain text."""
    style = read_style()
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} – {escape(heading)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="referrer" content="no-referrer">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head><body>'
    )
