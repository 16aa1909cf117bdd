"""The conductor: takes one prompt through the loop. The whole algorithm is `Conductor.draw`, top to bottom.

Every step is with memory before the next begins, and a trajectory begins by asking memory whether something is there
already: a conductor that dies is replaced by one that continues at the same step. The conductor holds no state of its
own and calls no model.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TypeVar

import structlog
import trio
from msgspec import structs

from actors.ranking import choose_best
from gems_actors.actor import Actor, Mesh, answers, current_call
from gems_actors.errors import CancelledRequestError, RefusedError, RequestError, failure_of
from gems_actors.tasks import gather
from protocol.costs import add_costs, chat_cost
from protocol.identity import attempt_seed
from protocol.messages import (
    AnyRecord,
    AppendRecord,
    AppendRecords,
    Attempt,
    AttemptVerified,
    CompressAttempt,
    DecomposePrompt,
    DrawPicture,
    Ending,
    Experience,
    ExperienceKept,
    GenerateImage,
    ImageDrawn,
    Outcome,
    Picture,
    Plan,
    PlanPrompt,
    PromptDecomposed,
    PromptPlanned,
    PromptRefined,
    ReadTrajectory,
    Refinement,
    RefinePrompt,
    Reply,
    Request,
    Requirement,
    Spent,
    StepTaken,
    TrajectoryBegun,
    TrajectoryEnded,
    TrajectoryFailed,
    TrajectoryRecord,
    TrajectoryState,
    Verification,
    VerifyImage,
)

ReplyT = TypeVar("ReplyT", bound=Reply)

_TRIES = 3
"""How often a step is asked for while its failure may pass: a server that restarts, a model that babbled once."""
_RETRY_S = 0.5
"""Before the second try; doubled before each further one."""
_LAST_WORD_S = 5.0
"""How long a trajectory that was cancelled may take to write that down."""

_log = structlog.get_logger()


class Conductor(Actor):
    """Draws pictures, many at once."""

    role = "conductor"
    default_capacity = 1024
    time_limit_s = math.inf  # a trajectory takes as long as its steps, and each of those has a limit of its own

    @answers
    async def draw(self, request: DrawPicture) -> Picture:
        """Plan and decompose, then draw, verify, and learn, until all is met or the rounds are spent."""
        picture: Picture | None = None
        try:
            picture = await _Trajectory(self.mesh, request).draw()
        except RequestError as error:
            await self._keep_failure(request, error)
            raise
        finally:
            if picture is None and (reason := current_call().cancel_reason):
                with trio.CancelScope(shield=True, deadline=trio.current_time() + _LAST_WORD_S):
                    await self._keep_failure(request, CancelledRequestError(reason))
        return picture

    async def _keep_failure(self, request: DrawPicture, error: RequestError) -> None:
        record = TrajectoryFailed(trajectory=request.trajectory, failure=failure_of(error))
        await self.mesh.ask(AppendRecord(record=record))


class _Trajectory:
    """One prompt on its way; `state` is what memory has."""

    def __init__(self, mesh: Mesh, task: DrawPicture) -> None:
        self._mesh = mesh
        self._task = task
        self._settings = task.settings
        self._id = task.trajectory
        self._spent: dict[str, Spent] = {}
        """By role, on all that memory has."""
        self._held: list[AnyRecord] = []
        """Records that go to memory with the next."""
        self._spent_by_last_round = Spent()
        """On chat models, when the last round but this was done."""

    async def draw(self) -> Picture:
        state = await self._begin()
        self._spent = dict(state.spent)
        plan, requirements = await self._plan_and_decompose(state)
        attempts, ending, prompt = list(state.attempts), state.ending, plan.prompt
        round_ = 0
        while ending is None:
            round_ += 1
            attempts += await self._draw_round(round_, prompt, requirements, attempts)
            outcome = self._outcome(round_, attempts)
            if outcome is None:
                prompt = await self._learn(round_, state)
            else:
                ending = self._choose(outcome, attempts)
                await self._keep(TrajectoryEnded(trajectory=self._id, ending=ending))
        return Picture(
            trajectory=self._id,
            prompt=self._task.prompt,
            skill=plan.skill,
            requirements=requirements,
            attempts=tuple(attempts),
            ending=ending,
            settings=self._settings,
            spent=self._spent,
        )

    async def _begin(self) -> TrajectoryState:
        """Return what memory has of the trajectory: as a rule nothing, which it says when the beginning is kept."""
        begun = TrajectoryBegun(trajectory=self._id, task=self._task)
        kept = await self._ask(AppendRecord(record=begun))
        if kept.is_new:
            self._mesh.publish(StepTaken(record=begun))
        if kept.is_first:
            return TrajectoryState(task=self._task)
        state = await self._ask(ReadTrajectory(trajectory=self._id))
        if state.task is not None and structs.replace(state.task, budget=self._task.budget) != self._task:
            raise RefusedError(f"trajectory {self._id} was begun with another prompt, seed or setting")
        return state

    async def _plan_and_decompose(self, state: TrajectoryState) -> tuple[Plan, tuple[Requirement, ...]]:
        """Both read the user's own prompt and neither needs the other, so they are asked at once."""

        async def plan() -> Plan:
            if state.plan is not None:
                return state.plan
            plan = await self._ask(PlanPrompt(prompt=self._task.prompt, skill=self._settings.skill))
            record = PromptPlanned(
                trajectory=self._id, prompt=plan.prompt, skill=plan.skill, reasoning=plan.reasoning, spent=plan.spent
            )
            await self._keep(record)
            return plan

        async def decompose() -> tuple[Requirement, ...]:
            if state.requirements is not None:
                return state.requirements
            found = await self._ask(DecomposePrompt(prompt=self._task.prompt))
            record = PromptDecomposed(trajectory=self._id, requirements=found.requirements, spent=found.spent)
            await self._keep(record)
            return found.requirements

        return await gather(plan, decompose)

    async def _draw_round(
        self, round_: int, prompt: str, requirements: tuple[Requirement, ...], done: list[Attempt]
    ) -> tuple[Attempt, ...]:
        """Draw and verify the candidates of a round that memory does not have yet."""
        there = {(attempt.round, attempt.candidate) for attempt in done}
        missing = [number for number in range(1, self._settings.candidates + 1) if (round_, number) not in there]

        async def draw(candidate: int) -> Attempt:
            attempt = await self._draw_attempt(round_, candidate, prompt, requirements)
            self._hold(AttemptVerified(trajectory=self._id, attempt=attempt))
            if len(missing) > 1:  # others are on their way; else what the round comes to is known at once
                await self._keep_held()
            return attempt

        return await gather(*(partial(draw, candidate) for candidate in missing))

    async def _draw_attempt(
        self, round_: int, candidate: int, prompt: str, requirements: tuple[Requirement, ...]
    ) -> Attempt:
        settings, seed = self._settings, attempt_seed(self._task.seed, round_, candidate)
        drawn = await self._ask(
            GenerateImage(
                prompt=prompt,
                seed=seed,
                width_px=settings.width_px,
                height_px=settings.height_px,
                steps=settings.steps,
                guidance=settings.guidance,
                negative_prompt=settings.negative_prompt,
                exact=settings.exact,
            )
        )
        self._mesh.publish(ImageDrawn(round=round_, candidate=candidate, image=drawn.image))
        verified = Verification(verdicts=())
        if requirements:
            verified = await self._ask(VerifyImage(image=drawn.image, requirements=requirements))
        return Attempt(
            round=round_,
            candidate=candidate,
            prompt=prompt,
            image=drawn.image,
            seed=seed,
            verdicts=verified.verdicts,
            verify_calls_saved=verified.calls_saved,
            drawing=drawn.spent,
            verifying=verified.spent,
        )

    def _outcome(self, round_: int, attempts: list[Attempt]) -> Outcome | None:
        """Say why the trajectory ends after this round, or None if it goes on."""
        if not any(attempt.verdicts for attempt in attempts):
            return "nothing_to_check"
        all_met = any(all(verdict.answer == "met" for verdict in attempt.verdicts) for attempt in attempts)
        if all_met and self._settings.stop_when_all_met:
            return "all_met"
        if round_ >= self._settings.max_rounds:
            return "all_met" if all_met else "rounds_spent"
        if current_call().stop_gracefully.is_set():
            return "wound_down"
        return None if self._can_afford_a_round() else "budget_spent"

    def _can_afford_a_round(self) -> bool:
        """Tell whether the budget suffices for one more round like the last; the first is taken with what led to it."""
        spent = chat_cost(self._spent)
        before, self._spent_by_last_round = self._spent_by_last_round, spent
        limits = self._task.budget
        is_enough = limits.max_calls is None or 2 * spent.calls - before.calls <= limits.max_calls
        return is_enough and (limits.max_tokens is None or 2 * spent.tokens - before.tokens <= limits.max_tokens)

    async def _learn(self, round_: int, state: TrajectoryState) -> str:
        """Return the next round's prompt; compressor and refiner read from memory what happened."""
        await self._keep_held()
        if (prompt := state.prompt_of(round_ + 1)) is not None:
            return prompt
        memory = self._settings.memory
        if memory == "full" and not any(experience.round == round_ for experience in state.experiences):
            lesson = await self._ask(CompressAttempt(trajectory=self._id, round=round_))
            experience = Experience(round=round_, text=lesson.text)
            await self._keep(ExperienceKept(trajectory=self._id, experience=experience, spent=lesson.spent))
        refined = await self._ask(RefinePrompt(trajectory=self._id, round=round_, memory=memory))
        refinement = Refinement(round=round_ + 1, prompt=refined.prompt, reasoning=refined.reasoning)
        await self._keep(PromptRefined(trajectory=self._id, refinement=refinement, spent=refined.spent))
        return refined.prompt

    def _choose(self, outcome: Outcome, attempts: list[Attempt]) -> Ending:
        best, decided_by = choose_best(attempts)
        return Ending(outcome=outcome, best_round=best.round, best_candidate=best.candidate, decided_by=decided_by)

    def _hold(self, record: AnyRecord) -> None:
        """Have a record kept together with the next, before which there is nothing to wait for."""
        self._held.append(record)
        if isinstance(record, TrajectoryRecord):
            add_costs(self._spent, record.costs)

    async def _keep(self, record: AnyRecord) -> None:
        self._hold(record)
        await self._keep_held()

    async def _keep_held(self) -> None:
        records, self._held = tuple(self._held), []
        if len(records) > 1:
            await self._ask(AppendRecords(records=records))
        elif records:
            await self._ask(AppendRecord(record=records[0]))
        for record in records:
            self._mesh.publish(StepTaken(record=record))

    async def _ask(self, request: Request[ReplyT]) -> ReplyT:
        """Ask a role, again where its failure may pass."""
        for attempt in range(1, _TRIES):
            try:
                return await self._mesh.ask(request)
            except RequestError as error:
                if not error.is_retryable:
                    raise
                _log.warning("step_retried", request=type(request).__name__, reason=str(error))
                await trio.sleep(_RETRY_S * 2 ** (attempt - 1))
        return await self._mesh.ask(request)
