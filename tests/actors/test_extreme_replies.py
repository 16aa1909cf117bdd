"""Actors whose replies are valid and extreme: the trajectory ends or fails, and its records can be read."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trio
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec import structs

from actors.memory import Memory
from actors.memory_store.maintenance import check_log
from gems_actors.actor import Actor, answers
from gems_actors.app.memory.export import read_records, write_jsonl
from gems_actors.config import MeshConfig
from gems_actors.errors import RequestError
from gems_actors.testing import open_test_mesh
from protocol import messages as m
from tests.actors.scripted import EagerConductor
from tests.protocol.strategies import extremes

pytestmark = pytest.mark.slow

WITHIN_S = 60.0


def roles_that_answer(replies: dict[type[m.Reply], Any]) -> list[type[Actor]]:
    """Return one class per role, which answers with the reply of its type."""

    class Planner(Actor):
        role = "planner"

        @answers
        async def plan(self, request: m.PlanPrompt) -> m.Plan:
            reply: m.Plan = replies[m.Plan]
            return reply

    class Decomposer(Actor):
        role = "decomposer"

        @answers
        async def decompose(self, request: m.DecomposePrompt) -> m.Requirements:
            reply: m.Requirements = replies[m.Requirements]
            numbered = [structs.replace(item, id=f"r{n}", depends_on=None) for n, item in enumerate(reply.requirements)]
            numbered = numbered or [m.Requirement(id="r0", question="?", kind="other")]
            return structs.replace(reply, requirements=tuple(numbered))

    class Generator(Actor):
        role = "generator"

        @answers
        async def generate(self, request: m.GenerateImage) -> m.Image:
            reply: m.Image = replies[m.Image]
            return reply

    class Verifier(Actor):
        role = "verifier"

        @answers
        async def verify(self, request: m.VerifyImage) -> m.Verification:
            reply: m.Verification = replies[m.Verification]
            verdict: m.Verdict = replies[m.Verdict]  # type: ignore[index]
            verdicts = [structs.replace(verdict, requirement=item.id) for item in request.requirements]
            verdicts[0] = structs.replace(verdicts[0], answer="unmet")  # so that there are further rounds
            return structs.replace(reply, verdicts=tuple(verdicts))

    class Compressor(Actor):
        role = "compressor"

        @answers
        async def compress(self, request: m.CompressAttempt) -> m.Lesson:
            reply: m.Lesson = replies[m.Lesson]
            return reply

    class Refiner(Actor):
        role = "refiner"

        @answers
        async def refine(self, request: m.RefinePrompt) -> m.Refined:
            reply: m.Refined = replies[m.Refined]
            return reply

    return [Planner, Decomposer, Generator, Verifier, Compressor, Refiner]


async def draw(folder: Path, replies: dict[type[m.Reply], Any]) -> list[m.AnyRecord]:
    """Draw a picture with these replies, ask memory for everything, and return its log."""
    task = m.DrawPicture(run="r", prompt="a red fox", seed=1, settings=m.DrawSettings(max_rounds=3))
    config = MeshConfig(data_dir=str(folder))
    with trio.fail_after(WITHIN_S):
        async with open_test_mesh(Memory, EagerConductor, *roles_that_answer(replies), config=config) as mesh:
            with suppress(RequestError):
                await mesh.ask(task)
            listed = (await mesh.ask(m.ListTrajectories())).trajectories
            assert [item.trajectory for item in listed] == [task.trajectory]
            assert len((await mesh.ask(m.ListRuns())).runs) == 1
            await mesh.ask(m.RecallExperiences(prompt="a red fox"))
            await mesh.ask(m.FindBestAttempt(trajectory=task.trajectory))
            try:
                await mesh.ask(m.ReadTrajectory(trajectory=task.trajectory))
            except RequestError as error:  # a state may be larger than a frame; no record is
                assert "does not fit the wire: expected a message of at most" in str(error)  # noqa: PT017
            found: list[m.AnyRecord] = []
            while records := (await mesh.ask(m.ReadLog(since=len(found)))).records:
                found += [item.record for item in records]
    return found


@settings(max_examples=12, deadline=None, phases=[Phase.generate], derandomize=True)
@given(
    st.fixed_dictionaries(
        {
            kind: extremes(kind)
            for kind in (m.Plan, m.Requirements, m.Image, m.Verification, m.Verdict, m.Lesson, m.Refined)
        }
    )
)
def test_extreme_replies_stop_no_actor_and_leave_records_that_can_be_read(replies: dict[type[m.Reply], Any]) -> None:
    with TemporaryDirectory() as name:
        records = trio.run(draw, Path(name), replies)
        assert isinstance(records[-1], m.TrajectoryEnded | m.TrajectoryFailed)
        folder = Path(name) / "memory"
        checked = check_log(folder)
        assert (checked.records, checked.problems, checked.notes) == (len(records), [], [])
        damage: list[str] = []
        assert write_jsonl(read_records([folder], None, damage.append), BytesIO()) == len(records)
        assert damage == []
