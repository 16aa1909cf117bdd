"""The folder of a bulk: rows, and what is left of them after a kill."""

from __future__ import annotations

import io
import json
import resource
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from gems_actors.cli import bulk_folder
from gems_actors.cli.bulk_folder import (
    BulkFolder,
    Keys,
    Row,
    RowRequirement,
    RunFile,
    all_rows_of,
    failed_places,
    key_of,
    look_at_folder,
    open_bulk_folder,
    read_run,
    rows_of,
    settle_failures,
    sort_rows,
)
from gems_actors.cli.bulk_input import BadTask, Task
from gems_actors.cli.output import OutputError
from gems_actors.cli.tally import Tally
from protocol.messages import DrawSettings, Spent
from tests.gems_actors.cli.stories import FIRST_PROMPT, PICTURE, PROMPT, SECOND_PROMPT

TASKS = [Task(index, f"{PROMPT} {index}") for index in range(3)]
TOLD = partial(RunFile, seed=0, samples=1, strategy="gems", settings={}, config_file=None, overrides=())
RUN = TOLD(source="/prompts.txt")
ALL = TOLD(source="/prompts.txt", pictures="webp", attempts=True)
MODELS = {"image": "storyboard", "chat": "storyboard"}


def png(color: tuple[int, int, int] = (0, 0, 0)) -> bytes:
    """Return a small picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(buffer, "PNG")
    return buffer.getvalue()


def key(task: Task, seed: int = 0, max_rounds: int = 5) -> str:
    return key_of(task.prompt, seed, DrawSettings(max_rounds=max_rounds), MODELS, "skills")


def keep(folder: BulkFolder, task: Task, sample: int = 0, seed: int = 0) -> Row:
    return folder.keep_picture(task, sample, key(task, seed), PICTURE, lambda ref: png(), MODELS, seed)


def row(**more: Any) -> Row:
    """Return the row of a picture that met all three requirements at once, or of another."""
    easy = Row(
        file_name="", index=9, sample=0, key="", prompt="", final_prompt="", seed=0, digest="", digests=(), models={},
        skill=None, rounds=1, images=1, met=3, all_met=True, outcome="all_met", decided_by="",
        requirements=(), met_by_round=(),
    )  # fmt: skip
    return msgspec.structs.replace(easy, **more)


def requirement() -> RowRequirement:
    """Return one that is met."""
    return RowRequirement(id="r1", question="Is there a cat?", kind="object", answer="met")


def fill(path: Path) -> None:
    """Write the pictures of all tasks."""
    with open_bulk_folder(path, RUN, lambda row: None) as folder:
        for task in TASKS:
            keep(folder, task)


def read_again(path: Path) -> tuple[list[str], list[Row]]:
    """Return what a second run takes each task for, and the rows it found."""
    rows: list[Row] = []
    with open_bulk_folder(path, RUN, rows.append) as folder:
        return [folder.state_of(task.index, 0, key(task)) for task in TASKS], rows


def test_a_row_has_what_hugging_face_needs_and_what_was_in_the_record(tmp_path: Path) -> None:
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        keep(folder, Task(17_042, PROMPT, metadata={"tag": "x"}), seed=7)
        keep(folder, Task(17_042, PROMPT, samples=3), sample=2)
    first, third = map(json.loads, (tmp_path / "dataset/metadata.jsonl").read_text().splitlines())
    assert (first["file_name"], third["file_name"]) == ("images/00017/00017042.png", "images/00017/00017042-2.png")
    assert (tmp_path / "dataset" / first["file_name"]).is_file()
    assert (first["prompt"], first["seed"], first["metadata"]) == (PROMPT, 7, {"tag": "x"})
    assert (first["met_by_round"], first["models"]) == ([1, 2], MODELS)
    assert [item["answer"] for item in first["requirements"]] == ["met", "met", "unmet"]
    assert first["digest"] in first["digests"]
    assert "seconds" not in str(first), "a row is the same whenever its picture is"


def test_what_is_done_is_known_when_run_again(tmp_path: Path) -> None:
    fill(tmp_path)
    states, rows = read_again(tmp_path)
    assert states == ["done", "done", "done"]
    assert [row.index for row in rows] == [0, 1, 2]


def test_a_torn_row_is_dropped_and_its_line_drawn_again(tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / "dataset/metadata.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    states, _ = read_again(tmp_path)
    assert states == ["done", "done", "new"]
    assert len(path.read_text().splitlines()) == 2


def test_what_a_picture_cost_is_counted_once_also_where_a_kill_came_before_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costly = msgspec.structs.replace(PICTURE, spent={"verifier": Spent(calls=2)})
    monkeypatch.setattr("tests.gems_actors.cli.test_bulk_folder.PICTURE", costly)
    fill(tmp_path)
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        assert folder.spent["verifier"].calls == 6
    metadata = tmp_path / "dataset/metadata.jsonl"
    metadata.write_bytes(b"".join(metadata.read_bytes().splitlines(keepends=True)[:2]))
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        keep(folder, TASKS[2])
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        assert folder.spent["verifier"].calls == 6
    assert look_at_folder(tmp_path, lambda row: None).priced == 3


def test_the_first_line_behind_a_torn_one_is_whole(tmp_path: Path) -> None:
    fill(tmp_path)
    spent = tmp_path / ".mesh/spent.jsonl"
    spent.write_bytes(spent.read_bytes()[:-40])
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        keep(folder, Task(3, PROMPT))
    assert look_at_folder(tmp_path, lambda row: None).priced == 3


@pytest.mark.parametrize("run", [RUN, ALL], ids=["pictures", "attempts"])
@pytest.mark.parametrize("killed_at", range(1, 8))
def test_a_kill_while_a_picture_is_drawn_anew_leaves_no_row_with_the_picture_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: RunFile, killed_at: int
) -> None:
    with open_bulk_folder(tmp_path, run, lambda row: None) as folder:
        keep(folder, TASKS[0])
    before = {path.name: path.read_bytes() for path in (tmp_path / "dataset/images").rglob("*.*")}
    calls = count(1)

    def or_die(act: Callable[..., Any]) -> Callable[..., Any]:
        def acting(*args: Any, **named: Any) -> Any:
            if next(calls) == killed_at:
                raise KeyboardInterrupt
            return act(*args, **named)

        return acting

    with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
        for name in ("_append", "write_whole", "picture_of"):
            patched.setattr(bulk_folder, name, or_die(getattr(bulk_folder, name)))
        with open_bulk_folder(tmp_path, run, lambda row: None) as folder:
            folder.keep_picture(TASKS[0], 0, key(TASKS[0], 5), PICTURE, lambda ref: png((1, 2, 3)), MODELS, 5)
    with open_bulk_folder(tmp_path, run, lambda row: None) as folder:
        after = {path.name: path.read_bytes() for path in (tmp_path / "dataset/images").rglob("*.*")}
        for row in all_rows_of(tmp_path):
            name = Path(row.file_name).name
            assert (row.seed == 5) == (after[name] != before[name])


def test_a_row_whose_picture_is_gone_is_dropped(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "dataset/images/00000/00000001.png").unlink()
    states, _ = read_again(tmp_path)
    assert states == ["done", "new", "done"]


def test_a_task_with_other_words_seed_or_settings_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    fill(tmp_path)
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        others = [key(Task(0, "else")), key(TASKS[0], seed=1), key(TASKS[0], max_rounds=2)]
        others += [key_of(TASKS[0].prompt, 0, DrawSettings(), {**MODELS, "image": "z"}, "skills")]
        others += [key_of(TASKS[0].prompt, 0, DrawSettings(), MODELS, "other skills")]
        assert {folder.state_of(0, 0, other) for other in others} == {"changed"}
        assert folder.state_of(0, 1, key(TASKS[0])) == "new", "another sample"


def test_what_is_done_is_remembered_in_few_bytes_of_every_sample_too() -> None:
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


def test_rows_are_put_in_the_order_of_the_input_and_of_two_the_later_stays(tmp_path: Path) -> None:
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        for index, sample, seed in ((2, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 0), (1, 0, 5)):
            keep(folder, Task(index, PROMPT), sample, seed)
        folder.put_in_order()
        rows = list(folder.rows())
    assert [(row.index, row.sample, row.seed) for row in rows] == [(0, 0, 0), (0, 1, 0), (1, 0, 5), (2, 0, 0)]


def test_many_rows_are_sorted_in_pieces_of_which_few_are_open_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gems_actors.cli.bulk_folder._SORTED_AT_ONCE", 7)
    monkeypatch.setattr("gems_actors.cli.bulk_folder._MERGED_AT_ONCE", 4)
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        keep(folder, Task(0, PROMPT))
        path = folder.metadata_path
    (line,) = path.read_text().splitlines()
    shuffled = [line.replace('"index":0', f'"index":{(37 * number) % 101}') for number in range(101)]
    path.write_text("\n".join([*shuffled, line[:50]]) + "\n" + line[:40])
    most = (
        len(list(Path("/proc/self/fd").iterdir())) + 6
    )  # four pieces, that which they become, and the rows themselves
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
    try:
        sort_rows(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert [json.loads(row)["index"] for row in path.read_text().splitlines()] == list(range(101))


def test_failures_stand_as_they_stood_in_the_input_and_are_those_of_the_last_run(tmp_path: Path) -> None:
    def fail(folder: BulkFolder) -> None:
        given = {"prompt": "a dog", "seed": 9, "tag": "x"}
        folder.keep_failure(Task(4, "a dog", 9, metadata={"tag": "x"}, given=given), 1, "backend", "no GPU")
        folder.keep_failure(BadTask(5, "line 6", "{", "expected JSON"), 0, "input", "expected JSON")

    for _ in range(2):
        with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
            fail(folder)
    first = {"prompt": "a dog", "seed": 9, "tag": "x", "index": 4, "sample": 1, "class": "backend", "reason": "no GPU"}
    second = {"line": "{", "index": 5, "class": "input", "reason": "expected JSON"}
    assert [json.loads(line) for line in (tmp_path / "failed.jsonl").read_text().splitlines()] == [first, second]
    assert failed_places(tmp_path, None) == {(4, 1), (5, 0)}
    assert failed_places(tmp_path, "backend") == {(4, 1)}
    with open_bulk_folder(tmp_path, RUN, lambda row: None, keeps_failures=True) as folder:
        fail(folder)
    settle_failures(tmp_path, {(4, 1)})
    assert [json.loads(line) for line in (tmp_path / "failed.jsonl").read_text().splitlines()] == [second]


def test_every_attempt_has_a_row_of_one_shape_with_its_own_prompt_and_verdicts_and_that_of_the_picture_comes_last(
    tmp_path: Path,
) -> None:
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
    assert [row.file_name for row in rows_of(tmp_path)] == [picture["file_name"]], "one picture a task"


@pytest.mark.parametrize("lost", ["the end of a row", "the row of the picture", "the file of an attempt"])
def test_a_task_of_which_one_row_or_attempt_is_lost_is_drawn_again(tmp_path: Path, lost: str) -> None:
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
        assert [folder.state_of(task.index, 0, key(task)) for task in TASKS] == ["done", "done", "new"]
        keep(folder, TASKS[2])
        keep(folder, TASKS[0])
        folder.put_in_order()
    assert [row.index for row in rows] == [0, 1]
    assert [(row.index, row.chosen) for row in all_rows_of(tmp_path)] == [
        (index, chosen) for index in range(3) for chosen in (False, True)
    ]


def test_attempts_of_an_earlier_drawing_are_no_part_of_the_dataset(tmp_path: Path) -> None:
    alone = msgspec.structs.replace(
        PICTURE, attempts=PICTURE.attempts[:1], ending=msgspec.structs.replace(PICTURE.ending, best_round=1)
    )
    with open_bulk_folder(tmp_path, ALL, lambda row: None) as folder:
        keep(folder, TASKS[0])
        keep(folder, TASKS[0], sample=1)
        folder.keep_picture(TASKS[0], 0, key(TASKS[0], 5), alone, lambda ref: png(), MODELS, 5)
        folder.put_in_order()
    rows = list(all_rows_of(tmp_path))
    assert [(row.sample, row.seed, row.chosen) for row in rows] == [(0, 5, True), (1, 0, False), (1, 0, True)]
    files = {str(path.relative_to(tmp_path / "dataset")) for path in tmp_path.rglob("*.webp")}
    assert files == {row.file_name for row in rows}


def test_a_dataset_has_one_shape(tmp_path: Path) -> None:
    fill(tmp_path)
    words = "expected a new folder or --pictures png as before, came --pictures webp --attempts"
    with pytest.raises(OutputError, match=words), open_bulk_folder(tmp_path, ALL, lambda row: None):
        pass
    assert read_run(tmp_path) == RUN


def test_a_folder_with_the_output_of_another_input_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    other = TOLD(source="/others.txt")
    with (
        pytest.raises(OutputError, match=r"the output of /others\.txt, came that of /prompts\.txt"),
        open_bulk_folder(tmp_path / "a", other, lambda row: None),
    ):
        pass
    (tmp_path / "b").mkdir()
    (tmp_path / "b/metadata.jsonl").write_text("{}\n")
    with (
        pytest.raises(OutputError, match=r"expected a new folder, came one with another metadata\.jsonl in it"),
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


def test_rates_by_round_count_a_prompt_that_needed_no_further_round(tmp_path: Path) -> None:
    tally = Tally()
    fill(tmp_path)
    with open_bulk_folder(tmp_path, RUN, lambda row: tally.add(row, is_from_before=True)):
        pass
    easy = row()
    tally.add(easy)
    assert (tally.pictures, tally.before, tally.images, tally.all_met, tally.last_round) == (4, 3, 7, 1, 2)
    assert (tally.in_round[0].rate, tally.in_round[1].rate) == (1 / 3, 2 / 3)
    assert (tally.after_round[0].rate, tally.after_round[1].rate) == (1 / 3, 2 / 3)
