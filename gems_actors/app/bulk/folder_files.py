"""What the files of a bulk's folder say of failures, of costs and of the progress of its run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from gems_actors.app.bulk.finished.ledger import IdTable, TaskRef, number_of
from gems_actors.app.bulk.images.plan import Plan, read_plan
from gems_actors.app.bulk.rows import Row, lines_of, rows_of
from gems_actors.app.bulk.totals import FailureClass, add_failure
from gems_actors.app.picture_files import OutputError, write_whole
from gems_actors.files import os_reason
from gems_actors.locks import LockHeldError, hold_lock
from protocol.costs import add_costs
from protocol.messages import Spent

MESH_FOLDER: Final = ".mesh"


class FailedRow(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a line of failed.jsonl that are read again."""

    index: int
    sample: int = 0
    task: str = ""
    class_: str = msgspec.field(name="class", default="")
    reason: str = ""

    @property
    def ref(self) -> TaskRef:
        """What the task is known by: its id, or its index without one."""
        return self.task or self.index


class SpentRow(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of a picture. Not part of its row, which is the same whenever the picture is the same."""

    index: int
    sample: int = 0
    task: str = ""
    key: str = "0"
    """Key of the picture, and another one each time that it is continued."""
    spent: dict[str, Spent]
    calls_by_image: tuple[int, ...] = ()
    """Calls of chat models until the verdicts on each image; none in folders of earlier versions."""

    @property
    def ref(self) -> TaskRef:
        """What the task is known by: its id, or its index without one."""
        return self.task or self.index


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """What one process drew, from its start to its end."""

    pictures: int
    seconds: float


def run_of(path: Path) -> str:
    """Return the name of a folder's run in memory."""
    return f"bulk-{blake2b(str(path.absolute()).encode(errors='replace'), digest_size=8).hexdigest()}"


def failed_tasks(path: Path, class_: str | None) -> set[tuple[TaskRef, int]]:
    """Return the failed tasks of a folder with their sample, optionally only those of one class.

    Each is given by its id, and by its index as well: a record that was corrected since has another id.
    """
    rows = [
        row for row in lines_of(path / "failed.jsonl", FailedRow) if row is not None and class_ in (None, row.class_)
    ]
    return {(ref, row.sample) for row in rows for ref in (row.ref, row.index)}


def settle_failures(path: Path, done: AbstractSet[tuple[TaskRef, int]]) -> None:
    """Remove tasks that are done from failed.jsonl, and all but the latest row of tasks that failed again.

    Raises:
        OutputError: the file cannot be written.
    """
    file = path / "failed.jsonl"
    kept: dict[tuple[TaskRef, int], bytes] = {}
    with file.open("rb") as lines:
        for line in lines:
            with suppress(msgspec.DecodeError, RecursionError):
                row = msgspec.json.decode(line, type=FailedRow)
                kept.pop((row.ref, row.sample), None)
                if done.isdisjoint(((row.ref, row.sample), (row.index, row.sample))):
                    kept[row.ref, row.sample] = line
    write_whole(file, b"".join(kept.values()), is_only_writer=True)


class FolderState(msgspec.Struct, frozen=True, kw_only=True):
    """The progress of a folder's run."""

    running: str | None
    """The other process that fills the folder, such as `process 17`; None without one."""
    failures: dict[str, FailureClass]
    """Failed tasks by class."""
    spent: dict[str, Spent]
    """Cost by role."""
    priced: int = 0
    """Number of pictures in `spent`."""
    timed_pictures: int = 0
    """Pictures drawn by processes that ran to their end, in `timed_s` seconds."""
    timed_s: float = 0.0
    plan: Plan = Plan()
    """Plan of a run with a budget of images."""


def inspect_folder(path: Path, take_row: Callable[[Row], None]) -> FolderState:
    """Return the progress of a folder's run, which may be running; `take_row` gets the row of each picture.

    Raises:
        OutputError: the folder cannot be read.
    """
    running = None
    try:
        with hold_lock(path / MESH_FOLDER / "bulk.lock"):
            pass
    except LockHeldError as error:
        running = None if error.holder == str(os.getpid()) else f"process {error.holder}"
    except OSError as error:
        raise OutputError(f"{path}: expected a readable folder, got: {os_reason(error)}") from error
    for row in rows_of(path):
        take_row(row)
    failures: dict[str, FailureClass] = {}
    for failed in lines_of(path / "failed.jsonl", FailedRow):
        if failed is not None:
            add_failure(failures, failed.class_, failed.reason)
    spent: dict[str, Spent] = {}
    priced = 0
    for cost in costs_of_pictures(path):
        add_costs(spent, cost.spent)
        priced += 1
    sessions = [item for item in lines_of(path / MESH_FOLDER / "sessions.jsonl", Session) if item is not None]
    return FolderState(
        running=running,
        failures=failures,
        spent=spent,
        priced=priced,
        timed_pictures=sum(item.pictures for item in sessions),
        timed_s=sum(item.seconds for item in sessions),
        plan=read_plan(path / MESH_FOLDER),
    )


def costs_of_pictures(path: Path) -> Iterator[SpentRow]:
    """Yield the cost of each picture once; it is written twice where a kill came before the picture's row."""
    given = IdTable()
    for row in lines_of(path / MESH_FOLDER / "spent.jsonl", SpentRow):
        if row is not None and given.add_new(number_of(row.ref, row.sample) ^ int(row.key, 16)):
            yield row
