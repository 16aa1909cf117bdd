"""How far a bulk is: on a terminal, in a line, and for machines."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from gems_actors.app.bulk.totals import Standing, Tally, progress_event, progress_line
from gems_actors.app.picture_files import encode_json
from gems_actors.cli.terminal.bulk_bar import render
from gems_actors.cli.terminal.draw_view import ASCII, UNICODE, Glyphs
from protocol.messages import Spent
from tests.gems_actors.app.bulk.test_rows import requirement, row


def standing(total: int | None = 120, note: str = "", rounds: int = 2) -> Standing:
    """Return a bulk that has drawn thirty pictures in ten seconds, and ten before."""
    tally = Tally(failed=2, spent={"verifier": Spent(seconds=1.0, calls=9, prompt_tokens=12_000, cost=0.25)})
    for number in range(40):
        by_round = (1, *[2] * (rounds - 1))
        found = row(rounds=rounds, images=rounds, met=2, met_by_round=by_round, requirements=(requirement(),) * 2)
        tally.add(found, is_from_before=number < 10)
    return Standing(tally, total, 10.0, in_hand=32, busy_share=0.985, note=note)


def painted(view: Standing, columns: int, marks: Glyphs = UNICODE) -> list[str]:
    """Return what is shown on a terminal."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8" if marks is UNICODE else "ascii")
    console = Console(file=stream, width=columns, force_terminal=True, color_system=None)
    console.print(render(view, columns, marks), highlight=False)
    stream.seek(0)
    return [line.rstrip() for line in stream.read().splitlines()]


def test_one_bar_with_rate_and_time_left_and_below_it_what_it_came_to() -> None:
    bar, rest = painted(standing(), 120)
    assert bar.endswith("42 of 120 · 3.0 pictures/s · 26 s left")
    assert bar.startswith("━")
    assert rest == (
        "2.00 images each · 100.0 % met · by round 50.0 100.0 % · devices busy 98.5 % · 12,000 tokens · cost 0.25 · "
        "2 failed"
    )


@pytest.mark.parametrize("marks", [UNICODE, ASCII])
@pytest.mark.parametrize("columns", [20, 30, 47, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(columns: int, marks: Glyphs) -> None:
    lines = painted(standing(note="generator: the server at http://gpu-box:8000/v1 is away " * 3), columns, marks)
    assert max(map(len, lines)) <= columns
    assert "2 failed" in " ".join(lines)


def test_without_a_total_there_is_no_bar() -> None:
    assert painted(standing(total=None), 80)[0] == "42 · 3.0 pictures/s"


def test_a_line_has_the_rates_of_the_first_rounds_and_of_the_last() -> None:
    assert progress_line(standing(note="finishing 32 in hand")) == (
        "42 of 120, 3.0 pictures/s, 26 s left, 2.00 images each, 100.0 % met, by round 50.0 100.0 %, "
        "devices busy 98.5 %, 12,000 tokens, cost 0.25, 2 failed; finishing 32 in hand"
    )
    assert "by round 50.0 100.0 100.0 100.0 .. 100.0 %" in progress_line(standing(rounds=9))


def test_a_machine_is_told_the_same() -> None:
    told = json.loads(encode_json(progress_event(standing())))
    assert told.items() >= {
        "event": "progress", "finished": 42, "total": 120, "in_hand": 32, "left_s": 26.0, "busy_share": 0.985,
        "pictures": 40, "failures": 2, "pictures_per_s": 3.0, "images_per_picture": 2.0, "note": "",
    }.items()  # fmt: skip
    assert [rate["met_rate_after_round"] for rate in told["rounds"]] == [0.5, 1.0]
    assert told["spent"]["verifier"]["cost"] == 0.25


def test_nothing_is_guessed_before_the_first_picture() -> None:
    assert progress_line(Standing(Tally(), 5, 0.0)) == "0 of 5, 0.0 pictures/s, 0 failed"


def test_what_other_parts_of_a_run_have_is_no_progress_of_this_one() -> None:
    assert Standing(Tally(pictures=997, before=995, failed=1), 5, 1.0, beside=995).finished == 3
