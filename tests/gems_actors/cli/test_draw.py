"""`gems draw` from end to end: the mesh, the picture and the output."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from tests.gems_actors.cli.commands import COMMAND, environment, run_gems, run_on_terminal
from tests.processes import started

pytestmark = pytest.mark.slow

HARD = (
    "five purple glass cats left of three wooden chairs under a red metal lamp beside seven tiny green frogs jumping"
    " over two blue plastic boxes"
)


def processes_below(folder: Path) -> list[str]:
    """Return the processes whose environment contains a test's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"XDG_RUNTIME_DIR={folder}\0".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
        except OSError:  # it has just ended or belongs to another user
            continue
    return found


def test_a_draw_writes_a_picture_with_its_description(tmp_path: Path) -> None:
    done = run_gems(tmp_path, "draw", "two metal toys", "--seed", "7", "-o", "out/toys.png", "--json")
    story = json.loads(done.stdout)
    assert done.returncode == 0
    assert (story["picture"], story["prompt"], story["seed"]) == ("out/toys.png", "two metal toys", 7)
    with Image.open(tmp_path / "out/toys.png") as image:
        image.load()
        texts = image.text  # type: ignore[attr-defined]
        assert image.size == (768, 768)
    inside = json.loads(texts["gems"])
    assert inside == {key: story[key] for key in inside}
    settings = f"Steps: default, Sampler: default, Seed: {story['attempt_seed']}, Size: 768x"
    assert texts["parameters"].startswith(f"{story['final_prompt']}\n{settings}")
    assert processes_below(tmp_path) == []


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        assert run_gems(tmp_path, "draw", "a green backpack and a pig", "--seed", "3", "-o", name).returncode == 0
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_without_a_terminal_lines_are_plain_and_the_outcome_is_on_standard_output(tmp_path: Path) -> None:
    done = run_gems(tmp_path, "draw", "-", "--rounds", "1", "--size", "320x256", stdin=b"a red dog\n")
    assert done.returncode == 0
    seed = re.search(r"^seed: (\d+)$", done.stderr, re.MULTILINE)
    assert seed is not None
    assert done.stdout.startswith(f"a-red-dog-{seed[1]}.png\n")
    assert re.search(r"^round 1: \d+ of \d+ met", done.stderr, re.MULTILINE)
    assert "\x1b" not in done.stdout + done.stderr
    with Image.open(tmp_path / f"a-red-dog-{seed[1]}.png") as image:
        assert image.size == (320, 256)


def test_ctrl_c_once_keeps_the_best_picture_and_twice_stops_at_once(tmp_path: Path) -> None:
    for presses, candidates in ((1, "2"), (2, "32")):  # a round of 32 images is long enough to be interrupted
        path = tmp_path / f"{presses}.png"
        command = [*COMMAND, "draw", HARD, "--rounds", "64", "--candidates", candidates, "-o", str(path)]
        with started(
            [*command, "--set", "draw.stop_when_all_met=false"], cwd=tmp_path, env=environment(tmp_path),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stderr is not None
            assert process.stdout is not None
            while not process.stderr.readline().startswith("round 1, candidate "):
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            if presses == 2:
                while not process.stderr.readline().startswith("finishing this round"):
                    pass
                process.send_signal(signal.SIGINT)
            output = process.stdout.read()
            assert process.wait(30) == 130
        assert path.exists() == (presses == 1)
        assert ("stopped after round " in output) == (presses == 1)
        assert processes_below(tmp_path) == []


def test_on_a_terminal_the_view_repaints_itself(tmp_path: Path) -> None:
    code, text = run_on_terminal(tmp_path, "draw", "two metal toys", "--seed", "7")
    assert code == 0
    assert "requirement" in text
    assert "✓" in text
    assert re.search(r"\x1b\[\d+F", text)
    assert text.count("\x1b[2J") == 0
    assert text.endswith("\x1b[?25h")


def test_no_color_keeps_the_view_and_drops_its_colours(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "draw", "a red dog", "--seed", "1", "--rounds", "1"], cwd=tmp_path, stdin=theirs,
        stdout=subprocess.DEVNULL, stderr=theirs, env=environment(tmp_path, TERM="xterm-256color", NO_COLOR="1"),
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    with suppress(OSError):  # the process has ended and closed its side
        while more := os.read(ours, 65_536):
            seen += more
    os.close(ours)
    assert process.wait(30) == 0
    assert b"seed 1" in seen
    assert re.search(rb"\x1b\[\d+F", seen), "painted over itself"
    assert not re.search(rb"\x1b\[[0-9;]*[349][0-7][0-9;]*m", seen), "no colours"


def test_a_picture_that_cannot_be_read_ends_the_command_in_one_line(tmp_path: Path) -> None:
    done = run_gems(tmp_path, "draw", "the same dog, in snow", "--image", "dog.jpg", "--rounds", "2")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gems: --image: dog.jpg: expected a readable file, got: No such file or directory\n"
