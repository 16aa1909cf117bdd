"""The conductor: takes one prompt through the loop. The whole algorithm is `_Trajectory.draw`, top to bottom.

Memory has every step before the next one begins, and a trajectory starts by reading what memory has of it. So when a
conductor dies, another one resumes at the same step. The conductor keeps no state and calls no model.

A picture that the store has lost is drawn again when a step or the client needs it; `lost_pictures` has the rule.

A step that fails for good ends a trajectory with its best attempt so far, if it has one; `endings` has the rule.

The settings `[loop]` can name roles of the user's own, called hooks, that the conductor asks in addition; their
replies are recorded and resumed like those of every other step.
"""

from __future__ import annotations

import math
from typing import ClassVar

import structlog
import trio
from msgspec import structs

from actors.blob_actor import BlobActor
from actors.conducting.attempts import Rounds
from actors.conducting.endings import is_within, outcome_if_met
from actors.conducting.granting import granted_by, has_images, reopening_for
from actors.conducting.recording import Recorder
from actors.conducting.steps import StepError, Steps
from actors.fitting import fit_picture
from actors.ranking import choice_of, choose_best, close_rival, explain_choice
from actors.rounds import refinement_of
from gems_actors.actor import answers, current_call
from gems_actors.errors import CancelledRequestError, RefusedError, RequestError, failure_of
from gems_actors.tasks import gather
from protocol import messages as m
from protocol.costs import chat_cost
from protocol.limits import MAX_PROMPTS

_CALLS_OF_COMPARISON = 2
"""Calls of the verifier's model for a comparison of two pictures, one for each order."""
_RECORD_CANCEL_S = 5.0
"""Time limit for recording that a trajectory was cancelled."""

_log = structlog.get_logger()


class _OtherTaskError(RefusedError):
    """A trajectory was begun with another task than the one that is asked for; its records stay as they are."""


class Conductor(BlobActor):
    """Answers `DrawPicture`; draws many pictures concurrently."""

    role = "conductor"
    default_capacity = 1024
    time_limit_s = math.inf  # each step has its own time limit
    retry_delay_s: ClassVar[float] = 0.5
    """Delay before the second try of a step; doubled before each further try."""
    together_s: ClassVar[float] = 0.05
    """How long the first reply of planner and decomposer waits for the other, to be recorded in the same request."""

    @answers
    async def draw(self, request: m.DrawPicture) -> m.Picture:
        """Plan and decompose, then draw, verify and learn until all requirements are met or the rounds are spent."""
        for name, text in (("prompt", request.prompt), ("negative_prompt", request.settings.negative_prompt)):
            if text is not None and "\0" in text:  # not in the type: logs of earlier versions have such prompts
                raise RefusedError(f"{name}: expected text, got a NUL character")
        picture: m.Picture | None = None
        try:
            picture = await _Trajectory(self, request).draw()
        except _OtherTaskError:
            raise
        except RequestError as error:
            await self._keep_failure(request, error)
            raise
        finally:
            if picture is None and (reason := current_call().cancel_reason):
                with trio.CancelScope(shield=True, deadline=trio.current_time() + _RECORD_CANCEL_S):
                    await self._keep_failure(request, CancelledRequestError(reason))
        return picture

    async def _keep_failure(self, request: m.DrawPicture, error: RequestError) -> None:
        record = m.TrajectoryFailed(trajectory=request.trajectory, failure=failure_of(error))
        await self.mesh.ask(m.AppendRecord(record=record))


class _Trajectory:
    """One prompt on its way through the loop."""

    def __init__(self, conductor: Conductor, task: m.DrawPicture) -> None:
        self._mesh = conductor.mesh
        self._config = conductor.config
        self._steps = Steps(conductor.mesh, conductor.retry_delay_s)
        self._together_s = conductor.together_s
        self._records = Recorder(conductor.mesh, conductor.config, self._steps)
        self._rounds = Rounds(task, conductor.mesh, conductor.config, conductor.blobs, self._steps, self._records)
        self._task = task
        self._settings = task.settings
        self._id = task.trajectory
        self._request_prompt = task.prompt
        """The prompt that planner, decomposer and refiner see."""
        self._actions: dict[int, m.RefineAction] = {}
        """What the refiner decided for each round after the first."""
        self._spent_by_last_round = m.Spent()
        """Cost of chat models up to the end of the previous round."""

    async def draw(self) -> m.Picture:
        state = await self._begin()
        self._records.resume(state)
        self._rounds.resume(state)
        self._actions = {refinement.round: refinement.action for refinement in state.refinements}
        self._request_prompt = await self._prepare(state)
        plan, requirements = await self._plan_and_decompose(self._request_prompt, state)
        if state.ending is not None:  # the client could not read a picture, or never had it
            await self._rounds.redraw_lost()
        ending = state.ending or await self._finish(plan.prompt, requirements, state)
        picture = m.Picture(
            trajectory=self._id,
            prompt=self._task.prompt,
            skill=plan.skill,
            requirements=requirements,
            attempts=tuple(self._rounds.attempts[place] for place in sorted(self._rounds.attempts)),
            ending=ending,
            settings=self._settings,
            spent=self._records.spent,
            hooks=self._records.hooks,
            actions=tuple(self._actions[round_] for round_ in sorted(self._actions)),
            grants=state.grants,
        )
        return fit_picture(picture)

    async def _begin(self) -> m.TrajectoryState:
        """Record the beginning and return what memory has of the trajectory, which is usually nothing."""
        begun = m.TrajectoryBegun(trajectory=self._id, task=self._task)
        kept = await self._steps.ask(m.AppendRecord(record=begun))
        if kept.is_new:
            self._mesh.publish(m.StepTaken(record=begun))
        if kept.is_first:
            return m.TrajectoryState(task=self._task, grants=granted_by(self._task))
        state = await self._steps.ask(m.ReadTrajectory(trajectory=self._id))
        if state.task is None:
            return state
        if state.reopenings:  # with more rounds, whether it is asked for with those or with the first ones
            self._settings = structs.replace(self._settings, max_rounds=state.task.settings.max_rounds)
        known = state.task
        if structs.replace(self._task, settings=self._settings, budget=known.budget, line=known.line) != known:
            raise _OtherTaskError(
                f"trajectory {self._id} was begun with another prompt, seed, reference or setting; another picture "
                f"needs another run, line or sample than {self._task.run!r}, {self._task.line} and {self._task.sample}"
            )
        return await self._take_grant(state)

    async def _take_grant(self, state: m.TrajectoryState) -> m.TrajectoryState:
        """Continue a trajectory that ended for want of images, if it is granted more; the grant is recorded first."""
        if (record := reopening_for(self._task, self._settings, state)) is None:
            return state
        await self._records.keep(record)
        grants = (*state.grants, *granted_by(record.task))
        return structs.replace(state, ending=None, reopenings=record.reopening, grants=grants)

    async def _finish(self, prompt: str, requirements: tuple[m.Requirement, ...], state: m.TrajectoryState) -> m.Ending:
        """Draw the rounds that are left and record the ending; a step that fails for good ends them."""
        failure: m.Failure | None = None
        try:
            outcome = await self._draw_rounds(prompt, requirements, state)
        except StepError as step:
            if not self._rounds.judged:
                raise step.error from None
            _log.warning("trajectory_ended_early", outcome=step.outcome, reason=str(step.error))
            met = self._outcome_if_met(requirements)  # by another candidate of the round, or by an earlier one
            if met is not None and met != "nothing_to_check":
                outcome = met
            else:
                outcome, failure = step.outcome, failure_of(step.error)
        best, decided_by = await self._choose(outcome, requirements, state)
        ending = m.Ending(
            outcome=outcome,
            best_round=best.round,
            best_candidate=best.candidate,
            decided_by=decided_by,
            failure=failure,
        )
        await self._records.keep(m.TrajectoryEnded(trajectory=self._id, ending=ending, reopening=state.reopenings))
        return ending

    async def _draw_rounds(
        self, prompt: str, requirements: tuple[m.Requirement, ...], state: m.TrajectoryState
    ) -> m.Outcome:
        """Draw and learn round by round until there is a reason to end."""
        turn = m.Refinement(round=1, prompt=prompt)
        while True:
            await self._rounds.draw(turn, requirements)
            if (outcome := self._outcome(turn.round, requirements, state)) is not None:
                return outcome
            turn = await self._learn(turn.round, state)
            if turn.action == "stop":
                return "refiner_stopped"

    async def _choose(
        self, outcome: m.Outcome, requirements: tuple[m.Requirement, ...], state: m.TrajectoryState
    ) -> tuple[m.Attempt, str]:
        """Return the best attempt and what decided, if the settings say so after a comparison of two close ones."""
        attempts = [self._rounds.judged[place] for place in sorted(self._rounds.judged)]
        best, decided_by = choose_best(attempts)
        if self._settings.choose != "pairwise":
            return best, decided_by
        rival = close_rival(best, attempts, is_met=self._outcome_if_met(requirements) is not None)
        if rival is None:
            return best, decided_by
        choice = state.choice_between(best, rival)
        if choice is None and (outcome in ("wound_down", "budget_elsewhere") or not self._can_afford_a_comparison()):
            return best, decided_by
        try:
            choice = choice or await self._compare(best, rival, requirements)
        except StepError as error:
            _log.warning("pictures_not_compared", reason=str(error))
            return best, f"{decided_by}; its picture could not be compared"
        return (rival if choice.preferred == "second" else best), explain_choice(best, rival, choice, decided_by)

    async def _compare(
        self, best: m.Attempt, rival: m.Attempt, requirements: tuple[m.Requirement, ...]
    ) -> m.PairChoice:
        found = await self._rounds.look_back(
            m.CompareImages(
                first=best.image,
                second=rival.image,
                prompt=self._request_prompt,
                requirements=requirements,
                references=self._task.references,
            )
        )
        choice = choice_of(best, rival, found)
        await self._records.keep(m.AttemptsCompared(trajectory=self._id, choice=choice, spent=found.spent))
        return choice

    async def _prepare(self, state: m.TrajectoryState) -> str:
        """Return the prompt that planner, decomposer and refiner see: the user's own unless a hook replaces it."""
        is_planned = state.plan is not None or state.requirements is not None
        if self._config.loop.before_plan is None or state.prepared is not None or is_planned:
            return state.prepared or self._task.prompt
        task = self._task
        request = m.BeforePlan(
            trajectory=self._id,
            prompt=task.prompt,
            seed=task.seed,
            settings=task.settings,
            references=task.references,
        )
        reply = await self._steps.ask(request, role=self._config.loop.before_plan)
        hook = self._records.note_hook("before_plan", reply.version)
        await self._records.keep(
            m.PromptPrepared(trajectory=self._id, prompt=reply.prompt, hook=hook, spent=reply.spent)
        )
        return reply.prompt

    async def _plan_and_decompose(
        self, prompt: str, state: m.TrajectoryState
    ) -> tuple[m.Plan, tuple[m.Requirement, ...]]:
        """Ask planner and decomposer concurrently, because neither needs the other's reply."""
        waiting, both_replied = [state.plan, state.requirements].count(None), trio.Event()

        async def keep(record: m.PromptPlanned | m.PromptDecomposed) -> None:
            """Return once memory has a record, or once the other reply has taken it along."""
            nonlocal waiting
            self._records.hold(record)
            waiting -= 1
            if waiting:
                with trio.move_on_after(self._together_s):
                    await both_replied.wait()
            else:
                both_replied.set()
            await self._records.keep_held()

        async def plan() -> m.Plan:
            if state.plan is not None:
                return state.plan
            request = m.PlanPrompt(prompt=prompt, skill=self._settings.skill, references=self._task.references)
            plan = await self._steps.ask(request)
            record = m.PromptPlanned(
                trajectory=self._id,
                prompt=plan.prompt,
                skill=plan.skill,
                reasoning=plan.reasoning,
                spent=plan.spent,
                skill_digest=plan.skill_digest,
            )
            await keep(record)
            return plan

        async def decompose() -> tuple[m.Requirement, ...]:
            if state.requirements is not None:
                return state.requirements
            found = await self._steps.ask(m.DecomposePrompt(prompt=prompt, references=self._task.references))
            record = m.PromptDecomposed(trajectory=self._id, requirements=found.requirements, spent=found.spent)
            await keep(record)
            return found.requirements

        return await gather(plan, decompose)

    def _outcome(
        self, round_: int, requirements: tuple[m.Requirement, ...], state: m.TrajectoryState
    ) -> m.Outcome | None:
        """Return why the trajectory ends after this round, or None if it continues."""
        learned = {lesson.round for lesson in state.experiences} | {note.round for note in state.notes}
        if round_ in learned or state.refinement_of(round_ + 1) is not None:  # it continued before
            known = state.spent_by_round[round_ - 1 : round_]
            self._spent_by_last_round = known[0] if known else m.Spent()
            return None
        met = self._outcome_if_met(requirements)
        if met == "nothing_to_check" or (met and self._settings.stop_when_all_met):
            return met
        if round_ >= self._settings.max_rounds:
            return met or "rounds_spent"
        if current_call().stop_gracefully.is_set():
            return "wound_down"
        if not self._can_afford_a_round():
            return "budget_spent"
        images = (round_ + 1) * self._settings.candidates
        return None if has_images(self._task, state.grants, images) else "budget_elsewhere"

    def _outcome_if_met(self, requirements: tuple[m.Requirement, ...]) -> m.Outcome | None:
        return outcome_if_met(requirements, self._rounds.judged.values())

    def _can_afford_a_round(self) -> bool:
        """Return whether the budget covers another round like this one, which includes planning if it is the first."""
        spent = chat_cost(self._records.spent)
        before, self._spent_by_last_round = self._spent_by_last_round, spent
        return is_within(self._task.budget, 2 * spent.calls - before.calls, 2 * spent.tokens - before.tokens)

    def _can_afford_a_comparison(self) -> bool:
        spent = chat_cost(self._records.spent)
        return is_within(self._task.budget, spent.calls + _CALLS_OF_COMPARISON, spent.tokens + 1)

    async def _learn(self, round_: int, state: m.TrajectoryState) -> m.Refinement:
        """Return what the refiner decides for the next round; compressor and refiner read the past from memory."""
        await self._records.keep_held()
        if (refinement := state.refinement_of(round_ + 1)) is None:
            refinement = await self._refine(round_, state)
        self._actions[refinement.round] = refinement.action
        return refinement

    async def _refine(self, round_: int, state: m.TrajectoryState) -> m.Refinement:
        """Ask compressor and refiner, or the refiner alone for both the lesson and the next prompts."""
        settings = self._settings
        is_due = settings.memory == "full" and all(lesson.round != round_ for lesson in state.experiences)
        if is_due and settings.lesson_by == "compressor":
            lesson = await self._rounds.look_back(m.CompressAttempt(trajectory=self._id, round=round_))
            experience = m.Experience(round=round_, text=lesson.text)
            await self._records.keep(m.ExperienceKept(trajectory=self._id, experience=experience, spent=lesson.spent))
        last, _ = choose_best([attempt for place, attempt in self._rounds.judged.items() if place[0] == round_])
        request = m.RefinePrompt(
            trajectory=self._id,
            round=round_,
            memory=settings.memory,
            note=await self._note_for_refiner(round_, state),
            prompts=min(settings.candidates, MAX_PROMPTS),
            with_lesson=is_due and settings.lesson_by == "refiner",
            actions=settings.actions,
            can_edit=settings.actions == "any" and last.can_be_edited,
        )
        refined = await self._rounds.look_back(request)
        best, _ = choose_best([*self._rounds.judged.values()])
        try:
            refinement = refinement_of(refined, request, last, best)
        except RefusedError as error:
            raise StepError("refused", error) from error
        if request.with_lesson:
            experience = m.Experience(round=round_, text=refined.lesson)
            self._records.hold(m.ExperienceKept(trajectory=self._id, experience=experience))
        await self._records.keep(m.PromptRefined(trajectory=self._id, refinement=refinement, spent=refined.spent))
        return refinement

    async def _note_for_refiner(self, round_: int, state: m.TrajectoryState) -> str:
        """Return the note that the refiner is shown: empty unless a hook writes one."""
        known = next((note.text for note in state.notes if note.round == round_), None)
        role = self._config.loop.before_refinement
        if role is None or known is not None:
            return known or ""
        request = m.BeforeRefinement(trajectory=self._id, round=round_, memory=self._settings.memory)
        reply = await self._rounds.look_back(request, role=role)
        note, hook = m.Note(round=round_, text=reply.note), self._records.note_hook("before_refinement", reply.version)
        await self._records.keep(m.RefinementNoted(trajectory=self._id, note=note, hook=hook, spent=reply.spent))
        return reply.note
