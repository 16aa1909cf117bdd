"""The folder of a bulk: rows, and what is left of them after a kill."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from gems_actors.cli.bulk_folder import BulkFolder, Row, open_bulk_folder
from gems_actors.cli.output import OutputError
from gems_actors.cli.prompts import BadLine, PromptLine
from gems_actors.cli.tally import Tally
from tests.gems_actors.cli.stories import PICTURE, PROMPT

LINES = [PromptLine(index, f"{PROMPT} {index}", seed=index) for index in range(3)]


def png() -> bytes:
    """Return a small picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


def fill(path: Path) -> None:
    """Write the pictures of all lines."""
    with open_bulk_folder(path, lambda row: None) as folder:
        for line in LINES:
            folder.keep_picture(line, PICTURE, png(), "storyboard")


def read_again(path: Path) -> tuple[list[str], list[Row]]:
    """Return what a second run takes each line for, and the rows it found."""
    rows: list[Row] = []
    with open_bulk_folder(path, rows.append) as folder:
        return [folder.state_of(line) for line in LINES], rows


def test_a_row_has_what_hugging_face_needs_and_what_was_in_the_line(tmp_path: Path) -> None:
    with open_bulk_folder(tmp_path, lambda row: None) as folder:
        folder.keep_picture(PromptLine(17, PROMPT, 7, {"tag": "x"}), PICTURE, png(), "storyboard")
    row = json.loads((tmp_path / "metadata.jsonl").read_text())
    assert row["file_name"] == "images/000017.png"
    assert (tmp_path / row["file_name"]).is_file()
    assert (row["prompt"], row["seed"], row["metadata"], row["met_by_round"]) == (PROMPT, 7, {"tag": "x"}, [1, 2])
    assert [item["answer"] for item in row["requirements"]] == ["met", "met", "unmet"]


def test_what_is_done_is_known_when_run_again(tmp_path: Path) -> None:
    fill(tmp_path)
    states, rows = read_again(tmp_path)
    assert states == ["done", "done", "done"]
    assert [row.index for row in rows] == [0, 1, 2]


def test_a_torn_row_is_dropped_and_its_line_drawn_again(tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / "metadata.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    states, _ = read_again(tmp_path)
    assert states == ["done", "done", "new"]
    assert len(path.read_text().splitlines()) == 2


def test_a_row_whose_picture_is_gone_is_dropped(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "images/000001.png").unlink()
    states, _ = read_again(tmp_path)
    assert states == ["done", "new", "done"]


def test_a_line_with_other_words_or_another_seed_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    fill(tmp_path)
    with open_bulk_folder(tmp_path, lambda row: None) as folder:
        assert folder.state_of(PromptLine(0, "else", 0)) == "other"
        assert folder.state_of(PromptLine(0, LINES[0].prompt, 1)) == "other"


def test_failures_can_be_handed_in_again_and_are_those_of_the_last_run(tmp_path: Path) -> None:
    def fail(folder: BulkFolder) -> None:
        folder.keep_failure(PromptLine(4, "a dog", 9, {"tag": "x"}), "backend", "no GPU")
        folder.keep_failure(BadLine(5, "{", "expected JSON"), "line", "expected JSON")

    for _ in range(2):
        with open_bulk_folder(tmp_path, lambda row: None) as folder:
            fail(folder)
    assert [json.loads(line) for line in (tmp_path / "failed.jsonl").read_text().splitlines()] == [
        {"prompt": "a dog", "seed": 9, "tag": "x", "index": 4, "error": "backend", "message": "no GPU"},
        {"line": "{", "index": 5, "error": "line", "message": "expected JSON"},
    ]


def test_two_bulks_never_share_a_folder(tmp_path: Path) -> None:
    with (
        open_bulk_folder(tmp_path, lambda row: None),
        pytest.raises(OutputError, match="expected a folder that no other bulk writes to"),
        open_bulk_folder(tmp_path, lambda row: None),
    ):
        pass


def test_rates_by_round_count_a_prompt_that_needed_no_further_round(tmp_path: Path) -> None:
    tally = Tally()
    fill(tmp_path)
    with open_bulk_folder(tmp_path, lambda row: tally.add(row, is_from_before=True)):
        pass
    easy = Row(
        file_name="", index=9, prompt="", final_prompt="", seed=0, digest="", skill=None, rounds=1, images=1, met=3,
        all_met=True, outcome="all_met", decided_by="", requirements=(), met_by_round=(),
    )  # fmt: skip
    tally.add(easy)
    assert (tally.pictures, tally.before, tally.images, tally.all_met, tally.last_round) == (4, 3, 7, 1, 2)
    assert (tally.in_round[0].rate, tally.in_round[1].rate) == (1 / 3, 2 / 3)
    assert (tally.after_round[0].rate, tally.after_round[1].rate) == (1 / 3, 2 / 3)
