"""`gems history` lists draws and bulks wherever their files are, and `gems show` finds each of them."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.gems_actors.cli.commands import COMMAND, environment, run_gems

pytestmark = pytest.mark.slow


def png(side_px: int) -> bytes:
    file = io.BytesIO()
    Image.new("1", (side_px, side_px)).save(file, "PNG")
    return file.getvalue()


def on_a_terminal(folder: Path, *arguments: str, columns: int) -> list[str]:
    """Return the lines that a command prints to a terminal of some width."""
    ours, theirs = pty.openpty()
    subprocess.run(["stty", "cols", str(columns)], stdin=theirs, check=True)
    process = subprocess.Popen([*COMMAND, *arguments], cwd=folder, stdin=theirs, stdout=theirs, env=environment(folder))
    os.close(theirs)
    seen = b""
    try:
        while more := os.read(ours, 65_536):
            seen += more
    except OSError:  # the process has ended and closed its side
        pass
    os.close(ours)
    assert process.wait(60) == 0
    return seen.decode().splitlines()


def test_draws_and_bulks_are_listed_and_shown_wherever_their_files_are(tmp_path: Path) -> None:
    nothing = run_gems(tmp_path, "history")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "none\n")
    (tmp_path / "prompts.txt").write_text("a red dog\nan owl\n")
    drawn = run_gems(tmp_path, "draw", "two red cats", "-o", "cats.png", "--rounds", "1", "--json")
    run = json.loads(drawn.stdout)["run"]
    assert run_gems(tmp_path, "bulk", "prompts.txt", "--out", "deep/out", "--rounds", "1").returncode == 0

    listed = run_gems(tmp_path, "history").stdout.splitlines()
    assert [line.split()[1:5] for line in listed[1:]] == [["done", "2", "of", "2"], ["done", "1", "of", "1"]]
    assert listed[1].endswith(f"{tmp_path}/deep/out")
    assert " ".join(listed[2].split()).endswith(f"two red cats {tmp_path}/cats.png")
    bulk, draw = json.loads(run_gems(tmp_path, "history", "--json").stdout)
    assert (bulk["entry"]["kind"], draw["entry"]["run"], draw["state"]) == ("bulk", run, "done")

    for name in (run, run[:9], "cats.png", str(tmp_path / "cats.png")):
        shown = run_gems(tmp_path, "show", name).stdout
        assert f"picture        {tmp_path}/cats.png\n" in shown
        assert "prompt         two red cats\n" in shown
        assert " in round 1 of 1, 1 image\n" in shown
    assert json.loads(run_gems(tmp_path, "show", run, "--json").stdout)["prompt"] == "two red cats"
    for name in (bulk["entry"]["run"], "deep/out"):
        assert "running            no; finished\n" in run_gems(tmp_path, "show", name).stdout

    (tmp_path / "cats.png").unlink()
    gone = run_gems(tmp_path, "show", run)
    assert (gone.returncode, f"{tmp_path}/cats.png (not there)\n" in gone.stdout) == (0, True)
    memory = run_gems(tmp_path, "memory", "runs")
    assert memory.returncode == 78
    assert memory.stderr.endswith("a data_dir; `gems history` lists draws and bulks\n")

    narrow = on_a_terminal(tmp_path, "history", columns=80)
    assert max(map(len, narrow)) <= 80
    assert narrow[0].split() == ["run", "state", "done", "failed", "began"]
    assert next(line.strip() for line in narrow if "deep/out" in line).endswith("/deep/out")
    assert any(line.startswith("  two red cats  ") and line.endswith("/cats.png") for line in narrow)
    assert len(on_a_terminal(tmp_path, "history", columns=500)) == 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.png", b"no picture", "text.png: expected a picture of `gems draw`, got another kind of file"),
        ("plain.png", png(16), "plain.png: expected a picture of `gems draw`, got a picture without its texts"),
        ("huge.png", png(30_000), "huge.png: expected a picture of `gems draw`, got a damaged one: Image size"),
        ("none", None, "NAME: expected a run, a picture or a DIR that `gems history` lists, got 'none'"),
    ],
)
def test_what_is_no_run_is_named_in_one_line(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    shown = run_gems(tmp_path, "show", name)
    assert (shown.returncode, shown.stderr.count("\n")) == (2, 1)
    assert message in shown.stderr
