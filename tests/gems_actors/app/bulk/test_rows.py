"""The rows of a dataset: their content, their keys and their order."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import msgspec

from gems_actors.app.bulk.finished.ledger import Ledger
from gems_actors.app.bulk.folder import open_bulk_folder
from gems_actors.app.bulk.rows import Row, RowRequirement, key_of, rows_of, sort_rows
from gems_actors.app.bulk.tasks import Task
from protocol.messages import DrawSettings
from tests.gems_actors.app.bulk.test_folder import MODELS, RUN, TASKS, fill, keep, key
from tests.gems_actors.cli.stories import PROMPT


def row(**more: Any) -> Row:
    """Return the row of a picture that met all requirements in the first round, with some fields replaced."""
    easy = Row(
        file_name="a.png", index=9, sample=0, key="", prompt="", final_prompt="", seed=0, digest="", digests=(),
        models={}, skill=None, rounds=1, images=1, met=3, all_met=True, outcome="all_met", decided_by="",
        requirements=(), met_by_round=(),
    )  # fmt: skip
    return msgspec.structs.replace(easy, **more)


def requirement() -> RowRequirement:
    """Return a requirement that is met."""
    return RowRequirement(id="r1", question="Is there a cat?", kind="object", answer="met")


def test_a_row_has_the_fields_of_imagefolder_and_the_metadata_of_its_record(tmp_path: Path) -> None:
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        keep(folder, Task(17_042, PROMPT, metadata={"tag": "x"}), seed=7)
        keep(folder, Task(17_042, PROMPT, samples=3), sample=2)
    first, third = map(json.loads, (tmp_path / "dataset/metadata.jsonl").read_text().splitlines())
    assert (first["file_name"], third["file_name"]) == ("images/00017/00017042.png", "images/00017/00017042-2.png")
    assert (tmp_path / "dataset" / first["file_name"]).is_file()
    assert (first["prompt"], first["seed"], first["metadata"]) == (PROMPT, 7, '{"tag":"x"}')
    assert (first["met_by_round"], first["models"]) == ([1, 2], MODELS)
    assert [item["answer"] for item in first["requirements"]] == ["met", "met", "unmet"]
    assert first["digest"] in first["digests"]
    assert "seconds" not in str(first), "equal pictures have equal rows"


def test_a_task_with_another_prompt_seed_or_settings_counts_as_changed(tmp_path: Path) -> None:
    fill(tmp_path)
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        others = [key(Task(0, "else")), key(TASKS[0], seed=1), key(TASKS[0], max_rounds=2)]
        others += [key_of(TASKS[0].prompt, 0, DrawSettings(), {**MODELS, "image": "z"}, "skills")]
        others += [key_of(TASKS[0].prompt, 0, DrawSettings(), MODELS, "other skills")]
        assert {folder.ledger.state_of(0, 0, other) for other in others} == {"changed"}
        assert folder.ledger.state_of(0, 1, key(TASKS[0])) == "new", "another sample"


def test_the_rows_of_a_task_stay_together_and_take_the_index_that_its_record_has_now(tmp_path: Path) -> None:
    tasks = [Task(index, PROMPT, id=f"{9 - index:016x}") for index in range(3)]
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        for task in tasks:
            keep(folder, task)
    lines = (tmp_path / "dataset/metadata.jsonl").read_text().splitlines()
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        for task, index in zip(tasks, (5, 1, 3), strict=True):
            folder.ledger.note_record(task.ref, index, 1)
        keep(folder, Task(3, PROMPT, id=tasks[2].id), seed=5)
        sort_rows(folder.metadata_path, folder.ledger)
    rows = list(rows_of(tmp_path))
    assert [(row.index, row.task, row.seed) for row in rows] == [
        (1, tasks[1].id, 0),
        (3, tasks[2].id, 5),
        (5, tasks[0].id, 0),
    ]
    assert (tmp_path / "dataset/metadata.jsonl").read_text().splitlines()[0] == lines[1], "not written again"


def test_rows_are_sorted_like_the_input_and_the_latest_of_a_task_stays(tmp_path: Path) -> None:
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        for index, sample, seed in ((2, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 0), (1, 0, 5)):
            keep(folder, Task(index, PROMPT), sample, seed)
        sort_rows(folder.metadata_path, folder.ledger)
        rows = list(rows_of(tmp_path))
    assert [(row.index, row.sample, row.seed) for row in rows] == [(0, 0, 0), (0, 1, 0), (1, 0, 5), (2, 0, 0)]


def test_many_rows_are_sorted_with_few_open_files(tmp_path: Path) -> None:
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        keep(folder, Task(0, PROMPT))
        path = folder.metadata_path
    (line,) = path.read_text().splitlines()
    shuffled = [line.replace('"index":0', f'"index":{(37 * number) % 101}') for number in range(101)]
    path.write_text("\n".join([*shuffled, line[:50]]) + "\n" + line[:40])
    # Four sorted pieces, the piece that they are merged into, and the file of rows.
    most = len(list(Path("/proc/self/fd").iterdir())) + 6
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
    try:
        sort_rows(path, Ledger(), sorted_at_once=7, merged_at_once=4)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert [json.loads(row)["index"] for row in path.read_text().splitlines()] == list(range(101))
