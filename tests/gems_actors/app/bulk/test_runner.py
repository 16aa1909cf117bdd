"""Drawing a file of prompts from Python: the result, the view and the requests."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from gems_actors.actor import Actor, answers
from gems_actors.app import bulk
from gems_actors.app.bulk import BulkOptions, BulkView, Part, spec_of
from gems_actors.app.bulk.folder_files import run_of
from gems_actors.app.bulk.rows import rows_of
from gems_actors.app.bulk.totals import BulkProgress
from gems_actors.app.options import DrawOptions
from gems_actors.client import open_client
from gems_actors.errors import LogError, UsageError
from gems_actors.tasks import open_background
from protocol.messages import (
    BeforePlan,
    ControlRun,
    DrawPicture,
    PreparedPrompt,
    Record,
    RunBegun,
    StepTaken,
    TrajectoryEnded,
)
from tests.gems_actors.app.meshes import open_drawing_mesh, open_recording_mesh


class RecordingView(BulkView):
    """Records what is shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.last: BulkProgress | None = None

    def say(self, text: str) -> None:
        self.lines.append(text)

    def finish(self, progress: BulkProgress) -> None:
        self.last = progress


def options_for(file: Path, out: Path, options: DrawOptions, part: Part | None = None) -> BulkOptions:
    return BulkOptions(
        spec=spec_of(file, options), file=file, out=out, part=part or Part(), router=options.router, concurrency=1
    )


@pytest.mark.slow
async def test_a_bulk_returns_its_totals_and_the_next_run_continues(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red dog\nthree pigs\n\nan owl\n")
    async with open_drawing_mesh(tmp_path) as options:
        first_view, second_view = RecordingView(), RecordingView()
        tasks = options_for(tmp_path / "prompts.txt", tmp_path / "out", options, Part(limit=2))
        first = await bulk.run(tasks, first_view)
        second = await bulk.run(replace(tasks, part=Part()), second_view)
    assert (first.outcome, first.unfinished, first.tally.pictures) == ("done", "", 2)
    assert (second.outcome, second.tally.pictures, second.tally.before) == ("done", 3, 2)
    assert second.report == tmp_path / "out/report.html"
    assert (first_view.lines, second_view.lines) == ([], ["continued: 2 done before"])
    assert second_view.last is not None
    assert (second_view.last.finished, second_view.last.total, second_view.last.in_flight) == (3, 3, 0)
    assert [row.index for row in rows_of(tmp_path / "out")] == [0, 1, 3]


def translator(version: str) -> type[Actor]:
    """Return a role that answers `BeforePlan` with this version."""

    class Translator(Actor):
        role = "translator"

        @answers
        async def prepare(self, request: BeforePlan) -> PreparedPrompt:
            await trio.lowlevel.checkpoint()
            return PreparedPrompt(prompt=request.prompt.replace("red", "blue"), version=version)

    return Translator


def hook_settings(version: str) -> tuple[str, ...]:
    role = "roles.translator"
    return (f"{role}.actor=studio:Translator", f'{role}.version="{version}"', "loop.before_plan=translator")


@pytest.mark.slow
async def test_a_new_version_of_a_hook_draws_the_pictures_again_with_consent(tmp_path: Path) -> None:
    file, out = tmp_path / "prompts.txt", tmp_path / "out"
    file.write_text("a red dog\n")
    async with open_drawing_mesh(tmp_path, translator("1"), settings=hook_settings("1")) as options:
        first = await bulk.run(options_for(file, out, options))
        again = await bulk.run(options_for(file, out, options))
    async with open_drawing_mesh(tmp_path, translator("2"), settings=hook_settings("2")) as options:
        with pytest.raises(
            UsageError, match=r"got loop\.before_plan translator 1 -> translator 2, which would replace 1 of"
        ):
            await bulk.run(options_for(file, out, options))
        second = await bulk.run(replace(options_for(file, out, options), consent="redraw"))
        (row,) = rows_of(out)
        stale = replace(options, overrides=(options.overrides[0], *hook_settings("1")))
        refused = await bulk.run(options_for(file, tmp_path / "other", stale))
    assert (first.tally.pictures, first.tally.before) == (1, 0)
    assert (again.tally.pictures, again.tally.before) == (1, 1)
    assert (second.outcome, second.tally.pictures) == ("done", 1)
    assert (row.prompt, row.models["before_plan"]) == ("a red dog", "translator 2")
    assert (refused.outcome, refused.tally.failed) == ("failed", 1)
    assert "expected a picture of translator 1" in (tmp_path / "other" / "failed.jsonl").read_text()


async def test_a_cancelled_bulk_names_who_cancelled_it_and_how_to_continue(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red dog\n" * 200)
    run = run_of(tmp_path / "out")

    async def cancel_after_the_first_event(address: str) -> None:
        async with open_client(address) as mesh:
            async with mesh.events(run) as events:
                await events.receive()
            await mesh.ask(ControlRun(run=run, action="cancel", by="alice@box"))

    async with open_drawing_mesh(tmp_path) as options, open_background() as nursery:
        nursery.start_soon(cancel_after_the_first_event, options.router or "")
        view = RecordingView()
        result = await bulk.run(options_for(tmp_path / "prompts.txt", tmp_path / "out", options), view)
    assert result.outcome == "interrupted"
    assert result.unfinished.startswith("cancelled by alice@box: ")
    assert result.unfinished.endswith(" left; the same command continues")
    assert result.tally.failed == 0, "the next run draws the tasks that were cancelled"
    assert view.lines[-1] == "cancelled by alice@box"


@pytest.mark.slow
async def test_a_redrawing_that_is_cancelled_counts_each_picture_once(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("".join(f"{number} red dogs\n" for number in range(2, 42)))
    run = run_of(tmp_path / "out")

    async def cancel_after_three_pictures(address: str) -> None:
        async with open_client(address) as mesh:
            async with mesh.events(run) as events:
                ended = 0
                while ended < 3:
                    event = await events.receive()
                    ended += isinstance(event, StepTaken) and isinstance(event.record, TrajectoryEnded)
            await mesh.ask(ControlRun(run=run, action="cancel", by="alice@box"))

    async with open_drawing_mesh(tmp_path) as options, open_background() as nursery:
        tasks = options_for(tmp_path / "prompts.txt", tmp_path / "out", options, Part(limit=30))
        await bulk.run(tasks)
        nursery.start_soon(cancel_after_three_pictures, options.router or "")
        changed = options_for(tasks.file, tasks.out, replace(options, steps=3))
        result = await bulk.run(replace(changed, consent="redraw"))
    pictures = sum(1 for _ in rows_of(tmp_path / "out"))
    assert result.tally.pictures == pictures
    assert f": {pictures} of 40 done, {40 - pictures} left; " in result.unfinished


async def test_a_missing_file_and_an_unusable_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red dog\n")
    with pytest.raises(UsageError, match=r"FILE: .*none\.txt: expected a readable file"):
        await bulk.run(options_for(tmp_path / "none.txt", tmp_path / "out", DrawOptions()))
    with pytest.raises(UsageError, match="--out: /dev/null/out: expected a folder to write into"):
        await bulk.run(options_for(tmp_path / "prompts.txt", Path("/dev/null/out"), DrawOptions()))


async def test_memory_records_the_run_and_its_number_of_tasks_before_a_picture_is_requested(tmp_path: Path) -> None:
    requests: list[Record | DrawPicture] = []
    file = tmp_path / os.fsdecode(b"caf\xe9.txt")
    file.write_text("a cat\n\na dog\n")
    async with open_recording_mesh(requests) as mesh:
        result = await bulk.run(options_for(file, tmp_path / "out", DrawOptions(router=mesh.address)))
    begun, first, second = requests
    assert isinstance(first, DrawPicture)
    assert isinstance(second, DrawPicture)
    assert first.run == second.run == result.run
    assert begun == RunBegun(run=result.run, what=f"{tmp_path}/caf\ufffd.txt", total=2)
    assert (result.outcome, result.tally.failed) == ("failed", 2)


async def test_the_number_of_tasks_on_standard_input_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    requests: list[Record | DrawPicture] = []
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Pipe(b"a cat\n"))))
    async with open_recording_mesh(requests) as mesh:
        await bulk.run(options_for(Path("-"), tmp_path / "out", DrawOptions(router=mesh.address)))
    begun = requests[0]
    assert isinstance(begun, RunBegun)
    assert (begun.what, begun.total) == ("standard input", None)


async def test_without_a_record_of_the_run_no_picture_is_requested(tmp_path: Path) -> None:
    requests: list[Record | DrawPicture] = []
    (tmp_path / "cats.txt").write_text("a cat\n")
    async with open_recording_mesh(requests, can_store=False) as mesh:
        with pytest.raises(LogError, match="the disk is full"):
            await bulk.run(options_for(tmp_path / "cats.txt", tmp_path / "out", DrawOptions(router=mesh.address)))
    assert [type(request) for request in requests] == [RunBegun]
