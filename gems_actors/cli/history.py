"""`gems history` and `gems show`: the draws and bulks of this user on this host, whether or not they still run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from gems_actors.app.draw_progress import unchecked_line
from gems_actors.app.picture_files import encode_json
from gems_actors.app.run_history import HistoryRow, find_in_history, read_history
from gems_actors.cli.bulk import status as bulk_status
from gems_actors.cli.exit_codes import DONE
from gems_actors.cli.options import between, json_option
from gems_actors.cli.terminal.memory_views import local_time, print_rows, short_time
from gems_actors.cli.terminal.tables import counted, run_table
from gems_actors.errors import UsageError
from gems_actors.files import os_reason
from gems_actors.terminal_text import printable

_MAX_BYTES = 64 * 1024 * 1024
"""Size of a picture's texts above which they are not ours."""


@click.command()
@click.option("-n", "count", type=between(1, 1_000_000), default=20, metavar="N", help="Runs to list (default 20).")
@json_option
def history(count: int, as_json: bool) -> int:
    """List this user's latest draws and bulks on this host, wherever their files are.

    `gems show NAME` shows one of them.
    """
    print_rows(read_history()[:count], _history_lines, as_json=as_json)
    return DONE


@click.command()
@click.argument("name", metavar="NAME")
@json_option
@click.pass_context
def show(context: click.Context, name: str, as_json: bool) -> int:
    """Show a draw or bulk of the history.

    NAME is a run or the beginning of its name, a picture that `gems draw` wrote, or the DIR of a bulk; a picture or DIR
    need not be in the history.
    """
    path = Path(name).absolute()
    if (path / "run.json").is_file():
        context.invoke(bulk_status, folder=path, as_json=as_json)
        return DONE
    if path.is_file():
        story, row = _story_in(path), None
    else:
        row = find_in_history(name, read_history())
        where = Path(row.entry.where)
        if row.entry.kind == "bulk" and (where / "run.json").is_file():
            context.invoke(bulk_status, folder=where, as_json=as_json)
            return DONE
        story = _story_in(where) if where.is_file() else {}
        path = where
    if as_json:
        click.echo(encode_json({"history": row, "picture": str(path), **story}))
    else:
        click.echo("\n".join(_story_lines(path, row, story)))
    return DONE


def _history_lines(rows: Sequence[HistoryRow]) -> Iterator[str]:
    cells: list[tuple[str, ...]] = [("run", "state", "done", "failed", "began", "what", "where")]
    for row in rows:
        entry = row.entry
        done = str(entry.done) if entry.ended_at is not None else "-"
        done = done if entry.total is None else f"{done} of {entry.total}"
        began = short_time(entry.began_at)
        cells.append((entry.run, row.state, done, str(entry.failed), began, printable(entry.what), entry.where))
    yield from run_table(cells)


def _story_in(path: Path) -> dict[str, Any]:
    """Return what a picture of `gems draw` says about itself."""
    from PIL import Image, UnidentifiedImageError  # only where a picture is read

    story = None
    try:
        with Image.open(path) as picture:
            text = picture.info.get("gems")
        if isinstance(text, str) and len(text) < _MAX_BYTES:
            story = json.loads(text)
    except UnidentifiedImageError as error:
        raise UsageError(f"NAME: {path}: expected a picture of `gems draw`, got another kind of file") from error
    except OSError as error:
        raise UsageError(f"NAME: {path}: expected a picture of `gems draw`, got: {os_reason(error)}") from error
    except (ValueError, SyntaxError, RecursionError, Image.DecompressionBombError) as error:
        raise UsageError(f"NAME: {path}: expected a picture of `gems draw`, got a damaged one: {error}") from error
    if not isinstance(story, dict):
        raise UsageError(f"NAME: {path}: expected a picture of `gems draw`, got a picture without its texts")
    return story


def _story_lines(path: Path, row: HistoryRow | None, story: Mapping[str, Any]) -> Iterator[str]:
    if row is not None:
        entry = row.entry
        took = f", {entry.ended_at - entry.began_at:.1f} s" if entry.ended_at is not None else ""
        yield f"run            {entry.run}"
        yield f"state          {row.state}, {local_time(entry.began_at)}{took}"
    gone = "" if path.exists() else " (not there)"
    yield f"picture        {path}{gone}"
    prompt = story.get("prompt") or (row.entry.what if row is not None else "")
    yield f"prompt         {printable(str(prompt))}"
    if not story:
        return
    yield f"final prompt   {printable(str(story.get('final_prompt')))}"
    yield f"seed           {story.get('seed')}"
    yield f"model          {printable(str(story.get('model')))}, skill {printable(str(story.get('skill') or 'none'))}"
    requirements = [item for item in story.get("requirements") or [] if isinstance(item, dict)]
    met = f"{story.get('met')} of {len(requirements)} met"
    rounds = f"in round {story.get('round')} of {story.get('rounds')}"
    yield f"result         {met} {rounds}, {counted(story.get('images', 0), 'image')}"
    words = [str(word) for word in story.get("not_understood") or []]
    if unchecked := unchecked_line(words, len(requirements)):
        yield f"not checked    {unchecked}"
    for item in requirements:
        yield f"  {item.get('answer') or 'unsure':<12} {printable(str(item.get('question')))}"
