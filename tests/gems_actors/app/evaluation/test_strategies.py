"""Strategies spend their images as they say, and runs of them are compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.gems_actors.cli.commands import run_gems

pytestmark = pytest.mark.slow


def test_strategies_draw_the_images_of_their_budget_and_are_compared(tmp_path: Path) -> None:
    prompts = ["three glass owls under a sign", "five red cats left of two stone dogs"]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    runs = [("single", ()), ("rewrite", ()), ("best-of-n", ("--images", "3")), ("gems", ("--images", "3"))]
    for seed, name, more in [("0", *run) for run in runs] + [("1", *runs[0])]:
        command = ("eval", "artimuse", "--data", "data.jsonl", "--out", f"{name}-{seed}", "--seed", seed)
        done = run_gems(tmp_path, *command, "--strategy", name, *more)
        assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "best-of-n-0/dataset/metadata.jsonl").read_text().splitlines()]
    assert [(row["images"], row["rounds"], row.get("skill")) for row in rows] == [(3, 1, None)] * 2
    rows = [json.loads(line) for line in (tmp_path / "single-0/dataset/metadata.jsonl").read_text().splitlines()]
    assert [(row["images"], row["final_prompt"]) for row in rows] == [(1, prompt) for prompt in prompts]
    folders = [path.parent.name for path in sorted(tmp_path.glob("*/run.json"), reverse=True)]
    table = run_gems(tmp_path, "eval", "compare", *folders, "--plot", "plot.svg").stdout.splitlines()
    names = [line.split("  ")[0] for line in table[1 : table.index("")]]
    assert names[:4] == ["single", "rewrite", "gems rounds 3", "best-of-n candidates 3"]
    assert names[4:] == [f"{name} less single" for name in names[1:4]]
    assert table[1].split()[:2] == ["single", "2"], "the one with repeats"
    assert table[table.index("") + 1].startswith("compared on 2 prompts (SHA-256 ")
    assert (tmp_path / "plot.svg").read_text().startswith("<svg ")
    refused = run_gems(tmp_path, "eval", "artimuse", "--data", "data.jsonl", "--out", "x", "--strategy", "best-of-n")
    assert (refused.returncode, refused.stderr) == (2, "gems: --strategy: best-of-n needs --images\n")
