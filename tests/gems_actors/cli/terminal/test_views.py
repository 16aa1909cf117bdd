"""Views without a terminal: plain lines, JSON, and the summary of a bulk."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from gems_actors.app.bulk.interface import BulkResult
from gems_actors.app.bulk.totals import BulkProgress, Tally
from gems_actors.app.draw import DrawResult
from gems_actors.cli.exit_codes import DONE, FAILED, INTERRUPTED
from gems_actors.cli.terminal.bulk_views import bulk_view_for, print_bulk_result
from gems_actors.cli.terminal.views import draw_view_for
from protocol.messages import DrawPicture
from tests.gems_actors.app.bulk.test_rows import row
from tests.gems_actors.cli.stories import EVENTS, PICTURE, PROMPT

DRAWN = DrawResult(
    run="draw-1", picture=PICTURE, path=Path("dog.png"), seed=7, model="m", seconds=1.26, is_interrupted=False
)


def result(**more: Any) -> BulkResult:
    """Return the result of a run that drew one picture in two seconds."""
    tally = Tally()
    tally.add(row())
    fields: dict[str, Any] = {
        "run": "bulk-1", "folder": Path("out"), "tally": tally, "seconds": 2.0, "outcome": "done", "unfinished": "",
        "redrawn": 0, "continued": 0, "report": Path("out/report.html"),
    }  # fmt: skip
    return BulkResult(**{**fields, **more})


@pytest.mark.parametrize("as_json", [False, True])
def test_a_draw_without_a_terminal_writes_a_line_for_every_step_and_then_its_result(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = io.StringIO()
    view = draw_view_for(stream, may_paint=True, as_json=as_json)
    view.start(DrawPicture(run="draw-1", prompt=PROMPT, seed=7))
    for event in EVENTS:
        view.take(event)
    view.note("paused by alice@box")
    assert capsys.readouterr().out == ""
    view.finish(DRAWN)
    first, *rest = capsys.readouterr().out.splitlines()
    if as_json:
        assert (json.loads(first)["picture"], rest) == ("dog.png", [])
    else:
        assert (first, rest[0]) == ("dog.png", "2 of 3 met, 2 rounds, 2 images, seed 7, 1.3 s")
    view.close()
    lines = stream.getvalue().splitlines()
    assert (lines[0], lines[-1]) == ("skill: spatial-layout", "paused by alice@box")
    assert "round 2: 2 of 3 met, unmet: Is the sign's text 開店?" in lines


def test_a_bulk_as_json_writes_events_to_standard_output_and_notes_to_the_stream(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stream = io.StringIO()
    view = bulk_view_for(stream, as_json=True)
    view.say("continued: 3 done before")
    view.show(BulkProgress(Tally(), 5, 1.0, in_flight=2))
    view.finish(BulkProgress(Tally(), 5, 1.0))
    (line,) = capsys.readouterr().out.splitlines()
    assert (json.loads(line)["event"], json.loads(line)["in_hand"]) == ("progress", 2)
    assert stream.getvalue() == "continued: 3 done before\n"


@pytest.mark.parametrize(
    ("more", "code", "last"),
    [
        ({}, DONE, "report             out/report.html"),
        ({"outcome": "failed", "report": None, "report_error": "no"}, FAILED, "gems: no report: no"),
        ({"outcome": "interrupted", "unfinished": "interrupted: 1 done"}, INTERRUPTED, "gems: interrupted: 1 done"),
    ],
)
def test_the_summary_of_a_bulk_ends_with_what_matters_and_gives_the_exit_code(
    more: dict[str, Any], code: int, last: str
) -> None:
    stream = io.StringIO()
    assert print_bulk_result(result(**more), stream, as_json=False) == code
    lines = stream.getvalue().splitlines()
    assert (lines[0], lines[-1]) == ("pictures           1", last)
