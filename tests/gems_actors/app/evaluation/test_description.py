"""A folder of `gems eval` holds one benchmark, drawn in one way; anything else is refused before it is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from gems_actors.app.evaluation import EvaluationOptions, run
from gems_actors.app.evaluation.description import Description, check_folder, read_description, write_description
from gems_actors.app.evaluation.prompt_files import Prompt
from gems_actors.app.options import DrawOptions
from gems_actors.app.picture_files import OutputError
from gems_actors.errors import UsageError
from tests.gems_actors.app.evaluation.folders import row, spec, write_folder

PROMPTS = [Prompt("00000", "a cow", {}), Prompt("00001", "a pig", {})]
TASKS = b'{"prompt": "a cow", "id": "00000"}\n{"prompt": "a pig", "id": "00001"}\n'
ROWS = [row("a cow", 0, [4])]


def described(out: Path, benchmark: str = "artimuse") -> None:
    write_description(out, Description(benchmark=benchmark, data="/data.jsonl", data_sha256="0", prompts=2))


def filled(out: Path, **options: Any) -> Path:
    write_folder(out, ROWS, **options)
    (out / "prompts.jsonl").write_bytes(TASKS)
    described(out)
    return out


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "options", [{}, {"samples": 4}, {"seed": 0}, {"overrides": ("roles.verifier.count=4",)}, {"strategy": "gems"}]
)
def test_a_folder_is_continued_with_options_that_draw_the_same_pictures(tmp_path: Path, options: Any) -> None:
    out = filled(tmp_path / "out")
    check_folder(out, "artimuse", PROMPTS, TASKS, spec(out, **options))


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (
            TASKS.replace(b"a pig", b"a hen"),
            "2 prompts that its pictures were drawn from, got 2 others, first at prompt",
        ),
        (
            TASKS.replace(b"00001", b"00002"),
            "2 prompts that its pictures were drawn from, got 2 others, first at prompt",
        ),
        (
            TASKS.splitlines(keepends=True)[0],
            "2 prompts that its pictures were drawn from, got 1 others, first at prompt",
        ),
        (TASKS * 2, "2 prompts that its pictures were drawn from, got 4 others"),
    ],
)
@pytest.mark.parametrize("is_old", [False, True], ids=["new", "of an earlier version"])
def test_other_prompts_are_refused(tmp_path: Path, tasks: bytes, message: str, is_old: bool) -> None:
    out = filled(tmp_path / "out")
    if is_old:
        (out / "eval.json").unlink()
    with pytest.raises(OutputError, match=message):
        check_folder(out, "artimuse", PROMPTS, tasks, spec(out))


def test_another_benchmark_is_refused_even_with_the_same_prompts(tmp_path: Path) -> None:
    out = filled(tmp_path / "out")
    with pytest.raises(OutputError, match="expected pictures of crea, got those of artimuse; choose another --out"):
        check_folder(out, "crea", PROMPTS, TASKS, spec(out))


def test_a_folder_without_a_picture_may_become_another_benchmark(tmp_path: Path) -> None:
    out = filled(tmp_path / "out")
    (out / "dataset" / "metadata.jsonl").write_bytes(b"")
    check_folder(out, "crea", PROMPTS, TASKS * 2, spec(out, seed=5))


@pytest.mark.parametrize("benchmark", ["artimuse", "crea"])
async def test_what_a_refusal_finds_stays_as_it_was(tmp_path: Path, benchmark: str) -> None:
    out = filled(tmp_path / "out")
    data = tmp_path / "data.jsonl"
    data.write_text('{"prompt": "a hen"}\n')
    before = content_of(out)
    for options in (DrawOptions(), DrawOptions(seed=7)):
        with pytest.raises(UsageError, match=r"^--out: .*/out: expected .*; choose another --out$"):
            await run(EvaluationOptions(benchmark=benchmark, data=data, out=out, options=options))
    assert content_of(out) == before


async def test_a_user_s_own_prompts_jsonl_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"prompt": "a hen"}\n')
    own = tmp_path / "prompts.jsonl"
    own.write_text('{"prompt": "mine"}\n')
    with pytest.raises(UsageError, match=r"expected a new folder, got one with another prompts\.jsonl$"):
        await run(EvaluationOptions(benchmark="crea", data=tmp_path / "data.jsonl", out=tmp_path))
    assert own.read_text() == '{"prompt": "mine"}\n'


async def test_the_folder_of_a_bulk_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"prompt": "a hen"}\n')
    out = write_folder(tmp_path / "out", ROWS)
    changed = msgspec.structs.replace(spec(out), source="/data/mine.txt")
    (out / "run.json").write_bytes(msgspec.json.encode(changed))
    before = content_of(out)
    with pytest.raises(UsageError, match=r"expected a new folder, got the output of /data/mine\.txt"):
        await run(EvaluationOptions(benchmark="crea", data=tmp_path / "data.jsonl", out=out))
    assert content_of(out) == before


def test_a_damaged_description_is_refused(tmp_path: Path) -> None:
    (tmp_path / "eval.json").write_text("{}")
    with pytest.raises(OutputError, match=r"eval\.json: expected the description of an evaluation, got: "):
        read_description(tmp_path)
