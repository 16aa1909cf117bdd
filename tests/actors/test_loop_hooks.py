"""Hooks of the loop: roles of the user's own that the conductor asks at three places."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from msgspec import structs

from gems_actors.actor import Actor, answers
from gems_actors.config import LoopConfig, MeshConfig, RoleConfig
from gems_actors.errors import BackendError, RefusedError, RequestError
from protocol.codec import encode_body
from protocol.messages import (
    AfterVerdicts,
    AppendRecord,
    BeforePlan,
    BeforeRefinement,
    DrawPicture,
    DrawSettings,
    Hook,
    ImageRef,
    PreparedPrompt,
    PromptPrepared,
    ReadLog,
    ReadTrajectory,
    RefinementNote,
    RefinementNoted,
    ReviewedVerdicts,
    Spent,
    Verdict,
    VerdictsReviewed,
)
from tests.actors.fakes import image_ref
from tests.actors.scripted import Script, open_loop

TASK = DrawPicture(run="test", prompt="eine rote Katze", seed=7)
HOOK = Hook(role="critic", version="2")
HOOK_RECORDS = (PromptPrepared, VerdictsReviewed, RefinementNoted)
CONFIG = MeshConfig(
    roles={"critic": RoleConfig(actor="tests.actors.test_loop_hooks:Critic", version="2")},
    loop=LoopConfig(before_plan="critic", after_verdicts="critic", before_refinement="critic"),
)


class Hooks:
    """What the hook role was asked, and how it fails."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.references: list[tuple[ImageRef, ...]] = []
        self.failures: list[RequestError] = []
        """Raised by the next requests, one each."""
        self.version = "2"
        self.has_all_verdicts = True
        self.blocks_at: str | None = None
        self.is_blocked = trio.Event()

    async def take(self, name: str) -> None:
        self.asked.append(name)
        if self.failures:
            raise self.failures.pop(0)
        if name == self.blocks_at:
            self.is_blocked.set()
            await trio.sleep_forever()


def critic_role(hooks: Hooks) -> type[Actor]:
    """Return a role that answers the requests of all three hooks."""

    class Critic(Actor):
        role = "critic"
        default_capacity = 100

        @answers
        async def prepare(self, request: BeforePlan) -> PreparedPrompt:
            await hooks.take("before_plan")
            hooks.references.append(request.references)
            assert (request.prompt, request.seed) == ("eine rote Katze", 7)
            return PreparedPrompt(prompt="a red cat", version=hooks.version, spent=Spent(calls=1))

        @answers
        async def review(self, request: AfterVerdicts) -> ReviewedVerdicts:
            await hooks.take(f"after_verdicts {request.round}.{request.candidate}")
            hooks.references.append(request.references)
            assert [verdict.answer for verdict in request.verdicts] == ["met", "met"]
            answers_ = ("met", "unmet" if request.round == 1 else "met")
            verdicts = tuple(
                Verdict(requirement=item.id, answer=answer, reason="by the critic")  # type: ignore[arg-type]
                for item, answer in zip(request.requirements, answers_, strict=True)
            )
            kept = verdicts if hooks.has_all_verdicts else verdicts[1:]
            return ReviewedVerdicts(verdicts=kept, version=hooks.version, spent=Spent(calls=1))

        @answers
        async def write_note(self, request: BeforeRefinement) -> RefinementNote:
            await hooks.take(f"before_refinement {request.round}")
            return RefinementNote(note="make it redder", version=hooks.version, spent=Spent(calls=1))

    return Critic


async def test_hooks_change_the_prompt_the_verdicts_and_what_the_refiner_is_shown(tmp_path: Path) -> None:
    hooks, script = Hooks(), Script(met_from_round=1)
    async with open_loop(tmp_path, script, critic_role(hooks), config=CONFIG) as mesh:
        picture = await mesh.ask(TASK)
        state = await mesh.ask(ReadTrajectory(trajectory=TASK.trajectory))
    assert hooks.asked == ["before_plan", "after_verdicts 1.1", "before_refinement 1", "after_verdicts 2.1"]
    assert script.prompts == ["a red cat", "a red cat"]
    assert script.notes == ["make it redder"]
    assert picture.prompt == "eine rote Katze", "the original is kept"
    assert [[verdict.answer for verdict in attempt.verdicts] for attempt in picture.attempts] == [
        ["met", "unmet"],
        ["met", "met"],
    ]
    assert (picture.ending.outcome, picture.best.round) == ("all_met", 2)
    assert picture.hooks == {"before_plan": HOOK, "after_verdicts": HOOK, "before_refinement": HOOK}
    assert picture.spent["critic"] == Spent(calls=4)
    assert (state.prepared, state.hooks, state.attempts) == ("a red cat", picture.hooks, picture.attempts)
    assert state.task == TASK


async def test_hooks_are_told_what_the_task_gave(tmp_path: Path) -> None:
    hooks, task = Hooks(), structs.replace(TASK, references=(image_ref(),))
    async with open_loop(tmp_path, Script(met_from_round=1), critic_role(hooks), config=CONFIG) as mesh:
        await mesh.ask(task)
    assert hooks.references == [task.references] * 3


async def test_replies_of_hooks_are_records_that_keep_the_verifiers_own_verdicts(tmp_path: Path) -> None:
    async with open_loop(tmp_path, Script(met_from_round=1), critic_role(Hooks()), config=CONFIG) as mesh:
        await mesh.ask(TASK)
        records = [item.record for item in (await mesh.ask(ReadLog())).records]
    kinds = [type(record).__name__ for record in records]
    assert [kinds[1], *kinds[4:9]] == [
        "PromptPrepared",
        "AttemptVerified",
        "VerdictsReviewed",
        "ExperienceKept",
        "RefinementNoted",
        "PromptRefined",
    ]
    by_hook = [record for record in records if isinstance(record, HOOK_RECORDS)]
    assert {record.hook for record in by_hook} == {HOOK}
    assert [verdict.answer for verdict in records[4].attempt.verdicts] == ["met", "met"]  # type: ignore[union-attr]


async def test_without_hooks_records_and_picture_are_the_same_as_ever(tmp_path: Path) -> None:
    async with open_loop(tmp_path, Script(), critic_role(Hooks())) as mesh:
        picture = await mesh.ask(TASK)
        records = [item.record for item in (await mesh.ask(ReadLog())).records]
    assert not [record for record in records if isinstance(record, HOOK_RECORDS)]
    assert not [record for record in records if b"hook" in encode_body(record) or b"note" in encode_body(record)]
    assert picture.hooks == {}


@pytest.mark.parametrize("blocked", ["after_verdicts 1.1", "before_refinement 1", "after_verdicts 2.1"])
async def test_a_conductor_that_replaces_a_killed_one_asks_no_hook_again(tmp_path: Path, blocked: str) -> None:
    hooks, first = Hooks(), Script(met_from_round=1)
    hooks.blocks_at = blocked
    with trio.CancelScope() as killed:
        async with (
            open_loop(tmp_path, first, critic_role(hooks), config=CONFIG) as mesh,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(mesh.ask, TASK)
            await hooks.is_blocked.wait()
            killed.cancel()  # everything ends at once, in the middle of a step
    done = hooks.asked[:-1]
    hooks.blocks_at, hooks.asked, second = None, [], Script(met_from_round=1)
    async with open_loop(tmp_path, second, critic_role(hooks), config=CONFIG) as mesh:
        picture = await mesh.ask(TASK)
    assert hooks.asked[0] == blocked, "it resumes at the step that was in flight"
    assert not set(done) & set(hooks.asked)
    assert second.asked["plan"] == 0
    assert first.asked["generate"] + second.asked["generate"] == 2, "nothing is drawn twice"
    assert (picture.ending.outcome, picture.best.round, first.prompts) == ("all_met", 2, ["a red cat"] * 2)


@pytest.mark.slow
async def test_from_any_step_a_trajectory_resumes_to_the_same_picture_and_asks_no_hook_again(
    tmp_path: Path,
) -> None:
    async with open_loop(tmp_path / "whole", Script(met_from_round=1), critic_role(Hooks()), config=CONFIG) as mesh:
        whole = await mesh.ask(TASK)
        records = [item.record for item in (await mesh.ask(ReadLog())).records]
    for count in range(1, len(records)):
        hooks, folder = Hooks(), tmp_path / f"{count}"
        async with open_loop(folder, Script(met_from_round=1), critic_role(hooks), config=CONFIG) as mesh:
            for record in records[:count]:
                await mesh.ask(AppendRecord(record=record))
            assert await mesh.ask(TASK) == whole
        by_hooks = [record for record in records[count:] if isinstance(record, HOOK_RECORDS)]
        assert len(hooks.asked) == len(by_hooks), f"resumed after {type(records[count - 1]).__name__}"


async def test_every_candidate_of_a_round_is_reviewed(tmp_path: Path) -> None:
    hooks = Hooks()
    async with open_loop(tmp_path, Script(met_from_round=1), critic_role(hooks), config=CONFIG) as mesh:
        picture = await mesh.ask(structs.replace(TASK, settings=DrawSettings(candidates=3)))
    assert sorted(hooks.asked)[:3] == ["after_verdicts 1.1", "after_verdicts 1.2", "after_verdicts 1.3"]
    assert [(attempt.round, attempt.candidate) for attempt in picture.attempts] == [
        (round_, candidate) for round_ in (1, 2) for candidate in (1, 2, 3)
    ]


async def test_a_retryable_failure_of_a_hook_is_retried(tmp_path: Path) -> None:
    hooks = Hooks()
    hooks.failures = [BackendError("busy"), BackendError("busy")]
    async with open_loop(tmp_path, Script(met_from_round=1), critic_role(hooks), config=CONFIG) as mesh:
        assert (await mesh.ask(TASK)).all_met
    assert hooks.asked[:3] == ["before_plan"] * 3


async def test_a_refusal_of_a_hook_ends_the_trajectory(tmp_path: Path) -> None:
    hooks = Hooks()
    hooks.failures = [RefusedError("not in this studio")]
    async with open_loop(tmp_path, Script(), critic_role(hooks), config=CONFIG) as mesh:
        with pytest.raises(RefusedError, match="not in this studio"):
            await mesh.ask(TASK)
        state = await mesh.ask(ReadTrajectory(trajectory=TASK.trajectory))
    assert state.failure is not None
    assert state.failure.code == "refused"


async def test_a_hook_of_another_version_than_declared_is_refused(tmp_path: Path) -> None:
    hooks = Hooks()
    hooks.version = "3"
    async with open_loop(tmp_path, Script(), critic_role(hooks), config=CONFIG) as mesh:
        with pytest.raises(RefusedError, match=r"loop\.before_plan: .* \[roles\.critic\] declares, '2', got '3'"):
            await mesh.ask(TASK)


async def test_verdicts_that_do_not_match_the_requirements_are_refused(tmp_path: Path) -> None:
    hooks = Hooks()
    hooks.has_all_verdicts = False
    async with open_loop(tmp_path, Script(met_from_round=1), critic_role(hooks), config=CONFIG) as mesh:
        with pytest.raises(RefusedError, match=r"loop\.after_verdicts: expected critic to return one verdict per"):
            await mesh.ask(TASK)
