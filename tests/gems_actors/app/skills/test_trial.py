"""A trial draws both ways from the same seeds, goes on where it stopped, and says what it found in three forms."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gems_actors.app.bulk.rows import rows_of
from gems_actors.app.skills.shelf import Shelf
from gems_actors.app.skills.trial import TrialOptions, TrialResult, run
from gems_actors.client import open_client
from gems_actors.errors import UsageError
from protocol.messages import CountSkills
from skills import UnknownSkillError, load_skill
from tests.gems_actors.app.skills.fast_mesh import open_fast_mesh
from tests.gems_actors.app.skills.laboratory import HARMFUL, HELPFUL, prompts
from tests.skills.files import write_skill

pytestmark = pytest.mark.slow

SKILL = "---\nname: {id}\ndescription: Use for counts.\n---\n\n- RULE\n"


@asynccontextmanager
async def open_laboratory(folder: Path, *skills: Path) -> AsyncIterator[TrialOptions]:
    """Start a mesh that offers the skills in `trial/skills` and others, and yield the options of a trial with it."""
    (folder / "prompts.txt").write_text("\n".join(prompts(24)))
    async with open_fast_mesh(folder, skills=(*skills, folder / "trial/skills")) as options:
        yield TrialOptions(
            skill=str(folder / "mine/counting"),
            file=folder / "prompts.txt",
            out=folder / "trial",
            options=options,
            samples=4,
        )


async def tried(options: TrialOptions) -> TrialResult:
    result = await run(options)
    assert result.outcome == "done"
    return result


async def test_a_skill_that_helps_is_told_from_none_and_the_result_is_kept(tmp_path: Path) -> None:
    write_skill(tmp_path / "mine", "counting", SKILL.replace("RULE", HELPFUL))
    async with open_laboratory(tmp_path) as options:
        report = (await tried(options)).report
        assert report is not None
        assert (report.skill, report.against, report.evidence.verdict, report.incomplete) == (
            "counting",
            "none",
            "helps",
            0,
        )
        assert report.evidence.kinds["count"].after > 0.9
        assert report.evidence.kinds["object"].prompts == 24
        assert {way: (cost.pictures, cost.images) for way, cost in report.costs.items()} == {
            "without": (96, 96),
            "with": (96, 96),
        }
        assert report.costs["with"].calls > report.costs["without"].calls, "writing a prompt is a call"
        without, with_ = ([*rows_of(tmp_path / "trial" / way)] for way in ("without", "with"))
        assert [(row.prompt, row.seed) for row in without] == [(row.prompt, row.seed) for row in with_]
        assert {row.skill for row in without} == {None}
        assert {(row.skill, row.skill_digest) for row in with_} == {("counting", report.digest)}
        page = (tmp_path / "trial/trial.html").read_text()
        assert "✓ helps" in page
        assert "<script" not in page
        assert json.loads((tmp_path / "trial/trial.json").read_text())["evidence"]["verdict"] == "helps"

        drawn = {path: path.stat().st_mtime_ns for path in (tmp_path / "trial").rglob("*.png")}
        again = (await tried(options)).report
        assert again == report
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "trial").rglob("*.png")} == drawn
        async with open_client(options.options.router or "") as mesh:
            found = await mesh.ask(CountSkills())
    assert [(item.trial.skill, item.trial.verdict) for item in found.trials] == [("counting", "helps")], "recorded once"
    assert {(use.skill, use.chosen, use.fixed) for use in found.uses} == {("", 0, 96), ("counting", 0, 96)}


async def test_a_skill_that_hurts_is_told_and_another_version_needs_another_folder(tmp_path: Path) -> None:
    write_skill(tmp_path / "mine", "counting", SKILL.replace("RULE", HARMFUL))
    async with open_laboratory(tmp_path) as options:
        report = (await tried(options)).report
        assert report is not None
        assert report.evidence.verdict == "hurts"
        assert report.evidence.pictures == 96
        assert (tmp_path / "mine/counting/SKILL.md").exists(), "a person wrote it"
        write_skill(tmp_path / "mine", "counting", SKILL.replace("RULE", HELPFUL))
        with pytest.raises(UsageError, match="expected a new folder, or the trial of counting with the digest"):
            await run(options)


async def test_a_learnt_skill_that_hurts_is_retired_and_can_be_restored(tmp_path: Path) -> None:
    write_skill(tmp_path / "mine", "counting", SKILL.replace("RULE", HARMFUL))
    skill, shelf = load_skill(tmp_path / "mine/counting"), Shelf(tmp_path / "learnt")
    shelf.accept(skill.id, skill.description, skill.instructions, {}, digest=skill.digest, cap=8)
    async with open_laboratory(tmp_path, tmp_path / "learnt") as options:
        result = await tried(replace(options, skill="counting"))
    assert result.report is not None
    assert result.report.evidence.verdict == "hurts"
    assert result.retired == tmp_path / f"learnt/retired/counting-{skill.digest}"
    assert shelf.active() == []
    shelf.restore("counting")
    assert [(item.id, item.digest) for item in shelf.active()] == [("counting", skill.digest)]


@pytest.mark.parametrize(
    ("skill", "error"),
    [("none", "got none, which it is compared with"), ("hats", "expected one of the skills"), ("./hats", "expected")],
)
async def test_a_skill_that_cannot_be_tried_is_refused_before_anything_is_written(
    tmp_path: Path, skill: str, error: str
) -> None:
    (tmp_path / "prompts.txt").write_text("a cow\n")
    with pytest.raises((UsageError, UnknownSkillError), match=error):
        await run(TrialOptions(skill=skill, file=tmp_path / "prompts.txt", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ('{"prompt": "a cow"}\n{"words": "a pig"}\n', "line 2: expected a prompt as text, got none"),
        ("\n", "expected at least one record, got none"),
        (None, "expected a readable file, got: No such file or directory"),
    ],
)
async def test_a_file_that_is_no_list_of_prompts_is_named_before_anything_is_written(
    tmp_path: Path, content: str | None, error: str
) -> None:
    file = tmp_path / "prompts.jsonl"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match=f"^PROMPTS: {file}: {error}"):
        await run(TrialOptions(skill="spatial-layout", file=file, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
