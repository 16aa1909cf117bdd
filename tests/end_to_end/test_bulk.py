"""`gems bulk` with real processes: many prompts into a dataset."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.benchmarks.bench_loop import write_prompts
from tests.gems_actors.cli.commands import summary_in
from tests.processes import environment

pytestmark = pytest.mark.slow


def test_every_prompt_becomes_a_picture_and_each_round_meets_more_requirements(tmp_path: Path) -> None:
    prompts = write_prompts(40)
    source = tmp_path / "prompts.jsonl"
    source.write_text("".join(json.dumps({"prompt": prompt, "atom_count": 8}) + "\n" for prompt in prompts))
    command = (sys.executable, "-P", "-m", "gems_actors.cli", "bulk", str(source), "--out", str(tmp_path / "out"))
    done = subprocess.run(
        (*command, "--size", "512x512", "--json"),
        capture_output=True,
        text=True,
        env=environment(),
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = summary_in(done.stdout)
    assert (summary["pictures"], summary["failures"]) == (40, 0)
    assert 1.0 < summary["images_per_picture"] < 5.0
    met = [round_["met_rate_after_round"] for round_ in summary["rounds"]]
    assert len(met) >= 3
    assert met == sorted(set(met)), "each round meets more than the round before"
    rows = [json.loads(line) for line in (tmp_path / "out/dataset/metadata.jsonl").read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(40)), "in the order of the input"
    for row in rows:
        assert row["prompt"] == prompts[row["index"]]
        with Image.open(tmp_path / "out/dataset" / row["file_name"]) as image:
            assert image.size == (512, 512)
            image.load()
