"""Reads the official prompt files of benchmarks. The files are foreign input and are checked here.

Only the prompts go to the mesh; the questions and answers of a benchmark stay in its file.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gems_actors.app.evaluation.wise_editions import PARTS, edition_of
from gems_actors.app.prompts import PromptError, check_prompt
from gems_actors.files import read_regular

Record = Mapping[str, Any]
_MAX_ID_CHARS: Final = 150
_MAX_CELL_CHARS: Final = 1024 * 1024


class BenchmarkError(ValueError):
    """A file is not the prompt file of the benchmark."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt of a benchmark."""

    id: str
    """Id by which the scorer finds the pictures."""
    text: str
    record: Record


def single_file(path: Path) -> list[Path]:
    """Return the only prompt file of a benchmark that has one."""
    return [path]


def wise_files(path: Path) -> list[Path]:
    """Return the files of an edition of WISE: a file, or those of a folder of the official checkout.

    Such a folder also has a merged copy of all prompts and, in the legacy edition, the prompts in other words.
    """
    if not path.is_dir():
        return [path]
    files = [file for file in sorted(path.glob("*.json")) if not file.name.startswith(".")]
    parts = [file for file in files if file.stem.removesuffix("_verified") in PARTS]
    merged = [file for file in files if file.stem == "merge"]
    if chosen := parts or merged or [file for file in files if not file.stem.endswith("_rewrite")] or files:
        return chosen
    below = sorted({str(file.parent.relative_to(path)) for file in path.glob("**/*.json")})
    hint = f"; its folders {', '.join(below[:4])} have some" if below else ""
    raise BenchmarkError(f"{path}: expected a file, or a folder with *.json, got neither{hint}")


def dpg_files(path: Path) -> list[Path]:
    """Return the prompt file of DPG-Bench, or the files of its folder `prompts`, each with one prompt."""
    if not path.is_dir():
        return [path]
    for folder in (path, path / "prompts", path / "dpg_bench" / "prompts"):
        if files := [file for file in sorted(folder.glob("*.txt")) if not file.name.startswith(".")]:
            return files
    raise BenchmarkError(f"{path}: expected a file, or a folder with a *.txt for each prompt, got neither")


def read_numbered(keys: Sequence[str], files: Sequence[Path]) -> list[Prompt]:
    """Return the prompts of objects with some keys; their ids are their positions."""
    return [
        _prompt(f"{index:05d}", item["prompt"], item, where)
        for index, (where, item) in enumerate(_objects(files[0], "prompt", *keys))
    ]


def read_longtext(files: Sequence[Path]) -> list[Prompt]:
    """Return the prompts of LongText-Bench."""
    return [
        _prompt(f"{_number(item['prompt_id'], where):04d}", item["prompt"], item, where)
        for where, item in _objects(files[0], "prompt", "prompt_id", "text")
    ]


def read_spatial(files: Sequence[Path]) -> list[Prompt]:
    """Return the prompts of SpatialGenEval."""
    return [
        _prompt(item["id"], item["prompt"], item, where)
        for where, item in _objects(files[0], "id", "prompt", "questions", "answers")
    ]


def read_wise(files: Sequence[Path]) -> list[Prompt]:
    """Return the prompts of WISE sorted by number; `edition` in each record is `legacy` or `verified`."""
    prompts: list[Prompt] = []
    editions: dict[str, Path] = {}
    for file in files:
        found = _objects(file, "Prompt", "prompt_id")
        edition = edition_of([item for _, item in found], file)
        editions.setdefault(edition, file)
        for where, item in found:
            id_ = str(_number(item["prompt_id"], where))
            prompts.append(_prompt(id_, item["Prompt"], {**item, "edition": edition}, where))
    if len(editions) > 1:
        got = " and ".join(f"{edition} ({file.name})" for edition, file in sorted(editions.items()))
        raise BenchmarkError(f"{files[0].parent}: expected files of one edition, got {got}")
    return sorted(prompts, key=lambda prompt: int(prompt.id))


def read_dpg(files: Sequence[Path]) -> list[Prompt]:
    """Return the prompts of DPG-Bench from its CSV file, from objects with ids, or from one file for each prompt."""
    found: dict[str, Prompt] = {}
    if files[0].suffix == ".csv":
        for where, row in _rows(files[0], "item_id", "text"):  # one row per question, each with the prompt
            found.setdefault(row["item_id"], _prompt(row["item_id"], row["text"], row, where))
        return list(found.values())
    if files[0].suffix == ".txt":
        return [_prompt(file.stem, _text_of(file).strip(), {}, str(file)) for file in files]
    prompts = []
    for where, item in _objects(files[0]):
        id_, text = item.get("id", item.get("item_id")), item.get("prompt", item.get("text"))
        if id_ is None or text is None:
            got = ", ".join(item) or "no field"
            hint = "the scorer finds a picture by the id of its prompt"
            raise BenchmarkError(f"{where}: expected an object with id and prompt, got {got}; {hint}")
        prompts.append(_prompt(id_, text, item, where))
    return prompts


_ONEIG: Final = {
    "Anime_Stylization": "anime", "Portrait": "human", "General_Object": "object", "Text_Rendering": "text",
    "Knowledge_Reasoning": "reasoning", "Multilingualism": "multilingualism",
}  # fmt: skip


def read_oneig(files: Sequence[Path]) -> list[Prompt]:
    """Return the prompts of OneIG-Bench in English or Chinese."""
    (path,) = files
    key = "prompt_cn" if "prompt_cn" in _text_of(path).partition("\n")[0] else "prompt_en"
    prompts = []
    for where, row in _rows(path, "category", "id", key):
        if row["category"] not in _ONEIG:
            expected = ", ".join(_ONEIG)
            raise BenchmarkError(f"{where}: expected one of the categories {expected}, got {row['category']!r}")
        prompts.append(_prompt(row["id"], row[key], row, where, folder=f"{_ONEIG[row['category']]}/"))
    return prompts


def _prompt(id_: object, text: object, record: Record, where: str, folder: str = "") -> Prompt:
    """Return a prompt whose id can be a file name, and that can be drawn."""
    name = id_ if isinstance(id_, str) else str(id_) if isinstance(id_, int) and not isinstance(id_, bool) else ""
    if not 1 <= len(name) <= _MAX_ID_CHARS or name.startswith(".") or not name.isprintable() or {*name} & {*"/\\"}:
        raise BenchmarkError(f"{where}: expected an id that can be the name of a file, got {id_!r}")
    if not isinstance(text, str):
        raise BenchmarkError(f"{where}: expected a prompt as text, got {type(text).__name__}")
    try:
        check_prompt(text)
    except PromptError as error:
        raise BenchmarkError(f"{where}: {error}") from error
    return Prompt(f"{folder}{name}", text, record)


def _number(value: object, where: str) -> int:
    """Return a number that a file may also hold as text."""
    if isinstance(value, int | str) and not isinstance(value, bool) and str(value).isdecimal() and len(str(value)) < 10:
        return int(value)
    raise BenchmarkError(f"{where}: expected prompt_id as a whole number, got {value!r}")


def _objects(path: Path, *keys: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the objects of a .jsonl file after their file and line, or those of a .json file after their positions."""
    text = _text_of(path)
    if path.suffix == ".json":
        listed = _parse(text, str(path))
        found = list(enumerate(listed if isinstance(listed, list) else [listed], 1))
    else:
        lines = enumerate(text.split("\n"), 1)  # not splitlines: a line of JSON may contain U+2028
        found = [(number, _parse(line, f"{path}:{number}")) for number, line in lines if line.strip()]
    for number, item in found:
        if not isinstance(item, dict) or not all(key in item for key in keys):
            got = ", ".join(item) if isinstance(item, dict) else type(item).__name__
            expected = f"an object with {', '.join(keys)}" if keys else "an object"
            raise BenchmarkError(f"{path}:{number}: expected {expected}, got {got}")
    return [(f"{path}:{number}", item) for number, item in found]


def _text_of(path: Path) -> str:
    """Return the text of a file, whatever ends its lines; a byte order mark is left out."""
    return io.TextIOWrapper(io.BytesIO(read_regular(path)), encoding="utf-8-sig").read()


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BenchmarkError(f"{where}: expected JSON: {error}") from error


def _rows(path: Path, *keys: str) -> list[tuple[str, dict[str, str]]]:
    """Return the rows of a .csv file after their file and line."""
    csv.field_size_limit(_MAX_CELL_CHARS)  # of the whole process: readers of bulks set their own
    reader = csv.DictReader(io.StringIO(_text_of(path), newline=""))
    rows: list[tuple[str, dict[str, str]]] = []
    try:
        missing = [key for key in keys if key not in (reader.fieldnames or ())]
        if missing:
            got = ", ".join(reader.fieldnames or ()) or "an empty file"
            raise BenchmarkError(f"{path}: expected the columns {', '.join(keys)}, got {got}")
        for row in reader:
            where = f"{path}:{reader.line_num}"
            if empty := [key for key in keys if not row[key]]:
                raise BenchmarkError(f"{where}: expected a value for {', '.join(empty)}, got none")
            rows.append((where, row))
    except csv.Error as error:
        raise BenchmarkError(f"{path}:{reader.line_num + 1}: expected a row of CSV, got: {error}") from error
    return rows
