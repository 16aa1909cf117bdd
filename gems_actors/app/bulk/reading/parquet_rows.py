"""Read the records of a Parquet file, one row group at a time; only its unreadable rows fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from gems_actors.app.bulk.reading.csv_rows import check_columns
from gems_actors.app.prompts import PromptError

_ROWS_AT_ONCE: Final = 256
_PICTURES_AT_ONCE: Final = 8
"""The same where rows have pictures in them, of up to 50 MiB each."""


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """A Parquet file with a column of prompts."""

    table: Any
    """The `pyarrow.parquet.ParquetFile`."""
    image_column: str | None = None
    """The column whose binary values are read, too: pictures to draw from."""

    @property
    def num_rows(self) -> int:
        """Number of its records."""
        count: int = self.table.metadata.num_rows
        return count

    def records(self) -> Iterator[dict[str, Any] | PromptError]:
        """Yield each record, without binary values of other columns than that of pictures, or why it cannot be read."""
        import pyarrow

        given = end = 0
        at_once = _PICTURES_AT_ONCE if self._pictures else _ROWS_AT_ONCE
        for group in range(self.table.num_row_groups):
            end += self.table.metadata.row_group(group).num_rows
            try:
                for batch in self.table.iter_batches(at_once, row_groups=[group], columns=self._columns()):
                    for record in _records_of(batch, self._pictures):
                        yield record
                        given += 1
            except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
                reason = PromptError(f"expected a readable row, got: {' '.join(str(error).split())[:200]}")
                yield from [reason] * (end - given)
                given = end

    @property
    def _pictures(self) -> str | None:
        """Name of the column with pictures as binary values; None without one."""
        from gems_actors.app.bulk.reading.arrow_values import holds_bytes

        schema = self.table.schema_arrow
        names = [name for name in schema.names if name == self.image_column and holds_bytes(schema.field(name).type)]
        return names[0] if names else None

    def _columns(self) -> list[str]:
        """Return the columns to read: pictures to draw from, and those with values; of a struct, fields with values."""
        from gems_actors.app.bulk.reading.arrow_values import has_binary, has_values

        columns = []
        for field in self.table.schema_arrow:
            if field.name == self._pictures:
                columns.append(field.name)
                continue
            if not has_values(field.type):
                continue
            if has_binary(field.type) and not any("." in name for name in (field.name, *_names_in(field.type))):
                columns += [f"{field.name}.{child.name}" for child in field.type if has_values(child.type)]
            else:
                columns.append(field.name)
        return columns


def open_parquet(stream: BinaryIO, prompt_column: str, image_column: str | None = None) -> ParquetFile:
    """Return a Parquet file.

    Raises:
        PromptError: pyarrow is missing, the file is not a Parquet file, or it has no such column of prompts.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise PromptError("a Parquet file needs pyarrow: pip install 'gems-actors[parquet]'") from error
    try:
        table = parquet.ParquetFile(stream)
        names = table.schema_arrow.names
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise PromptError(f"expected a Parquet file, got: {' '.join(str(error).split())[:200]}") from error
    check_columns(names, prompt_column)
    return ParquetFile(table, image_column)


def _records_of(batch: Any, pictures: str | None) -> Iterator[dict[str, Any]]:
    from gems_actors.app.bulk.reading.arrow_values import has_values, values_of

    names = [field.name for field in batch.schema if has_values(field.type) or field.name == pictures]
    columns = [batch.column(name).to_pylist() if name == pictures else values_of(batch.column(name)) for name in names]
    for row in zip(*columns, strict=True):
        yield dict(zip(names, row, strict=True))


def _names_in(type_: Any) -> list[str]:
    return [child.name for child in type_]
