"""The folder that a bulk fills, and what is there already when the same command runs again.

    images/000017.png   the picture of line 17, written whole or not at all
    metadata.jsonl      one row a picture, in the order in which they were finished; Hugging Face's imagefolder reads it
    failed.jsonl        one row a line that failed in the last run; it can be handed in again as a prompt file
    .mesh/              log and pictures of the bulk's own mesh; spent.jsonl, one row a picture: what it cost, by role

One process at a time. A row torn by a kill is dropped, and so is one whose picture is gone: that line is drawn again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import msgspec

from gems_actors.cli.output import (
    OutputError,
    check_writable,
    encode_json,
    parameters_of,
    png_of,
    rounds_of,
    story_of,
    write_whole,
)
from gems_actors.cli.progress import count_met, leading_attempt
from gems_actors.cli.prompts import BadLine, PromptLine
from gems_actors.locks import LockHeldError, hold_lock
from protocol.messages import Picture, Spent, add_costs

MESH_FOLDER = ".mesh"


class RowRequirement(msgspec.Struct, frozen=True, kw_only=True):
    """One requirement, and the verdict on the picture that was chosen."""

    id: str
    question: str
    kind: str
    answer: str | None


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of metadata.jsonl."""

    file_name: str
    index: int
    """Of the line in the prompt file, from 0."""
    prompt: str
    final_prompt: str
    seed: int
    digest: str
    skill: str | None
    rounds: int
    images: int
    met: int
    all_met: bool
    outcome: str
    decided_by: str
    requirements: tuple[RowRequirement, ...]
    met_by_round: tuple[int, ...]
    """Requirements that the best picture of each round meets."""
    metadata: dict[str, Any] | None = None
    """What else stood in the line; left out where there was nothing."""


class _SpentRow(msgspec.Struct, frozen=True, kw_only=True):
    """Apart from the picture's own row, which is the same whenever the picture is."""

    index: int
    spent: dict[str, Spent]


class BulkFolder:
    """A folder in our hands; made by `open_bulk_folder`."""

    def __init__(self, path: Path, take_row: Callable[[Row], None]) -> None:
        self.path = path
        self._done: dict[int, bytes] = {}
        self.spent: dict[str, Spent] = {}
        """By role, on all pictures that are there."""
        self._read_rows(path / "metadata.jsonl", take_row)
        self._read_spent(path / MESH_FOLDER / "spent.jsonl")
        self._metadata = _open_to_append(path / "metadata.jsonl", 0)
        self._failed = _open_to_append(path / "failed.jsonl", os.O_TRUNC)
        self._spent = _open_to_append(path / MESH_FOLDER / "spent.jsonl", 0)

    def state_of(self, line: PromptLine) -> Literal["new", "done", "other"]:
        """Return whether a line was drawn before, from the same words and seed or from others."""
        known = self._done.get(line.index)
        return "new" if known is None else "done" if known == _fingerprint(line.prompt, line.seed) else "other"

    def keep_picture(self, line: PromptLine, picture: Picture, data: bytes, model: str) -> Row:
        """Write a picture with its metadata, then its row; to be called from a thread.

        Raises:
            OutputError: it cannot be written.
        """
        row = row_of(line, picture)
        story = story_of(picture, seed=line.seed, model=model)
        texts = {"parameters": parameters_of(picture, model), "gems": encode_json(story)}
        write_whole(self.path / row.file_name, png_of(data, picture.best.image.media_type, texts))
        _append(self._spent, msgspec.json.encode(_SpentRow(index=line.index, spent=picture.spent)), self.path)
        _append(self._metadata, msgspec.json.encode(row), self.path)
        return row

    def keep_failure(self, line: PromptLine | BadLine, code: str, message: str) -> None:
        """Write why a line has no picture.

        Raises:
            OutputError: it cannot be written.
        """
        given: dict[str, Any]
        if isinstance(line, PromptLine):
            given = {"prompt": line.prompt, "seed": line.seed, **line.metadata}
        else:
            given = {"line": line.text}
        _append(
            self._failed,
            msgspec.json.encode({**given, "index": line.index, "error": code, "message": message}),
            self.path,
        )

    def close(self) -> None:
        """Close the files."""
        os.close(self._metadata)
        os.close(self._failed)
        os.close(self._spent)

    def _read_spent(self, path: Path) -> None:
        if not path.exists():
            return
        with path.open("rb") as file:
            for line in file:
                with suppress(msgspec.DecodeError):  # a row torn by a kill
                    row = msgspec.json.decode(line, type=_SpentRow)
                    if row.index in self._done:
                        add_costs(self.spent, row.spent)

    def _read_rows(self, path: Path, take_row: Callable[[Row], None]) -> None:
        if not path.exists():
            return
        dropped: set[int] = set()
        with path.open("rb") as file:
            for number, line in enumerate(file):
                try:
                    row = msgspec.json.decode(line, type=Row)
                except msgspec.DecodeError:
                    dropped.add(number)
                    continue
                if not line.endswith(b"\n") or row.index in self._done or not (self.path / row.file_name).is_file():
                    dropped.add(number)
                    continue
                self._done[row.index] = _fingerprint(row.prompt, row.seed)
                take_row(row)
            if dropped:
                file.seek(0)
                write_whole(path, b"".join(line for number, line in enumerate(file) if number not in dropped))


@contextmanager
def open_bulk_folder(path: Path, take_row: Callable[[Row], None]) -> Iterator[BulkFolder]:
    """Take a folder, made where it is missing, for this process alone.

    Args:
        path: of the folder.
        take_row: called with the row of each picture that is there already.

    Raises:
        OutputError: it cannot be written to, or another bulk writes to it.
    """
    check_writable(path)
    check_writable(path / "images")
    check_writable(path / MESH_FOLDER)
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(path / MESH_FOLDER / "bulk.lock"))
        except LockHeldError as error:
            raise OutputError(f"{path}: expected a folder that no other bulk writes to, came one {error}") from error
        folder = BulkFolder(path, take_row)
        stack.callback(folder.close)
        yield folder


def row_of(line: PromptLine, picture: Picture) -> Row:
    """Return the row of a picture."""
    best = picture.best
    answers = {verdict.requirement: verdict.answer for verdict in best.verdicts}
    rounds = rounds_of(picture)
    leading = [
        leading_attempt([attempt for attempt in picture.attempts if attempt.round == round_])
        for round_ in range(1, rounds + 1)
    ]
    return Row(
        file_name=f"images/{line.index:06d}.png",
        index=line.index,
        prompt=line.prompt,
        final_prompt=best.prompt,
        seed=line.seed,
        digest=best.image.digest,
        skill=picture.skill,
        rounds=rounds,
        images=len(picture.attempts),
        met=count_met(best),
        all_met=picture.all_met,
        outcome=picture.ending.outcome,
        decided_by=picture.ending.decided_by,
        requirements=tuple(
            RowRequirement(id=item.id, question=item.question, kind=item.kind, answer=answers.get(item.id))
            for item in picture.requirements
        ),
        met_by_round=tuple(count_met(attempt) for attempt in leading if attempt is not None),
        metadata=line.metadata or None,
    )


def _fingerprint(prompt: str, seed: int) -> bytes:
    return blake2b(f"{seed}\0{prompt}".encode(), digest_size=16).digest()


def _open_to_append(path: Path, flags: int) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | flags, 0o644)
    except OSError as error:
        raise OutputError(f"{path}: expected a file to write to, came: {error.strerror}") from error


def _append(file: int, line: bytes, folder: Path) -> None:
    """Append a whole line in one call, so that lines of several threads never mix."""
    data = line + b"\n"
    try:
        written = os.write(file, data)
    except OSError as error:
        raise OutputError(f"{folder}: expected to append {len(data)} bytes, came: {error.strerror}") from error
    if written != len(data):
        raise OutputError(f"{folder}: expected to append {len(data)} bytes, came {written}: the disk is full")
