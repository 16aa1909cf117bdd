"""Pictures whose record is gone leave the dataset, and return with it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest

from gems_actors.errors import GemsError
from tests.gems_actors.app.bulk.finished.bench import EQUAL, PROMPTS, Lines, open_bench


@pytest.mark.slow
async def test_pictures_whose_record_is_gone_leave_the_dataset_and_return_with_it(tmp_path: Path) -> None:
    async with open_bench(tmp_path, EQUAL) as bench:
        before, pictures = bench.rows(), bench.pictures()
        bench.write(["only this"])
        view = Lines()
        result = await bench.run(view=view)
        assert (result.tally.pictures, result.tally.before, result.unfinished) == (1, 0, "")
        removed = {name.replace("removed", "dataset"): found for name, found in bench.contents().items()}
        assert {name: removed[name] for name in pictures} == pictures
        assert f"finished pictures without a record: {len(EQUAL)}, moved to {bench.out}/removed" in view.said
        assert bench.drawn() == ["only this"]
        bench.write(EQUAL[::-1])
        result = await bench.run(view=view)
        assert "finished pictures back in the dataset with their records: 11" in view.said
        assert (bench.drawn(), result.tally.pictures) == ([], len(EQUAL))
        assert bench.pictures() == pictures
        assert [row.prompt for row in bench.rows()] == [row.prompt for row in before[::-1]]
        assert {row.trajectory for row in bench.rows()} == {row.trajectory for row in before}
        (left,) = (bench.out / "removed/metadata.jsonl").read_text().splitlines()
        assert json.loads(left)["prompt"] == "only this"


@pytest.mark.slow
async def test_a_picture_that_was_removed_twice_is_kept_twice_and_one_of_other_settings_does_not_return(
    tmp_path: Path,
) -> None:
    async with open_bench(tmp_path, ["a cat", "a dog"]) as bench:
        bench.write(["a dog"])
        await bench.run()
        bench.write(["a cat", "a dog"])
        await bench.run("keep", steps=3)
        assert bench.drawn() == ["a cat"], "the one in removed was drawn with other settings"
        bench.write(["a dog"])
        await bench.run(steps=3)
        names = sorted(name.split("/")[1] for name in bench.contents() if name.startswith("removed/images"))
        assert names == ["images", "images.2"]
        bench.write(["a cat", "a dog"])
        await bench.run(steps=3)
        assert bench.drawn() == []
        assert sorted(row.prompt for row in bench.rows()) == ["a cat", "a dog"]
        assert (await bench.run(steps=3)).tally.before == 2


async def test_nothing_is_removed_where_a_record_may_only_be_unreadable(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        bench.write([{"prompt": 7}, *PROMPTS[1:]])
        view = Lines()
        await bench.run(view=view)
        assert "finished pictures without a record stay, because some records cannot be read" in view.said
        assert len(bench.rows()) == 6
        bench.write(["new", *PROMPTS[:3]])
        await bench.run(limit=0)
        assert len(bench.rows()) == 6, "the input was not read to its end"


async def test_a_shard_removes_only_pictures_of_its_own(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        bench.write(PROMPTS[:1])
        left = [row.prompt for row in bench.rows() if int(row.task, 16) % 2 or row.prompt == PROMPTS[0]]
        await bench.run(shard=(1, 2))
        assert sorted(row.prompt for row in bench.rows()) == sorted(left)
        await bench.run(shard=(2, 2))
        assert [row.prompt for row in bench.rows()] == PROMPTS[:1]


@pytest.mark.slow
async def test_a_kill_between_row_and_picture_loses_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_bench(tmp_path) as bench:
        pictures = {Path(name).name for name in bench.pictures()}
        for records in (PROMPTS[:3], PROMPTS):
            bench.write(records)
            with monkeypatch.context() as patched:
                patched.setattr(Path, "rename", _fail)
                with suppress(GemsError, ExceptionGroup):
                    await bench.run()
            await bench.run()
        assert bench.drawn() == []
        assert [row.prompt for row in bench.rows()] == PROMPTS
        assert {Path(name).name for name in bench.pictures()} == pictures


def _fail(*arguments: object) -> None:
    raise OSError("killed")
