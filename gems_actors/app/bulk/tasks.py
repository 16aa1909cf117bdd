"""The tasks of a bulk: files of lines, records or rows, read one after another. Foreign bytes, checked here once.

A file is read as it comes, never whole, and a record that cannot be drawn is an item like the others: one bad line of
whatever kind stops nothing. What a record says of how it is to be drawn goes before what the whole bulk says.
"""

from __future__ import annotations

import codecs
import csv
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Literal

import msgspec
from msgspec import Meta

from gems_actors.app.options import parse_size
from gems_actors.app.prompts import PromptError, check_prompt, decode
from gems_actors.errors import UsageError
from protocol.identity import attempt_seed
from protocol.messages import Candidate, Guidance, MemoryMode, Prompt, Round, Seed, SkillId, Steps

InputFormat = Literal["txt", "jsonl", "csv", "parquet"]

MAX_SAMPLES: Final = 10_000
_MAX_LINE_BYTES: Final = 1024 * 1024
"""A record may carry more than its prompt."""
_ROWS_AT_ONCE: Final = 256

Samples = Annotated[int, Meta(ge=1, le=MAX_SAMPLES)]


@dataclass(frozen=True, slots=True)
class Task:
    """One record that can be drawn."""

    index: int
    """Its place among all records, from 0; blank lines of a text file counted: line 1 of an editor is 0."""
    prompt: str
    seed: int | None = None
    """None: what follows from the bulk's."""
    samples: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What it says of how it is to be drawn, by the names of `DrawSettings`."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """All else that stood in it."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """The record as it was."""


@dataclass(frozen=True, slots=True)
class BadTask:
    """One record that cannot be drawn."""

    index: int
    where: str
    """Its line or row in the file, as an editor counts them."""
    text: str
    """As it stands there, with U+FFFD for bytes that are no UTF-8."""
    reason: str


class _Fields(msgspec.Struct):
    """What we read from a record; text, as a CSV file has it, is taken for a number where one is wanted."""

    seed: Seed | None = None
    samples: Samples | None = None
    rounds: Round | None = None
    candidates: Candidate | None = None
    memory: MemoryMode | None = None
    skill: SkillId | None = None
    size: str | None = None
    steps: Steps | None = None
    guidance: Guidance | None = None
    negative_prompt: Prompt | None = None


_OWN: Final = ("prompt", *_Fields.__struct_fields__)


def format_of(path: Path) -> InputFormat:
    """Return how a file is to be read, from its name.

    Raises:
        PromptError: it ends in nothing that is known.
    """
    match path.suffix.lower():
        case ".txt" | ".jsonl" | ".csv" | ".parquet" as suffix:
            return suffix[1:]  # type: ignore[return-value]
    got = path.suffix or "no ending"
    raise PromptError(f"{path}: expected a name that ends in .txt, .jsonl, .csv or .parquet, got {got!r}")


def open_tasks(stream: BinaryIO, format_: InputFormat, samples: int = 1) -> Iterator[Task | BadTask]:
    """Read a file of tasks, record by record.

    Args:
        stream: the file; a Parquet file must be seekable.
        format_: how it is to be read.
        samples: of a record that does not say how many.

    Raises:
        PromptError: it is no file of its kind, or has no prompts; at once, before the first record.
    """
    match format_:
        case "txt":
            return _read_texts(stream, samples)
        case "jsonl":
            return _read_objects(stream, samples)
        case "csv":
            return _read_csv(stream, samples)
        case "parquet":
            return _read_parquet(stream, samples)


def count_records(stream: BinaryIO, format_: InputFormat) -> int | None:
    """Return how many records there are, and go back to the beginning; None where they can be read only once.

    Raises:
        PromptError: as `open_tasks`, or there are none.
    """
    if not stream.seekable():
        return None
    start = stream.tell()
    if format_ == "parquet":
        count: int = _open_parquet(stream).metadata.num_rows
    elif format_ == "csv":
        count = sum(1 for _ in _read_csv(stream, 1))
    else:
        count = sum(bool(line.strip()) for line in _lines_of(stream))
    stream.seek(start)
    if not count:
        raise PromptError("expected at least one record, got none")
    return count


def seed_of(task: Task, seed: int, sample: int) -> int:
    """Return the seed of one sample of a task, 0 to 2**32 - 1.

    The first has the seed that its record gives or, where it gives none, a hash of the bulk's seed and the record's
    index; the others have a hash of that one. None depends on other records.
    """
    first = attempt_seed(seed, task.index + 1, 0) if task.seed is None else task.seed
    if sample == 0:
        return first
    return int.from_bytes(blake2b(f"sample\0{first}\0{sample}".encode(), digest_size=4).digest(), "big")


# --------------------------------------------------------------------------------------------------- lines


def _lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """Give the lines of a stream; one that is too long comes as that many bytes and one more, its rest left out."""
    while line := stream.readline(_MAX_LINE_BYTES + 1):
        rest = line
        while len(rest) > _MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = stream.readline(_MAX_LINE_BYTES + 1)
        yield line


def _read_lines(stream: BinaryIO, read: Callable[[int, bytes], Task]) -> Iterator[Task | BadTask]:
    for index, line in enumerate(_lines_of(stream)):
        text = line.rstrip(b"\r\n")
        if index == 0:
            text = text.removeprefix(codecs.BOM_UTF8)
        if not text.strip():
            continue
        try:
            if len(text) > _MAX_LINE_BYTES:
                raise PromptError(f"expected a line of at most {_MAX_LINE_BYTES:,} bytes, got more")
            yield read(index, text)
        except PromptError as error:
            yield BadTask(index, f"line {index + 1}", text[:_MAX_LINE_BYTES].decode(errors="replace"), str(error))


def _read_texts(stream: BinaryIO, samples: int) -> Iterator[Task | BadTask]:
    def read(index: int, line: bytes) -> Task:
        prompt = check_prompt(decode(line))
        return Task(index, prompt, samples=samples, given={"prompt": prompt})

    return _read_lines(stream, read)


def _read_objects(stream: BinaryIO, samples: int) -> Iterator[Task | BadTask]:
    def read(index: int, line: bytes) -> Task:
        decode(line)
        try:
            record = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            raise PromptError(f"expected JSON: {error}") from error
        if not isinstance(record, dict):
            raise PromptError(f'expected an object like {{"prompt": "..."}}, got {line[:80].decode(errors="replace")}')
        return _task_of(index, record, samples)

    return _read_lines(stream, read)


# --------------------------------------------------------------------------------------------------- tables


def _read_csv(stream: BinaryIO, samples: int) -> Iterator[Task | BadTask]:
    csv.field_size_limit(_MAX_LINE_BYTES)
    rows = csv.reader(_texts_of(stream))
    try:
        header = next(rows, [])
    except csv.Error as error:
        raise PromptError(f"expected a line with the names of columns: {error}") from error
    if "prompt" not in header:
        raise PromptError(f"expected a column named prompt, got {', '.join(header) or 'an empty file'}")
    return _read_rows(rows, header, samples)


def _texts_of(stream: BinaryIO) -> Iterator[str]:
    """Give lines as text; bytes that are no UTF-8 become half surrogates, which the check of each prompt finds."""
    for number, line in enumerate(_lines_of(stream)):
        yield (line if number else line.removeprefix(codecs.BOM_UTF8)).decode(errors="surrogateescape")


def _read_rows(rows: Any, header: list[str], samples: int) -> Iterator[Task | BadTask]:
    index = -1
    while True:
        index += 1
        row: list[str] = []
        try:
            if (found := next(rows, None)) is None:
                return
            row = found
            if not any(row):
                index -= 1  # a blank line is no record
                continue
            if len(row) != len(header):
                raise PromptError(f"expected {len(header)} fields, got {len(row)}")
            record = {name: value for name, value in zip(header, row, strict=True) if value}
            yield _task_of(index, record, samples)
        except (csv.Error, PromptError) as error:
            text = ",".join(row).encode(errors="replace").decode()
            yield BadTask(index, f"line {rows.line_num}", text, str(error))


def _read_parquet(stream: BinaryIO, samples: int) -> Iterator[Task | BadTask]:
    table = _open_parquet(stream)
    import pyarrow

    # Pictures and the like are not metadata of a prompt, and would be read for nothing.
    names = [item.name for item in table.schema_arrow if not pyarrow.types.is_binary(item.type)]
    return _read_batches(table, names, samples)


def _read_batches(table: Any, names: list[str], samples: int) -> Iterator[Task | BadTask]:
    """Give the rows, group by group: of a damaged group those fail that cannot be read."""
    import pyarrow

    end = index = 0
    for group in range(table.num_row_groups):
        end += table.metadata.row_group(group).num_rows
        try:
            for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE, row_groups=[group], columns=names):
                for record in batch.to_pylist():
                    yield _row_of(index, record, samples)
                    index += 1
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = f"expected a row that can be read, got: {' '.join(str(error).split())[:200]}"
            for lost in range(index, end):
                yield BadTask(lost, f"row {lost + 1}", "", reason)
            index = end


def _row_of(index: int, record: Mapping[str, Any], samples: int) -> Task | BadTask:
    try:
        return _task_of(index, record, samples)
    except PromptError as error:
        return BadTask(index, f"row {index + 1}", str(record)[:_MAX_LINE_BYTES], str(error))


def _open_parquet(stream: BinaryIO) -> Any:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise PromptError("a Parquet file needs pyarrow: pip install 'gems-actors[parquet]'") from error
    try:
        table = parquet.ParquetFile(stream)
    except (pyarrow.ArrowException, OSError) as error:
        raise PromptError(f"expected a Parquet file, got: {' '.join(str(error).split())[:200]}") from error
    if "prompt" not in table.schema_arrow.names:
        raise PromptError(f"expected a column named prompt, got {', '.join(table.schema_arrow.names)}")
    return table


# --------------------------------------------------------------------------------------------------- records


def _task_of(index: int, record: Mapping[str, Any], samples: int) -> Task:
    """Read one record; keys without a value are taken as not given."""
    given = {key: value for key, value in record.items() if value is not None}
    prompt = given.get("prompt")
    if not isinstance(prompt, str):
        got = "none" if prompt is None else type(prompt).__name__
        raise PromptError(f"expected a prompt, which is text, got {got}")
    prompt = check_prompt(prompt)
    own = {name: given[name] for name in _OWN if name in given and name != "prompt"}
    try:
        fields = msgspec.convert(own, type=_Fields, strict=False)
    except msgspec.ValidationError as error:
        words, _, place = str(error).partition(" - at `$.")
        name = place.rstrip("`")
        raise PromptError(f"{name}: {words[0].lower()}{words[1:]}, got {str(own.get(name))[:80]!r}") from error
    settings = {
        name: value
        for name in ("candidates", "memory", "skill", "steps", "guidance", "negative_prompt")
        if (value := getattr(fields, name)) is not None
    }
    if fields.rounds is not None:
        settings["max_rounds"] = fields.rounds
    if fields.size is not None:
        settings["width_px"], settings["height_px"] = _size_of(fields.size)
    if fields.guidance is not None and not math.isfinite(fields.guidance):
        raise PromptError(f"guidance: expected a number, got {fields.guidance}")
    metadata = {key: value for key, value in given.items() if key not in _OWN}
    return Task(index, prompt, fields.seed, fields.samples or samples, settings, metadata, given)


def _size_of(text: str) -> tuple[int, int]:
    try:
        return parse_size(text)
    except UsageError as error:
        raise PromptError(f"size: {error}") from error
