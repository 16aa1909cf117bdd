"""The official prompt files of benchmarks are read as they lie in the checkouts; others are refused with the line.

The records are made up in the format of the real files.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from gems_actors.app.evaluation.benchmarks import BENCHMARKS, read_benchmark
from gems_actors.app.evaluation.prompt_files import BenchmarkError, Prompt
from tests.gems_actors.test_files import KINDS, make

PARTS = ("cultural_common_sense", "natural_science", "spatio-temporal_reasoning")


def read(name: str, path: Path) -> list[Prompt]:
    return read_benchmark(name, path).prompts


def error_of(name: str, path: Path) -> str:
    with pytest.raises(BenchmarkError) as raised:
        read(name, path)
    return str(raised.value)


def wise(number: int, category: str, prompt: str = "") -> dict[str, Any]:
    text = prompt or f"made up {number}"
    return {"Prompt": text, "Explanation": "x", "Category": category, "Subcategory": "y", "prompt_id": number}


LEGACY = {
    PARTS[0]: [wise(4, "Cultural knowledge")],
    PARTS[1]: [wise(720, "Biology"), wise(890, "Physical Knowledge")],
    PARTS[2]: [wise(560, "time"), wise(690, "Space")],
}
VERIFIED = {
    PARTS[0]: [wise(4, "Cultural knowledge")],
    PARTS[1]: [wise(650, "Biology"), wise(770, "Physical Knowledge")],
    PARTS[2]: [wise(410, "time"), wise(540, "Space")],
}


def checkout(folder: Path, parts: dict[str, list[dict[str, Any]]], suffix: str = "", *, merged: bool = True) -> Path:
    """Write a folder of the official checkout: the parts, their prompts in other words, and a merged copy."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, records in parts.items():
        (folder / f"{name}{suffix}.json").write_text(json.dumps(records))
        rewritten = [{"Prompt": "in other words", "prompt_id": record["prompt_id"]} for record in records]
        (folder / f"{name}_rewrite.json").write_text(json.dumps(rewritten))
    if merged:
        everything = [record | {"Prompt": f"{record['Prompt']} "} for records in parts.values() for record in records]
        (folder / "merge.json").write_text(json.dumps(everything))
    return folder


@pytest.mark.parametrize(
    ("folder", "parts", "suffix"),
    [("WISE_legacy/data", LEGACY, ""), ("data", LEGACY, ""), ("data_verified", VERIFIED, "_verified")],
)
def test_a_folder_of_wise_s_checkout_is_read_as_its_edition_once(
    tmp_path: Path, folder: str, parts: dict[str, list[dict[str, Any]]], suffix: str
) -> None:
    prompts = read("wise", checkout(tmp_path / folder, parts, suffix))
    expected = sorted(record["prompt_id"] for records in parts.values() for record in records)
    assert [int(prompt.id) for prompt in prompts] == expected
    assert {prompt.text for prompt in prompts} == {f"made up {number}" for number in expected}
    assert {prompt.record["edition"] for prompt in prompts} == {"verified" if suffix else "legacy"}


@pytest.mark.parametrize(("parts", "edition"), [(LEGACY, "legacy"), (VERIFIED, "verified")])
@pytest.mark.parametrize(
    "name", ["merge.json", "prompts.json", "natural_science_verified.json", "natural_science.json"]
)
def test_the_edition_is_that_of_the_contents_whatever_the_name(
    tmp_path: Path, parts: dict[str, list[dict[str, Any]]], edition: str, name: str
) -> None:
    (tmp_path / name).write_text(json.dumps([record for records in parts.values() for record in records]))
    for path in (tmp_path, tmp_path / name):
        assert {prompt.record["edition"] for prompt in read("wise", path)} == {edition}


# Made up so that their digests are those of the first prompt of each edition.
@pytest.mark.parametrize(("text", "edition"), [("made up 59411706", "legacy"), ("made up 19781578", "verified")])
def test_the_edition_of_culture_alone_is_told_by_prompts_that_differ(tmp_path: Path, text: str, edition: str) -> None:
    path = tmp_path / "merge.json"
    path.write_text(json.dumps([wise(1, "Cultural knowledge", text), wise(4, "Cultural knowledge")]))
    assert {prompt.record["edition"] for prompt in read("wise", path)} == {edition}


@pytest.mark.parametrize(
    ("name", "edition"),
    [
        ("cultural_common_sense.json", "legacy"),
        ("cultural_common_sense_verified.json", "verified"),
        ("data_verified/merge.json", "verified"),
        ("data/merge.json", "legacy"),
    ],
)
def test_the_name_tells_the_edition_of_records_that_fit_both(tmp_path: Path, name: str, edition: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([wise(4, "Cultural knowledge"), wise(410, "time")]))
    assert {prompt.record["edition"] for prompt in read("wise", path)} == {edition}


def test_files_of_both_editions_are_refused_by_name(tmp_path: Path) -> None:
    checkout(tmp_path, LEGACY)
    checkout(tmp_path, VERIFIED, "_verified")
    message = error_of("wise", tmp_path)
    assert message.startswith(
        f"{tmp_path}: expected files of one edition, got legacy (cultural_common_sense.json) and "
    )
    assert "verified (cultural_common_sense_verified.json)" in message


def test_the_root_of_the_checkout_is_refused_with_its_folders(tmp_path: Path) -> None:
    checkout(tmp_path / "data_verified", VERIFIED, "_verified")
    checkout(tmp_path / "WISE_legacy/data", LEGACY)
    assert error_of("wise", tmp_path) == (
        f"{tmp_path}: expected a file, or a folder with *.json, got neither; "
        "its folders WISE_legacy/data, data_verified have some"
    )


def test_only_the_rewritten_prompts_can_be_drawn_too(tmp_path: Path) -> None:
    checkout(tmp_path, LEGACY)
    for path in tmp_path.iterdir():
        if not path.name.endswith("_rewrite.json"):
            path.unlink()
    assert {prompt.text for prompt in read("wise", tmp_path)} == {"in other words"}


@pytest.mark.parametrize("below", ["", "prompts", "dpg_bench/prompts"])
def test_dpg_bench_s_folder_has_a_prompt_in_each_file(tmp_path: Path, below: str) -> None:
    folder = tmp_path / below
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "partiprompts97.txt").write_text("a cat\n")
    (folder / "COCOval2014000000000001.txt").write_bytes("\ufeffa dog, asleep\r\n".encode())
    (folder / "._0.txt").write_bytes(b"\x00\x05")
    found = read("dpg", tmp_path)
    assert [(prompt.id, prompt.text) for prompt in found] == [
        ("COCOval2014000000000001", "a dog, asleep"),
        ("partiprompts97", "a cat"),
    ]


@pytest.mark.parametrize("record", [("id", "prompt"), ("item_id", "text"), ("item_id", "prompt"), ("id", "text")])
@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_dpg_bench_is_read_from_objects_with_ids(tmp_path: Path, record: tuple[str, str], suffix: str) -> None:
    rows = [dict(zip(record, pair, strict=True)) for pair in (("partiprompts97", "a cat\u2028on a mat"), (12, "a dog"))]
    path = tmp_path / f"prompts{suffix}"
    text = (
        json.dumps(rows) if suffix == ".json" else "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    )
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert [(prompt.id, prompt.text) for prompt in read("dpg", path)] == [
        ("partiprompts97", "a cat\u2028on a mat"),
        ("12", "a dog"),
    ]


def test_prompts_without_ids_are_refused_for_dpg_bench(tmp_path: Path) -> None:
    path = tmp_path / "absurd.jsonl"
    path.write_text('{"prompt": "a spoon beside a suitcase"}\n')
    assert error_of("dpg", path) == (
        f"{path}:1: expected an object with id and prompt, got prompt; "
        "the scorer finds a picture by the id of its prompt"
    )
    assert error_of("dpg", tmp_path).endswith("expected a file, or a folder with a *.txt for each prompt, got neither")


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("geneval", "data.jsonl", b'{"prompt": "x"}\n', ":1: expected an object with prompt, tag, include"),
        ("geneval2", "data.jsonl", b"\n\n{torn", ":3: expected JSON: "),
        ("spatialgeneval", "data.jsonl", b"[]\n", ":1: expected an object with id, prompt, questions, answers, got"),
        ("crea", "data.jsonl", b"", ": expected prompts of CREA, got none"),
        ("crea", "data.jsonl", b'{"prompt": "\xff"}', ": expected UTF-8, got byte 0xff"),
        ("crea", "data.jsonl", b'{"prompt": null}', ":1: expected a prompt as text, got NoneType"),
        ("crea", "data.jsonl", b'{"prompt": " "}', ":1: expected a prompt of 1 to "),
        ("crea", "data.jsonl", b'{"prompt": "\\ud800"}', ":1: expected UTF-8, got "),
        ("crea", "data.jsonl", b"[" * 100_000, ":1: expected JSON: "),
        ("dpg", "data.csv", b"id,text\n", ": expected the columns item_id, text, got id, text"),
        ("dpg", "data.csv", b"item_id,text\n0\n", ":2: expected a value for text, got none"),
        ("dpg", "data.csv", b"item_id,text\n0," + b"x" * 1_100_000, ":2: expected a row of CSV, got: field larger"),
        ("dpg", "data.csv", b"item_id,text\n../../x,a cat\n", ":2: expected an id that can be the name of a file, got"),
        ("dpg", "data.jsonl", b'{"id": true, "prompt": "x"}', ":1: expected an id that can be the name of a file, got"),
        ("dpg", "data.jsonl", b'{"id": "", "prompt": "x"}', ":1: expected an id that can be the name of a file, got"),
        ("dpg", "data.jsonl", b"7\n", ":1: expected an object, got int"),
        ("spatialgeneval", "data.jsonl", b'{"id":"/etc","prompt":"x","questions":[],"answers":[]}', ":1: expected an"),
        ("oneig", "data.csv", b"category,id,prompt_en\nArt,1,x\n", ":2: expected one of the categories Anime_"),
        ("oneig", "data.csv", b"category,id,prompt_en\nPortrait,..,x\n", ":2: expected an id that can be the name"),
        ("wise", "data.json", b'[{"Prompt": "x", "prompt_id": 1}, 2]', ":2: expected an object with Prompt"),
        ("wise", "data.json", b'[{"Prompt": "x", "prompt_id": "a"}]', ":1: expected prompt_id as a whole number, got"),
        ("longtext", "data.jsonl", b'{"prompt": "x", "prompt_id": null, "text": []}', ":1: expected prompt_id as a"),
        ("longtext", "data.jsonl", b'{"prompt": "x", "prompt_id": 1, "text": []}\n' * 2, ": expected each prompt once"),
    ],
)  # fmt: skip
def test_a_file_of_another_benchmark_is_refused_with_the_line(
    tmp_path: Path, name: str, file: str, content: bytes, message: str
) -> None:
    path = tmp_path / file
    path.write_bytes(content)
    assert error_of(name, path).startswith(f"{path}{message}")


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name not in ("wise", "dpg")])
def test_a_folder_is_refused_where_a_benchmark_has_one_file(tmp_path: Path, name: str) -> None:
    assert error_of(name, tmp_path) == f"{tmp_path}: expected a readable file, got: a folder, not a file"


@pytest.mark.parametrize(("kind", "reason"), KINDS.items())
def test_what_is_not_a_file_is_refused_at_once(tmp_path: Path, kind: str, reason: str) -> None:
    path = make(tmp_path, kind)
    assert error_of("geneval2", path) == f"{path}: expected a readable file, got: {reason}"


def test_the_digest_of_the_prompts_is_that_of_sha256sum(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text('{"prompt": "a cow"}\n')
    assert read_benchmark("crea", file).sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    folder = tmp_path / "prompts"
    folder.mkdir()
    for name in ("b", "a"):
        (folder / f"{name}.txt").write_text(f"a prompt {name}")
    listed = "".join(f"{hashlib.sha256(f'a prompt {name}'.encode()).hexdigest()}  {name}.txt\n" for name in "ab")
    assert read_benchmark("dpg", folder).sha256 == hashlib.sha256(listed.encode()).hexdigest()
