"""Finished pictures are safe: nothing is drawn again that has not changed, and nothing is replaced without consent."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gems_actors.app import bulk
from gems_actors.app.bulk import Part
from gems_actors.app.bulk.finished.identity import BY_INDEX
from gems_actors.app.bulk.folder_files import failed_tasks
from gems_actors.app.bulk.run_spec import read_run
from gems_actors.errors import UsageError
from tests.gems_actors.app.bulk.finished.bench import EQUAL, PROMPTS, Bench, Lines, open_bench
from tests.gems_actors.app.meshes import open_studio

EDITS: dict[str, Callable[[list[Any]], list[Any]]] = {
    "inserted": lambda records: ["new", *records],
    "reversed": lambda records: records[::-1],
    "appended": lambda records: [*records, "new"],
    "rotated": lambda records: [*records[3:], *records[:3]],
    "deduplicated": lambda records: [item for at, item in enumerate(records) if item not in records[:at]],
    "doubled": lambda records: [*records, *records],
    "with another column": lambda records: [
        {**(item if isinstance(item, dict) else {"prompt": item}), "tag": at} for at, item in enumerate(records)
    ],
    "with a bad record": lambda records: [{"prompt": 7}, *records],
    "cut": lambda records: records[4:],
    "emptied and refilled": lambda records: ["only this"],
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.slow
async def test_whatever_happens_to_the_lines_no_finished_picture_is_drawn_again(tmp_path: Path, edit: str) -> None:
    async with open_bench(tmp_path, EQUAL) as bench:
        before, pictures = {row.file_name: row for row in bench.rows()}, bench.pictures()
        after = EDITS[edit](EQUAL)
        bench.write(after)
        result = await bench.run()
        is_new = {"doubled": EQUAL, "emptied and refilled": ["only this"]}
        new = [item if isinstance(item, str) else item["prompt"] for item in is_new.get(edit, [])]
        if edit in ("inserted", "appended"):
            new = ["new"]
        assert sorted(bench.drawn()) == sorted(new)
        assert result.redrawn == 0
        found = bench.pictures()
        assert all(found[name] == content for name, content in pictures.items() if name in found)
        prompts = [item if isinstance(item, str) else item["prompt"] for item in after]
        rows = bench.rows()
        assert [(row.index, row.prompt) for row in rows] == [
            (at, prompt) for at, prompt in enumerate(prompts) if prompt != 7
        ], "in the order of the input"
        assert [json.loads(str(row.metadata)) for row in rows] == [
            {"tag": item["tag"]} if "tag" in item else {} for item in after if item != {"prompt": 7}
        ], "with the columns of the input"
        assert all(
            msgspec.structs.replace(before[row.file_name], index=0, metadata=None)
            == msgspec.structs.replace(row, index=0, metadata=None)
            for row in rows
            if row.file_name in before
        )


async def test_what_cannot_change_a_picture_redraws_nothing(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        contents = bench.contents()
        bench.write_skill("added")
        bench.write_skill("unused", word="hard")
        bench.write_skill("spatial-layout", license_="BSD")
        overrides = ("budget.max_calls_per_trajectory=9", "roles.verifier.count=3", "log.level=debug")
        await bench.run(overrides=overrides)
        assert bench.drawn() == []
        assert {name: found[0] for name, found in bench.pictures().items()} == {
            name: found[0] for name, found in contents.items() if name.startswith("dataset/images")
        }


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "steps": ({"steps": 12}, "draw.steps default -> 12"),
    "size": ({"size": (64, 32)}, "draw.width_px 768 -> 64, draw.height_px 768 -> 32"),
    "seed": ({"seed": 8}, "seed 7 -> 8"),
    "strategy": ({"strategy": "single"}, "draw.max_rounds 5 -> 1, draw.skill default -> none"),
    "skill": ({"skill": "unused"}, "draw.skill default -> unused"),
    "negative": ({"negative_prompt": "dogs"}, "draw.negative_prompt default -> dogs"),
    "image model": (
        {"overrides": ("image={backend='openai', url='http://127.0.0.1:9/v1', model='z'}",)},
        "models.image storyboard -> z",
    ),
    "chat model": (
        {"overrides": ("chat={backend='openai', url='http://127.0.0.1:9/v1', model='q'}",)},
        "models.chat storyboard -> q",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.slow
async def test_a_run_that_would_replace_finished_pictures_stops_before_it_begins(tmp_path: Path, change: str) -> None:
    changes, said = CHANGES[change]
    async with open_bench(tmp_path) as bench:
        bench.write([*PROMPTS, "new"])
        message = await bench.refuse(**changes)
        assert message.startswith(
            f"--out: {bench.out}: expected what its finished pictures were drawn with, got {said}"
        )
        assert "would replace 6 of 6 finished pictures" in message
        assert "--keep" in message
        assert "--redraw draws these 6 again" in message


@pytest.mark.parametrize("edit", ["edited", "removed"])
@pytest.mark.slow
async def test_another_skill_in_place_of_the_one_that_was_used_stops_the_run(tmp_path: Path, edit: str) -> None:
    async with open_bench(tmp_path) as bench:
        bench.studio.skill = "unused"
        bench.write([*PROMPTS, "an owl of another skill"])
        await bench.run()
        bench.studio.take_asked()
        bench.write_skill("own")
        bench.write_skill("unused", word="hard")
        message = await bench.refuse()
        assert "got skill unused edited, which would replace 1 of 7 finished pictures" in message
        if edit == "removed":
            (tmp_path / "skills/unused/SKILL.md").unlink()
            assert "got skill unused removed, which would" in await bench.refuse()
        await bench.run("redraw")
        assert bench.drawn() == ["an owl of another skill"]
        assert (await bench.run()).redrawn == 0


async def test_kept_pictures_stay_in_later_runs_whatever_changes_and_only_missing_ones_are_drawn(
    tmp_path: Path,
) -> None:
    async with open_bench(tmp_path) as bench:
        pictures, rows = bench.pictures(), bench.rows()
        bench.write([*PROMPTS, "new"])
        await bench.run("keep", steps=12)
        assert [request.settings.steps for request in bench.studio.take_asked()] == [12]
        view = Lines()
        bench.write([*PROMPTS, "new", "newer"])
        await bench.run(view=view, steps=16)
        assert view.said[1] == "finished pictures stay as they are (--keep); --redraw draws those that differ again"
        assert [(request.prompt, request.settings.steps) for request in bench.studio.take_asked()] == [("newer", 16)]
        assert {name: bench.pictures()[name] for name in pictures} == pictures
        assert bench.rows()[:6] == rows
        await bench.run("redraw", steps=16)
        assert len(bench.drawn()) == 7, "all but the newest"
        assert (await bench.run(steps=16)).redrawn == 0
        await bench.refuse(steps=17)


async def test_an_interrupted_redraw_continues_without_asking_again_but_only_with_the_same_recipe(
    tmp_path: Path,
) -> None:
    async with open_bench(tmp_path) as bench:
        first = await bench.run("redraw", steps=12, limit=2)
        assert (first.redrawn, bench.drawn()) == (2, PROMPTS[:2])
        assert "draw.steps 12 -> 13" in await bench.refuse(steps=13)
        assert "2 of 6" in await bench.refuse(), "the first settings would replace the new pictures"
        second = await bench.run(steps=12)
        assert (second.redrawn, bench.drawn()) == (4, PROMPTS[2:])
        assert read_run(bench.out).consent is None  # type: ignore[union-attr]  # the run was written above
        assert "6 of 6" in await bench.refuse()


async def test_a_redraw_replaces_picture_and_row_and_says_how_many(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        pictures = bench.pictures()
        result = await bench.run("redraw", seed=8)
        assert (result.redrawn, result.tally.pictures) == (6, 6)
        assert bench.pictures().keys() == pictures.keys()
        assert all(bench.pictures()[name] != pictures[name] for name in pictures)
        assert [row.prompt for row in bench.rows()] == PROMPTS


async def test_standard_input_stops_at_the_first_record_that_would_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def feed(*prompts: str) -> None:
        class Pipe(io.BytesIO):
            def seekable(self) -> bool:
                return False

        text = "".join(f"{prompt}\n" for prompt in prompts)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Pipe(text.encode()))))

    async with open_studio(tmp_path) as (studio, options):
        bench, stdin = Bench(tmp_path, studio, options), Path("-")
        feed(*PROMPTS)
        await bench.run(file=stdin)
        pictures, _ = bench.pictures(), bench.drawn()
        feed("new", *PROMPTS, "later")
        with pytest.raises(
            UsageError, match=r"FILE: -: record 2: expected .* got draw.steps default -> 12, which would"
        ):
            await bench.run(file=stdin, steps=12)
        assert bench.drawn() == ["new"]
        assert {name: bench.pictures()[name] for name in pictures} == pictures
        feed(*PROMPTS[::-1])
        assert (await bench.run(file=stdin)).redrawn == 0, "the same settings as at first"
        feed("new", *PROMPTS, "later")
        await bench.run("keep", file=stdin, steps=12)
        assert bench.drawn() == ["later"]


async def test_two_shards_draw_what_one_run_draws(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    async with open_bench(tmp_path / "whole", EQUAL, samples=2) as bench:
        whole = bench.rows()
    async with open_studio(tmp_path / "parts") as (studio, options):
        bench = Bench(tmp_path / "parts", studio, options)
        bench.write([*EQUAL, {"prompt": 7}])
        first = await bench.run(samples=2, shard=(1, 2))
        bench.write([{"prompt": 7}, *EQUAL[::-1]])
        second = await bench.run(samples=2, shard=(2, 2))
        assert first.tally.pictures + second.tally.pictures - second.tally.before == len(whole)
        assert sorted((first.tally.failed, second.tally.failed)) == [0, 1]
        found = {row.file_name: row.seed for row in bench.rows()}
        assert found == {row.file_name: row.seed for row in whole}


async def test_a_shard_with_other_settings_does_not_let_the_other_one_be_replaced(tmp_path: Path) -> None:
    async with open_studio(tmp_path) as (studio, options):
        bench = Bench(tmp_path, studio, options)
        bench.write(PROMPTS)
        await bench.run(shard=(1, 2))
        await bench.run(shard=(2, 2), steps=12)
        bench.studio.take_asked()
        assert "of 6 finished pictures" in await bench.refuse(steps=12)
        assert "of 6 finished pictures" in await bench.refuse()
        await bench.run(shard=(1, 2))
        await bench.run(shard=(2, 2), steps=12)
        assert bench.drawn() == []


async def test_records_keep_their_pictures_by_the_id_that_the_user_gave(tmp_path: Path) -> None:
    def records(first: str) -> list[dict[str, str]]:
        return [{"prompt": first, "key": "cats/1"}, {"prompt": "a dog", "key": "dogs"}]

    async with open_bench(tmp_path, records("a cat"), id_column="key") as bench:
        assert sorted(Path(row.file_name).name for row in bench.rows()) == ["cats%2F1.png", "dogs.png"]
        bench.write(records("two cats")[::-1])
        message = await bench.refuse(id_column="key")
        assert "got records that were edited, which would replace 1 of 2 finished pictures" in message
        with pytest.raises(UsageError, match="expected a new folder or --id-column key as before, got no --id-column"):
            await bench.run()
        await bench.run("redraw", id_column="key")
        assert bench.drawn() == ["two cats"]
        assert [(row.index, row.prompt) for row in bench.rows()] == [(0, "a dog"), (1, "two cats")]
        bench.write(records("three cats"))
        await bench.refuse(id_column="key")
        await bench.run("keep", id_column="key")
        assert bench.drawn() == []


async def test_consent_to_redraw_edited_records_ends_with_the_next_edit(tmp_path: Path) -> None:
    def records(word: str) -> list[dict[str, str]]:
        return [{"prompt": f"{word} {key}", "key": key} for key in "abc"]

    async with open_bench(tmp_path, records("one"), id_column="key") as bench:
        bench.write(records("two"))
        await bench.run("redraw", id_column="key", limit=1)
        await bench.run(id_column="key", limit=1)
        assert bench.drawn() == ["two a", "two b"]
        bench.write(records("three"))
        assert "3 of 3" in await bench.refuse(id_column="key")


async def test_a_folder_of_an_earlier_version_keeps_its_rules_by_index_and_is_as_safe(tmp_path: Path) -> None:
    async with open_studio(tmp_path) as (studio, options):
        bench = Bench(tmp_path, studio, options, identity=BY_INDEX)
        bench.write(PROMPTS)
        await bench.run()
        run = json.loads((bench.out / "run.json").read_text())
        for name in ("identity", "recipes", "consent", "consent_input", "id_column"):
            del run[name]
        (bench.out / "run.json").write_text(json.dumps(run))
        bench.identity = None
        bench.studio.take_asked()
        await bench.run()
        assert bench.drawn() == []
        assert [row.file_name for row in bench.rows()][::5] == [
            "images/00000/00000000.png",
            "images/00000/00000005.png",
        ]
        bench.write(["new", *PROMPTS])
        assert "records that were edited or moved, which would replace 6 of 6" in await bench.refuse()
        bench.write([*PROMPTS, "new"])
        await bench.run()
        assert bench.drawn() == ["new"]
        bench.write_skill("own")
        overrides = (f'skills.folders=["{tmp_path}/skills"]',)
        message = await bench.refuse(overrides=overrides)
        assert "got skills that were added, edited or removed, which would replace 7 of 7" in message


async def test_a_retry_finds_its_records_where_they_are_now_and_those_that_were_corrected(tmp_path: Path) -> None:
    async with open_studio(tmp_path) as (studio, options):
        bench = Bench(tmp_path, studio, options)
        studio.refused = {"1 owls", "3 owls"}
        bench.write([*PROMPTS, {"prompt": 7}])
        await bench.run()
        assert sorted(bench.drawn()) == sorted(PROMPTS)
        bench.write(["new", *PROMPTS[:3], "a corrected owl", *PROMPTS[4:], {"prompt": 7}])
        studio.refused = set()
        only = failed_tasks(bench.out, "refused")
        options_ = replace(bench.bulk_options(), part=Part(only=frozenset(only)), keeps_failures=True)
        await bulk.run(options_)
        assert "1 owls" in bench.drawn()
        assert "3 owls" not in [row.prompt for row in bench.rows()]
        left = [json.loads(line)["class"] for line in (bench.out / "failed.jsonl").read_text().splitlines()]
        assert left.count("input") == 1


async def test_a_row_names_its_task_its_trajectory_and_the_digest_of_its_skill(tmp_path: Path) -> None:
    async with open_bench(tmp_path, ["a cat"], samples=2) as bench:
        skill = bench.bulk_options().spec.read_config()
        rows = bench.rows()
        assert skill.skills.folders
        assert len({row.task for row in rows}) == 1
        assert len({row.trajectory for row in rows}) == 2
        assert all(len(row.trajectory) == 32 for row in rows)
        assert {str(row.skill_digest) for row in rows} == {*read_run(bench.out).recipes[0].skills.values()} & {  # type: ignore[union-attr]
            str(row.skill_digest) for row in rows
        }
        bench.studio.skill = None
        bench.write(["a cat", "a dog"])
        await bench.run(samples=2)
        assert [json.loads(line)["skill_digest"] for line in _lines(bench.out)][2:] == ["", ""]


def _lines(out: Path) -> list[str]:
    return (out / "dataset" / "metadata.jsonl").read_text().splitlines()


async def test_the_rows_of_a_finished_run_are_written_again_only_to_change_them(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        rows = bench.out / "dataset/metadata.jsonl"
        first = rows.stat().st_ino
        await bench.run()
        assert rows.stat().st_ino == first
        bench.write(PROMPTS[::-1])
        await bench.run()
        assert (rows.stat().st_ino, [row.prompt for row in bench.rows()]) != (first, PROMPTS)
        assert [row.prompt for row in bench.rows()] == PROMPTS[::-1]
