"""Strategies are compared over repeated runs."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gems_actors.app.evaluation.compare import compare, comparison_rows, estimate, plot_of
from tests.gems_actors.cli.commands import run_gems


def test_an_estimate_has_student_s_interval_from_two_repeats_on() -> None:
    found = estimate([1.0, 2.0, 3.0])
    assert (found.mean, found.repeats) == (2.0, 3)
    assert found.half_width == pytest.approx(4.303 * 1.0 / 3**0.5)
    assert estimate([5.0]).half_width is None
    many = estimate([0.0, 1.0] * 50)
    assert many.half_width == pytest.approx(1.96 * 0.50252 / 10, rel=1e-3)


RUNS = [
    ("gems rounds 5", {"GM": 60.0, "images each": 3.0}),
    ("gems rounds 5", {"GM": 64.0, "images each": 3.2}),
    ("single", {"GM": 31.0, "images each": 1.0}),
]


def test_runs_of_one_strategy_are_its_repeats() -> None:
    assert comparison_rows(compare(RUNS)) == [
        ("", "repeats", "GM", "images each"),
        ("gems rounds 5", "2", "62.0 ± 25.4", "3.1 ± 1.3"),
        ("single", "1", "31.0", "1.0"),
    ]


def test_a_plot_has_a_bar_per_strategy_and_an_interval_for_repeats() -> None:
    tree = ElementTree.fromstring(plot_of(compare([*RUNS, ("a <b> & c", {"GM": 0.0})]), "GM"))
    names = [element.tag.rpartition("}")[2] for element in tree]
    assert (names.count("rect"), names.count("path")) == (4, 1)
    assert "a <b> & c" in [element.text for element in tree]


@pytest.mark.slow
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
    names = sorted(line.split("  ")[0] for line in table[1:])
    assert names == ["best-of-n candidates 3", "gems rounds 3", "rewrite", "single"]
    assert [line.split()[0] for line in table if " ± " in line] == ["single"], "the one with repeats"
    assert (tmp_path / "plot.svg").read_text().startswith("<svg ")
    refused = run_gems(tmp_path, "eval", "artimuse", "--data", "data.jsonl", "--out", "x", "--strategy", "best-of-n")
    assert (refused.returncode, refused.stderr) == (2, "gems: --strategy: best-of-n needs --images\n")
