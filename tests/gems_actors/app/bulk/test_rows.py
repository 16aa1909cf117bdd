"""The rows of a dataset: their content, their keys and their order."""

from __future__ import annotations

import json
import resource
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec

from gems_actors.app.bulk.folder import open_bulk_folder
from gems_actors.app.bulk.rows import Keys, Row, RowRequirement, key_of, rows_of, sort_rows
from gems_actors.app.bulk.tasks import Task
from protocol.messages import DrawSettings
from tests.gems_actors.app.bulk.test_folder import MODELS, RUN, TASKS, fill, keep, key
from tests.gems_actors.cli.stories import PROMPT


def row(**more: Any) -> Row:
    """Return the row of a picture that met all requirements in the first round, with some fields replaced."""
    easy = Row(
        file_name="", index=9, sample=0, key="", prompt="", final_prompt="", seed=0, digest="", digests=(), models={},
        skill=None, rounds=1, images=1, met=3, all_met=True, outcome="all_met", decided_by="",
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
        assert {folder.keys.state_of(0, 0, other) for other in others} == {"changed"}
        assert folder.keys.state_of(0, 1, key(TASKS[0])) == "new", "another sample"


def test_keys_of_done_tasks_take_few_bytes_per_sample() -> None:
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    keys = Keys()
    for index in range(5_000):
        for sample in range(4):
            keys.put(index, sample, f"{index:08x}{sample:08x}")
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / 20_000 < 12
    assert keys.state_of(4_999, 3, f"{4_999:08x}{3:08x}") == "done"
    assert keys.state_of(4_999, 3, "1") == "changed"
    assert keys.state_of(5_000, 3, "1") == keys.state_of(0, 4, "1") == keys.state_of(10**7, 0, "1") == "new"


def test_rows_are_sorted_like_the_input_and_the_latest_of_a_task_stays(tmp_path: Path) -> None:
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        for index, sample, seed in ((2, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 0), (1, 0, 5)):
            keep(folder, Task(index, PROMPT), sample, seed)
        sort_rows(folder.metadata_path)
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
        sort_rows(path, sorted_at_once=7, merged_at_once=4)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert [json.loads(row)["index"] for row in path.read_text().splitlines()] == list(range(101))
