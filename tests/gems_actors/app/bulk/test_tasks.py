"""Tasks from files of every format: fields, metadata and bad records."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from gems_actors.app.bulk.tasks import BadTask, InputFormat, Task, count_records, format_of, open_tasks, seed_of
from gems_actors.app.prompts import PromptError


def read(data: bytes, format_: InputFormat, samples: int = 1) -> list[Task | BadTask]:
    return list(open_tasks(io.BytesIO(data), format_, samples))


def tasks(data: bytes, format_: InputFormat) -> list[Task]:
    return [task for task in read(data, format_) if isinstance(task, Task)]


def table(**columns: object) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def test_lines_of_text_keep_their_line_number() -> None:
    found = read("\ufeffa dog\r\n\n  \na cat".encode(), "txt", samples=2)
    assert [(task.index, task.prompt, task.samples) for task in found if isinstance(task, Task)] == [
        (0, "a dog", 2),
        (3, "a cat", 2),
    ]


RECORD = {
    "prompt": "a dog", "seed": 7, "samples": 3, "rounds": 2, "candidates": 4, "memory": "none",
    "skill": "spatial-layout", "size": "640x320", "steps": 9, "guidance": 1.5, "negative_prompt": "blurry",
    "tag": "x", "empty": None,
}  # fmt: skip
SETTINGS = {
    "max_rounds": 2, "candidates": 4, "memory": "none", "skill": "spatial-layout", "width_px": 640, "height_px": 320,
    "steps": 9, "guidance": 1.5, "negative_prompt": "blurry",
}  # fmt: skip


def test_drawing_fields_of_a_record_become_settings_and_others_metadata() -> None:
    written = {key: "" if value is None else str(value) for key, value in RECORD.items()}
    header, row = ",".join(written), ",".join(written.values())
    for data, format_ in (
        (json.dumps(RECORD).encode(), "jsonl"),
        (f"{header}\n{row}\n".encode(), "csv"),
        (table(**{key: [value] for key, value in RECORD.items()}, picture=[b"bytes"]), "parquet"),
    ):
        (task,) = tasks(data, format_)  # type: ignore[arg-type]
        assert (task.index, task.prompt, task.seed, task.samples) == (0, "a dog", 7, 3), format_
        assert task.settings == SETTINGS, format_
        assert task.metadata == {"tag": "x"}, format_


def test_csv_rows_may_have_commas_and_line_breaks_and_blank_lines_are_skipped() -> None:
    data = b'\xef\xbb\xbfid,prompt\n1,"a dog, and\na cat"\n\n2,a pig\n'
    assert [(task.index, task.prompt, task.metadata) for task in tasks(data, "csv")] == [
        (0, "a dog, and\na cat", {"id": "1"}),
        (1, "a pig", {"id": "2"}),
    ]
    assert count_records(io.BytesIO(data), "csv") == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\xff", "expected UTF-8, got byte 0xff at byte 1"),
        (b"nonsense", "expected JSON: "),
        (b'"a dog"', 'expected an object like {"prompt": "..."}, got "a dog"'),
        (b'{"prompt": 3}', "expected a prompt as text, got int"),
        (b'{"seed": 3}', "expected a prompt as text, got none"),
        (b'{"prompt": ""}', "expected a prompt of 1 to 32,000 characters, got an empty one"),
        (b'{"prompt": "x", "seed": -1}', "seed: expected `int` >= 0, got '-1'"),
        (b'{"prompt": "x", "seed": "soon"}', "seed: expected `int | null`, got `str`, got 'soon'"),
        (b'{"prompt": "x", "size": "big"}', "size: expected WIDTHxHEIGHT such as 768x512"),
        (b'{"prompt": "x", "memory": "all"}', "memory: invalid enum value 'all'"),
        (b'{"prompt": "x", "a": ' + b"[" * 100_000, "expected JSON: "),
        (b'{"prompt": "' + b"x" * 2_000_000 + b'"}', "expected a line of at most 1,048,576 bytes, got more"),
    ],
)
def test_a_bad_line_fails_alone(line: bytes, reason: str) -> None:
    before, bad, after = read(b'{"prompt": "a"}\n' + line + b'\n{"prompt": "b"}\n', "jsonl")
    assert isinstance(bad, BadTask)
    assert (bad.index, bad.where, bad.reason[: len(reason)]) == (1, "line 2", reason)
    assert isinstance(before, Task)
    assert isinstance(after, Task)
    assert after.index == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"1,2,3", "expected 2 fields, got 3"),
        (b"\xff\xfe,7", "expected UTF-8, got byte 0xff at character 1"),
        (b",7", "expected a prompt as text, got none"),
        (b"x,soon", "seed: expected `int | null`"),
        (b"x" * 1_100_000 + b",7", "field larger than field limit"),
    ],
)
def test_a_bad_row_fails_alone(row: bytes, reason: str) -> None:
    before, bad, after = read(b"prompt,seed\na,1\n" + row + b"\nb,2\n", "csv")
    assert isinstance(bad, BadTask)
    assert (bad.index, bad.where, bad.reason[: len(reason)]) == (1, "line 3", reason)
    assert isinstance(before, Task)
    assert isinstance(after, Task)


def test_unreadable_rows_of_a_damaged_parquet_file_fail_alone() -> None:
    file = io.BytesIO()
    prompts = [f"a cat {number}" for number in range(3_000)]
    parquet.write_table(pyarrow.table({"prompt": prompts}), file, row_group_size=1_000, use_dictionary=False)
    data = bytearray(file.getvalue())
    middle = parquet.ParquetFile(file).metadata.row_group(1).column(0)
    start = middle.data_page_offset + 100
    data[start : start + 2_000] = bytes(2_000)
    found = read(bytes(data), "parquet")
    assert [item.index for item in found] == list(range(3_000))
    lost = [item for item in found if isinstance(item, BadTask)]
    assert [item.index for item in lost] == list(range(1_000, 2_000))
    assert lost[0].where == "row 1001"
    assert lost[0].reason.startswith("expected a readable row, got: ")


@pytest.mark.parametrize("format_", ["txt", "jsonl"])
def test_a_file_without_records_is_refused(format_: InputFormat) -> None:
    for data in (b"", b"\n  \n"):
        with pytest.raises(PromptError, match="expected at least one record, got none"):
            count_records(io.BytesIO(data), format_)


@pytest.mark.parametrize(
    ("data", "format_", "reason"),
    [
        (b"", "csv", "expected a column named prompt, got an empty file"),
        (b"text,seed\n", "csv", "expected a column named prompt, got text, seed"),
        (b"nonsense", "parquet", "expected a Parquet file, got: "),
        (table(text=["x"]), "parquet", "expected a column named prompt, got text"),
    ],
)
def test_a_file_without_prompts_is_refused_when_opened(data: bytes, format_: InputFormat, reason: str) -> None:
    with pytest.raises(PromptError) as raised:
        open_tasks(io.BytesIO(data), format_)
    assert str(raised.value).startswith(reason)


def test_the_ending_of_a_file_name_gives_its_format() -> None:
    assert [format_of(Path(name)) for name in ("a.txt", "a.JSONL", "a.csv", "a.parquet")] == [
        "txt",
        "jsonl",
        "csv",
        "parquet",
    ]
    with pytest.raises(PromptError, match=r"expected a name that ends in \.txt, \.jsonl, \.csv or \.parquet"):
        format_of(Path("a.doc"))


def test_counting_records_rewinds_the_file() -> None:
    stream = io.BytesIO(b"a\n\nb\n")
    assert count_records(stream, "txt") == 2
    assert len(list(open_tasks(stream, "txt"))) == 2
    assert count_records(io.BytesIO(table(prompt=["a", "b", "c"])), "parquet") == 3


@given(st.binary(max_size=200), st.sampled_from(["txt", "jsonl", "csv"]))
def test_arbitrary_bytes_raise_nothing_but_a_prompt_error_of_the_whole_file(data: bytes, format_: InputFormat) -> None:
    try:
        found = read(data, format_)
    except PromptError:
        assert format_ == "csv"
        return
    assert [item.index for item in found] == sorted({item.index for item in found})


def test_seeds_differ_and_do_not_depend_on_other_records() -> None:
    seeds = {seed_of(Task(index, "x"), seed, sample) for index in range(100) for seed in (0, 1) for sample in range(5)}
    assert len(seeds) == 1000
    assert seed_of(Task(3, "x", seed=9), 0, 0) == 9
    assert seed_of(Task(3, "x", seed=9), 0, 1) == seed_of(Task(4, "y", seed=9), 5, 1) != 9
