"""`gems eval`: draws the prompts of a benchmark, and lays the pictures out as its official scorer reads them.

The agent is given the prompts alone; a benchmark's questions and answers go from its file to its scorer's folder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from gems_actors.cli.benchmarks import BENCHMARKS, BenchmarkError, Prompt, read_benchmark
from gems_actors.cli.bulk import Part, start_bulk
from gems_actors.cli.bulk_folder import RunFile, file_name_of
from gems_actors.cli.bulk_input import MAX_SAMPLES
from gems_actors.cli.endings import FAILED
from gems_actors.cli.options import (
    between,
    config_option,
    json_option,
    read_config,
    rounds_option,
    router_option,
    seed_option,
    set_option,
)
from gems_actors.cli.output import OutputError, check_writable, encode_json, text_of_path, write_whole
from gems_actors.cli.scoring import soft_tifa
from gems_actors.config import ChatModelConfig


def _parse_name(value: str) -> str:
    if value not in BENCHMARKS:
        raise click.BadParameter(f"expected one of {', '.join(BENCHMARKS)}, came {value!r}")
    return value


@click.command("eval")
@click.argument("name", type=_parse_name, metavar="|".join(BENCHMARKS))
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Its official prompt file."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder to fill.")
@click.option(
    "--samples", type=between(1, MAX_SAMPLES), metavar="N", help="Pictures a prompt, if not as many as it wants."
)
@click.option("--limit", type=between(1, 10**9), metavar="N", help="Draw at most so many pictures now.")
@click.option("--score", "is_scored", is_flag=True, help="Score the pictures too, by the model of [judge] (geneval2).")
@rounds_option
@seed_option("Seed of the whole benchmark; a picture's own follows from it and from its place.", default=0)
@config_option
@set_option
@router_option
@json_option
def evaluate(
    name: str,
    data: Path,
    out: Path,
    samples: int | None,
    limit: int | None,
    is_scored: bool,
    rounds: int | None,
    seed: int,
    config_file: Path | None,
    overrides: tuple[str, ...],
    router: str | None,
    as_json: bool,
) -> int:
    """Draw every prompt of a benchmark, and lay the pictures out in DIR/NAME as its official scorer reads them.

    The prompt files are not part of this package: --data names the official one. The same command run again continues
    where it stopped; nothing is laid out before every picture is there.
    """
    benchmark = BENCHMARKS[name]
    judge = _judge_of(name, config_file, overrides) if is_scored else None
    try:
        prompts = read_benchmark(name, data)
        check_writable(out)
        source = out / "prompts.jsonl"
        write_whole(source, _tasks_of(prompts))
    except BenchmarkError as error:
        raise click.UsageError(f"--data: {error}") from error
    except OutputError as error:
        raise click.UsageError(f"--out: {error}") from error
    told = RunFile(
        source=text_of_path(source.absolute()),
        seed=seed,
        samples=samples or benchmark.samples,
        rounds=rounds,
        config_file=None if config_file is None else text_of_path(config_file.absolute()),
        overrides=overrides,
    )
    code = start_bulk(told, Part(limit=limit), out, router, None, as_json=as_json)
    pictures = {
        prompt.id: [out / "dataset" / file_name_of(index, sample) for sample in range(told.samples)]
        for index, prompt in enumerate(prompts)
    }
    missing = sum(not path.is_file() for paths in pictures.values() for path in paths)
    if missing:
        total = len(prompts) * told.samples
        click.echo(f"gems: {missing} of {total} pictures are missing, so nothing is laid out for the scorer", err=True)
        return code or FAILED
    benchmark.lay_out(out / name, prompts, pictures)
    click.echo(f"laid out for the scorer of {benchmark.title} in {text_of_path(out / name)}", err=True)
    if judge is not None:
        from gems_actors.cli.judging import judge_pictures  # httpx, which drawing alone need not load

        judged = judge_pictures(judge, prompts, pictures, out / name / "judged.jsonl", sys.stderr)
        scores = {
            "judge": judge.model or judge.url,
            **soft_tifa({prompt.id: prompt.record for prompt in prompts}, judged),
        }
        write_whole(out / name / "scores.json", encode_json(scores).encode() + b"\n")
        click.echo("\n".join(_score_lines(scores)), err=as_json)
    return code


def _judge_of(name: str, config_file: Path | None, overrides: tuple[str, ...]) -> ChatModelConfig:
    if name != "geneval2":
        raise click.UsageError(f"--score: expected geneval2, whose score needs a chat model alone, came {name}")
    judge = read_config(config_file, overrides).judge
    if judge is None or judge.backend != "openai":
        raise click.UsageError('--score: expected a table [judge] with backend = "openai" and a url, came none')
    return judge


def _score_lines(scores: Mapping[str, Any]) -> Iterator[str]:
    yield f"judge              {scores['judge']}, {scores['prompts']} prompts"
    yield f"Soft-TIFA GM       {scores['soft_tifa_gm']:.1f}"
    yield f"Soft-TIFA AM       {scores['soft_tifa_am']:.1f}"
    for skill, score in scores["am_by_skill"].items():
        yield f"  AM {skill:<14} {score:.1f}"
    for count, score in scores["gm_by_atom_count"].items():
        yield f"  GM {count + ' atoms':<14} {score:.1f}"


def _tasks_of(prompts: Sequence[Prompt]) -> bytes:
    """Return the prompts as a bulk reads them, each with its id and nothing else."""
    lines = (json.dumps({"prompt": prompt.text, "id": prompt.id}, ensure_ascii=False) for prompt in prompts)
    return "".join(f"{line}\n" for line in lines).encode()
