"""Writes the files of curves and plots, and replaces only such files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gems_actors.app.picture_files import OutputError, write_whole
from gems_actors.files import open_regular, os_reason

SVG_MARK: Final = "<!-- a figure of gems eval -->"
"""Comment that tells an SVG file of these commands from any other."""
CURVE_HEADING: Final = ("strategy", "repeats", "rounds", "images", "calls", "figure", "mean", "low", "high")
"""Columns of a curve as CSV, which tell such a file from any other."""
_HEAD_BYTES: Final = 2_000


def check_figure(path: Path) -> None:
    """Raise unless a figure may be written to a path.

    Raises:
        OutputError: there is a file that is no figure of these commands.
    """
    try:
        with open_regular(path) as file:
            head = file.read(_HEAD_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"{path}: expected a file to write to, got: {os_reason(error)}") from error
    if head and SVG_MARK not in head and head.partition("\n")[0].strip() != ",".join(CURVE_HEADING):
        raise OutputError(f"{path}: expected no file, or a figure of gems eval, got another file; name a new one")


def write_figure(path: Path, content: str) -> None:
    """Write a figure, in place of an earlier one.

    Raises:
        OutputError: there is a file that is no figure of these commands, or the file cannot be written.
    """
    check_figure(path)
    write_whole(path, content.encode())
