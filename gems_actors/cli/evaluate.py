"""`gems eval`: draws the prompts of a benchmark, and lays the pictures out for its official scorer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import click
import trio

from gems_actors.app.bulk.interface import BulkResult
from gems_actors.app.bulk.tasks import MAX_SAMPLES
from gems_actors.app.evaluation.benchmarks import BENCHMARKS
from gems_actors.app.evaluation.compare import at_budget, compare, curve_of
from gems_actors.app.evaluation.curve import run_curve
from gems_actors.app.evaluation.curve_plot import curve_svg_of
from gems_actors.app.evaluation.figure_files import check_figure, write_figure
from gems_actors.app.evaluation.runner import EvaluationOptions, EvaluationResult, EvaluationView, run
from gems_actors.app.evaluation.runs import CALLS, IMAGES, read_run_folders
from gems_actors.app.evaluation.scores import SCORED_BENCHMARKS, score_lines
from gems_actors.app.evaluation.tables import FORMATS, comparison_rows, curve_csv_of, plot_of, provenance_lines
from gems_actors.app.options import DrawOptions
from gems_actors.app.picture_files import OutputError, text_of_path
from gems_actors.cli import options as flags
from gems_actors.cli.exit_codes import DONE, FAILED
from gems_actors.cli.options import json_option, path_option
from gems_actors.cli.terminal.bulk_views import bulk_view_for, print_bulk_result
from gems_actors.cli.terminal.tables import table_lines
from gems_actors.cli.terminal.views import open_terminal
from gems_actors.errors import UsageError


def _parse_budget(value: str) -> float:
    """Return how many images, or calls, a picture may have cost on average."""
    try:
        budget = float(value)
    except ValueError:
        budget = math.nan
    if not 1 <= budget < math.inf:
        raise UsageError(f"expected a number of at least 1, got {value!r}")
    return budget


_BUDGET = flags.parsed_by(_parse_budget)


@click.group("eval", cls=flags.DefaultGroup, add_help_option=False, context_settings={"ignore_unknown_options": True})
def evaluate() -> None:
    """Draw a benchmark."""


@click.command(
    cls=flags.DefaultCommand,
    epilog=f"NAME is one of {', '.join(BENCHMARKS)}. `gems eval compare DIR...` compares runs of the same prompts.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("benchmark", type=flags.one_of(*BENCHMARKS), metavar="NAME")
@path_option("--data", required=True, metavar="FILE", help_text="Official prompt file or folder of the benchmark.")
@path_option("--out", required=True, metavar="DIR", help_text="Folder to fill.")
@flags.number_option("--samples", MAX_SAMPLES, "N", "Pictures per prompt (default: as many as the scorer expects).")
@flags.number_option("--limit", 10**9, "N", "Draw, lay out and score only the first N prompts.")
@click.option(
    "--score", "is_scored", is_flag=True, help=f"Score with the model of [judge] ({', '.join(SCORED_BENCHMARKS)})."
)
@click.option(
    "--curve", "is_curve", is_flag=True, help="Draw several strategies in folders of DIR, and write curve.csv and .svg."
)
@flags.wait_option
@flags.draw_options(
    flags.strategy_option,
    flags.images_option,
    flags.seed_option("Seed of the benchmark; each picture derives its own (default 0).", default=0),
)
@flags.image_budget_options
@flags.consent_option
@json_option
def _draw(options: DrawOptions, is_curve: bool, as_json: bool, **chosen: Any) -> int:
    """Draw every prompt of benchmark NAME, and lay the pictures out in DIR/NAME for its official scorer.

    The prompt files are not part of this package. The same command continues an earlier run. Nothing is laid out before
    every picture exists, of the first N prompts with --limit N. --images is what --curve may draw for a picture (8).
    """
    evaluation = EvaluationOptions(options=options, redirects_stderr=True, **chosen)
    if is_curve:
        return _draw_curve(evaluation, as_json=as_json)
    with open_terminal() as stream:
        view = _View(stream, as_json=as_json)
        result = trio.run(run, evaluation, view)
    if result.missing:
        return _report_missing(result, view)
    if result.scores is not None:
        click.echo("\n".join(score_lines(result.scores)), err=as_json)
    return view.code


def _draw_curve(evaluation: EvaluationOptions, *, as_json: bool) -> int:
    """Draw every strategy of a curve, as far as it is not drawn, and return the exit code."""
    views: dict[str, _View] = {}
    with open_terminal() as stream:

        def view_of(name: str) -> _View:
            print(f"curve: {name}", file=stream)
            return views.setdefault(name, _View(stream, as_json=as_json))

        result = trio.run(run_curve, evaluation, view_of)
    name, last = list(result.results.items())[-1]
    if not result.is_complete:
        return _report_missing(last, views[name])
    click.echo(f"wrote curve.csv and curve.svg in {text_of_path(evaluation.out)}", err=as_json)
    return max(view.code for view in views.values())


def _report_missing(result: EvaluationResult, view: _View) -> int:
    counts = f"{result.missing} of {result.total} pictures are missing"
    click.echo(f"gems: {counts}, so nothing is laid out for the scorer", err=True)
    return view.code or FAILED


evaluate.default = _draw


class _View(EvaluationView):
    """Shows an evaluation on a terminal."""

    def __init__(self, stream: TextIO, *, as_json: bool) -> None:
        self.bulk = bulk_view_for(stream, as_json=as_json)
        self.code = DONE
        self._stream = stream
        self._as_json = as_json

    def finish_bulk(self, result: BulkResult) -> None:
        """Print what was drawn, and keep the exit code."""
        self.code = print_bulk_result(result, self._stream, as_json=self._as_json)

    def note(self, text: str) -> None:
        """Print a line."""
        print(text, file=self._stream)

    def warn(self, text: str) -> None:
        """Print a warning."""
        click.echo(f"gems: {text}", err=True)


@evaluate.command("compare")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR...")
@flags.choice_option("--format", "format_", names=tuple(FORMATS), help_text="Print in this format, not as a table.")
@path_option("--plot", metavar="SVG", help_text="Write a bar chart of the first figure to this file.")
@path_option("--curve", metavar="CSV|SVG", help_text="Write the figures by rounds, images and calls to this file.")
@click.option(
    "--at-images", type=_BUDGET, metavar="N", help="Cut each run where a picture had drawn N images on average."
)
@click.option("--at-calls", type=_BUDGET, metavar="N", help="Cut each run where a picture had cost N calls on average.")
@json_option
def compare_runs(
    folders: tuple[Path, ...],
    format_: str | None,
    plot: Path | None,
    curve: Path | None,
    at_images: float | None,
    at_calls: float | None,
    as_json: bool,
) -> int:
    """Compare the strategies of runs over the same prompts, with 95 % intervals.

    Folders with the same strategy count as its repeats. Differences are from the strategy of the first folder. Where
    the storyboard's verifier made simulated errors, the table tells what it believed and what the pictures truly meet.
    At an equal budget, each run is cut after the last round within it, or image where it has only one round.
    """
    if at_images is not None and at_calls is not None:
        raise click.UsageError("--at-images: expected either it or --at-calls, got both")
    for option, path, endings in (("--plot", plot, (".svg",)), ("--curve", curve, (".csv", ".svg"))):
        if path is not None and path.suffix.lower() not in endings:
            raise click.UsageError(f"{option}: expected a name that ends in {' or '.join(endings)}, got {str(path)!r}")
        if path is not None:
            with _told_by(option):
                check_figure(path)
    runs = read_run_folders(folders)
    try:
        if at_images is not None:
            runs = at_budget(runs, IMAGES, at_images)
        if at_calls is not None:
            runs = at_budget(runs, CALLS, at_calls)
        compared = compare(runs)
        points = [] if curve is None else curve_of(runs)
    except ValueError as error:
        raise click.UsageError(f"DIR: {error}") from error
    _write("--plot", plot, lambda: plot_of(compared, compared.figures[0]))
    is_svg = curve is not None and curve.suffix.lower() == ".svg"
    _write("--curve", curve, lambda: curve_svg_of(points) if is_svg else f"{curve_csv_of(points)}\n")
    if as_json or format_ is not None:
        click.echo(FORMATS[format_ or "json"](compared))
    else:
        click.echo("\n".join([*table_lines(comparison_rows(compared)), "", *provenance_lines(compared)]))
    return DONE


def _write(option: str, path: Path | None, content: Callable[[], str]) -> None:
    if path is not None:
        with _told_by(option):
            write_figure(path, content())


@contextmanager
def _told_by(option: str) -> Iterator[None]:
    """Report a file that cannot be written as a wrong value of its option."""
    try:
        yield
    except OutputError as error:
        raise click.UsageError(f"{option}: {error}") from error
