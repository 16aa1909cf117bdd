"""The prompt file of each benchmark is read, and its pictures are found as its official scorer finds them.

The records are made up in the format of the real files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gems_actors.app.evaluation.benchmarks import BENCHMARKS, BenchmarkError, Prompt, read_benchmark
from tests.gems_actors.cli.commands import run_gems


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    return path


def draw(folder: Path, prompts: Sequence[Prompt], samples: int) -> dict[str, list[Path]]:
    """Return pictures whose colour identifies prompt and sample."""
    pictures: dict[str, list[Path]] = {}
    for place, prompt in enumerate(prompts):
        for sample in range(samples):
            path = folder / f"{place}-{sample}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (8, 6), (place, sample, 99)).save(path)
            pictures.setdefault(prompt.id, []).append(path)
    return pictures


def lay_out(name: str, tmp_path: Path, data: Path, samples: int | None = None) -> tuple[Path, list[Prompt]]:
    benchmark = BENCHMARKS[name]
    prompts = read_benchmark(name, data)
    pictures = draw(tmp_path / "drawn", prompts, samples or benchmark.samples)
    for _ in range(2):  # the second layout replaces the first
        benchmark.lay_out(tmp_path / "out", prompts, pictures)
    return tmp_path / "out", prompts


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def colour(path: Path | str, x: int = 0, y: int = 0) -> tuple[int, int]:
    with Image.open(path) as image:
        red, green, _ = image.convert("RGB").getpixel((x, y))  # type: ignore[misc]
    return red, green


def test_geneval_s_scorer_finds_a_folder_per_prompt_with_its_record_and_four_samples(tmp_path: Path) -> None:
    records = [
        {"tag": "counting", "include": [{"class": "orange", "count": 3}], "prompt": "a photo of three oranges"},
        {"tag": "single_object", "include": [{"class": "cow", "count": 1}], "prompt": "a photo of a cow"},
    ]
    out, _ = lay_out("geneval", tmp_path, write(tmp_path / "data.jsonl", *records))
    folders = sorted(path.name for path in out.iterdir() if path.is_dir() and path.name.isdigit())
    assert folders == ["00000", "00001"]
    for place, name in enumerate(folders):
        assert json.loads((out / name / "metadata.jsonl").read_text()) == records[place]
        samples = names(out / name / "samples")
        assert samples == ["0000.png", "0001.png", "0002.png", "0003.png"]
        assert [colour(out / name / "samples" / sample) for sample in samples] == [(place, n) for n in range(4)]


def test_geneval2_s_scorer_finds_every_picture_by_its_prompt(tmp_path: Path) -> None:
    records = [
        {"prompt": text, "atom_count": 3, "vqa_list": [["How many pigs?", "one"]], "skills": ["count"]}
        for text in ("a green backpack and a pig", "two metal toys")
    ]
    out, _ = lay_out("geneval2", tmp_path, write(tmp_path / "data.jsonl", *records))
    paths = json.loads((out / "image_paths.json").read_text())
    assert [colour(paths[record["prompt"]]) for record in records] == [(0, 0), (1, 0)]


def test_dpg_bench_s_scorer_finds_a_grid_of_four_by_item_id(tmp_path: Path) -> None:
    data = tmp_path / "dpg_bench.csv"
    data.write_text(
        "item_id,text,proposition_id,question_natural_language\n"
        '0,"a dog, asleep",1,Is there a dog?\n0,"a dog, asleep",2,Is it asleep?\n'
        "partiprompts97,a cat,1,Is there a cat?\n"
    )
    out, prompts = lay_out("dpg", tmp_path, data)
    assert [(prompt.id, prompt.text) for prompt in prompts] == [("0", "a dog, asleep"), ("partiprompts97", "a cat")]
    assert names(out) == ["0.png", "partiprompts97.png"]
    tiles = [colour(out / "partiprompts97.png", x, y) for y in (0, 6) for x in (0, 8)]
    assert tiles == [(1, 0), (1, 1), (1, 2), (1, 3)]


@pytest.mark.parametrize(("key", "last"), [("prompt_en", "Knowledge_Reasoning"), ("prompt_cn", "Multilingualism")])
def test_oneig_s_scorers_find_a_grid_by_kind_and_id(tmp_path: Path, key: str, last: str) -> None:
    data = tmp_path / "OneIG-Bench.csv"
    rows = f"category,id,{key},class\nPortrait,007,一位 woman,\n{last},000,two moons,\n"
    data.write_text(rows, encoding="utf-8-sig")
    out, prompts = lay_out("oneig", tmp_path, data)
    assert prompts[0].text == "一位 woman"
    folder = "reasoning" if last == "Knowledge_Reasoning" else "multilingualism"
    for place, kind in enumerate(("human", folder)):
        (found,) = (out / "images" / kind).glob("*/*.webp")
        assert found.stem == ("007", "000")[place]
        with Image.open(found) as grid:
            assert (grid.format, grid.size) == ("WEBP", (16, 12))
        assert [colour(found, x, y) for y in (0, 6) for x in (0, 8)] == [(place, n) for n in range(4)]


def test_wise_s_scorer_finds_a_picture_by_the_prompt_s_number(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, numbers in (("natural_science", (701, 702)), ("cultural_common_sense", (1, 2))):
        listed = [{"Prompt": f"prompt {n}", "Explanation": "x", "prompt_id": n} for n in numbers]
        (folder / f"{name}.json").write_text(json.dumps(listed))
    out, prompts = lay_out("wise", tmp_path, folder)
    assert [prompt.id for prompt in prompts] == ["1", "2", "701", "702"]
    assert [colour(out / f"{number}.png")[0] for number in (1, 2, 701, 702)] == [0, 1, 2, 3]


def test_longtext_bench_s_scorer_finds_the_record_by_the_file_name(tmp_path: Path) -> None:
    records = [{"prompt": f"sign {n}", "prompt_id": n, "text": ["OPEN"], "category": "sign"} for n in (79, 100, 199)]
    out, _ = lay_out("longtext", tmp_path, write(tmp_path / "text_prompts.jsonl", *records))
    by_id = {record["prompt_id"]: record for record in records}
    found = sorted(out.glob("*.png"))
    assert len(found) == 12
    for path in found:
        number, sample = path.stem.split("_")
        place = records.index(by_id[int(number)])
        assert colour(path) == (place, int(sample) - 1)


def test_spatialgeneval_s_scorer_finds_the_pictures_sorted_by_name(tmp_path: Path) -> None:
    records = [
        {"id": f"{n:06d}", "scene": "Forest", "prompt": f"scene {n}", "questions": ["?"], "answers": ["A"]}
        for n in (1, 2, 3)
    ]
    out, _ = lay_out("spatialgeneval", tmp_path, write(tmp_path / "data.jsonl", *records))
    found = names(out)
    assert found == ["000001.png", "000002.png", "000003.png"]
    assert [colour(out / name)[0] for name in found] == [0, 1, 2]


def test_crea_s_judge_finds_all_samples_of_a_prompt(tmp_path: Path) -> None:
    data = write(tmp_path / "data.jsonl", {"prompt": "a creative couch"}, {"prompt": "a creative chair"})
    out, _ = lay_out("crea", tmp_path, data, samples=3)
    paths = json.loads((out / "image_paths.json").read_text())
    assert [colour(path) for path in paths["a creative chair"]] == [(1, 0), (1, 1), (1, 2)]
    assert BENCHMARKS["crea"].samples == 25


def test_artimuse_finds_a_flat_folder(tmp_path: Path) -> None:
    data = write(
        tmp_path / "data.jsonl", {"prompt": "Aesthetic Drawing: a cow"}, {"prompt": "Aesthetic Drawing: a pig"}
    )
    out, _ = lay_out("artimuse", tmp_path, data)
    assert names(out) == ["00000.png", "00001.png"]


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("geneval", "data.jsonl", b'{"prompt": "x"}\n', ":1: expected an object with prompt, tag, include"),
        ("geneval2", "data.jsonl", b"\n\n{torn", ":3: expected JSON: "),
        ("spatialgeneval", "data.jsonl", b"[]\n", ":1: expected an object with id, prompt, questions, answers, got"),
        ("crea", "data.jsonl", b"", ": expected prompts of CREA, got none"),
        ("crea", "data.jsonl", b'{"prompt": "\xff"}', ": expected UTF-8, got byte 0xff"),
        ("dpg", "data.csv", b"id,text\n", ": expected the columns item_id, text, got id, text"),
        ("oneig", "data.csv", b"category,id,prompt_en\nArt,1,x\n", ":2: expected one of the categories Anime_"),
        ("wise", "data.json", b'[{"Prompt": "x", "prompt_id": 1}, 2]', ":2: expected an object with Prompt"),
        ("longtext", "data.jsonl", b'{"prompt": "x", "prompt_id": 1, "text": []}\n' * 2, ": expected each prompt once"),
    ],
)  # fmt: skip
def test_a_file_of_another_benchmark_is_refused_with_the_line(
    tmp_path: Path, name: str, file: str, content: bytes, message: str
) -> None:
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(BenchmarkError) as raised:
        read_benchmark(name, path)
    assert str(raised.value).startswith(f"{path}{message}")


@pytest.mark.slow
def test_a_benchmark_is_laid_out_once_it_is_complete_and_its_questions_stay_private(tmp_path: Path) -> None:
    records = [
        {"tag": "counting", "include": [{"class": "pig", "count": n}], "prompt": f"a photo of {n} pigs"} for n in (2, 3)
    ]
    write(tmp_path / "data.jsonl", *records)
    command = ("eval", "geneval", "--data", "data.jsonl", "--out", "out", "--rounds", "1")
    part = run_gems(tmp_path, *command, "--limit", "3")
    assert part.returncode == 1
    assert part.stderr.splitlines()[-1] == "gems: 5 of 8 pictures are missing, so nothing is laid out for the scorer"
    assert not (tmp_path / "out/geneval").exists()
    whole = run_gems(tmp_path, *command)
    assert whole.returncode == 0
    assert whole.stderr.splitlines()[-1] == "laid out for the scorer of GenEval in out/geneval"
    assert len([*(tmp_path / "out/geneval").glob("0000[01]/samples/000[0-3].png")]) == 8
    assert b"counting" not in (tmp_path / "out/prompts.jsonl").read_bytes()
    rows = [json.loads(line) for line in (tmp_path / "out/dataset/metadata.jsonl").read_text().splitlines()]
    assert [json.loads(row["metadata"]) for row in rows] == [{"id": f"0000{n // 4}"} for n in range(8)]
    unknown = run_gems(tmp_path, "eval", "genevil", "--data", "data.jsonl", "--out", "out")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
    assert "expected one of geneval, geneval2, dpg, oneig" in unknown.stderr
