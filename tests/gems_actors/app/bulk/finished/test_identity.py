"""Which task a record is, and what follows from it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import pytest

from gems_actors.app.bulk.finished.identity import BY_CONTENT, BY_INDEX, file_name_of, identified, name_of, seed_of
from gems_actors.app.bulk.reading.readers import open_tasks
from gems_actors.app.bulk.tasks import BadTask, Part, Task
from gems_actors.app.prompts import PromptError
from tests.gems_actors.cli.stories import ATTEMPTS

CAT = {"prompt": "a cat"}


def read(records: Sequence[Any], identity: int = BY_CONTENT, column: str | None = None) -> list[Task | BadTask]:
    lines = "".join((item if isinstance(item, str) else json.dumps(item)) + "\n" for item in records)
    return list(identified(open_tasks(io.BytesIO(lines.encode()), "jsonl"), identity, column))


def ids(*records: Any, column: str | None = None) -> list[str]:
    return [task.id for task in read(records, column=column)]


def test_ids_seeds_and_names_do_not_change_between_versions() -> None:
    first, second, named = *read([CAT, CAT]), *read([{**CAT, "id": "x"}], column="id")
    assert isinstance(first, Task)
    assert isinstance(named, Task)
    assert [first.id, second.id, named.id] == ["c3211e97848c84e6", "114b7868ce327c21", "b1ea4d3925173c21"]
    assert [seed_of(first, 7, sample) for sample in range(3)] == [1_301_406_778, 3_303_373_609, 3_499_349_509]
    assert file_name_of(first, 0) == f"images/{first.id[:2]}/{first.id}.png"
    assert file_name_of(first, 2, "webp", ATTEMPTS[1]) == f"images/{first.id[:2]}/{first.id}-2-r2c1.webp"
    assert file_name_of(named, 0) == f"images/{named.id[:2]}/x.png"
    assert file_name_of(named, 2, "jpeg", ATTEMPTS[1]) == f"images/{named.id[:2]}/x~2~r2c1.jpg"


@pytest.mark.parametrize(
    "same",
    [
        {**CAT, "tag": "x"},
        {"tag": None, "prompt": "a cat"},
        {**CAT, "seed": None},
        {**CAT, "samples": 3},
        {**CAT, "index": 7, "file_name": "cat.png"},
    ],
)
def test_columns_that_are_not_drawn_do_not_count(same: dict[str, Any]) -> None:
    assert ids(same) == ids(CAT)


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "a cat "},
        {**CAT, "seed": 0},
        {**CAT, "seed": 1},
        {**CAT, "rounds": 2},
        {**CAT, "candidates": 2},
        {**CAT, "memory": "none"},
        {**CAT, "skill": "none"},
        {**CAT, "size": "64x32"},
        {**CAT, "size": "32x64"},
        {**CAT, "steps": 3},
        {**CAT, "guidance": 3},
        {**CAT, "negative_prompt": "a dog"},
    ],
)
def test_every_field_that_is_drawn_counts(other: dict[str, Any]) -> None:
    found = ids(CAT, other)
    assert len({*found}) == 2
    assert found == ids(CAT, other, {"prompt": "else"})[:2]


def test_numbers_as_text_are_the_same_task() -> None:
    csv = io.BytesIO(b"prompt,steps,guidance\na cat,3,2\n")
    (task,) = identified(open_tasks(csv, "csv"), BY_CONTENT)
    assert [task.id] == ids({**CAT, "guidance": 2.0, "steps": 3})


def test_equal_records_are_told_apart_by_their_occurrence_wherever_they_stand() -> None:
    dog = {"prompt": "a dog"}
    first, second, third = ids(CAT, CAT, CAT)
    assert len({first, second, third}) == 3
    assert ids(dog, CAT, dog, CAT, "nonsense", CAT)[1::2] == [first, second, third]
    assert len({*ids(*["nonsense"] * 3, "else")}) == 4, "records that cannot be read as well"


def test_without_an_identity_tasks_go_by_their_index() -> None:
    (task,) = read([CAT], BY_INDEX)
    assert isinstance(task, Task)
    assert (task.id, task.ref) == ("", 0)
    assert seed_of(task, 1, 0) == 1_296_045_171, "as commit 009a0cc drew it"
    assert file_name_of(Task(17_042, "a cat"), 2) == "images/00017/00017042-2.png"


def test_seeds_differ_and_depend_on_nothing_but_the_run_the_task_and_the_sample() -> None:
    tasks = [task for task in read([{"prompt": f"{number} cats"} for number in range(100)]) if isinstance(task, Task)]
    seeds = {seed_of(task, seed, sample) for task in tasks for seed in (0, 1) for sample in range(5)}
    assert len(seeds) == 1000
    assert seed_of(Task(3, "x", seed=9, id="0" * 16), 0, 0) == 9
    nine = [seed_of(Task(index, "x", seed=9, id=f"{index:016x}"), index, 1) for index in range(2)]
    assert nine[0] == nine[1] != 9


def test_shards_divide_the_tasks_wherever_their_lines_are() -> None:
    records = [{"prompt": f"{number % 40} cats"} for number in range(60)]
    tasks = read([*records, *["nonsense"] * 5])
    shards = [{task.id for task in tasks if Part(shard=(i, 3)).has(task.ref, task.index, 0)} for i in (1, 2, 3)]
    assert sum(map(len, shards)) == len({*shards[0], *shards[1], *shards[2]}) == 65
    assert min(map(len, shards)) > 10
    moved = read(["nonsense", *reversed(records)])
    assert {task.id for task in moved if Part(shard=(2, 3)).has(task.ref, task.index, 0)} <= shards[1]


@pytest.mark.parametrize(
    ("id_", "name"),
    [
        ("cat-01_b.v2", "cat-01_b.v2"),
        (17, "17"),
        ("a/b c", "a%2Fb%20c"),
        ("../x", "%2E.%2Fx"),
        (".", "%2E"),
        ("..", "%2E."),
        ("a~1", "a%7E1"),
        ("50%", "50%25"),
        ("猫", "%E7%8C%AB"),
        ("a\0b\n", "a%00b%0A"),
        ("CON", "CON"),
        ("x" * 200, "x" * 200),
    ],
)
def test_an_id_becomes_the_name_of_a_file(id_: object, name: str) -> None:
    (task,) = read([{**CAT, "key": id_}], column="key")
    assert isinstance(task, Task)
    assert (task.name, name_of(str(id_))) == (name, name)


def test_no_two_files_of_named_tasks_share_a_name() -> None:
    tasks = [Task(0, "x", id="0" * 16, name=name_of(text)) for text in ("a", "a-1", "a~1", "a-r1c1", "a~r1c1", "a%7E1")]
    names = [
        file_name_of(task, sample, "png", item) for task in tasks for sample in (0, 1) for item in (None, ATTEMPTS[0])
    ]
    assert len({*names}) == len(names) == 24


@pytest.mark.parametrize("id_", ["", "x" * 201, "猫" * 67, None, 1.5, True, ["a"], {"a": 1}])
def test_a_record_without_a_usable_id_is_bad(id_: object) -> None:
    bad, good = read([{**CAT, "key": id_}, {**CAT, "key": "good"}], column="key")
    assert isinstance(bad, BadTask)
    assert bad.reason.startswith("key: expected ")
    assert isinstance(good, Task)


def test_a_second_record_with_an_id_is_bad_and_names_the_first() -> None:
    found = read([{**CAT, "key": 1}, {**CAT, "key": 2}, {"prompt": "a dog", "key": "1"}], column="key")
    assert isinstance(found[2], BadTask)
    assert found[2].reason == "key: expected ids that differ, got that of record 1: '1'"
    assert found[2].where == "record 3"


def test_an_id_is_the_same_whatever_is_drawn() -> None:
    first, second = ids({**CAT, "key": "a"}, {**CAT, "key": "b"}, column="key")
    assert ids({"prompt": "a dog", "steps": 3, "key": "b"}, column="key") == [second] != [first]


def test_a_name_in_no_encoding_is_refused() -> None:
    with pytest.raises(PromptError, match="expected text in UTF-8"):
        name_of("caf\udce9")
