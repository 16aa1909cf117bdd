"""Parquet files: a record of any type is drawn, and what JSON cannot say is text."""

from __future__ import annotations

import base64
import io
import json
import uuid
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from gems_actors.app.bulk.reading.arrow_values import has_values, values_of
from gems_actors.app.bulk.reading.records import json_text
from gems_actors.app.bulk.tasks import BadTask, Task
from gems_actors.app.prompts import PromptError
from tests.gems_actors.app.bulk.reading.test_readers import read, table, tasks

DAY_S = 86_400
UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")
PICTURE = {"bytes": b"\x89PNG", "path": "a.png"}


def timestamps(unit: str, *values: int, tz: str | None = None) -> pa.Array:
    return pa.array(values, pa.int64()).cast(pa.timestamp(unit, tz))


VALUES: list[tuple[str, pa.Array, list[Any]]] = [
    ("bool", pa.array([True, False]), [True, False]),
    ("int8", pa.array([-128, 127], pa.int8()), [-128, 127]),
    ("uint64", pa.array([0, 2**64 - 1], pa.uint64()), [0, 2**64 - 1]),
    ("half", pa.array([0.5, -2.0]).cast(pa.float16()), [0.5, -2.0]),
    ("float", pa.array([0.5, float("nan")], pa.float32()), [0.5, "nan"]),
    ("double", pa.array([float("inf"), float("-inf")]), ["inf", "-inf"]),
    ("decimal128", pa.array([Decimal("1.50"), Decimal("-0.01")], pa.decimal128(38, 2)), ["1.50", "-0.01"]),
    ("decimal256", pa.array([Decimal("1.5"), Decimal(10) ** 70], pa.decimal256(76, 1)), ["1.5", f"1{'0' * 70}.0"]),
    ("string", pa.array(["x", "ü"]), ["x", "ü"]),
    ("large_string", pa.array(["x", ""], pa.large_string()), ["x", ""]),
    ("string_view", pa.array(["x", "y"], pa.string_view()), ["x", "y"]),
    ("dictionary", pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
    ("dictionary of numbers", pa.array([7, 8]).dictionary_encode(), [7, 8]),
    ("null", pa.nulls(2), [None, None]),
    ("date32", pa.array([0, -719_163], pa.int32()).cast(pa.date32()), ["1970-01-01", "-719163 days since 1970-01-01"]),
    ("date64", pa.array([DAY_S * 1000, 0], pa.int64()).cast(pa.date64()), ["1970-01-02", "1970-01-01"]),
    ("time32 s", pa.array([1, 3600], pa.int32()).cast(pa.time32("s")), ["00:00:01", "01:00:00"]),
    ("time32 ms", pa.array([1, DAY_S * 1000 - 1], pa.int32()).cast(pa.time32("ms")), ["00:00:00.001", "23:59:59.999"]),
    ("time64 us", pa.array([0, 1], pa.int64()).cast(pa.time64("us")), ["00:00:00", "00:00:00.000001"]),
    ("time64 ns", pa.array([1, -1], pa.int64()).cast(pa.time64("ns")), ["00:00:00.000000001", "-1 ns"]),
    ("timestamp s", timestamps("s", 0, 2**40), ["1970-01-01T00:00:00", f"{2**40}000 ms since 1970-01-01"]),
    ("timestamp ms", timestamps("ms", 1, -1), ["1970-01-01T00:00:00.001", "1969-12-31T23:59:59.999"]),
    ("timestamp us", timestamps("us", 1, -(2**62)), ["1970-01-01T00:00:00.000001", f"{-(2**62)} us since 1970-01-01"]),
    ("timestamp ns", timestamps("ns", 1, 10**9), ["1970-01-01T00:00:00.000000001", "1970-01-01T00:00:01"]),
    ("timestamp utc", timestamps("ns", 1, 0, tz="UTC"), ["1970-01-01T00:00:00.000000001Z", "1970-01-01T00:00:00Z"]),
    ("timestamp of an unknown zone", timestamps("us", 0, 1, tz="Mars/Olympus"),
     ["1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000001Z"]),
    ("duration s", pa.array([60, -1], pa.int64()).cast(pa.duration("s")), ["PT60S", "-PT1S"]),
    ("duration ns", pa.array([1, -1], pa.int64()).cast(pa.duration("ns")), ["PT0.000000001S", "-PT0.000000001S"]),
    ("list", pa.array([[1, 2], []]), [[1, 2], []]),
    ("list of dates", pa.array([[0, None], None], pa.list_(pa.int32())).cast(pa.list_(pa.date32())),
     [["1970-01-01", None], None]),
    ("large_list", pa.array([["x"], None], pa.large_list(pa.string())), [["x"], None]),
    ("fixed_size_list", pa.array([[1, 2], [3, 4]], pa.list_(pa.int8(), 2)), [[1, 2], [3, 4]]),
    ("struct", pa.array([{"a": 1, "b": {"c": None}}, None]), [{"a": 1, "b": {"c": None}}, None]),
    ("struct with times", pa.StructArray.from_arrays([timestamps("ns", 1, 2), pa.array([1, 2])], ["at", "n"]),
     [{"at": f"1970-01-01T00:00:00.00000000{n}", "n": n} for n in (1, 2)]),
    ("map", pa.array([[("x", 1), ("y", None)], []], pa.map_(pa.string(), pa.int64())), [[["x", 1], ["y", None]], []]),
    ("uuid", pa.array([UUID.bytes, None], pa.uuid()), [str(UUID), None]),
    ("json", pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}', None])), ['{"a": 1}', None]),
    ("picture", pa.array([PICTURE, None]), [{"path": "a.png"}, None]),
    ("list of pictures", pa.array([[PICTURE], []]), [[{"path": "a.png"}], []]),
    ("nested picture", pa.array([{"image": PICTURE, "n": 1}] * 2), [{"image": {"path": "a.png"}, "n": 1}] * 2),
]  # fmt: skip
NOT_IN_FILES: list[tuple[str, pa.Array, list[Any]]] = [
    ("bool8", pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8())), [1, 0]),
    ("interval", pa.array([(1, 2, 3), None], pa.month_day_nano_interval()), [[1, 2, 3], None]),
    ("list_view", pa.array([["x"], []], pa.list_view(pa.string())), [["x"], []]),
    ("run-end encoded", pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array([7])), [7, 7]),
]
BINARY: list[tuple[str, pa.Array]] = [
    ("binary", pa.array([b"x", None])),
    ("large_binary", pa.array([b"x", b"y"], pa.large_binary())),
    ("fixed_size_binary", pa.array([b"xy", b"zz"], pa.binary(2))),
    ("binary_view", pa.array([b"x", b"y"], pa.binary_view())),
    ("dictionary of binary", pa.array([b"x", b"y"]).dictionary_encode()),
    ("list of binary", pa.array([[b"x"], []])),
    ("fixed_size_list of binary", pa.array([[b"x"], [b"y"]], pa.list_(pa.binary(), 1))),
    ("map of binary", pa.array([[("x", b"y")], []], pa.map_(pa.string(), pa.binary()))),
    ("struct of binary", pa.array([{"bytes": b"x"}, None])),
    ("tensor of bytes", pa.array([[{"bytes": b"x"}], []])),
]


@pytest.mark.parametrize(("array", "values"), [item[1:] for item in VALUES], ids=[item[0] for item in VALUES])
def test_values_of_every_type_are_kept_as_json_says_them(array: pa.Array, values: list[Any]) -> None:
    found = tasks(table(prompt=["a dog", "a cat"], value=array), "parquet")
    assert [task.prompt for task in found] == ["a dog", "a cat"]
    expected = [{} if value is None else {"value": value} for value in values]
    assert [json.loads(json_text(task.metadata)) for task in found] == expected


@pytest.mark.parametrize(
    ("array", "values"), [item[1:] for item in NOT_IN_FILES], ids=[item[0] for item in NOT_IN_FILES]
)
def test_values_of_types_that_files_may_have_one_day(array: pa.Array, values: list[Any]) -> None:
    assert has_values(array.type)
    assert json.loads(json_text(values_of(array))) == values


@pytest.mark.parametrize("array", [item[1] for item in BINARY], ids=[item[0] for item in BINARY])
def test_binary_values_are_left_out_however_deep_they_are(array: pa.Array) -> None:
    for found in tasks(table(prompt=["a dog", "a cat"], image=array, tag=["x", "x"]), "parquet"):
        assert (found.metadata, found.record) == ({"tag": "x"}, {"prompt": found.prompt, "tag": "x"})


@pytest.mark.parametrize("name", ["image", "my.image", "file_name", ""])
def test_of_a_picture_in_a_column_of_any_name_only_the_path_is_kept(name: str) -> None:
    (task,) = tasks(table(**{name: [PICTURE], "prompt": ["a dog"], "my": [{"image": 1}]}), "parquet")
    assert task.metadata == {name: {"path": "a.png"}, "my": {"image": 1}}
    assert base64.b64encode(PICTURE["bytes"]).decode() not in json_text(task.record)  # type: ignore[arg-type]  # a task


@pytest.mark.parametrize(
    "type_", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_prompts_may_be_of_every_type_of_text(type_: pa.DataType) -> None:
    (task,) = tasks(table(prompt=pa.array(["a dog"], pa.string()).cast(type_)), "parquet")
    assert task.prompt == "a dog"


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (pa.array([7]), "expected a prompt as text, got int"),
        (pa.array([None], pa.string()), "expected a prompt as text, got none"),
        (pa.array(["a\0b"]), "expected text, got a NUL character at character 2"),
        (pa.array([b"a\xff"]).view(pa.string()), "expected UTF-8, got byte 0xff at character 2"),
    ],
)
def test_a_row_without_a_prompt_is_told(column: pa.Array, reason: str) -> None:
    (bad,) = read(table(prompt=column), "parquet")
    assert isinstance(bad, BadTask)
    assert (bad.where, bad.reason) == ("row 1", reason)


def test_text_that_is_not_utf8_fails_its_own_row_and_names_its_column() -> None:
    tags = pa.array([b"x", b"\xff", b"y"]).view(pa.string())
    first, bad, last = read(table(prompt=["a", "b", "c"], tag=tags), "parquet")
    assert isinstance(first, Task)
    assert isinstance(bad, BadTask)
    assert bad.reason == "'tag': expected UTF-8, got byte 0xff"
    assert isinstance(last, Task)


def test_drawing_fields_that_are_nan_are_those_that_pandas_has_no_value_for() -> None:
    nan = float("nan")
    first, second = tasks(table(prompt=["a", "b"], seed=[7.0, nan], steps=[nan, 9.0], guidance=[nan, 1.5]), "parquet")
    assert (first.seed, first.settings, first.metadata) == (7, {}, {})
    assert (second.seed, second.settings, second.metadata) == (None, {"steps": 9, "guidance": 1.5}, {})


def test_columns_of_one_name_are_refused() -> None:
    file = io.BytesIO()
    parquet.write_table(pa.table([["a"], ["b"]], names=["prompt", "prompt"]), file)
    with pytest.raises(PromptError, match="expected columns whose names differ, got prompt twice"):
        read(file.getvalue(), "parquet")


def test_unreadable_rows_of_a_damaged_parquet_file_fail_alone() -> None:
    file = io.BytesIO()
    prompts = [f"a cat {number}" for number in range(3_000)]
    parquet.write_table(pa.table({"prompt": prompts}), file, row_group_size=1_000, use_dictionary=False)
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
