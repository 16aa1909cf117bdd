"""Reads the prompt files of benchmarks, and lays pictures out as their official scorers expect them.

Only the prompts go to the mesh; the questions and answers of a benchmark stay in its file. Where the code of a scorer
differs from its paper or page, the layout follows the code.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from PIL import Image

Record = Mapping[str, Any]


class BenchmarkError(ValueError):
    """A file is not the prompt file of the benchmark."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt of a benchmark."""

    id: str
    """Id by which the scorer finds the pictures."""
    text: str
    record: Record


Pictures = Mapping[str, Sequence[Path]]
"""Pictures of each prompt in the order of the samples, by the id of the prompt."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark that can be drawn."""

    title: str
    samples: int
    """Number of pictures per prompt that its scorer expects."""
    read: Callable[[Path], list[Prompt]]
    lay_out: Callable[[Path, Sequence[Prompt], Pictures], None]
    """Writes the layout of the scorer into a folder."""


def read_benchmark(name: str, path: Path) -> list[Prompt]:
    """Return the prompts of a benchmark's file.

    Raises:
        BenchmarkError: the file cannot be read, or is not that of the benchmark.
    """
    try:
        prompts = BENCHMARKS[name].read(path)
    except OSError as error:
        raise BenchmarkError(f"{path}: expected a readable file, got: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"{path}: expected UTF-8, got byte {error.object[error.start]:#04x}") from error
    if not prompts:
        raise BenchmarkError(f"{path}: expected prompts of {BENCHMARKS[name].title}, got none")
    ids = [prompt.id for prompt in prompts]
    if len(set(ids)) != len(ids):
        duplicate = next(id_ for id_ in ids if ids.count(id_) > 1)
        raise BenchmarkError(f"{path}: expected each prompt once, got {duplicate!r} twice")
    return prompts


def _objects(path: Path, *keys: str) -> list[tuple[int, dict[str, Any]]]:
    """Return the objects of a .jsonl file with their line numbers, or those of a .json file with their positions."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        listed = _parse(text, str(path))
        found = list(enumerate(listed if isinstance(listed, list) else [listed], 1))
    else:
        lines = enumerate(text.splitlines(), 1)
        found = [(number, _parse(line, f"{path}:{number}")) for number, line in lines if line.strip()]
    for number, item in found:
        if not isinstance(item, dict) or not all(key in item for key in keys):
            got = ", ".join(item) if isinstance(item, dict) else type(item).__name__
            raise BenchmarkError(f"{path}:{number}: expected an object with {', '.join(keys)}, got {got}")
    return found


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BenchmarkError(f"{where}: expected JSON: {error}") from error


def _rows(path: Path, *keys: str) -> list[dict[str, str]]:
    """Return the rows of a .csv file."""
    reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""))
    missing = [key for key in keys if key not in (reader.fieldnames or ())]
    if missing:
        got = ", ".join(reader.fieldnames or ()) or "an empty file"
        raise BenchmarkError(f"{path}: expected the columns {', '.join(keys)}, got {got}")
    return list(reader)


def _read_numbered(keys: Sequence[str], path: Path) -> list[Prompt]:
    """Return the prompts of objects with some keys; their ids are their positions."""
    found = enumerate(_objects(path, "prompt", *keys))
    return [Prompt(f"{index:05d}", str(item["prompt"]), item) for index, (_, item) in found]


def _read_longtext(path: Path) -> list[Prompt]:
    found = _objects(path, "prompt", "prompt_id", "text")
    return [Prompt(f"{int(item['prompt_id']):04d}", str(item["prompt"]), item) for _, item in found]


def _read_spatial(path: Path) -> list[Prompt]:
    found = _objects(path, "id", "prompt", "questions", "answers")
    return [Prompt(str(item["id"]), str(item["prompt"]), item) for _, item in found]


def _read_wise(path: Path) -> list[Prompt]:
    """Return the prompts sorted by number; `edition` in each record is `legacy` or `verified`."""
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise BenchmarkError(f"{path}: expected a file, or a folder with *.json, got neither")
    prompts = []
    for file in files:
        edition = "verified" if file.stem.endswith("_verified") else "legacy"  # the contents do not say
        prompts += [
            Prompt(str(item["prompt_id"]), str(item["Prompt"]), {**item, "edition": edition})
            for _, item in _objects(file, "Prompt", "prompt_id")
        ]
    if len({prompt.record["edition"] for prompt in prompts}) > 1:
        raise BenchmarkError(f"{path}: expected files of one edition, got some that end in _verified.json")
    return sorted(prompts, key=lambda prompt: int(prompt.id))


def _read_dpg(path: Path) -> list[Prompt]:
    found: dict[str, Prompt] = {}
    for row in _rows(path, "item_id", "text"):  # one row per question, each with the prompt
        found.setdefault(row["item_id"], Prompt(row["item_id"], row["text"], row))
    return list(found.values())


_ONEIG: Final = {
    "Anime_Stylization": "anime", "Portrait": "human", "General_Object": "object", "Text_Rendering": "text",
    "Knowledge_Reasoning": "reasoning", "Multilingualism": "multilingualism",
}  # fmt: skip


def _read_oneig(path: Path) -> list[Prompt]:
    with path.open(encoding="utf-8-sig") as file:
        key = "prompt_cn" if "prompt_cn" in file.readline() else "prompt_en"
    prompts = []
    for number, row in enumerate(_rows(path, "category", "id", key), 2):
        if row["category"] not in _ONEIG:
            expected = ", ".join(_ONEIG)
            raise BenchmarkError(f"{path}:{number}: expected one of the categories {expected}, got {row['category']!r}")
        prompts.append(Prompt(f"{_ONEIG[row['category']]}/{row['id']}", row[key], row))
    return prompts


def _link(source: Path, target: Path) -> None:
    """Link a picture to a second path, or copy it where the file system has no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write_grid(sources: Sequence[Path], target: Path, **options: Any) -> None:
    """Write samples as one picture of equal tiles in two columns; `options` go to Pillow's `save`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    columns = 1 if len(sources) == 1 else 2
    with Image.open(sources[0]) as first:
        width_px, height_px = first.size
    rows = -(-len(sources) // columns)
    grid = Image.new("RGB", (columns * width_px, rows * height_px))
    for index, source in enumerate(sources):
        with Image.open(source) as tile:
            grid.paste(tile.convert("RGB"), (index % columns * width_px, index // columns * height_px))
    grid.save(target, **options)


def _lay_out_geneval(folder: Path, prompts: Sequence[Prompt], pictures: Pictures) -> None:
    for prompt in prompts:
        for number, picture in enumerate(pictures[prompt.id]):
            _link(picture, folder / prompt.id / "samples" / f"{number:04d}.png")
        (folder / prompt.id / "metadata.jsonl").write_text(json.dumps(prompt.record) + "\n")


def _lay_out_geneval2(folder: Path, prompts: Sequence[Prompt], pictures: Pictures) -> None:
    _lay_out_flat(folder / "images", prompts, pictures)
    paths = {prompt.text: str((folder / "images" / f"{prompt.id}.png").absolute()) for prompt in prompts}
    (folder / "image_paths.json").write_text(json.dumps(paths, ensure_ascii=False, indent=2))


def _lay_out_flat(folder: Path, prompts: Sequence[Prompt], pictures: Pictures) -> None:
    for prompt in prompts:
        _link(pictures[prompt.id][0], folder / f"{prompt.id}.png")


def _lay_out_longtext(folder: Path, prompts: Sequence[Prompt], pictures: Pictures) -> None:
    for prompt in prompts:
        for number, picture in enumerate(pictures[prompt.id], 1):
            _link(picture, folder / f"{prompt.id}_{number}.png")


def _lay_out_dpg(folder: Path, prompts: Sequence[Prompt], pictures: Pictures) -> None:
    for prompt in prompts:
        _write_grid(pictures[prompt.id], folder / f"{prompt.id}.png", format="PNG")


def _lay_out_oneig(folder: Path, prompts: Sequence[Prompt], pictures: Pictures) -> None:
    for prompt in prompts:
        kind, _, id_ = prompt.id.partition("/")
        target = folder / "images" / kind / "gems-actors" / f"{id_}.webp"
        _write_grid(pictures[prompt.id], target, format="WEBP", lossless=True)


def _lay_out_crea(folder: Path, prompts: Sequence[Prompt], pictures: Pictures) -> None:
    paths: dict[str, list[str]] = {}
    for prompt in prompts:
        for number, picture in enumerate(pictures[prompt.id]):
            target = folder / "images" / f"{prompt.id}_{number:02d}.png"
            _link(picture, target)
            paths.setdefault(prompt.text, []).append(str(target.absolute()))
    (folder / "image_paths.json").write_text(json.dumps(paths, ensure_ascii=False, indent=2))


_read_creative = partial(_read_numbered, ())
BENCHMARKS: Final[Mapping[str, Benchmark]] = {
    # github.com/djghosh13/geneval, prompts/evaluation_metadata.jsonl
    "geneval": Benchmark("GenEval", 4, partial(_read_numbered, ("tag", "include")), _lay_out_geneval),
    # github.com/facebookresearch/GenEval2, geneval2_data.jsonl
    "geneval2": Benchmark(
        "GenEval2", 1, partial(_read_numbered, ("atom_count", "vqa_list", "skills")), _lay_out_geneval2
    ),
    # github.com/TencentQQGYLab/ELLA, dpg_bench/dpg_bench.csv
    "dpg": Benchmark("DPG-Bench", 4, _read_dpg, _lay_out_dpg),
    # github.com/OneIG-Bench/OneIG-Benchmark, OneIG-Bench.csv or OneIG-Bench-ZH.csv
    "oneig": Benchmark("OneIG-Bench", 4, _read_oneig, _lay_out_oneig),
    # github.com/PKU-YuanGroup/WISE, the folder data
    "wise": Benchmark("WISE", 1, _read_wise, _lay_out_flat),
    # github.com/X-Omni-Team/X-Omni, textbench/text_prompts.jsonl or text_prompts_zh.jsonl
    "longtext": Benchmark("LongText-Bench", 4, _read_longtext, _lay_out_longtext),
    # github.com/AMAP-ML/SpatialGenEval, eval/SpatialGenEval_T2I_Prompts.jsonl
    "spatialgeneval": Benchmark("SpatialGenEval", 1, _read_spatial, _lay_out_flat),
    # github.com/lcqysl/GEMS, eval/CREA/data.jsonl
    "crea": Benchmark("CREA", 25, _read_creative, _lay_out_crea),
    # github.com/lcqysl/GEMS, eval/ArtiMuse/evaluation_metadata.jsonl
    "artimuse": Benchmark("ArtiMuse", 1, _read_creative, _lay_out_flat),
}
"""Benchmarks by their names on the command line, below the origin of prompts and scorer."""
