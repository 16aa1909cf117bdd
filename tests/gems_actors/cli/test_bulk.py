"""`gems bulk` from end to end."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.gems_actors.cli.commands import COMMAND, environment, run_gems
from tests.gems_actors.cli.test_draw import HARD, processes_below
from tests.processes import started

pytestmark = pytest.mark.slow


def rows(path: Path) -> list[dict[str, object]]:
    """Return the rows of a .jsonl file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_bad_line_fails_alone_and_a_second_run_continues(tmp_path: Path) -> None:
    good = ['{"prompt": "a red dog", "tag": "x"}', '{"prompt": "two metal toys", "seed": 7}']
    (tmp_path / "prompts.jsonl").write_text("\n".join([good[0], "nonsense", good[1], '{"prompt": ""}', ""]))
    first = run_gems(tmp_path, "bulk", "prompts.jsonl", "--out", "out", "--json")
    summary = json.loads(first.stdout)
    assert (first.returncode, summary["pictures"], summary["failures"]) == (1, 2, 2)
    assert sorted(str(row["file_name"]) for row in rows(tmp_path / "out/metadata.jsonl")) == [
        "images/000000.png",
        "images/000002.png",
    ]
    assert {row["index"]: row["error"] for row in rows(tmp_path / "out/failed.jsonl")} == {1: "line", 3: "line"}

    (tmp_path / "prompts.jsonl").write_text("\n".join([*good[:1], "", good[1], '{"prompt": "a pig"}']))
    second = run_gems(tmp_path, "bulk", "prompts.jsonl", "--out", "out", "--json")
    assert second.stderr.startswith("continued: 2 done before\n")
    summary = json.loads(second.stdout)
    assert (second.returncode, summary["pictures"], summary["done_before"]) == (0, 3, 2)
    assert "\x1b" not in first.stderr + second.stderr
    assert processes_below(tmp_path) == []


def test_the_same_seed_gives_the_same_pictures_in_another_folder(tmp_path: Path) -> None:
    for name in ("one", "two"):
        done = run_gems(tmp_path, "bulk", "-", "--out", name, "--seed", "5", stdin=b"a red dog\nthree pigs\n")
        assert done.returncode == 0
    for picture in ("000000.png", "000001.png"):
        assert (tmp_path / "one/images" / picture).read_bytes() == (tmp_path / "two/images" / picture).read_bytes()


def test_ctrl_c_finishes_what_is_in_hand_and_the_same_command_does_the_rest(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text(f"{HARD}\n" * 40)
    command = ["bulk", "prompts.txt", "--out", "out", "--concurrency", "2", "--rounds", "1"]
    metadata = tmp_path / "out/metadata.jsonl"
    with started([*COMMAND, *command], cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE) as process:
        while not (metadata.exists() and metadata.stat().st_size):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait(60) == 130
    done = len(rows(metadata))
    assert said.endswith(f"gems: interrupted: {done} of 40 done, {40 - done} left; the same command continues\n")
    assert processes_below(tmp_path) == []
    again = run_gems(tmp_path, *command)
    assert again.returncode == 0
    assert again.stderr.startswith(f"continued: {done} done before\n")
    assert sorted(int(str(row["index"])) for row in rows(metadata)) == list(range(40))
