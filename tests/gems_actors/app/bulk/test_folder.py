"""The folder of a bulk, also after a kill."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from gems_actors.app.bulk.folder import BulkFolder, open_bulk_folder
from gems_actors.app.bulk.folder_files import failed_tasks, inspect_folder, settle_failures
from gems_actors.app.bulk.rows import DrawnTask, Row, all_rows_of, key_of, rows_of, sort_rows
from gems_actors.app.bulk.run_spec import RunSpec, read_run
from gems_actors.app.bulk.tasks import BadTask, Task
from gems_actors.app.picture_files import OutputError, PictureError
from protocol.messages import DrawSettings, Picture, Spent
from tests.gems_actors.cli.stories import FIRST_PROMPT, PICTURE, PROMPT, SECOND_PROMPT

TASKS = [Task(index, f"{PROMPT} {index}") for index in range(3)]
SPEC = partial(RunSpec, seed=0, samples=1, strategy="gems", settings={}, config_file=None, overrides=())
RUN = SPEC(source="/prompts.txt")
ALL = SPEC(source="/prompts.txt", pictures="webp", attempts=True)
MODELS = {"image": "storyboard", "chat": "storyboard"}


def png(color: tuple[int, int, int] = (0, 0, 0)) -> bytes:
    """Return a small picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(buffer, "PNG")
    return buffer.getvalue()


def key(task: Task, seed: int = 0, max_rounds: int = 5) -> str:
    return key_of(task.prompt, seed, DrawSettings(max_rounds=max_rounds), MODELS, "skills")


def keep(
    folder: BulkFolder,
    task: Task,
    sample: int = 0,
    seed: int = 0,
    picture: Picture = PICTURE,
    color: tuple[int, int, int] = (0, 0, 0),
) -> Row:
    drawn = DrawnTask(task, sample, key(task, seed), picture, MODELS, seed)
    (kept,) = folder.keep_pictures([drawn], lambda ref: png(color))
    if isinstance(kept, Exception):
        raise kept
    return kept


def fill(path: Path, picture: Picture = PICTURE) -> None:
    """Write the pictures of all tasks."""
    with open_bulk_folder(path, RUN, lambda row: None) as folder:
        for task in TASKS:
            keep(folder, task, picture=picture)


def read_again(path: Path) -> tuple[list[str], list[Row]]:
    """Return the state of each task in a second run, and the rows that it found."""
    rows: list[Row] = []
    with open_bulk_folder(path, RUN, rows.append) as folder:
        return [folder.ledger.state_of(task.index, 0, key(task)) for task in TASKS], rows


def test_done_tasks_are_known_to_the_next_run(tmp_path: Path) -> None:
    fill(tmp_path)
    states, rows = read_again(tmp_path)
    assert states == ["done", "done", "done"]
    assert [row.index for row in rows] == [0, 1, 2]


def test_a_torn_row_is_dropped_and_its_task_drawn_again(tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / "dataset/metadata.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    states, _ = read_again(tmp_path)
    assert states == ["done", "done", "new"]
    assert len(path.read_text().splitlines()) == 2


def test_the_cost_of_a_picture_counts_once_even_after_a_kill_before_its_row(tmp_path: Path) -> None:
    costly = msgspec.structs.replace(PICTURE, spent={"verifier": Spent(calls=2)})
    fill(tmp_path, costly)
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        assert folder.spent["verifier"].calls == 6
    metadata = tmp_path / "dataset/metadata.jsonl"
    metadata.write_bytes(b"".join(metadata.read_bytes().splitlines(keepends=True)[:2]))
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        keep(folder, TASKS[2], picture=costly)
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        assert folder.spent["verifier"].calls == 6
    assert inspect_folder(tmp_path, lambda row: None).priced == 3


def test_the_first_line_after_a_torn_one_is_complete(tmp_path: Path) -> None:
    fill(tmp_path)
    spent = tmp_path / ".mesh/spent.jsonl"
    spent.write_bytes(spent.read_bytes()[:-40])
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        keep(folder, Task(3, PROMPT))
    assert inspect_folder(tmp_path, lambda row: None).priced == 3


@pytest.mark.parametrize("run", [RUN, ALL], ids=["pictures", "attempts"])
@pytest.mark.parametrize("killed_at", range(1, 14))
def test_a_kill_while_a_picture_is_drawn_again_leaves_no_row_with_the_picture_of_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: RunSpec, killed_at: int
) -> None:
    with open_bulk_folder(tmp_path, run, lambda row: None) as folder:
        keep(folder, TASKS[0])
    before = {path.name: path.read_bytes() for path in (tmp_path / "dataset/images").rglob("[!.]*.*")}
    calls = count(1)

    def or_die(system_call: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            if next(calls) == killed_at:
                raise KeyboardInterrupt
            return system_call(*args, **named)

        return call

    with (
        open_bulk_folder(tmp_path, run, lambda row: None) as folder,
        monkeypatch.context() as patched,
        suppress(KeyboardInterrupt),
    ):
        for name in ("write", "fsync", "replace", "unlink"):
            patched.setattr(os, name, or_die(getattr(os, name)))
        keep(folder, TASKS[0], seed=5, color=(1, 2, 3))
    with open_bulk_folder(tmp_path, run, lambda row: None) as folder:
        after = {path.name: path.read_bytes() for path in (tmp_path / "dataset/images").rglob("[!.]*.*")}
        for row in all_rows_of(tmp_path):
            name = Path(row.file_name).name
            assert (row.seed == 5) == (after[name] != before[name])


def test_of_pictures_that_are_kept_together_one_that_cannot_be_decoded_is_alone_in_failing(tmp_path: Path) -> None:
    drawn = [DrawnTask(task, 0, key(task), PICTURE, MODELS, 0) for task in TASKS]
    images = iter([png(), b"no picture", *(png() for _ in TASKS)])
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        kept = folder.keep_pictures(drawn, lambda ref: next(images))
    assert [isinstance(each, Row) for each in kept] == [True, False, *(True for _ in TASKS[2:])]
    assert isinstance(kept[1], PictureError)
    assert [row.index for row in rows_of(tmp_path)] == [task.index for task in TASKS if task is not TASKS[1]]
    assert inspect_folder(tmp_path, lambda row: None).priced == len(TASKS) - 1
    assert not [*(tmp_path / "dataset").rglob(".*.part")]


def test_of_pictures_that_are_kept_together_one_whose_folder_cannot_be_made_is_alone_in_failing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [replace(task, id=name) for task, name in zip(TASKS, ("a" * 32, "b" * 32, "c" * 32), strict=True)]
    make = Path.mkdir

    def make_or_fail(path: Path, *arguments: Any, **options: Any) -> None:
        if path.name == "bb":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        make(path, *arguments, **options)

    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        monkeypatch.setattr(Path, "mkdir", make_or_fail)
        drawn = [DrawnTask(task, 0, key(task), PICTURE, MODELS, 0) for task in tasks]
        kept = folder.keep_pictures(drawn, lambda ref: png())
    assert [isinstance(each, Row) for each in kept] == [True, False, True]
    assert isinstance(kept[1], OutputError)
    assert kept[1].is_of_disk
    assert [row.index for row in rows_of(tmp_path)] == [0, 2]


def test_a_row_without_its_picture_is_dropped(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "dataset/images/00000/00000001.png").unlink()
    states, _ = read_again(tmp_path)
    assert states == ["done", "new", "done"]


def test_failures_contain_their_record_and_are_those_of_the_last_run(tmp_path: Path) -> None:
    def fail(folder: BulkFolder) -> None:
        record = {"prompt": "a dog", "seed": 9, "tag": "x"}
        folder.keep_failure(Task(4, "a dog", 9, metadata={"tag": "x"}, record=record), 1, "backend", "no GPU")
        folder.keep_failure(BadTask(5, "line 6", "{", "expected JSON"), 0, "input", "expected JSON")

    for _ in range(2):
        with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
            fail(folder)
    first = {"prompt": "a dog", "seed": 9, "tag": "x", "index": 4, "sample": 1, "class": "backend", "reason": "no GPU"}
    first["where"] = "record 5"
    second = {"line": "{", "index": 5, "where": "line 6", "class": "input", "reason": "expected JSON"}
    assert [json.loads(line) for line in (tmp_path / "failed.jsonl").read_text().splitlines()] == [first, second]
    assert failed_tasks(tmp_path, None) == {(4, 1), (5, 0)}
    assert failed_tasks(tmp_path, "backend") == {(4, 1)}
    with open_bulk_folder(tmp_path, RUN, lambda row: None, keeps_failures=True) as folder:
        fail(folder)
    settle_failures(tmp_path, {(4, 1)})
    assert [json.loads(line) for line in (tmp_path / "failed.jsonl").read_text().splitlines()] == [second]


def test_every_attempt_has_a_row_with_its_prompt_and_verdicts_that_of_the_picture_last(tmp_path: Path) -> None:
    with open_bulk_folder(tmp_path, ALL, lambda row: None) as folder:
        keep(folder, TASKS[1], sample=2)
    other, picture = map(json.loads, (tmp_path / "dataset/metadata.jsonl").read_text().splitlines())
    assert (other["file_name"], picture["file_name"]) == (
        "images/00000/00000001-2-r1c1.webp",
        "images/00000/00000001-2.webp",
    )
    for row in (other, picture):
        with Image.open(tmp_path / "dataset" / row["file_name"]) as found:
            assert found.format == "WEBP"
    assert other.keys() == picture.keys()
    assert [(row["round"], row["candidate"], row["chosen"], row["met"]) for row in (other, picture)] == [
        (1, 1, False, 1),
        (2, 1, True, 2),
    ]
    assert [item["answer"] for item in other["requirements"]] == ["met", "unmet", "unsure"]
    assert [row["final_prompt"] for row in (other, picture)] == [FIRST_PROMPT, SECOND_PROMPT]
    assert [row.file_name for row in rows_of(tmp_path)] == [picture["file_name"]], "one picture per task"


@pytest.mark.parametrize("lost", ["the end of a row", "the row of the picture", "the file of an attempt"])
def test_a_task_that_lost_a_row_or_an_attempt_is_drawn_again(tmp_path: Path, lost: str) -> None:
    with open_bulk_folder(tmp_path, ALL, lambda row: None) as folder:
        for task in TASKS:
            keep(folder, task)
    path = tmp_path / "dataset/metadata.jsonl"
    if lost == "the file of an attempt":
        (tmp_path / "dataset/images/00000/00000002-r1c1.webp").unlink()
    else:
        kept = path.read_bytes().removesuffix(b"\n").rpartition(b"\n")
        path.write_bytes(kept[0] + kept[1] + (kept[2][:40] if lost == "the end of a row" else b""))
    rows: list[Row] = []
    with open_bulk_folder(tmp_path, ALL, rows.append) as folder:
        assert [folder.ledger.state_of(task.index, 0, key(task)) for task in TASKS] == ["done", "done", "new"]
        keep(folder, TASKS[2])
        keep(folder, TASKS[0])
        sort_rows(folder.metadata_path, folder.ledger)
    assert [row.index for row in rows] == [0, 1]
    assert [(row.index, row.chosen) for row in all_rows_of(tmp_path)] == [
        (index, chosen) for index in range(3) for chosen in (False, True)
    ]


def test_attempts_of_an_earlier_drawing_are_removed(tmp_path: Path) -> None:
    alone = msgspec.structs.replace(
        PICTURE, attempts=PICTURE.attempts[:1], ending=msgspec.structs.replace(PICTURE.ending, best_round=1)
    )
    with open_bulk_folder(tmp_path, ALL, lambda row: None) as folder:
        keep(folder, TASKS[0])
        keep(folder, TASKS[0], sample=1)
        keep(folder, TASKS[0], seed=5, picture=alone)
        sort_rows(folder.metadata_path, folder.ledger)
    rows = list(all_rows_of(tmp_path))
    assert [(row.sample, row.seed, row.chosen) for row in rows] == [(0, 5, True), (1, 0, False), (1, 0, True)]
    files = {str(path.relative_to(tmp_path / "dataset")) for path in tmp_path.rglob("*.webp")}
    assert files == {row.file_name for row in rows}


def test_a_dataset_has_one_format(tmp_path: Path) -> None:
    fill(tmp_path)
    message = "expected a new folder or --pictures png as before, got --pictures webp --attempts"
    with pytest.raises(OutputError, match=message), open_bulk_folder(tmp_path, ALL, lambda row: None):
        pass
    assert read_run(tmp_path) == RUN


def test_a_folder_with_the_output_of_another_input_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    other = SPEC(source="/others.txt")
    with (
        pytest.raises(OutputError, match=r"the output of /others\.txt, got that of /prompts\.txt"),
        open_bulk_folder(tmp_path / "a", other, lambda row: None),
    ):
        pass
    (tmp_path / "b").mkdir()
    (tmp_path / "b/metadata.jsonl").write_text("{}\n")
    with (
        pytest.raises(OutputError, match=r"expected a new folder, got one with another metadata\.jsonl in it"),
        open_bulk_folder(tmp_path / "b", RUN, lambda row: None),
    ):
        pass


def test_two_bulks_never_share_a_folder(tmp_path: Path) -> None:
    with (
        open_bulk_folder(tmp_path, RUN, lambda row: None),
        pytest.raises(OutputError, match="expected a folder that no other bulk writes to"),
        open_bulk_folder(tmp_path, RUN, lambda row: None),
    ):
        pass
