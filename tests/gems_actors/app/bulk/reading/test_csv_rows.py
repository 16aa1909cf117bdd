"""CSV files: every row is drawn or told, whatever its quotes, sizes and line ends."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gems_actors.app.bulk.reading.readers import count_records, open_tasks
from gems_actors.app.bulk.reading.records import RecordOptions
from gems_actors.app.bulk.tasks import BadTask, Task
from gems_actors.app.prompts import PromptError
from tests.gems_actors.app.bulk.reading.test_readers import read, tasks

TOO_LONG = "expected a row of at most 1,048,576 characters, got more"
NOT_CLOSED = "expected quotes in pairs, got one that is not closed"


def test_csv_rows_may_have_commas_and_line_breaks_and_blank_lines_are_skipped() -> None:
    data = b'\xef\xbb\xbfid,prompt\n1,"a dog, and\na cat"\n\n2,a pig\n'
    assert [(task.index, task.prompt, task.metadata) for task in tasks(data, "csv")] == [
        (0, "a dog, and\na cat", {"id": "1"}),
        (1, "a pig", {"id": "2"}),
    ]
    assert count_records(io.BytesIO(data), "csv") == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"1,2,3", "expected 2 fields, got 3"),
        (b"\xff\xfe,7", "expected UTF-8, got byte 0xff at character 1"),
        (b",7", "expected a prompt as text, got none"),
        (b"x,soon", 'seed: expected a whole number, got "soon"'),
        (b"x,-1", 'seed: expected a whole number of at least 0, got "-1"'),
        (b"x" * 1_100_000 + b",7", TOO_LONG),
        (b'"' + b"x" * 1_100_000 + b'",7', TOO_LONG),
        (b'"' + b"xx,\n" * 300_000 + b'",7', TOO_LONG),
        (b'a,"' + b"x" * 20_000_000 + b'"', TOO_LONG),
        (b'"a dog,7', NOT_CLOSED),
        (b'a dog,"7', NOT_CLOSED),
        (b"a\rdog,7", "expected a row, got: new-line character"),
    ],
)
def test_a_bad_row_fails_alone(row: bytes, reason: str) -> None:
    before, bad, after = read(b"prompt,seed\na,1\n" + row + b"\nb,2\n", "csv")
    assert isinstance(bad, BadTask)
    assert (bad.index, bad.where, bad.reason[: len(reason)]) == (1, "line 3", reason)
    assert isinstance(before, Task)
    assert isinstance(after, Task)


@pytest.mark.parametrize("closed_by", [b"", b'b,"2"\n', b'"b",2\n', b'b,2\n"c,3\n'])
def test_a_quote_that_is_never_closed_costs_its_own_line_only(closed_by: bytes) -> None:
    found = read(b'prompt,seed\n"open,1\nx,7\n' + closed_by + b"y,8\n", "csv")
    bad = [(item.where, item.text, item.reason) for item in found if isinstance(item, BadTask)]
    assert bad[0] == ("line 2", '"open,1', NOT_CLOSED)
    prompts = [item.prompt for item in found if isinstance(item, Task)]
    assert (prompts[0], prompts[-1]) == ("x", "y")
    assert len(found) == 3 + closed_by.count(b"\n")


@pytest.mark.slow
def test_a_quote_that_is_never_closed_in_a_large_file_costs_its_own_line_only() -> None:
    count = 900_000
    found = open_tasks(io.BytesIO(b'prompt\n"open\n' + b"a dog with a red hat\n" * count), "csv")
    bad, *good = [next(found) for _ in range(100)]
    assert isinstance(bad, BadTask)
    assert (bad.reason, {item.prompt for item in good if isinstance(item, Task)}) == (
        NOT_CLOSED,
        {"a dog with a red hat"},
    )


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ('"a ""red"" dog",1', 'a "red" dog'),
        ('a 5" pipe,1', 'a 5" pipe'),
        ('"a" dog,1', "a dog"),
        ('"a, b\nc, d",1', "a, b\nc, d"),
        ('"a\r\nb",1', "a\r\nb"),
        ('"""quoted""",1', '"quoted"'),
        ("'single, no',", None),
    ],
)
def test_quotes_are_read_as_spreadsheets_write_them(row: str, prompt: str | None) -> None:
    found = read(f"prompt,seed\nbefore,1\n{row}\nafter,2\n".encode(), "csv")
    assert [item.prompt if isinstance(item, Task) else None for item in found] == ["before", prompt, "after"]


def test_a_nul_costs_its_own_row_only() -> None:
    before, bad, after = read(b"prompt,tag\na,1\nb\0c,2\nd,\0\n", "csv")
    assert isinstance(bad, BadTask)
    assert bad.reason == "expected text, got a NUL character at character 2"
    assert isinstance(before, Task)
    assert isinstance(after, Task)
    assert after.metadata == {"tag": "\0"}


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    "header", ["prompt,seed", ' prompt , "seed" ', '"prompt",seed', "prompt, seed", "\n\nprompt,seed"]
)
def test_names_of_columns_are_found_behind_marks_spaces_and_blank_lines(line_end: str, mark: str, header: str) -> None:
    text = f"{mark}{header}\na dog,7\n\nb,8".replace("\n", line_end).encode()
    assert [(task.prompt, task.seed) for task in tasks(text, "csv")] == [("a dog", 7), ("b", 8)]
    assert count_records(io.BytesIO(text), "csv") == 2


def test_where_spaces_follow_the_commas_quotes_may_follow_them() -> None:
    assert [task.prompt for task in tasks(b'seed, prompt\n1, "a dog, red"\n', "csv")] == ["a dog, red"]


def test_a_column_without_a_name_is_named_by_its_number() -> None:
    (task,) = tasks(b",prompt,,\n0,a dog,x,y\n", "csv")
    assert task.metadata == {"column 1": "0", "column 3": "x", "column 4": "y"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "expected a column named prompt, got an empty file"),
        (b"\n\n", "expected a column named prompt, got an empty file"),
        (b"text,seed\n", "expected a column named prompt, got text, seed; --prompt-column names another"),
        (b"prompt;seed\na;1\n", "expected commas between columns, got semicolons; save it with commas"),
        (b"\xef\xbb\xbfprompt;size, px\n", "expected commas between columns, got semicolons; save it with commas"),
        (b"seed\tprompt\n", "expected commas between columns, got tabs; save it with commas"),
        (b'"seed"|"prompt"\r\n', "expected commas between columns, got vertical bars; save it with commas"),
        (b"prompt,id,id\n", "expected columns whose names differ, got id twice"),
        (b"prompt,prompt\n", "expected columns whose names differ, got prompt twice"),
        (b'"prompt,seed\n', f"expected a line with the names of columns: {NOT_CLOSED}"),
        (b"prompt,caf\xe9\n", "expected UTF-8, got byte 0xe9 at character 11"),
        ("prompt,seed\na,1\n".encode("utf-16"), "expected UTF-8, got UTF-16; save it as UTF-8"),
    ],
)
def test_a_file_whose_columns_cannot_be_told_is_refused_when_opened(data: bytes, reason: str) -> None:
    for read_file in (open_tasks, count_records):
        with pytest.raises(PromptError) as raised:
            read_file(io.BytesIO(data), "csv")
        assert str(raised.value) == reason


def test_a_header_alone_has_no_records() -> None:
    with pytest.raises(PromptError, match="expected at least one record, got none"):
        count_records(io.BytesIO(b"prompt,seed\n"), "csv")


@given(st.lists(st.text(alphabet='ab",\n\r ', max_size=12), max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_every_line_is_part_of_exactly_one_row(lines: list[str], line_end: str) -> None:
    text = "".join(f"{line}{line_end}" for line in lines)
    data = f"prompt,seed\n{text}".encode()
    found = list(open_tasks(io.BytesIO(data), "csv", RecordOptions()))
    assert [item.index for item in found] == list(range(len(found)))
    told = "".join(item.text if isinstance(item, BadTask) else str(dict(item.record)) for item in found)
    assert told.count("a") == text.count("a")
    assert told.count("b") == text.count("b")
