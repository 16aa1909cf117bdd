"""A folder says how its run ended."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gems_actors.app.bulk.ending import RunEnding, forget_ending, keep_ending, read_ending
from tests.gems_actors.app.bulk.test_folder import RUN

ENDING = RunEnding(finished=3, total=5, is_complete=False, why="interrupted: 3 of 5 done")


def test_an_ending_is_kept_until_the_next_process_begins(tmp_path: Path) -> None:
    (tmp_path / ".mesh").mkdir()
    keep_ending(tmp_path, ENDING)
    assert read_ending(tmp_path, RUN, 4) == ENDING
    forget_ending(tmp_path)
    assert read_ending(tmp_path, RUN, 4).why == ""


@pytest.mark.parametrize(("finished", "is_complete"), [(3, False), (4, True), (5, True)])
def test_without_one_the_tasks_of_the_input_are_counted(tmp_path: Path, finished: int, is_complete: bool) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("a cat\n\na dog\n")
    spec = msgspec.structs.replace(RUN, source=str(file), samples=2)
    ending = read_ending(tmp_path, spec, finished)
    assert ending == RunEnding(finished=finished, total=4, is_complete=is_complete)


def test_without_the_input_the_total_is_unknown(tmp_path: Path) -> None:
    spec = msgspec.structs.replace(RUN, source=str(tmp_path / "gone.txt"))
    assert read_ending(tmp_path, spec, 3) == RunEnding(finished=3, total=None, is_complete=False)
