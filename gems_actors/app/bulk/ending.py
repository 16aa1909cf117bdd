"""How a bulk ended, as its folder remembers it until the next one begins: whether anything is left for it to do."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from gems_actors.app.bulk.folder_files import MESH_FOLDER
from gems_actors.app.bulk.reading.readers import count_records, open_source
from gems_actors.app.bulk.run_spec import RunSpec
from gems_actors.app.picture_files import write_whole
from gems_actors.app.prompts import PromptError
from gems_actors.errors import UsageError


class RunEnding(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a process that filled a folder."""

    finished: int
    """Tasks with an outcome."""
    total: int | None
    """Tasks of the run, or None if that is unknown."""
    is_complete: bool
    """Whether every task of the input has an outcome."""
    why: str = ""
    """Why it ended early, how far it is and what continues it."""


def how_far(finished: int, total: int | None) -> str:
    """Return in words how far a run is that ended early."""
    if total is None:
        return f"{finished} done"
    if finished < total:
        return f"{finished} of {total} done, {total - finished} left"
    return f"{total} of {total} exist, but not all were checked"


def forget_ending(folder: Path) -> None:
    """Forget how the last process ended, because another one begins."""
    (folder / MESH_FOLDER / "ended.json").unlink(missing_ok=True)


def keep_ending(folder: Path, ending: RunEnding) -> None:
    """Remember how this process ended.

    Raises:
        OutputError: the file cannot be written.
    """
    write_whole(folder / MESH_FOLDER / "ended.json", msgspec.json.encode(ending) + b"\n", is_only_writer=True)


def read_ending(folder: Path, spec: RunSpec, finished: int) -> RunEnding:
    """Return how the last process of a folder ended.

    One that was killed, and one of an earlier version, left nothing; then the tasks of the input are counted.

    Args:
        folder: output of a run that is not running now.
        spec: specification of the run.
        finished: tasks with an outcome.
    """
    with suppress(OSError, msgspec.DecodeError, RecursionError):
        return msgspec.json.decode((folder / MESH_FOLDER / "ended.json").read_bytes(), type=RunEnding)
    records = None
    with ExitStack() as stack, suppress(PromptError, UsageError):
        records = count_records(*open_source(stack, Path(spec.source)), spec.record_options)
    total = None if records is None else records * spec.samples
    return RunEnding(finished=finished, total=total, is_complete=total is not None and finished >= total)
