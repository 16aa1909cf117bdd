"""`gems bulk`: draw every task of a file; run again, it continues."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click
import trio

from gems_actors.app.bulk.ending import RunEnding, read_ending
from gems_actors.app.bulk.estimate import dry_run, dry_run_lines
from gems_actors.app.bulk.export import Shape, export_rows
from gems_actors.app.bulk.finished.pruning import Kept, prune
from gems_actors.app.bulk.folder_files import failed_tasks, inspect_folder
from gems_actors.app.bulk.interface import BulkOptions
from gems_actors.app.bulk.reading.records import IMAGE_COLUMN, PROMPT_COLUMN
from gems_actors.app.bulk.reopening import CONTINUED, part_to_continue
from gems_actors.app.bulk.rows import all_rows_of
from gems_actors.app.bulk.run_spec import RunSpec, read_run, spec_of
from gems_actors.app.bulk.runner import SHOWN_IN_REPORT, run
from gems_actors.app.bulk.running.limits import MAX_CONCURRENCY
from gems_actors.app.bulk.tasks import MAX_SAMPLES, STANDARD_INPUT, Part
from gems_actors.app.bulk.totals import Tally, summary_of, summary_table
from gems_actors.app.options import DrawOptions, parse_shard
from gems_actors.app.picture_files import ENDINGS, OutputError, PictureFormat, encode_json, text_of_path
from gems_actors.cli import options as shared
from gems_actors.cli.exit_codes import DONE, FAILED
from gems_actors.cli.terminal.bulk_views import bulk_view_for, images_line, print_bulk_result
from gems_actors.cli.terminal.tables import counted, format_bytes
from gems_actors.cli.terminal.views import open_terminal
from gems_actors.os_process import protect_files
from gems_actors.terminal_text import printable
from protocol.limits import MAX_ROUNDS

_SHOWN_BAD = 20
"""Bad records that a dry run prints; JSON has them all."""

_folder_argument = click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")


@click.group(cls=shared.DefaultGroup, add_help_option=False, context_settings={"ignore_unknown_options": True})
def bulk() -> None:
    """Draw every task of a file."""


@click.command(
    cls=shared.DefaultCommand,
    epilog="`gems bulk retry DIR` draws failed tasks again, or continues others; `gems bulk status DIR` shows the "
    "progress; `gems bulk report DIR` writes a page; `gems bulk export DIR --as webdataset` writes shards; "
    "`gems bulk prune DIR` drops attempts.",
    options_metavar="[OPTIONS] FILE --out DIR",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("file", type=click.Path(path_type=Path), metavar="")
@shared.path_option("--out", required=True, metavar="DIR", help_text="Folder to fill.")
@click.option("--prompt-column", default=PROMPT_COLUMN, metavar="NAME", help="Field with the prompt (default prompt).")
@click.option(
    "--image-column", default=IMAGE_COLUMN, metavar="NAME", help="Field with pictures to draw from (default image)."
)
@shared.number_option("--samples", MAX_SAMPLES, "N", "Pictures per prompt (default 1).", default=1)
@shared.number_option("--limit", 10**9, "N", "Maximum tasks to draw now.")
@click.option("--shard", type=shared.parsed_by(parse_shard), default="1/1", metavar="I/N", help="Process shard I of N.")
@shared.choice_option("--pictures", names=[*ENDINGS], default="png", help_text="Format of the pictures (default png).")
@click.option("--attempts", is_flag=True, help="Add all attempts to the dataset.")
@shared.choice_option(
    "--keep-attempts", names=["none", "chosen", "all"], default="all", help_text="What DIR/.mesh keeps (default all)."
)
@shared.number_option("--concurrency", MAX_CONCURRENCY, "N", "Maximum tasks in flight (default automatic).")
@shared.wait_option
@shared.draw_options(
    shared.strategy_option, shared.images_option, shared.seed_option("Base of the tasks' seeds (default 0).", default=0)
)
@shared.image_budget_options
@click.option("--id-column", metavar="NAME", help="Field that names the files of a record.")
@shared.consent_option
@click.option("--dry-run", "is_dry", is_flag=True, help="Check and estimate everything, draw nothing.")
@shared.path_option("--like", metavar="DIR", help_text="Earlier run to estimate from.")
@shared.json_option
def _draw(file: Path, options: DrawOptions, is_dry: bool, like: Path | None, as_json: bool, **chosen: Any) -> int:
    """Draw every task of FILE: a prompt per line (.txt), an object per line (.jsonl), a row (.csv, .parquet).

    A record has a prompt, and may have its own seed, samples, size, rounds, candidates, memory, skill, steps, guidance
    and negative_prompt, and an image to draw from (a path relative to FILE, or several) with its strength; other fields
    are kept as metadata. `-` reads lines of text from standard input. The same command run again continues where it
    stopped. Ctrl-C finishes the tasks in flight, a second Ctrl-C stops at once. While model servers load or are away,
    the run waits; if they stay away, it ends with exit code 75 and fails no task.
    A run that would replace finished pictures stops before it begins, unless --keep or --redraw says what to do.
    """
    names = ("samples", "pictures", "attempts", "keep_attempts", "prompt_column", "id_column", "image_column")
    shape = {name: chosen.pop(name) for name in names}
    part = Part(shard=chosen.pop("shard"), limit=chosen.pop("limit"))
    spec, router = spec_of(file, options, **shape), options.router
    bulk_options = BulkOptions(spec=spec, file=file, part=part, router=router, redirects_stderr=True, **chosen)
    if is_dry:
        return _dry_run(bulk_options, like, as_json=as_json)
    if like is not None:
        raise click.UsageError("--like: expected it with --dry-run, got it alone")
    return _run(bulk_options, as_json=as_json)


bulk.default = _draw


@bulk.command()
@_folder_argument
@shared.consent_option
@click.option("--class", "class_", metavar="CLASS", help="Only tasks that failed with this class, such as backend.")
@shared.wait_option
@shared.choice_option(
    "--outcome",
    "outcomes",
    names=[*CONTINUED, "all"],
    metavar="OUTCOME",
    help_text=f"Continue tasks that have a picture and ended so: {', '.join(CONTINUED)} or all; may be repeated.",
    multiple=True,
)
@shared.number_option("--rounds", MAX_ROUNDS, "N", "Rounds in all of tasks that are continued (default as before).")
@shared.router_option
@shared.json_option
def retry(
    folder: Path,
    class_: str | None,
    outcomes: tuple[str, ...],
    rounds: int | None,
    as_json: bool,
    **chosen: Any,
) -> int:
    """Draw the failed tasks of DIR again, or continue tasks by their outcome, with the same settings.

    A task that is continued keeps its attempts, and its picture unless a better one is found. One that ended because
    its rounds were spent continues only with more --rounds.
    """
    spec = _spec_of(folder)
    if spec.source == STANDARD_INPUT:
        raise click.UsageError(f"DIR: {folder}: expected a run of a file, got one of {STANDARD_INPUT}")
    part, file = _part_to_retry(folder, class_, outcomes, rounds), Path(spec.source)
    if not part.only:
        what = "ended so that it could continue" if outcomes else "failed"
        click.echo(f"nothing {what} in {folder}" + (f" with class {class_}" if class_ else ""), err=True)
        return DONE
    options = BulkOptions(
        spec=spec,
        file=file,
        out=folder,
        part=part,
        keeps_failures=True,
        redirects_stderr=True,
        **chosen,
    )
    return _run(options, as_json=as_json)


@bulk.command()
@_folder_argument
@shared.json_option
def status(folder: Path, as_json: bool) -> int:
    """Show the progress of the run in DIR, and what failed."""
    spec = _spec_of(folder)
    tally = Tally()
    try:
        state = inspect_folder(folder, tally.add)
    except OutputError as error:
        raise click.UsageError(f"DIR: {error}") from error
    tally.failures, tally.spent = state.failures, state.spent
    ending = None if state.running else read_ending(folder, spec, tally.pictures + tally.failed)
    if as_json:
        is_finished = ending is not None and ending.is_complete
        failed = {class_: failures.count for class_, failures in state.failures.items()}
        found = {"source": spec.source, "running": state.running, "finished": is_finished, "failed": failed}
        click.echo(encode_json({**found, **summary_of(tally, 0.0)}))
    else:
        click.echo(f"source             {spec.source}")
        click.echo(f"running            {state.running if ending is None else _ending_in_words(ending, tally)}")
        click.echo("\n".join(summary_table(tally, None)))
        if state.plan.number:
            click.echo(images_line(tally.images, state.plan.images, state.plan.in_words))
    return DONE


@bulk.command()
@_folder_argument
@shared.number_option(
    "--pictures", 10_000, "N", "Number of trajectories to show (default 100).", smallest=0, default=SHOWN_IN_REPORT
)
@shared.router_option
def report(folder: Path, pictures: int, router: str | None) -> int:
    """Write DIR/report.html: results and trajectories of the run, failures first, as one self-contained page.

    A run writes the page when it ends; this command writes it earlier, or with more trajectories. With --router, the
    rounds come from a running mesh.
    """
    from gems_actors.app.bulk.report.writing import write_report  # loads Pillow and the memory store

    spec = _spec_of(folder)
    try:
        path = trio.run(write_report, folder, spec, pictures, router)
    except OutputError as error:
        raise click.UsageError(f"DIR: {error}") from error
    click.echo(text_of_path(path))
    return DONE


@bulk.command("export")
@_folder_argument
@shared.choice_option("--as", "shape", names=get_args(Shape), required=True, help_text="Format of the shards.")
@shared.path_option("--to", "target", metavar="DIR", help_text="Folder to fill (default DIR/FORMAT).")
@shared.choice_option("--pictures", names=[*ENDINGS], help_text="Format of the pictures (default unchanged).")
@shared.number_option("--per-shard", 100_000, "N", "Pictures per shard (default 1000).", default=1000)
def export_dataset(
    folder: Path, shape: Shape, target: Path | None, pictures: PictureFormat | None, per_shard: int
) -> int:
    """Write the dataset in DIR as shards: WebDataset's tar files, or Parquet with the pictures inside."""
    picture_format = pictures or _spec_of(folder).pictures
    rows = all_rows_of(folder)
    try:
        for path in export_rows(rows, folder / "dataset", target or folder / shape, shape, picture_format, per_shard):
            click.echo(text_of_path(path))
    except OutputError as error:
        raise click.ClickException(str(error)) from error
    return DONE


@bulk.command("prune")
@_folder_argument
@shared.choice_option(
    "--keep-attempts", "kept", names=get_args(Kept), default="none", help_text="What to keep (default none)."
)
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Only print what would be dropped.")
def prune_attempts(folder: Path, kept: Kept, is_dry_run: bool) -> int:
    """Drop the attempts in DIR/.mesh that neither the dataset nor the next run needs.

    The dataset has its own copy of every picture. Attempts of unfinished tasks stay. Without the chosen attempts, a
    picture that is removed from the dataset cannot be written again, and `gems memory check --images` reports them.
    """
    _spec_of(folder)
    try:
        pruned = prune(folder, kept, is_dry_run=is_dry_run)
    except OutputError as error:
        raise click.UsageError(f"DIR: {error}") from error
    verb = "would be dropped" if is_dry_run else "dropped"
    click.echo(f"{counted(pruned.files, 'file')}, {format_bytes(pruned.bytes)}, {verb}")
    return DONE


def _part_to_retry(folder: Path, class_: str | None, outcomes: tuple[str, ...], rounds: int | None) -> Part:
    """Return the failed tasks, or those with one of the outcomes that can continue."""
    if not outcomes:
        if rounds is not None:
            raise click.UsageError("--rounds: expected it with --outcome, got it alone")
        return Part(only=frozenset(failed_tasks(folder, class_)))
    if class_ is not None:
        raise click.UsageError("--class: expected either it or --outcome, got both")
    if outcomes == ("rounds_spent",) and rounds is None:
        raise click.UsageError("--outcome rounds_spent: expected more --rounds than before, got none")
    return part_to_continue(folder, CONTINUED if "all" in outcomes else outcomes, rounds)


def _run(options: BulkOptions, *, as_json: bool) -> int:
    with open_terminal() as stream:
        result = trio.run(run, options, bulk_view_for(stream, as_json=as_json))
        return print_bulk_result(result, stream, as_json=as_json)


def _dry_run(options: BulkOptions, like: Path | None, *, as_json: bool) -> int:
    outcome = dry_run(options, like)
    if as_json:
        click.echo(encode_json(outcome.to_tree()))
    else:
        click.echo("\n".join(dry_run_lines(outcome)))
        file = text_of_path(options.file)
        for item in outcome.bad[:_SHOWN_BAD]:
            click.echo(printable(f"{file}: {item.where}: {item.reason}"), err=True)
        if len(outcome.bad) > _SHOWN_BAD:
            click.echo(f"{file}: {len(outcome.bad) - _SHOWN_BAD} more bad records", err=True)
    if outcome.refusal is not None:
        raise outcome.refusal
    return FAILED if outcome.bad else DONE


def _ending_in_words(ending: RunEnding, tally: Tally) -> str:
    if ending.is_complete:
        parts = ["no", "finished"]
        if tally.failed:
            parts.append("`gems bulk retry DIR` draws the failed tasks again")
        if tally.ended_early:
            parts.append("`gems bulk retry DIR --outcome all` continues those that ended early")
        return "; ".join(parts)
    how_far = f"{ending.finished} done" if ending.total is None else f"{ending.finished} of {ending.total} done"
    return f"no; {ending.why or f'{how_far}; the same command continues'}"


def _spec_of(folder: Path) -> RunSpec:
    """Return the run in a folder; what the command adds to it is for the same users as the folder."""
    try:
        spec = read_run(folder)
        protect_files("group" if folder.exists() and folder.stat().st_mode & 0o070 == 0o070 else "private")
    except OutputError as error:
        raise click.UsageError(f"DIR: {error}") from error
    if spec is None:
        raise click.UsageError(f"DIR: {folder}: expected the output of `gems bulk`, got none")
    return spec
