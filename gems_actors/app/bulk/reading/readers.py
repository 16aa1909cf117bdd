"""Read the tasks of a bulk from a file of text lines, JSON lines, CSV or Parquet. The bytes are foreign input.

A file is streamed, never loaded whole. A record that cannot be drawn is yielded as a `BadTask`, so that a bad line does
not stop the others; what is wrong with the whole file is raised before the first record.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from gems_actors.app.bulk.reading.csv_rows import CsvFile
from gems_actors.app.bulk.reading.parquet_rows import open_parquet
from gems_actors.app.bulk.reading.records import (
    MAX_RECORD_BYTES,
    PROMPT_COLUMN,
    RecordOptions,
    check_record,
    json_text,
    object_of,
    task_of,
)
from gems_actors.app.bulk.reading.text_lines import read_lines
from gems_actors.app.bulk.tasks import BadTask, Task
from gems_actors.app.prompts import PromptError, check_prompt, decode
from gems_actors.errors import UsageError
from gems_actors.files import open_regular, os_reason

InputFormat = Literal["txt", "jsonl", "csv", "parquet"]
_DEFAULTS: Final = RecordOptions()


def format_of(path: Path) -> InputFormat:
    """Return the format of a file by the ending of its name.

    Raises:
        PromptError: the ending is not that of a known format.
    """
    match path.suffix.lower():
        case ".txt" | ".jsonl" | ".csv" | ".parquet" as suffix:
            return suffix[1:]  # type: ignore[return-value]  # the case names the formats
    got = path.suffix or "no ending"
    raise PromptError(f"{path}: expected a name that ends in .txt, .jsonl, .csv or .parquet, got {got!r}")


def open_source(stack: ExitStack, file: Path, what: str = "FILE") -> tuple[BinaryIO, InputFormat]:
    """Return an input file, open until the stack ends, and its format; `-` is standard input.

    Args:
        stack: closes the file.
        file: path of the file.
        what: argument or option that names the file.

    Raises:
        UsageError: the file cannot be read, or its name ends in no known format.
    """
    if file == Path("-"):
        return sys.stdin.buffer, "txt"
    try:
        return stack.enter_context(open_regular(file)), format_of(file)
    except OSError as error:
        raise UsageError(f"{what}: {file}: expected a readable file, got: {os_reason(error)}") from error
    except PromptError as error:
        raise UsageError(f"{what}: {error}") from error


def open_tasks(stream: BinaryIO, format_: InputFormat, options: RecordOptions = _DEFAULTS) -> Iterator[Task | BadTask]:
    """Return the tasks of a file, read one at a time.

    Raises:
        PromptError: the file is not of this format, not UTF-8, or has no prompts. Raised by this call, but for a stream
            that cannot be rewound by the first record.
    """
    match format_:
        case "parquet":
            return _read_parquet(stream, options)
        case "csv":
            return _read_csv(stream, options)
        case "jsonl":
            return _read_lines(stream, lambda index, line: _task_of_json(index, line, options))
    for flag, is_set in (
        ("--prompt-column", options.prompt_column != PROMPT_COLUMN),
        ("--id-column", options.id_column is not None),
    ):
        if is_set:
            raise PromptError(f"expected a .jsonl, .csv or .parquet file with {flag}, got lines of text")
    return _read_lines(stream, lambda index, line: _task_of_text(index, line, options))


def count_records(stream: BinaryIO, format_: InputFormat, options: RecordOptions = _DEFAULTS) -> int | None:
    """Return the number of records and rewind the stream; None for a stream that cannot be rewound.

    Raises:
        PromptError: as `open_tasks`, or the file has no records.
    """
    if not stream.seekable():
        return None
    start = stream.tell()
    if format_ == "parquet":
        count = open_parquet(stream, options.prompt_column).num_rows
    elif format_ == "csv":
        count = sum(1 for _ in CsvFile(stream, options.prompt_column).rows())
    else:
        count = sum(bool(line.strip()) for line in read_lines(stream, MAX_RECORD_BYTES))
    stream.seek(start)
    if not count:
        raise PromptError("expected at least one record, got none")
    return count


def _read_lines(stream: BinaryIO, read: Callable[[int, bytes], Task]) -> Iterator[Task | BadTask]:
    return _tasks_of_lines(read_lines(stream, MAX_RECORD_BYTES), read)


def _tasks_of_lines(lines: Iterator[bytes], read: Callable[[int, bytes], Task]) -> Iterator[Task | BadTask]:
    for index, line in enumerate(lines):
        text = line.rstrip(b"\r\n")
        if not text.strip():
            continue
        try:
            if len(text) > MAX_RECORD_BYTES:
                raise PromptError(f"expected a line of at most {MAX_RECORD_BYTES:,} bytes, got more")
            yield read(index, text)
        except PromptError as error:
            yield BadTask(index, f"line {index + 1}", text[:MAX_RECORD_BYTES].decode(errors="replace"), str(error))


def _task_of_text(index: int, line: bytes, options: RecordOptions) -> Task:
    prompt = check_prompt(decode(line))
    return Task(index, prompt, samples=options.samples, record={"prompt": prompt})


def _task_of_json(index: int, line: bytes, options: RecordOptions) -> Task:
    decode(line)
    task = task_of(index, object_of(line), options)
    if b"\\u" in line:  # the only way to write half of a surrogate pair
        check_record(task.record)
    return task


def _read_csv(stream: BinaryIO, options: RecordOptions) -> Iterator[Task | BadTask]:
    file = CsvFile(stream, options.prompt_column)
    _check_id_column(file.names, options)
    return _tasks_of_rows(file, options)


def _tasks_of_rows(file: CsvFile, options: RecordOptions) -> Iterator[Task | BadTask]:
    for index, row in enumerate(file.rows()):
        try:
            if row.fault:
                raise PromptError(row.fault)
            if len(row.cells) != len(file.names):
                raise PromptError(f"expected {len(file.names)} fields, got {len(row.cells)}")
            record = {name: value for name, value in zip(file.names, row.cells, strict=True) if value}
            task = task_of(index, record, options)
            if not row.text.isascii():
                check_record(task.record)
            yield task
        except PromptError as error:
            text = row.text[:MAX_RECORD_BYTES].encode(errors="surrogateescape").decode(errors="replace")
            yield BadTask(index, f"line {row.line}", text.rstrip("\r\n"), str(error))


def _read_parquet(stream: BinaryIO, options: RecordOptions) -> Iterator[Task | BadTask]:
    file = open_parquet(stream, options.prompt_column, options.image_column)
    _check_id_column(file.table.schema_arrow.names, options)
    return _tasks_of_table(file.records(), options)


def _check_id_column(names: Sequence[str], options: RecordOptions) -> None:
    if options.id_column is not None and options.id_column not in names:
        raise PromptError(f"expected the column {options.id_column} of --id-column, got {', '.join(names)}")


def _tasks_of_table(
    records: Iterator[dict[str, Any] | PromptError], options: RecordOptions
) -> Iterator[Task | BadTask]:
    for index, record in enumerate(records):
        where = f"row {index + 1}"
        if isinstance(record, PromptError):
            yield BadTask(index, where, "", str(record))
            continue
        try:
            task = task_of(index, record, options)
            check_record(task.record if task.references else record)
            yield task
        except PromptError as error:
            shown = {name: value for name, value in record.items() if name != options.image_column}
            text = json_text(shown)[:MAX_RECORD_BYTES].encode(errors="replace").decode()
            yield BadTask(index, where, text, str(error))
