"""`gems bulk`: every task of a file, many at once; run again, it continues."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import trio

from gems_actors.app.bulk.estimate import rehearse
from gems_actors.app.bulk.export import Shape, export_rows
from gems_actors.app.bulk.folder import (
    RunFile,
    failed_places,
    look_at_folder,
    read_run,
)
from gems_actors.app.bulk.rows import all_rows_of
from gems_actors.app.bulk.run import (
    MAX_CONCURRENCY,
    SHOWN_ON_PAGE,
    STANDARD_INPUT,
    Part,
    start_bulk,
)
from gems_actors.app.bulk.tasks import MAX_SAMPLES
from gems_actors.app.bulk.totals import Tally, summary_of, summary_table
from gems_actors.app.options import parse_shard, strategy_settings
from gems_actors.app.picture_files import ENDINGS, OutputError, PictureFormat, encode_json, text_of_path
from gems_actors.cli.exit_codes import DONE
from gems_actors.cli.options import (
    CommandT,
    DefaultCommand,
    DefaultGroup,
    between,
    config_option,
    images_option,
    json_option,
    memory_option,
    one_of,
    parsed_by,
    rounds_option,
    router_option,
    seed_option,
    set_option,
    strategy_option,
)
from protocol.messages import MemoryMode


def _pictures_option(help_text: str, default: PictureFormat | None = None) -> Callable[[CommandT], CommandT]:
    return click.option("--pictures", type=one_of(*ENDINGS), default=default, metavar="|".join(ENDINGS), help=help_text)


@click.group(cls=DefaultGroup, add_help_option=False, context_settings={"ignore_unknown_options": True})
def bulk() -> None:
    """Draw every task of a file."""


@click.command(
    cls=DefaultCommand,
    epilog="`gems bulk retry DIR` tries again what failed; `gems bulk status DIR` says how far a run is; "
    "`gems bulk report DIR` writes a page; `gems bulk export DIR --as webdataset` writes shards.",
    options_metavar="[OPTIONS] FILE --out DIR",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("file", type=click.Path(path_type=Path), metavar="")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder to fill.")
@rounds_option
@strategy_option
@images_option
@memory_option
@seed_option("Seed of the whole bulk; a task's own seed follows from it and from its place.", default=0)
@click.option("--samples", type=between(1, MAX_SAMPLES), default=1, metavar="N", help="Pictures of each prompt (1).")
@click.option("--limit", type=between(1, 10**9), metavar="N", help="Draw at most so many tasks now.")
@click.option("--shard", type=parsed_by(parse_shard), default="1/1", metavar="I/N", help="Process shard I of N.")
@_pictures_option("Format of the pictures (png).", default="png")
@click.option("--attempts", is_flag=True, help="Make every attempt part of the dataset, those not chosen too.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Count and check everything, estimate, and draw nothing.")
@click.option(
    "--like",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Estimate from an earlier run, in place of what DIR of --out holds.",
)
@click.option(
    "--concurrency",
    type=between(1, MAX_CONCURRENCY),
    metavar="N",
    help="Tasks at once; by itself four for each picture that the generators draw at once.",
)
@config_option
@set_option
@router_option
@json_option
def _draw(
    file: Path,
    out: Path,
    rounds: int | None,
    strategy: str | None,
    images: int | None,
    memory: MemoryMode | None,
    seed: int,
    samples: int,
    limit: int | None,
    shard: tuple[int, int],
    pictures: PictureFormat,
    attempts: bool,
    is_dry: bool,
    like: Path | None,
    concurrency: int | None,
    config_file: Path | None,
    overrides: tuple[str, ...],
    router: str | None,
    as_json: bool,
) -> int:
    """Draw every task of FILE: a prompt a line (.txt), an object a line (.jsonl), a row (.csv, .parquet).

    A record has a prompt, and may have its own seed, samples, size, rounds, candidates, memory, skill, steps, guidance
    and negative_prompt; all else in it is kept. `-` reads lines of text from standard input. The same command run again
    continues where it stopped. Ctrl-C once finishes what is in hand, twice stops at once.
    """
    told = RunFile(
        source=STANDARD_INPUT if file == Path("-") else text_of_path(file.absolute()),
        seed=seed,
        samples=samples,
        strategy=strategy or "gems",
        settings=strategy_settings(strategy, images, rounds, memory),
        config_file=None if config_file is None else text_of_path(config_file.absolute()),
        overrides=overrides,
        pictures=pictures,
        attempts=attempts,
    )
    part = Part(shard=shard, limit=limit)
    if is_dry:
        return rehearse(told, file, part, out, like, as_json=as_json)
    if like is not None:
        raise click.UsageError("--like: expected it with --dry-run, got alone")
    return start_bulk(told, file, part, out, router, concurrency, as_json=as_json)


bulk.default = _draw


@bulk.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--class", "class_", metavar="CLASS", help="Only what failed with this class, such as backend.")
@router_option
@json_option
def retry(folder: Path, class_: str | None, router: str | None, as_json: bool) -> int:
    """Try again what failed in DIR, with the same settings."""
    told = _told(folder)
    if told.source == STANDARD_INPUT:
        raise click.UsageError(f"DIR: {folder}: expected a run of a file, got one of {STANDARD_INPUT}")
    places = failed_places(folder, class_)
    if not places:
        click.echo(f"nothing failed in {folder}" + (f" with class {class_}" if class_ else ""), err=True)
        return DONE
    part = Part(only=frozenset(places))
    return start_bulk(told, Path(told.source), part, folder, router, None, as_json=as_json, keeps_failures=True)


@bulk.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@json_option
def status(folder: Path, as_json: bool) -> int:
    """Say how far the run in DIR is, whether it goes on, and what failed."""
    told = _told(folder)
    tally = Tally()
    try:
        state = look_at_folder(folder, tally.add)
    except OutputError as error:
        raise click.UsageError(f"DIR: {error}") from error
    tally.failed, tally.spent = sum(state.failed.values()), state.spent
    if as_json:
        found = {"source": told.source, "running": state.running, "failed": state.failed}
        click.echo(encode_json({**found, **summary_of(tally, 0.0)}))
    else:
        click.echo(f"source             {told.source}")
        click.echo(f"running            {state.running or 'no; the same command continues'}")
        click.echo("\n".join(summary_table(tally, None)))
        for class_, count in sorted(state.failed.items()):
            click.echo(f"  {class_:<16} {count}")
    return DONE


@bulk.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--pictures", type=between(0, 10_000), default=SHOWN_ON_PAGE, metavar="N", help="Show the first N (100).")
@router_option
def report(folder: Path, pictures: int, router: str | None) -> int:
    """Write DIR/report.html: what the run came to and its first trajectories, on one page that needs nothing else.

    A run writes it when it ends; this is for one that goes on, or to show more. A mesh at --router is asked for what it
    drew.
    """
    from gems_actors.app.bulk.report import write_report  # Pillow, and the store of memory

    told = _told(folder)
    try:
        path = trio.run(write_report, folder, told, pictures, router)
    except OutputError as error:
        raise click.UsageError(f"DIR: {error}") from error
    click.echo(text_of_path(path))
    return DONE


@bulk.command("export")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--as", "shape", type=one_of("webdataset", "parquet"), required=True, metavar="webdataset|parquet")
@click.option(
    "--to", "target", type=click.Path(path_type=Path), metavar="DIR", help="Folder to fill (DIR/webdataset, ...)."
)
@_pictures_option("Format (that of the dataset).")
@click.option("--per-shard", type=between(1, 100_000), default=1000, metavar="N", help="Pictures a shard (1000).")
def export_dataset(
    folder: Path, shape: Shape, target: Path | None, pictures: PictureFormat | None, per_shard: int
) -> int:
    """Write the dataset in DIR as shards: WebDataset's tar files, or Parquet with the pictures inside."""
    picture_format = pictures or _told(folder).pictures
    rows = all_rows_of(folder)
    try:
        for path in export_rows(rows, folder / "dataset", target or folder / shape, shape, picture_format, per_shard):
            click.echo(text_of_path(path))
    except OutputError as error:
        raise click.ClickException(str(error)) from error
    return DONE


def _told(folder: Path) -> RunFile:
    try:
        told = read_run(folder)
    except OutputError as error:
        raise click.UsageError(f"DIR: {error}") from error
    if told is None:
        raise click.UsageError(f"DIR: {folder}: expected the output of `gems bulk`, got none")
    return told
