"""The pictures of each benchmark are found as its official scorer finds them.

The records are made up in the format of the real files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from PIL import Image

from gems_actors.app.evaluation.benchmarks import BENCHMARKS, read_benchmark
from gems_actors.app.evaluation.layout_writer import write_layout
from gems_actors.app.evaluation.prompt_files import Prompt

STEP = 60
"""Distance between the colours of two prompts or samples."""
TILES = [(16, 12), (48, 12), (16, 36), (48, 36)]
"""Centres of the tiles of a grid."""


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
            Image.new("RGB", (32, 24), (STEP * place, STEP * sample, 99)).save(path)
            pictures.setdefault(prompt.id, []).append(path)
    return pictures


def lay_out(name: str, tmp_path: Path, data: Path, samples: int | None = None) -> tuple[Path, list[Prompt]]:
    benchmark = BENCHMARKS[name]
    prompts, out = read_benchmark(name, data).prompts, tmp_path / "out"
    pictures = draw(tmp_path / "drawn", prompts, samples or benchmark.samples)
    trio.run(write_layout, out, benchmark.lay_out(out, prompts, pictures), tmp_path / "layout.jsonl", print)
    return out, prompts


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def colour(path: Path | str, x: int = 0, y: int = 0) -> tuple[int, int]:
    """Return prompt and sample of a pixel, whose colour a lossy format may have changed a little."""
    with Image.open(path) as image:
        red, green, _ = image.convert("RGB").getpixel((x, y))  # type: ignore[misc]
    return round(red / STEP), round(green / STEP)


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
    tiles = [colour(out / "partiprompts97.png", x, y) for x, y in TILES]
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
            assert (grid.format, grid.size) == ("WEBP", (64, 48))
        assert [colour(found, x, y) for x, y in TILES] == [(place, n) for n in range(4)]


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
