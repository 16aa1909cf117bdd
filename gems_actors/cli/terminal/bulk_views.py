"""Views of a bulk: lines of text or JSON here, and the choice of the bar where a terminal allows it."""

from __future__ import annotations

from contextlib import suppress
from typing import TextIO

import click

from gems_actors.app.bulk.interface import BulkResult, BulkView
from gems_actors.app.bulk.totals import BulkProgress, progress_event, progress_line, summary_of, summary_table
from gems_actors.app.picture_files import encode_json, text_of_path
from gems_actors.cli.exit_codes import DONE, FAILED, INTERRUPTED, QUEUE_AGAIN
from gems_actors.cli.terminal.tables import format_bytes
from gems_actors.cli.terminal.views import can_paint


def bulk_view_for(stream: TextIO, *, as_json: bool) -> BulkView:
    """Return lines of JSON if requested, a bar for a terminal, and plain lines otherwise."""
    if as_json:
        return _JsonBulk(stream)
    if can_paint(stream):
        from gems_actors.cli.terminal.bulk_bar import BulkBar  # loads rich, which plain lines do not need

        return BulkBar(stream)
    return _PlainBulk(stream)


class _PlainBulk(BulkView):
    """Writes a line for each update, without control codes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def say(self, text: str) -> None:
        print(text, file=self._stream)

    def show(self, progress: BulkProgress) -> None:
        self.say(progress_line(progress))

    def finish(self, progress: BulkProgress) -> None:
        self.show(progress)


class _JsonBulk(_PlainBulk):
    """Writes a line of JSON for each update to standard output, where the summary follows."""

    def show(self, progress: BulkProgress) -> None:
        with suppress(OSError):  # the reader may be gone; the run continues
            click.echo(encode_json(progress_event(progress)))

    def finish(self, progress: BulkProgress) -> None:
        """Leave the last word to the summary."""


def images_line(spent: int, budget: int | None, in_words: str = "") -> str:
    """Return a line on the images of a run; without a number as its budget, which `in_words` may tell."""
    if budget is not None and spent > budget:  # a larger one before, or none
        return f"images of the run  {spent}, more than the last budget of {budget}"
    told = in_words or (str(budget) if budget is not None else "")
    return f"images of the run  {spent}{told and f' of {told}'}"


def print_bulk_result(result: BulkResult, stream: TextIO, *, as_json: bool) -> int:
    """Print what a run has drawn, and return the exit code."""
    folder, tally = result.folder, result.tally
    if result.redrawn:
        verb = "was" if result.redrawn == 1 else "were"
        reason = "its prompt, seed, settings, models or skill had changed"
        print(f"{result.redrawn} of these {verb} drawn again: {reason}", file=stream)
    if result.continued:
        print(f"{result.continued} of these {'was' if result.continued == 1 else 'were'} continued", file=stream)
    print("\n".join(summary_table(tally, result.seconds)), file=stream)
    if result.images is not None:
        print(images_line(*result.images), file=stream)
    if tally.failed:
        print(f"failures           {text_of_path(folder / 'failed.jsonl')}", file=stream)
    if result.report is not None:
        print(f"report             {text_of_path(result.report)}", file=stream)
    if result.pruned is not None:
        print(f"attempts           {result.pruned.files} dropped, {format_bytes(result.pruned.bytes)}", file=stream)
    if result.report_error:
        print(f"gems: no report: {result.report_error}", file=stream)
    if result.unfinished:
        print(f"gems: {result.unfinished}", file=stream)
    if as_json:
        head = {"event": "summary", "out": text_of_path(folder), "run": result.run}
        click.echo(encode_json({**head, **summary_of(tally, result.seconds)}))
    return {"done": DONE, "failed": FAILED, "interrupted": INTERRUPTED, "unavailable": QUEUE_AGAIN}[result.outcome]
