"""The file eval.json: which benchmark a folder holds, and the prompts, settings and version that it was drawn with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from gems_actors import __version__
from gems_actors.app.bulk.rows import Row, rows_of
from gems_actors.app.bulk.run_spec import RunSpec, read_run
from gems_actors.app.evaluation.prompt_files import Prompt
from gems_actors.app.picture_files import OutputError, text_of_path, write_whole
from gems_actors.files import reason_of

_NAME: Final = "eval.json"
_HINT: Final = "choose another --out"


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder of `gems eval` holds."""

    benchmark: str
    data: str
    """Path of the official prompt file, or of the folder of its files."""
    data_sha256: str
    """Digest of the prompt file, as `PromptSet.sha256`."""
    prompts: int
    """Prompts of the whole benchmark."""
    version: str = __version__
    """Version of gems-actors that last drew."""


def read_description(folder: Path) -> Description | None:
    """Return the description of a folder; None for a folder without one, such as that of an earlier version.

    Raises:
        OutputError: the file cannot be read.
    """
    try:
        return msgspec.json.decode((folder / _NAME).read_bytes(), type=Description)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise OutputError(
            f"{folder / _NAME}: expected the description of an evaluation, got: {reason_of(error)}"
        ) from error


def write_description(folder: Path, description: Description) -> None:
    """Write the description of a folder.

    Raises:
        OutputError: the file cannot be written.
    """
    write_whole(folder / _NAME, msgspec.json.format(msgspec.json.encode(description), indent=2) + b"\n")


def prompt_id_of(row: Row) -> object:
    """Return the id of the prompt of a row, from the other fields of its record; None for a record without one."""
    metadata = row.metadata
    if isinstance(metadata, str):
        metadata = msgspec.json.decode(metadata, type=dict[str, Any])
    return (metadata or {}).get("id")


def check_folder(folder: Path, benchmark: str, prompts: Sequence[Prompt], tasks: bytes, spec: RunSpec) -> None:
    """Check that a folder is new, or holds pictures of the same benchmark and prompts.

    Whether they were drawn in another way, such as with another seed, is for the bulk to find.

    `tasks` is the content of prompts.jsonl, from which the pictures are drawn.

    Raises:
        OutputError: the folder holds something else; nothing in it was changed.
    """
    described, earlier, file = read_description(folder), read_run(folder), folder / "prompts.jsonl"
    if earlier is None and described is None:
        if file.exists() and file.read_bytes() != tasks:
            raise OutputError(f"{text_of_path(folder)}: expected a new folder, got one with another prompts.jsonl")
        return
    if earlier is not None and earlier.source != spec.source:
        raise OutputError(f"{text_of_path(folder)}: expected a new folder, got the output of {earlier.source}; {_HINT}")
    if next(rows_of(folder), None) is None:
        return  # nothing is drawn yet, so nothing can be mixed
    if described is not None and described.benchmark != benchmark:
        got = f"expected pictures of {benchmark}, got those of {described.benchmark}; {_HINT}"
        raise OutputError(f"{text_of_path(folder)}: {got}")
    if (known := file.read_bytes() if file.exists() else b"") != tasks:
        raise OutputError(f"{text_of_path(folder)}: {_difference(known, tasks, prompts)}; {_HINT}")


def _difference(known: bytes, tasks: bytes, prompts: Sequence[Prompt]) -> str:
    """Return how the prompts of a folder differ from others."""
    before, after = known.splitlines(), tasks.splitlines()
    equal = 0
    while equal < min(len(before), len(after)) and before[equal] == after[equal]:
        equal += 1
    where = f", first at prompt {prompts[equal].id}" if equal < len(prompts) else ""
    return f"expected the {len(before)} prompts that its pictures were drawn from, got {len(after)} others{where}"
