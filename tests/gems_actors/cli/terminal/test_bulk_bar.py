"""The progress of a bulk: as a bar, as a line and as JSON."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from gems_actors.app.bulk.totals import BulkProgress, FailureClass, Tally, progress_event, progress_line
from gems_actors.app.picture_files import encode_json
from gems_actors.cli.terminal.bulk_bar import render
from gems_actors.cli.terminal.draw_view import ASCII, UNICODE, Glyphs
from protocol.messages import Spent
from tests.gems_actors.app.bulk.test_rows import requirement, row


def progress(total: int | None = 120, note: str = "", rounds: int = 2) -> BulkProgress:
    """Return the progress of a bulk that drew thirty pictures in ten seconds, after ten of an earlier run."""
    tally = Tally(
        failures={"backend": FailureClass("no", 2)},
        spent={"verifier": Spent(seconds=1.0, calls=9, prompt_tokens=12_000, cost=0.25)},
    )
    for number in range(40):
        by_round = (1, *[2] * (rounds - 1))
        found = row(rounds=rounds, images=rounds, met=2, met_by_round=by_round, requirements=(requirement(),) * 2)
        tally.add(found, is_from_before=number < 10)
    return BulkProgress(tally, total, 10.0, in_flight=32, left_s=26.0, busy_share=0.985, note=note)


def painted(view: BulkProgress, columns: int, glyphs: Glyphs = UNICODE) -> list[str]:
    """Return what is shown on a terminal."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8" if glyphs is UNICODE else "ascii")
    console = Console(file=stream, width=columns, force_terminal=True, color_system=None)
    console.print(render(view, columns, glyphs), highlight=False)
    stream.seek(0)
    return [line.rstrip() for line in stream.read().splitlines()]


def test_the_bar_has_rate_and_time_left_and_the_results_below() -> None:
    bar, rest = painted(progress(), 120)
    assert bar.endswith("42 of 120 · 32 in flight · 3.0 pictures/s · about 26 s left")
    assert bar.startswith("━")
    assert rest == (
        "2.00 images each · 100.0 % met · by round 50.0 100.0 % · devices busy 98.5 % · 12,000 tokens · cost 0.25 · "
        "2 failed"
    )


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
@pytest.mark.parametrize("columns", [20, 30, 47, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(columns: int, glyphs: Glyphs) -> None:
    lines = painted(progress(note="generator: the server at http://gpu-box:8000/v1 is away " * 3), columns, glyphs)
    assert max(map(len, lines)) <= columns
    assert "2 failed" in " ".join(lines)


def test_without_a_total_there_is_no_bar() -> None:
    assert painted(progress(total=None), 80)[0] == "42 · 32 in flight · 3.0 pictures/s · about 26 s left"


def test_a_line_has_the_rates_of_the_first_rounds_and_the_last_one() -> None:
    assert progress_line(progress(note="finishing 32 tasks")) == (
        "42 of 120, 32 in flight, 3.0 pictures/s, about 26 s left, 2.00 images each, 100.0 % met, "
        "by round 50.0 100.0 %, devices busy 98.5 %, 12,000 tokens, cost 0.25, 2 failed; finishing 32 tasks"
    )
    assert "by round 50.0 100.0 100.0 100.0 .. 100.0 %" in progress_line(progress(rounds=9))


def test_the_json_event_has_the_same_numbers() -> None:
    event = json.loads(encode_json(progress_event(progress())))
    assert event.items() >= {
        "event": "progress", "finished": 42, "total": 120, "in_hand": 32, "left_s": 26.0, "busy_share": 0.985,
        "pictures": 40, "failures": 2, "pictures_per_s": 3.0, "images_per_picture": 2.0, "note": "",
    }.items()  # fmt: skip
    assert [rate["met_rate_after_round"] for rate in event["rounds"]] == [0.5, 1.0]
    assert event["spent"]["verifier"]["cost"] == 0.25


def test_before_the_first_picture_there_is_no_estimate_but_the_work_in_flight() -> None:
    assert progress_line(BulkProgress(Tally(), 5, 0.0)) == "0 of 5, 0.0 pictures/s, 0 failed"
    assert progress_line(BulkProgress(Tally(), 40, 1.0, in_flight=29)) == (
        "0 of 40, 29 in flight, 0.0 pictures/s, 0 failed"
    )


def test_the_results_are_those_of_the_cohort_and_the_counts_those_of_all_pictures() -> None:
    cohort = Tally()
    cohort.add(row(rounds=3, images=3, met=1, met_by_round=(0, 1, 1), requirements=(requirement(),) * 2))
    shown = BulkProgress(progress().tally, 120, 10.0, cohort=cohort)
    assert ", 3.00 images each, 50.0 % met, by round 0.0 50.0 50.0 %, " in progress_line(shown)
    event = progress_event(shown)
    assert (event["images_per_picture"], event["met_rate"], len(event["rounds"])) == (3.0, 0.5, 3)
    assert (event["pictures"], event["images"], event["failures"]) == (40, 80, 2)


def test_pictures_of_other_parts_of_a_run_do_not_count_as_progress() -> None:
    assert (
        BulkProgress(
            Tally(pictures=997, before=995, failures={"input": FailureClass("no", 1)}), 5, 1.0, uncounted=995
        ).finished
        == 3
    )
