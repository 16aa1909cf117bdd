"""Pictures that vanish, are cut or flip in the store and in the dataset: the same command draws them again, equal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gems_actors.blobs import BlobFolder
from tests.gems_actors.cli.commands import run_gems

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("store", [(), ("--set", "blobs=mesh:")], ids=["folder", "mesh"])
def test_the_same_bulk_again_draws_pictures_that_store_and_dataset_have_lost(
    tmp_path: Path, store: tuple[str, ...]
) -> None:
    (tmp_path / "prompts.txt").write_text("a red dog\nthree pigs\ntwo metal toys\na glass owl\n")
    command = ("bulk", "prompts.txt", "--out", "out", "--rounds", "1", *store)
    assert run_gems(tmp_path, *command).returncode == 0
    dataset, blobs = tmp_path / "out/dataset", BlobFolder(tmp_path / "out/.mesh/blobs")
    rows = [json.loads(line) for line in (dataset / "metadata.jsonl").read_text().splitlines()]
    before = {row["file_name"]: (dataset / row["file_name"]).read_bytes() for row in rows}
    stored = [blobs.path_of(row["digest"]) for row in rows]
    stored[0].unlink()
    stored[1].write_bytes(stored[1].read_bytes()[:-100])
    flipped = bytearray(stored[2].read_bytes())
    flipped[100] ^= 1
    stored[2].write_bytes(flipped)
    for name in before:
        (dataset / name).unlink()

    checked = run_gems(tmp_path, "memory", "check", "--images", "--data", "out")
    assert checked.returncode == 1
    assert "repeat the command of the run, or `gems bulk retry DIR`" in checked.stdout
    again = run_gems(tmp_path, *command)
    assert again.returncode == 0, again.stderr
    assert {name: (dataset / name).read_bytes() for name in before} == before
    log = (tmp_path / "out/.mesh/mesh.log").read_text()
    assert log.count("picture_redrawn") == 3
    assert run_gems(tmp_path, "memory", "check", "--images", "--data", "out").returncode == 0
