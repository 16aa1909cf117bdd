"""A bulk's dataset in the shapes that training reads: WebDataset's tar shards, or Parquet with the pictures inside.

Shards are written whole or not at all, and hold a thousand pictures unless told otherwise; one of them is read at once.
A picture's key is its index and, behind a dash, its sample; that of another attempt also its round and candidate.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Literal

import msgspec

from gems_actors.app.bulk.rows import Row
from gems_actors.app.picture_files import ENDINGS, OutputError, PictureFormat, picture_of

Shape = Literal["webdataset", "parquet"]


def export_rows(
    rows: Iterator[Row],
    dataset: Path,
    target: Path,
    shape: Shape,
    picture_format: PictureFormat,
    per_shard: int,
) -> Iterator[Path]:
    """Write a dataset's pictures and rows as shards, and give the path of each once it is there.

    Shards of an earlier export that are too many are removed in the end: a reader would take their rows twice.

    Args:
        rows: of the dataset, in their order.
        dataset: folder that the rows' file names are relative to.
        target: folder to fill.
        shape: of the shards.
        picture_format: files that have it are copied as they are; the others are encoded anew.
        per_shard: pictures in each.

    Raises:
        OutputError: something cannot be read or written, there are no pictures, or pyarrow is missing.
    """
    write: Callable[[Path, Sequence[tuple[Row, bytes]], PictureFormat], None]
    write, ending = (_write_tar, "tar") if shape == "webdataset" else (_write_parquet, "parquet")
    number = 0
    while batch := list(islice(rows, per_shard)):
        path = target / f"{number:05d}.{ending}"
        part = path.with_name(f".{path.name}")
        try:
            pictures = [(row, _picture(dataset / row.file_name, picture_format)) for row in batch]
            target.mkdir(parents=True, exist_ok=True)
            write(part, pictures, picture_format)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            raise OutputError(f"{path}: expected to write {len(batch)} pictures, got: {error}") from error
        number += 1
        yield path
    if not number:
        raise OutputError(f"{dataset}: expected pictures to export, got none")
    for path in target.glob(f"{'[0-9]' * 5}.{ending}"):
        if int(path.stem) >= number:  # of an earlier export, which had more: whoever reads the folder would have both
            path.unlink()


def key_of_row(row: Row) -> str:
    """Return what a picture is called in a shard; without a dot, where WebDataset would cut it."""
    return f"{row.index:08d}-{row.sample}" + ("" if row.is_picture else f"-r{row.round}c{row.candidate}")


def _picture(path: Path, picture_format: PictureFormat) -> bytes:
    data = path.read_bytes()
    if path.suffix == ENDINGS[picture_format]:
        return data
    return picture_of(data, f"image/{path.suffix[1:]}", picture_format, {})


def _write_tar(path: Path, pictures: Sequence[tuple[Row, bytes]], picture_format: PictureFormat) -> None:
    ending = ENDINGS[picture_format]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as shard:
        for row, data in pictures:
            members = ((ending[1:], data), ("txt", row.prompt.encode()), ("json", msgspec.json.encode(row)))
            for suffix, content in members:
                member = tarfile.TarInfo(f"{key_of_row(row)}.{suffix}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))


def _write_parquet(path: Path, pictures: Sequence[tuple[Row, bytes]], picture_format: PictureFormat) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise OutputError("Parquet needs pyarrow: pip install 'gems-actors[parquet]'") from error
    ending = ENDINGS[picture_format]
    table = pyarrow.table(
        {
            # As datasets has a picture within a table: its bytes, and what it was called.
            "image": [{"bytes": data, "path": f"{key_of_row(row)}{ending}"} for row, data in pictures],
            "index": [row.index for row, _ in pictures],
            "sample": [row.sample for row, _ in pictures],
            "prompt": [row.prompt for row, _ in pictures],
            "final_prompt": [row.final_prompt for row, _ in pictures],
            "seed": [row.seed for row, _ in pictures],
            "rounds": [row.rounds for row, _ in pictures],
            "met": [row.met for row, _ in pictures],
            "all_met": [row.all_met for row, _ in pictures],
            "chosen": [row.is_picture for row, _ in pictures],
            # One text for all else, because what stands in it differs from row to row.
            "row": [msgspec.json.encode(row).decode() for row, _ in pictures],
        }
    )
    parquet.write_table(table, path)
