"""Exports records as JSON Lines or as a Parquet table, record by record."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any

import msgspec

from actors.memory_store.maintenance import export_records
from actors.memory_store.sharding import shard_of_folder
from gems_actors.app.picture_files import OutputError, encode_json
from gems_actors.errors import ConfigError
from gems_actors.files import os_reason
from protocol import messages as m
from protocol.messages import LoggedRecord

_ROWS_AT_ONCE = 10_000


def read_records(folders: Sequence[Path], run: str | None, report: Callable[[str], None]) -> Iterator[LoggedRecord]:
    """Yield all records of the shards in `folders`, or only those of one run, including archived ones.

    `report` gets one line for each damaged part of a log.
    """
    for folder in folders:
        for found in export_records(folder, run=run):
            if isinstance(found, LoggedRecord):
                yield msgspec.structs.replace(found, shard=shard_of_folder(folder))
            else:
                report(str(found))


def write_jsonl(records: Iterable[LoggedRecord], target: Path | IO[bytes]) -> int:
    """Write one JSON object per record and return the number of records; a file at a path appears only when complete.

    Raises:
        OutputError: the file cannot be written.
    """
    if not isinstance(target, Path):
        return _write_lines(records, target)
    with _written_whole(target) as part, part.open("xb") as file:
        return _write_lines(records, file)


def write_parquet(records: Iterable[LoggedRecord], path: Path) -> int:
    """Write a table with one row per record and return the number of records; the file appears only when complete.

    Raises:
        ConfigError: pyarrow is not installed.
        OutputError: the file cannot be written.
    """
    try:
        import pyarrow  # an optional extra that takes a second to import
        from pyarrow import parquet
    except ImportError as error:
        hint = "pip install 'gems-actors[parquet]'"
        raise ConfigError(f"--format: expected pyarrow for parquet, got none: {hint}") from error
    long, short, text = pyarrow.int64(), pyarrow.int32(), pyarrow.string()
    fields = {
        "shard": short, "sequence": long, "at": pyarrow.timestamp("us", tz="UTC"), "type": text,
        "run": text, "line": long, "sample": long, "trajectory": text, "round": short, "candidate": short,
        "prompt": text, "image": text, "seed": long, "met": short, "unmet": short, "unsure": short,
        "outcome": text, "references": pyarrow.list_(text), "edited_round": short, "body": text,
    }  # fmt: skip
    schema = pyarrow.schema(fields.items())
    count = 0
    with _written_whole(path) as part, parquet.ParquetWriter(part, schema, compression="zstd") as writer:
        rows = rows_of(records)
        while batch := list(islice(rows, _ROWS_AT_ONCE)):
            count += len(batch)
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
    return count


def rows_of(records: Iterable[LoggedRecord]) -> Iterator[dict[str, Any]]:
    """Yield records as rows of a table; each row of a trajectory has the run, line and sample of its first record."""
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
        if isinstance(record, m.TrajectoryBegun | m.TrajectoryReopened):
            task = record.task
            tasks[record.trajectory] = {"run": task.run, "line": task.line, "sample": task.sample}
            row |= {"prompt": task.prompt, "seed": task.seed, "references": _digests(task.references)}
        if isinstance(record, m.TrajectoryRecord):
            row |= {"trajectory": record.trajectory, **tasks.get(record.trajectory, {})}
        match record:
            case m.RunBegun(run=run):
                row["run"] = run
            case m.PromptPlanned(prompt=prompt):
                row |= {"round": 1, "prompt": prompt}
            case m.PromptPrepared(prompt=prompt):
                row["prompt"] = prompt
            case m.PromptRefined(refinement=refinement):
                row |= {"round": refinement.round, "prompt": refinement.prompt, "action": refinement.action}
            case m.AttemptVerified(attempt=attempt):
                row |= {"prompt": attempt.prompt, "image": attempt.image.digest, "seed": attempt.seed}
                row |= {"references": _digests(attempt.references), **_verdict_cells(attempt)}
                row["edited_round"] = attempt.edited.round if attempt.edited else None
            case m.VerdictsReviewed(review=review):
                row |= _verdict_cells(review)
            case m.TrajectoryEnded(ending=ending):
                row["outcome"] = ending.outcome
                tasks.pop(record.trajectory, None)  # there may be millions of them
        yield row


def _digests(images: m.References) -> list[str]:
    return [image.digest for image in images]


def _verdict_cells(judged: m.Attempt | m.Review) -> dict[str, Any]:
    answers = [verdict.answer for verdict in judged.verdicts]
    counts = {answer: answers.count(answer) for answer in ("met", "unmet", "unsure")}
    return {"round": judged.round, "candidate": judged.candidate, **counts}


@contextmanager
def _written_whole(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file that is renamed to `path` when the block succeeds, and removed otherwise.

    Raises:
        OutputError: the file cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: expected a file to write to, got: {os_reason(error)}") from error
    finally:
        part.unlink(missing_ok=True)


def _write_lines(records: Iterable[LoggedRecord], file: IO[bytes]) -> int:
    count = 0
    for logged in records:
        moment = datetime.fromtimestamp(logged.at, UTC).isoformat(timespec="milliseconds")
        tree = {"shard": logged.shard, "sequence": logged.sequence, "at": moment, **msgspec.to_builtins(logged.record)}
        file.write(encode_json(tree).encode() + b"\n")
        count += 1
    file.flush()
    return count
