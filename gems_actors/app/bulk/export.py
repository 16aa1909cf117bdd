"""Export a bulk's dataset for training: as WebDataset's tar shards, or as Parquet with the pictures inside.

Shards are written atomically, one at a time. A picture's key is its index, a dash and its sample; the key of another
attempt also has its round and candidate.
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
    rows: Iterator[Row], dataset: Path, target: Path, shape: Shape, picture_format: PictureFormat, per_shard: int
) -> Iterator[Path]:
    """Write the rows of a dataset and their pictures as shards into `target`, and yield the path of each.

    Pictures in another format are encoded again. Surplus shards of an earlier export are removed at the end: a reader
    would take their rows twice.

    Raises:
        OutputError: a file cannot be read or written, there are no pictures, or pyarrow is missing.
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
        if int(path.stem) >= number:
            path.unlink()


def key_of_row(row: Row) -> str:
    """Return the key of a picture in a shard; it has no dot, at which WebDataset would cut it."""
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
    fields = ("index", "sample", "prompt", "final_prompt", "seed", "rounds", "met", "all_met")
    columns = {
        # The Image feature of the datasets library: bytes and file name.
        "image": [{"bytes": data, "path": f"{key_of_row(row)}{ending}"} for row, data in pictures],
        **{name: [getattr(row, name) for row, _ in pictures] for name in fields},
        "chosen": [row.is_picture for row, _ in pictures],
        # The whole row as JSON text, because metadata differs from row to row.
        "row": [msgspec.json.encode(row).decode() for row, _ in pictures],
    }
    parquet.write_table(pyarrow.table(columns), path)
