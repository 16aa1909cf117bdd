"""Tasks from files of every format: encodings, line ends, fields, metadata and bad records."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from gems_actors.app.bulk.reading.readers import InputFormat, count_records, format_of, open_tasks
from gems_actors.app.bulk.reading.records import RecordOptions, json_text
from gems_actors.app.bulk.tasks import BadTask, Task
from gems_actors.app.prompts import PromptError


def read(data: bytes, format_: InputFormat, **options: Any) -> list[Task | BadTask]:
    """Return what is read from a file of these bytes."""
    return list(open_tasks(io.BytesIO(data), format_, RecordOptions(**options)))


def tasks(data: bytes, format_: InputFormat, **options: Any) -> list[Task]:
    """Return the tasks of a file in which every record can be drawn."""
    found = read(data, format_, **options)
    assert not [item for item in found if isinstance(item, BadTask)]
    return [task for task in found if isinstance(task, Task)]


def table(**columns: object) -> bytes:
    """Return a Parquet file with these columns."""
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
        (task,) = tasks(data, format_)  # type: ignore[arg-type]  # one of the formats
        assert (task.index, task.prompt, task.seed, task.samples) == (0, "a dog", 7, 3), format_
        assert task.settings == SETTINGS, format_
        assert task.metadata == {"tag": "x"}, format_


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\xff", "expected UTF-8, got byte 0xff at byte 1"),
        (b"nonsense", "expected JSON: "),
        (b'"a dog"', 'expected an object like {"prompt": "..."}, got "a dog"'),
        (b'{"prompt": 3}', "expected a prompt as text, got int"),
        (b'{"seed": 3}', "expected a prompt as text, got none"),
        (b'{"prompt": ""}', "expected a prompt of 1 to 32,000 characters, got an empty one"),
        (b'{"prompt": "x", "seed": -1}', "seed: expected a whole number of at least 0, got -1"),
        (b'{"prompt": "x", "seed": "soon"}', 'seed: expected a whole number, got "soon"'),
        (b'{"prompt": "x", "steps": Infinity}', 'steps: expected a whole number of at most 1000, got "Infinity"'),
        (b'{"prompt": "x", "steps": true}', "steps: expected a whole number, got true"),
        (b'{"prompt": "x", "skill": ""}', 'skill: expected text of at least 1 character, got ""'),
        (
            b'{"prompt": "x", "negative_prompt": "' + b"x" * 40_000 + b'"}',
            "negative_prompt: expected text of at most 32,000 characters, got ",
        ),
        (b'{"prompt": "x", "size": "big"}', "size: expected WIDTHxHEIGHT such as 768x512"),
        (
            b'{"prompt": "x", "memory": "all"}',
            'memory: expected one of none, prompts, images, thoughts, full, got "all"',
        ),
        (b'{"prompt": "x", "a": ' + b"[" * 100_000, "expected JSON: "),
        (b'{"prompt": "x", "a": ' + b"[" * 600 + b"]" * 600 + b"}", "expected at most 500 lists and objects inside"),
        (b'{"prompt": "a\\u0000b"}', "expected text, got a NUL character at character 2"),
        (b'{"prompt": "a\0b"}', "expected JSON: "),
        (b'{"prompt": "x", "negative_prompt": "a\\u0000"}', "negative_prompt: expected text, got a NUL character"),
        (b'{"prompt": "a\\ud800"}', "expected UTF-8, got half a surrogate pair (U+D800) at character 2"),
        (
            b'{"prompt": "x", "negative_prompt": "\\ude00"}',
            "negative_prompt: expected UTF-8, got half a surrogate",
        ),
        (b'{"prompt": "x", "tag": [{"\\ud800": 1}]}', "'tag': expected UTF-8, got half a surrogate pair (U+D800)"),
        (b'{"prompt": "x", "\\udc00": 1}', "'\\udc00': expected UTF-8, got half a surrogate pair (U+DC00)"),
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
        return
    assert [item.index for item in found] == sorted({item.index for item in found})


WRITTEN = {
    "txt": "a red dog\nün chat\n",
    "jsonl": '{"prompt": "a red dog"}\n{"prompt": "ün chat"}\n',
    "csv": "prompt,seed\na red dog,1\nün chat,2\n",
}


class Pipe(io.BytesIO):
    """A stream that cannot be rewound, as standard input."""

    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("opened", [io.BytesIO, Pipe])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("encoding", "name"),
    [(f"{name}{order}", name.upper()) for name in ("utf-16", "utf-32") for order in ("", "-le", "-be")]
    + [("utf-16-be with mark", "UTF-16"), ("utf-32-be with mark", "UTF-32")],
)
@pytest.mark.parametrize("format_", WRITTEN)
def test_a_file_in_another_encoding_is_refused_by_its_name(
    format_: InputFormat, encoding: str, name: str, line_end: str, opened: type[io.BytesIO]
) -> None:
    codec, _, mark = encoding.partition(" ")
    text = WRITTEN[format_].replace("\n", line_end)
    data = ("\ufeff" * bool(mark) + text).encode(codec)
    with pytest.raises(PromptError) as raised:
        next(open_tasks(opened(data), format_))
    assert str(raised.value) == f"expected UTF-8, got {name}; save it as UTF-8"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16"])
def test_a_file_in_utf16_without_ascii_is_refused_too(encoding: str) -> None:
    with pytest.raises(PromptError, match="expected UTF-8, got UTF-16"):
        open_tasks(io.BytesIO("一只红色的狗\n三只蓝色的猫\n".encode(encoding)), "txt")


@pytest.mark.parametrize("format_", ["txt", "jsonl", "csv"])
def test_lines_in_latin1_fail_alone(format_: InputFormat) -> None:
    first, bad = read(WRITTEN[format_].encode("latin-1"), format_)
    assert isinstance(first, Task)
    assert isinstance(bad, BadTask)
    assert bad.reason.startswith("expected UTF-8, got byte 0xfc at ")


@pytest.mark.parametrize("line_end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("format_", ["txt", "jsonl", "csv"])
def test_lines_of_all_systems_are_read(format_: InputFormat, mark: str, line_end: str) -> None:
    data = f"{mark}{WRITTEN[format_]}".replace("\n", line_end).encode()
    assert [task.prompt for task in tasks(data, format_)] == ["a red dog", "ün chat"]
    assert count_records(io.BytesIO(data), format_) == 2


def test_files_joined_with_cat_may_have_marks_within() -> None:
    assert [task.prompt for task in tasks("\ufeffa\n\ufeffb\n".encode(), "txt")] == ["a", "b"]
    assert [task.prompt for task in tasks('{"prompt": "a"}\n\ufeff{"prompt": "b"}\n'.encode(), "jsonl")] == ["a", "b"]


def test_a_nul_within_text_costs_its_own_line_only() -> None:
    first, bad, last = read(b"a long enough first line\nb\0c\nd\n", "txt")
    assert isinstance(first, Task)
    assert isinstance(bad, BadTask)
    assert (bad.where, bad.reason) == ("line 2", "expected text, got a NUL character at character 2")
    assert isinstance(last, Task)


ODD_FIELDS = {
    "int": 2**70, "negative": -(2**63) - 1, "float": 1.5, "exponent": 1e300, "text": "x" * 500_000, "none": None,
    "mixed": [1, "a", None, {"b": []}, [[]], 1.5], "empty": {}, "list": [], "a.b": 1, "": 2, "ключ": "值 🐶",
    "deep": json.loads("[" * 90 + "]" * 90), "file_name": "a.png", "nul": "\0", "escape": "\x1b[31m", "index": "x",
}  # fmt: skip


def test_other_fields_of_a_record_are_kept_whatever_they_are() -> None:
    (task,) = tasks(json.dumps({"prompt": "a dog", **ODD_FIELDS}).encode(), "jsonl")
    kept = {name: value for name, value in ODD_FIELDS.items() if value is not None}
    assert json.loads(json_text(task.metadata)) == kept


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_json_does_not_have_are_text(value: str) -> None:
    (task,) = tasks(f'{{"prompt": "a dog", "tag": [{value}, 1.5]}}'.encode(), "jsonl")
    assert task.metadata == {"tag": [value, 1.5]}


NAMED = {
    "jsonl": b'{"caption": "a dog", "prompt": 7, "seed": 3}\n',
    "csv": b"caption,prompt,seed\na dog,7,3\n",
    "parquet": table(caption=["a dog"], prompt=[7], seed=[3]),
}


@pytest.mark.parametrize("format_", NAMED)
def test_another_column_may_be_the_prompt(format_: InputFormat) -> None:
    (task,) = tasks(NAMED[format_], format_, prompt_column="caption")
    assert (task.prompt, task.seed, {name: int(value) for name, value in task.metadata.items()}) == (
        "a dog", 3, {"prompt": 7},
    )  # fmt: skip
    assert count_records(io.BytesIO(NAMED[format_]), format_, RecordOptions(prompt_column="caption")) == 1


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_a_table_without_the_column_of_ids_is_refused_before_its_first_record(format_: InputFormat) -> None:
    with pytest.raises(PromptError, match="expected the column uid of --id-column, got caption, prompt, seed"):
        open_tasks(io.BytesIO(NAMED[format_]), format_, RecordOptions(prompt_column="caption", id_column="uid"))
    assert len(tasks(NAMED[format_], format_, prompt_column="caption", id_column="seed")) == 1


@pytest.mark.parametrize(("flag", "options"), [("prompt", {"prompt_column": "caption"}), ("id", {"id_column": "uid"})])
def test_lines_of_text_have_no_columns(flag: str, options: dict[str, str]) -> None:
    with pytest.raises(PromptError, match=rf"or \.parquet file with --{flag}-column, got lines of text"):
        read(b"a dog\n", "txt", **options)


@pytest.mark.parametrize("format_", NAMED)
def test_a_drawing_field_that_is_the_prompt_is_nothing_else(format_: InputFormat) -> None:
    is_table = format_ == "parquet"
    data = table(negative_prompt=["a dog"]) if is_table else NAMED[format_].replace(b"caption", b"negative_prompt")
    (task,) = tasks(data, format_, prompt_column="negative_prompt")
    assert (task.prompt, task.settings) == ("a dog", {})


def test_a_missing_column_of_prompts_is_told() -> None:
    (bad,) = read(b'{"prompt": "a dog"}', "jsonl", prompt_column="caption")
    assert isinstance(bad, BadTask)
    assert bad.reason == "caption: expected a prompt as text, got none"
    for data, format_ in ((b"prompt\na dog\n", "csv"), (table(prompt=["a dog"]), "parquet")):
        with pytest.raises(PromptError, match="expected a column named caption, got prompt; --prompt-column names"):
            read(data, format_, prompt_column="caption")  # type: ignore[arg-type]  # one of the formats
    with pytest.raises(PromptError, match=r"expected a \.jsonl, \.csv or \.parquet file with --prompt-column, got"):
        read(b"a dog\n", "txt", prompt_column="caption")
