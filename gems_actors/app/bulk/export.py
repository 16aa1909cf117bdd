"""Export a bulk's dataset for training: as WebDataset's tar shards, or as Parquet with the pictures inside.

Shards are written atomically, one at a time. A picture's key is the name of its file without the ending; in folders of
earlier versions its index, a dash and its sample. The key of another attempt also has its round and candidate.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice, zip_longest
from pathlib import Path
from typing import Final, Literal

import msgspec

from gems_actors.app.bulk.reading.records import json_text
from gems_actors.app.bulk.rows import Row
from gems_actors.app.picture_files import ENDINGS, OutputError, PictureFormat, picture_of
from gems_actors.files import os_reason

Shape = Literal["webdataset", "parquet"]
_Pictures = Iterable[tuple[Row, bytes]]
_Write = Callable[[Path, _Pictures, PictureFormat], None]

_COLUMNS: Final = {
    "index": int, "sample": int, "prompt": str, "final_prompt": str, "seed": int, "skill": str, "rounds": int,
    "met": int, "all_met": bool, "chosen": bool, "references": str, "metadata": str, "row": str,
}  # fmt: skip
"""Type of each column of a shard: the same in all rows, because readers take types from the first few."""
_NO_SKILL: Final = "none"
_ROWS_PER_GROUP: Final = 100
_BYTES_PER_GROUP: Final = 256 * 1024 * 1024
"""Rows and pictures of a row group of Parquet: a reader has it in memory at once, and Arrow's arrays end at two GiB."""


def export_rows(
    rows: Iterator[Row], dataset: Path, target: Path, shape: Shape, picture_format: PictureFormat, per_shard: int
) -> Iterator[Path]:
    """Write the rows of a dataset and their pictures as shards into `target`, and yield the path of each.

    Pictures in another format are encoded again. Surplus shards of an earlier export are removed at the end: a reader
    would take their rows twice.

    Raises:
        OutputError: a file cannot be read or written, there are no pictures, or pyarrow is missing.
    """
    write, ending = (_write_tar, "tar") if shape == "webdataset" else (_parquet_writer(), "parquet")
    number = 0
    while batch := list(islice(rows, per_shard)):
        path = target / f"{number:05d}.{ending}"
        part = path.with_name(f".{path.name}")
        pictures = ((row, _picture(dataset / row.file_name, picture_format)) for row in batch)
        try:
            target.mkdir(parents=True, exist_ok=True)
            write(part, pictures, picture_format)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
                target.rmdir()  # unless it has other shards
            at = f"{error.filename}: " if error.filename not in (None, str(part)) else ""  # of a picture
            reason = f"{path}: expected to write {len(batch)} pictures, got: {at}{os_reason(error)}"
            raise OutputError(reason) from error
        number += 1
        yield path
    if not number:
        raise OutputError(f"{dataset}: expected pictures to export, got none")
    for path in target.glob(f"{'[0-9]' * 5}.{ending}"):
        if int(path.stem) >= number:
            path.unlink()


def key_of_row(row: Row) -> str:
    """Return the key of a picture in a shard; it has no dot, at which WebDataset would cut it."""
    if row.task:
        return Path(row.file_name).stem.replace(".", "%2E")
    return f"{row.index:08d}-{row.sample}" + ("" if row.is_picture else f"-r{row.round}c{row.candidate}")


def _picture(path: Path, picture_format: PictureFormat) -> bytes:
    data = path.read_bytes()
    if path.suffix == ENDINGS[picture_format]:
        return data
    return picture_of(data, f"image/{path.suffix[1:]}", picture_format, {})


def _write_tar(path: Path, pictures: _Pictures, picture_format: PictureFormat) -> None:
    ending = ENDINGS[picture_format]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as shard:
        for row, data in pictures:
            columns = msgspec.json.encode(_columns_of(row))
            for suffix, content in ((ending[1:], data), ("txt", row.prompt.encode()), ("json", columns)):
                member = tarfile.TarInfo(f"{key_of_row(row)}.{suffix}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))


def _parquet_writer() -> _Write:
    """Return a function that writes a shard, which the datasets library loads with its pictures.

    Raises:
        OutputError: pyarrow is missing.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise OutputError("Parquet needs pyarrow: pip install 'gems-actors[parquet]'") from error
    types = {str: "string", int: "int64", bool: "bool"}
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    fields = [("image", image), *((name, pyarrow.type_for_alias(types[kind])) for name, kind in _COLUMNS.items())]
    features = {name: {"dtype": types[kind], "_type": "Value"} for name, kind in _COLUMNS.items()}
    about = json.dumps({"info": {"features": {"image": {"_type": "Image"}, **features}}})
    schema = pyarrow.schema(fields, metadata={"huggingface": about})

    def write(path: Path, pictures: _Pictures, picture_format: PictureFormat) -> None:
        ending = ENDINGS[picture_format]
        with parquet.ParquetWriter(path, schema) as file:
            for group in _row_groups(pictures):
                images = [{"bytes": data, "path": f"{key_of_row(row)}{ending}"} for row, data in group]
                columns = ({"image": image, **_columns_of(row)} for image, (row, _) in zip(images, group, strict=True))
                file.write_table(pyarrow.Table.from_pylist(list(columns), schema))

    return write


def _row_groups(pictures: _Pictures) -> Iterator[list[tuple[Row, bytes]]]:
    group, size = list[tuple[Row, bytes]](), 0
    for row, data in pictures:
        group.append((row, data))
        size += len(data)
        if len(group) == _ROWS_PER_GROUP or size >= _BYTES_PER_GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def _columns_of(row: Row) -> dict[str, str | int | bool]:
    """Return what a shard has of a row; what differs from row to row is JSON text."""
    metadata = row.metadata if isinstance(row.metadata, str) else json_text(row.metadata or {})
    own: dict[str, str | int | bool] = {
        "skill": row.skill or _NO_SKILL,
        "chosen": row.is_picture,
        "references": _references_of(row),
        "metadata": metadata,
        "row": _text_of(row),
    }
    return {name: own[name] if name in own else getattr(row, name) for name in _COLUMNS}


def _references_of(row: Row) -> str:
    """Return the files that a picture was drawn from as JSON."""
    files = zip_longest(row.references, row.reference_digests, fillvalue="")  # a folder may be damaged
    return json_text([{"path": path, "digest": digest} for path, digest in files])


def _text_of(row: Row) -> str:
    return msgspec.json.encode(row).decode()
