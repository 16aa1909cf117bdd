"""Records as JSON Lines or as a Parquet table, written as they come."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any

import msgspec

from gems_actors.app.picture_files import OutputError
from gems_actors.errors import ConfigError
from protocol.messages import (
    AttemptVerified,
    LoggedRecord,
    PromptPlanned,
    PromptRefined,
    RunBegun,
    TrajectoryBegun,
    TrajectoryEnded,
    TrajectoryRecord,
)

_ROWS_AT_ONCE = 10_000


def write_jsonl(records: Iterable[LoggedRecord], path: Path | None) -> int:
    """Write a JSON object a record, to a file that is there whole or not at all or to standard output; return how many.

    Raises:
        OutputError: it cannot be written.
    """
    if path is None:
        return _write_lines(records, sys.stdout.buffer)
    with _whole(path) as part, part.open("xb") as file:
        return _write_lines(records, file)


def write_parquet(records: Iterable[LoggedRecord], path: Path) -> int:
    """Write a row a record into a table that is there whole or not at all; return how many.

    Raises:
        ConfigError: the library for it is not installed.
        OutputError: it cannot be written.
    """
    try:
        import pyarrow  # an extra, which few need and which takes a second to import
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError(
            "--format: expected pyarrow for parquet, got none: pip install 'gems-actors[parquet]'"
        ) from error
    whole, small = pyarrow.int64(), pyarrow.int32()
    text = pyarrow.string()
    fields = {
        "shard": small,
        "sequence": whole,
        "at": pyarrow.timestamp("us", tz="UTC"),
        "type": text,
        "run": text,
        "line": whole,
        "sample": whole,
        "trajectory": text,
        "round": small,
        "candidate": small,
        "prompt": text,
        "image": text,
        "seed": whole,
        "met": small,
        "unmet": small,
        "unsure": small,
        "outcome": text,
        "body": text,
    }
    schema = pyarrow.schema(fields.items())
    count = 0
    with _whole(path) as part, parquet.ParquetWriter(part, schema, compression="zstd") as writer:
        rows = rows_of(records)
        while batch := list(islice(rows, _ROWS_AT_ONCE)):
            count += len(batch)
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
    return count


def rows_of(records: Iterable[LoggedRecord]) -> Iterator[dict[str, Any]]:
    """Yield records as rows of a table; of a trajectory's each has the run, line and sample that it began with."""
    tasks: dict[str, dict[str, Any]] = {}
    for logged in records:
        record = logged.record
        row: dict[str, Any] = {
            "shard": logged.shard,
            "sequence": logged.sequence,
            "at": datetime.fromtimestamp(logged.at, UTC),
            "type": type(record).__name__,
            "body": msgspec.json.encode(record).decode(),
        }
        if isinstance(record, TrajectoryBegun):
            task = record.task
            tasks[record.trajectory] = {"run": task.run, "line": task.line, "sample": task.sample}
            row |= {"prompt": task.prompt, "seed": task.seed}
        if isinstance(record, TrajectoryRecord):
            row |= {"trajectory": record.trajectory, **tasks.get(record.trajectory, {})}
        match record:
            case RunBegun(run=run):
                row["run"] = run
            case PromptPlanned(prompt=prompt):
                row |= {"round": 1, "prompt": prompt}
            case PromptRefined(refinement=refinement):
                row |= {"round": refinement.round, "prompt": refinement.prompt}
            case AttemptVerified(attempt=attempt):
                row |= {"round": attempt.round, "candidate": attempt.candidate, "prompt": attempt.prompt}
                row |= {"image": attempt.image.digest, "seed": attempt.seed}
                answers = [verdict.answer for verdict in attempt.verdicts]
                row |= {answer: answers.count(answer) for answer in ("met", "unmet", "unsure")}
            case TrajectoryEnded(ending=ending):
                row["outcome"] = ending.outcome
                tasks.pop(record.trajectory, None)  # nothing follows as a rule, and there may be millions
        yield row


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Give the path of a file that takes a name in the end, whole, or vanishes.

    Raises:
        OutputError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: expected a file to write to, got: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _write_lines(records: Iterable[LoggedRecord], file: IO[bytes]) -> int:
    count = 0
    for logged in records:
        moment = datetime.fromtimestamp(logged.at, UTC).isoformat(timespec="milliseconds")
        tree = {"shard": logged.shard, "sequence": logged.sequence, "at": moment, **msgspec.to_builtins(logged.record)}
        file.write(msgspec.json.encode(tree) + b"\n")
        count += 1
    file.flush()
    return count
