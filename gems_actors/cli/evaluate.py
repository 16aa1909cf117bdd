"""`gems eval`: draws the prompts of a benchmark, and lays the pictures out as its official scorer reads them.

The agent is given the prompts alone; a benchmark's questions and answers go from its file to its scorer's folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
import trio

from gems_actors.app.bulk.folder import spec_of
from gems_actors.app.bulk.rows import file_name_of
from gems_actors.app.bulk.runner import BulkOptions, run
from gems_actors.app.bulk.source import Part
from gems_actors.app.bulk.tasks import MAX_SAMPLES
from gems_actors.app.evaluation.benchmarks import BENCHMARKS, BenchmarkError, Prompt, read_benchmark
from gems_actors.app.evaluation.compare import compare, comparison_rows, plot_of
from gems_actors.app.evaluation.scores import (
    SCORED_BENCHMARKS,
    ScoringPlan,
    figures_of,
    plan_scoring,
    score_lines,
    score_pictures,
)
from gems_actors.app.options import DrawOptions
from gems_actors.app.picture_files import OutputError, check_writable, encode_json, text_of_path, write_whole
from gems_actors.cli.exit_codes import DONE, FAILED
from gems_actors.cli.options import (
    DefaultCommand,
    DefaultGroup,
    between,
    draw_options,
    images_option,
    json_option,
    one_of,
    seed_option,
    strategy_option,
)
from gems_actors.cli.terminal.bulk_views import bulk_view_for, print_bulk_result
from gems_actors.cli.terminal.tables import table_lines
from gems_actors.cli.terminal.views import open_terminal


@click.group("eval", cls=DefaultGroup, add_help_option=False, context_settings={"ignore_unknown_options": True})
def evaluate() -> None:
    """Draw a benchmark."""


@click.command(
    cls=DefaultCommand,
    epilog=f"NAME is one of {', '.join(BENCHMARKS)}. `gems eval compare DIR...` compares runs of the same prompts with "
    "different strategies.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("name", type=one_of(*BENCHMARKS), metavar="NAME")
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Its official prompt file."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder to fill.")
@click.option(
    "--samples", type=between(1, MAX_SAMPLES), metavar="N", help="Pictures a prompt, if not as many as it wants."
)
@click.option("--limit", type=between(1, 10**9), metavar="N", help="Draw at most so many pictures now.")
@click.option(
    "--score",
    "is_scored",
    is_flag=True,
    help=f"Score the pictures too, by the model of [judge] ({', '.join(SCORED_BENCHMARKS)}).",
)
@draw_options(
    strategy_option,
    images_option,
    seed_option("Seed of the benchmark; each picture derives its own (default 0).", default=0),
)
@json_option
def _draw(
    name: str,
    data: Path,
    out: Path,
    samples: int | None,
    limit: int | None,
    is_scored: bool,
    options: DrawOptions,
    as_json: bool,
) -> int:
    """Draw every prompt of benchmark NAME, and lay the pictures out in DIR/NAME as its official scorer reads them.

    The prompt files are not part of this package: --data names the official one. The same command run again continues
    where it stopped; nothing is laid out before every picture is there.
    """
    benchmark = BENCHMARKS[name]
    judging: ScoringPlan | None = None
    try:
        prompts = read_benchmark(name, data)
        if is_scored:
            judging = plan_scoring(
                name,
                prompts,
                options.read_config(),
                lambda line: click.echo(f"gems: {line}", err=True),
            )
        check_writable(out)
        source = out / "prompts.jsonl"
        write_whole(source, _tasks_of(prompts))
    except BenchmarkError as error:
        raise click.UsageError(f"--data: {error}") from error
    except OutputError as error:
        raise click.UsageError(f"--out: {error}") from error
    spec = spec_of(source, options, samples=samples or benchmark.samples)
    bulk = BulkOptions(
        spec=spec, file=source, out=out, part=Part(limit=limit), router=options.router, redirects_stderr=True
    )
    with open_terminal() as stream:
        result = trio.run(run, bulk, bulk_view_for(stream, as_json=as_json))
        code = print_bulk_result(result, stream, as_json=as_json)
    pictures = {
        prompt.id: [out / "dataset" / file_name_of(index, sample) for sample in range(spec.samples)]
        for index, prompt in enumerate(prompts)
    }
    missing = sum(not path.is_file() for paths in pictures.values() for path in paths)
    if missing:
        total = len(prompts) * spec.samples
        click.echo(f"gems: {missing} of {total} pictures are missing, so nothing is laid out for the scorer", err=True)
        return code or FAILED
    benchmark.lay_out(out / name, prompts, pictures)
    click.echo(f"laid out for the scorer of {benchmark.title} in {text_of_path(out / name)}", err=True)
    if judging is not None:
        scores = trio.run(
            score_pictures, judging, prompts, pictures, out / name, lambda line: click.echo(line, err=True)
        )
        click.echo("\n".join(score_lines(scores)), err=as_json)
    return code


evaluate.default = _draw


@evaluate.command("compare")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR...")
@click.option("--plot", type=click.Path(path_type=Path), metavar="SVG", help="Write a picture of the first score, too.")
@json_option
def compare_runs(folders: tuple[Path, ...], plot: Path | None, as_json: bool) -> int:
    """Compare runs of the same prompts: what each strategy comes to, over all folders that were filled with it.

    Folders of one strategy are its repeats, drawn with other seeds; behind ± is the 95 % interval of their mean.
    """
    compared = compare([figures_of(folder) for folder in folders])
    if plot is not None:
        first = next(iter(next(iter(compared.values()))))
        try:
            write_whole(plot, plot_of(compared, first).encode())
        except OutputError as error:
            raise click.UsageError(f"--plot: {error}") from error
    if as_json:
        click.echo(
            encode_json({name: {key: asdict(item) for key, item in row.items()} for name, row in compared.items()})
        )
    else:
        click.echo("\n".join(table_lines(comparison_rows(compared))))
    return DONE


def _tasks_of(prompts: Sequence[Prompt]) -> bytes:
    """Return the prompts as a bulk reads them, each with its id and nothing else."""
    lines = (json.dumps({"prompt": prompt.text, "id": prompt.id}, ensure_ascii=False) for prompt in prompts)
    return "".join(f"{line}\n" for line in lines).encode()
