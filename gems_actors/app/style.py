"""The look of every page: one style sheet, inlined into reports and served by the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Final

STYLE_SHEET: Final = Path(__file__).with_name("style.css")


def read_style() -> str:
    """Return the style sheet."""
    return STYLE_SHEET.read_text(encoding="utf-8")
