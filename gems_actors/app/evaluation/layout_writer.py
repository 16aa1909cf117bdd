"""Writes a layout into its folder: only what is missing or changed, and nothing stays that it no longer has.

A record next to the folder lists what was written, so that a scorer's own results in the folder are left alone.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import trio
from PIL import Image

from gems_actors.app.evaluation.layouts import Grid, Layout, Link, Text
from gems_actors.app.picture_files import OutputError, text_of_path, write_whole
from gems_actors.files import os_reason
from gems_actors.tasks import gather

_REPORT_EVERY: Final = 100
_SAVE: Final[dict[Literal["PNG", "WEBP"], dict[str, Any]]] = {
    "PNG": {"compress_level": 1},  # the pixels are the same at every level, and higher ones take most of the time
    "WEBP": {"quality": 80},  # what OneIG-Bench's own text2image.py saves with: Pillow's default
}


class _Written(msgspec.Struct, frozen=True):
    """A line of the record: a file, and the stamp of what it was made from."""

    file: str
    stamp: str


async def write_layout(folder: Path, layout: Layout, record: Path, report: Callable[[str], None]) -> None:
    """Write a layout into a folder, which need not exist; `record` is the file that lists what earlier calls wrote.

    `report` gets a line after every hundred grids.

    Raises:
        OutputError: a picture cannot be read, or a file cannot be written.
    """
    writer = _Writer(folder, record)
    try:
        missing = await trio.to_thread.run_sync(writer.prepare, layout)
        grids = {name: item for name, item in missing.items() if isinstance(item, Grid)}
        await trio.to_thread.run_sync(writer.write_all, {name: missing[name] for name in missing.keys() - grids.keys()})
        if grids:
            report(f"joining the samples of {len(grids)} of {sum(isinstance(item, Grid) for item in layout.values())}")
            await _write_grids(writer, grids, report)
        await trio.to_thread.run_sync(writer.finish, layout)
    except OSError as error:
        named = text_of_path(Path(error.filename)) if isinstance(error.filename, str | Path) else text_of_path(folder)
        raise OutputError(f"{named}: expected to lay out pictures, got: {os_reason(error)}") from error


async def _write_grids(writer: _Writer, grids: dict[str, Grid], report: Callable[[str], None]) -> None:
    limiter = trio.CapacityLimiter(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)
    done = 0

    async def write(name: str, grid: Grid) -> None:
        nonlocal done
        await trio.to_thread.run_sync(writer.write, name, grid, limiter=limiter)
        done += 1
        if done % _REPORT_EVERY == 0:
            report(f"joined {done} of {len(grids)}")

    await gather(*(partial(write, name, grid) for name, grid in grids.items()))


class _Writer:
    """Writes files of one folder; its methods are called in threads."""

    def __init__(self, folder: Path, record: Path) -> None:
        self._folder, self._record = folder, record
        self._known: dict[str, str] = {}
        self._stamps: dict[str, str] = {}

    def prepare(self, layout: Layout) -> dict[str, Link | Grid | Text]:
        """Remove the files that the layout no longer has, and return those that must be written."""
        self._known = {item.file: item.stamp for item in _read(self._record)}
        for name in self._known.keys() - layout.keys():
            self._remove(name)
        self._stamps = {name: item.stamp() for name, item in layout.items()}
        return {
            name: item
            for name, item in layout.items()
            if self._known.get(name) != self._stamps[name] or not (self._folder / name).is_file()
        }

    def _remove(self, name: str) -> None:
        path = self._folder / name
        path.unlink(missing_ok=True)
        with suppress(OSError):  # a folder that is not empty stays
            while path.parent != self._folder:
                path = path.parent
                path.rmdir()

    def write_all(self, items: dict[str, Link | Grid | Text]) -> None:
        for name, item in items.items():
            self.write(name, item)

    def write(self, name: str, item: Link | Grid | Text) -> None:
        """Write one file: first the old one goes, then the record names the new one, so that no kill leaves a lie."""
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        line = msgspec.json.encode(_Written(name, self._stamps[name])) + b"\n"
        with self._record.open("ab", buffering=0) as file:
            file.write(line)
        match item:
            case Link(source):
                _link(source, target)
            case Grid(sources, kind):
                write_whole(target, _grid_of(sources, kind))
            case Text(content):
                write_whole(target, content.encode())

    def finish(self, layout: Layout) -> None:
        """Leave one line for each file in the record."""
        if self._known != {name: self._stamps[name] for name in layout}:
            lines = (msgspec.json.encode(_Written(name, self._stamps[name])) for name in layout)
            write_whole(self._record, b"".join(line + b"\n" for line in lines))


def _read(record: Path) -> Iterator[_Written]:
    for line in record.read_bytes().splitlines() if record.exists() else ():
        with suppress(msgspec.DecodeError):  # a line cut short by a kill: its file is written again
            yield msgspec.json.decode(line, type=_Written)


def _link(source: Path, target: Path) -> None:
    """Link a picture to a second path, or copy it where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _grid_of(sources: tuple[Path, ...], kind: Literal["PNG", "WEBP"]) -> bytes:
    """Return the file of a grid whose tiles have the size of the first sample."""
    columns = 1 if len(sources) == 1 else 2
    with Image.open(sources[0]) as first:
        width_px, height_px = first.size
    rows = -(-len(sources) // columns)
    grid = Image.new("RGB", (columns * width_px, rows * height_px))
    for index, source in enumerate(sources):
        with Image.open(source) as tile:
            grid.paste(_opaque(tile), (index % columns * width_px, index // columns * height_px))
    buffer = io.BytesIO()
    grid.save(buffer, kind, **_SAVE[kind])
    return buffer.getvalue()


def _opaque(tile: Image.Image) -> Image.Image:
    """Return a picture without transparency: over white, as viewers show it."""
    if not tile.has_transparency_data:
        return tile.convert("RGB")
    tile = tile.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", tile.size, "white"), tile).convert("RGB")
