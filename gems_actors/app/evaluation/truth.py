"""True verdicts on the pictures of a run whose verifier made simulated errors, read from the pictures without them.

The loop never sees them: they are computed after it, from the files of the dataset, and kept in the folder of its mesh
so that they are computed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from gems_actors.app.bulk.folder_files import MESH_FOLDER
from gems_actors.app.bulk.recipe import SIMULATED_ERRORS
from gems_actors.app.bulk.rows import Row, lines_of, rows_of
from gems_actors.errors import BackendError, UsageError
from gems_actors.files import reason_of

_FILE: Final = "truth.jsonl"


class TrueVerdicts(msgspec.Struct, frozen=True, kw_only=True):
    """The requirements that the picture of one row meets; a line of the file."""

    digest: str
    """Digest of the picture."""
    met: dict[str, bool]
    """Whether it meets each requirement, by question."""


def has_simulated_errors(row: Row) -> bool:
    """Return whether the verifier of a picture made simulated errors, so that it may have missed the truth."""
    return any(SIMULATED_ERRORS in model for model in row.models.values())


def believed_and_true(folder: Path) -> str:
    """Return in words what the verifier of a run believed and what is true; empty if it made no simulated errors.

    Raises:
        UsageError: a picture cannot be read, or is not a storyboard.
    """
    total = believed = truly = pictures = believed_all = truly_all = 0
    for row, met in true_counts(folder, filter(has_simulated_errors, rows_of(folder))):
        count = len(row.requirements)
        total, believed, truly, pictures = total + count, believed + row.met, truly + met, pictures + 1
        believed_all, truly_all = believed_all + row.all_met, truly_all + (met == count > 0)
    if not total:
        return ""
    shares = [f"{100 * part / whole:.1f} %" for part, whole in (
        (believed, total), (truly, total), (believed_all, pictures), (truly_all, pictures),
    )]  # fmt: skip
    return (
        f"simulated errors: {shares[0]} of requirements met by the verifier's account, {shares[1]} in truth; "
        f"all met {shares[2]}, in truth {shares[3]}"
    )


def true_counts(folder: Path, rows: Iterable[Row]) -> Iterator[tuple[Row, int]]:
    """Yield each row with the number of requirements that its picture truly meets.

    Raises:
        UsageError: a picture cannot be read, or is not a storyboard.
    """
    path = folder / MESH_FOLDER / _FILE
    known = {line.digest: line for line in lines_of(path, TrueVerdicts) if line is not None}
    for row in rows:
        questions = [requirement.question for requirement in row.requirements]
        verdicts = known.get(row.digest)
        if verdicts is None or not verdicts.met.keys() >= set(questions):
            verdicts = known[row.digest] = TrueVerdicts(digest=row.digest, met=_read(folder, row, questions))
            with suppress(OSError), path.open("ab") as file:  # it only saves time
                file.write(msgspec.json.encode(verdicts) + b"\n")
        yield row, sum(verdicts.met[question] for question in questions)


def _read(folder: Path, row: Row, questions: Sequence[str]) -> dict[str, bool]:
    from gems_actors.backends.storyboard.models import judge_question  # loads the fonts, which other runs do not need
    from gems_actors.backends.storyboard.reading import look

    path = folder / "dataset" / row.file_name
    try:
        seen = look(path.read_bytes())
    except (OSError, BackendError) as error:
        raise UsageError(f"DIR: {path}: expected a picture, got: {reason_of(error)}") from error
    if seen is None:
        raise UsageError(f"DIR: {path}: expected a storyboard, which simulated errors are for, got another picture")
    return {question: judge_question(question, seen)[0].startswith("yes") for question in questions}
