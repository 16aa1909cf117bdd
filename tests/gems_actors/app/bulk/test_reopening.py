"""Tasks that have a picture and ended early are continued: what is asked again, replaced and kept."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from gems_actors.app import bulk
from gems_actors.app.bulk import BulkOptions
from gems_actors.app.bulk.reopening import CONTINUED, part_to_continue, reopen
from gems_actors.app.bulk.rows import NOT_REOPENED, Row, rows_of
from gems_actors.app.bulk.run_spec import read_run
from gems_actors.app.bulk.tasks import Continuation
from gems_actors.app.options import DrawOptions
from gems_actors.client import open_client
from protocol.costs import costs_since
from protocol.messages import DrawPicture, DrawSettings, ListRuns, ReadTrajectory, Spent
from tests.actors.scripted import Script, open_loop
from tests.gems_actors.app.bulk.test_refused_rounds import HARD, image_settings, options_for, refusing
from tests.gems_actors.app.meshes import open_drawing_mesh
from tests.gems_actors.backends.servers import Answer, ScriptedServer, drawn, open_server

PROMPTS = f"{HARD} A\n{HARD} C\na red dog\n"


def rows_by_prompt(out: Path) -> Mapping[str, Row]:
    return {row.prompt: row for row in rows_of(out)}


def continuing(options: BulkOptions, *outcomes: str, rounds: int | None = None) -> BulkOptions:
    """Return options as `gems bulk retry` has them."""
    spec = read_run(options.out)
    assert spec is not None
    part = part_to_continue(options.out, outcomes, rounds)
    return replace(options, spec=spec, part=part, keeps_failures=True)


def open_mesh(folder: Path, server: ScriptedServer) -> AbstractAsyncContextManager[DrawOptions]:
    return open_drawing_mesh(folder, settings=image_settings(server))


@pytest.mark.slow
async def test_a_refused_task_is_continued_and_its_better_picture_takes_the_place_of_the_old_one(
    tmp_path: Path,
) -> None:
    file, out = tmp_path / "prompts.txt", tmp_path / "out"
    file.write_text(PROMPTS)
    with open_server(ScriptedServer(refusing)) as server:
        async with open_mesh(tmp_path, server) as options:
            task = options_for(options, file, out)
            first = await bulk.run(task)
            before = rows_by_prompt(out)
            server.rule = drawn
            asked = len(server.asked)
            again = await bulk.run(continuing(task, "refused", "failed_later", rounds=4))
            images = len(server.asked) - asked
            after = rows_by_prompt(out)
            last = await bulk.run(task)
            async with open_client(options.router or "") as mesh:
                (run,) = (await mesh.ask(ListRuns())).runs
                states = [await mesh.ask(ReadTrajectory(trajectory=row.trajectory)) for row in after.values()]
    refused = [prompt for prompt, row in before.items() if row.outcome == "refused"]
    assert (len(before), len(refused), first.tally.ended_early) == (3, 2, "2 refused")
    assert (again.outcome, again.continued, again.redrawn, again.tally.pictures) == ("done", 2, 0, 3)
    assert images == sum(after[prompt].images - before[prompt].images for prompt in refused) > 0
    for prompt, row in after.items():
        if prompt not in refused:
            assert row == before[prompt]
            continue
        old = before[prompt]
        assert (row.file_name, row.key, row.task, row.trajectory) == (old.file_name, old.key, old.task, old.trajectory)
        assert row.digests[: old.images] == old.digests
        assert row.met >= old.met
        assert (row.outcome in ("all_met", "rounds_spent"), row.failure) == (True, "")
        assert (out / "dataset" / row.file_name).is_file()
    assert (last.outcome, last.tally.before, last.tally.pictures, last.redrawn) == ("done", 3, 3, 0)
    assert (run.ended, run.failed, run.running) == (3, 0, 0)
    assert sum(state.spent["generator"].calls for state in states) == again.tally.spent["generator"].calls
    assert again.tally.spent == last.tally.spent, "what the first rounds had cost counts once"


@pytest.mark.parametrize("loss", ["the server", "memory"])
@pytest.mark.slow
async def test_a_task_that_cannot_be_continued_keeps_its_picture(tmp_path: Path, loss: str) -> None:
    file, out = tmp_path / "prompts.txt", tmp_path / "out"
    file.write_text(PROMPTS.splitlines()[0] + "\n")
    with open_server(ScriptedServer(refusing)) as server:
        async with open_mesh(tmp_path, server) as options:
            task = options_for(options, file, out)
            await bulk.run(task)
            (row,) = rows_of(out)
            picture = out / "dataset" / row.file_name
            before = picture.read_bytes()
            if loss == "the server":
                server.rule = lambda fields: Answer(b'{"error": {"message": "no such key"}}', 401)
        if loss == "memory":
            shutil.rmtree(tmp_path / "data" / "memory")
        async with open_mesh(tmp_path, server) as options:
            impatient = replace(task, router=options.router, wait_for_servers_s=1)
            again = await bulk.run(continuing(impatient, "refused", rounds=4))
        is_undone = loss == "the server"  # the next retry continues it
        assert (again.outcome, again.tally.failed) == (("unavailable", 0) if is_undone else ("failed", 1))
        assert again.tally.pictures == 1
        assert picture.read_bytes() == before
        assert list(rows_of(out)) == [row]


async def test_a_retry_that_was_interrupted_reopens_a_trajectory_again_only_for_more_rounds(tmp_path: Path) -> None:
    task = DrawPicture(run="r", prompt="a red cat", seed=7, settings=DrawSettings(max_rounds=2))
    async with open_loop(tmp_path, Script(met_from_round=9)) as mesh:
        await mesh.ask(task)
        assert await reopen(mesh, task, None) == NOT_REOPENED
        reopenings = [(await reopen(mesh, task, Continuation(rounds))).reopenings for rounds in (None, 2, 3, None, 3)]
        picture = await mesh.ask(task)
        last = await reopen(mesh, task, Continuation())
    assert reopenings == [1, 1, 2, 2, 2]
    assert (len(picture.attempts), picture.settings.max_rounds) == (3, 3)
    assert (last.reopenings, last.spent) == (3, picture.spent)


def test_only_tasks_that_can_come_to_another_end_are_continued(tmp_path: Path) -> None:
    from tests.gems_actors.app.bulk.test_rows import row

    outcomes = ("all_met", "nothing_to_check", "of_2027", *CONTINUED)
    (tmp_path / "dataset").mkdir()
    with (tmp_path / "dataset" / "metadata.jsonl").open("wb") as lines:
        from msgspec.json import encode

        for index, outcome in enumerate(outcomes):
            lines.write(encode(row(index=index, outcome=outcome, rounds=3)) + b"\n")

    def found(*wanted: str, rounds: int | None = None) -> set[str]:
        return {outcomes[int(ref)] for ref, _ in part_to_continue(tmp_path, wanted, rounds).only or ()}

    assert found(*outcomes, rounds=4) == {*CONTINUED}
    assert found(*outcomes) == found(*outcomes, rounds=3) == {*CONTINUED} - {"rounds_spent"}
    assert found("refused") == {"refused"}


def test_costs_since_a_state_are_by_role_and_never_negative() -> None:
    before = {"planner": Spent(calls=2, seconds=1.5), "refiner": Spent(calls=1)}
    after = {"planner": Spent(calls=2, seconds=1.0), "refiner": Spent(calls=3), "verifier": Spent(calls=1)}
    assert costs_since(before, after) == {
        "planner": Spent(),
        "refiner": Spent(calls=2),
        "verifier": Spent(calls=1),
    }
    assert structs.asdict(costs_since({}, after)["refiner"]) == structs.asdict(after["refiner"])
