"""Draws and judges the attempts of one trajectory, round by round; what is lost of them is drawn again.

Part of the conductor: it asks generator, verifier and the hook `after_verdicts`, and every attempt is recorded.
"""

from __future__ import annotations

from functools import partial

import structlog
from msgspec import structs

from actors.conducting.lost_pictures import redraw_lost
from actors.conducting.recording import Recorder
from actors.conducting.steps import ReplyT, StepError, Steps
from gems_actors.blobs import BlobStore
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.errors import BlobError, RefusedError
from gems_actors.tasks import gather
from protocol import messages as m
from protocol.costs import sum_spent
from protocol.identity import attempt_seed

_log = structlog.get_logger()


class Rounds:
    """The attempts of one trajectory."""

    def __init__(
        self, task: m.DrawPicture, mesh: Mesh, config: MeshConfig, blobs: BlobStore, steps: Steps, records: Recorder
    ) -> None:
        self._task, self._settings = task, task.settings
        self._mesh, self._config, self._blobs = mesh, config, blobs
        self._steps, self._records = steps, records
        self.attempts: dict[tuple[int, int], m.Attempt] = {}
        """Attempts by round and candidate, also those of later rounds that memory had when this conductor began."""
        self.judged: dict[tuple[int, int], m.Attempt] = {}
        """Attempts up to now whose verdicts are final: one of them becomes the picture."""
        self._reviewed: set[tuple[int, int]] = set()
        """Rounds and candidates whose review memory had when this conductor began."""

    def resume(self, state: m.TrajectoryState) -> None:
        """Continue with the attempts that memory has."""
        self._reviewed = {(review.round, review.candidate) for review in state.reviews}
        self.attempts = {(attempt.round, attempt.candidate): attempt for attempt in state.attempts}

    async def draw(self, turn: m.Refinement, requirements: tuple[m.Requirement, ...]) -> None:
        """Draw, verify and review the candidates of a round, as far as memory does not have them.

        When one fails for good, the others are completed, so that a conductor that resumes finds the same best attempt.

        Raises:
            StepError: the first candidate that failed for good.
        """
        places = [(turn.round, number) for number in range(1, self._settings.candidates + 1)]
        missing = [place for place in places if place not in self.attempts]

        async def draw(place: tuple[int, int]) -> StepError | None:
            try:
                if place in missing:
                    attempt = await self._draw_attempt(turn, place[1], requirements)
                    self.attempts[place] = attempt
                    self._records.hold(m.AttemptVerified(trajectory=self._task.trajectory, attempt=attempt))
                    if len(missing) > 1 or self._config.loop.after_verdicts:  # else the round's outcome comes next
                        await self._records.keep_held()
                self.attempts[place] = await self._review(self.attempts[place], requirements)
            except StepError as error:
                return error
            self.judged[place] = self.attempts[place]
            return None

        for error in await gather(*(partial(draw, place) for place in places)):
            if error is not None:
                raise error

    async def _review(self, attempt: m.Attempt, requirements: tuple[m.Requirement, ...]) -> m.Attempt:
        """Return an attempt with the verdicts that count: the verifier's unless a hook replaces them."""
        role = self._config.loop.after_verdicts
        if role is None or not requirements or (attempt.round, attempt.candidate) in self._reviewed:
            return attempt
        request = m.AfterVerdicts(
            trajectory=self._task.trajectory,
            round=attempt.round,
            candidate=attempt.candidate,
            prompt=attempt.prompt,
            image=attempt.image,
            requirements=requirements,
            verdicts=attempt.verdicts,
            references=self._task.references,
        )
        reply = await self.look_back(request, role=role)
        if [verdict.requirement for verdict in reply.verdicts] != [requirement.id for requirement in requirements]:
            raise RefusedError(f"loop.after_verdicts: expected {role} to return one verdict per requirement, in order")
        review = m.Review(round=attempt.round, candidate=attempt.candidate, verdicts=reply.verdicts)
        hook = self._records.note_hook("after_verdicts", reply.version)
        await self._records.keep(
            m.VerdictsReviewed(trajectory=self._task.trajectory, review=review, hook=hook, spent=reply.spent)
        )
        return structs.replace(attempt, verdicts=reply.verdicts)

    async def _draw_attempt(
        self, turn: m.Refinement, candidate: int, requirements: tuple[m.Requirement, ...]
    ) -> m.Attempt:
        round_, prompt = turn.round, turn.prompt_of(candidate)
        seed = attempt_seed(self._task.seed, round_, candidate)
        references, verify = self._references_of(turn), partial(self._verify, requirements)
        try:
            drawn = await self._generate(prompt, seed, references)
        except BlobError as error:
            if error.is_outage or turn.edited is None:  # nobody but the client can restore what the task gave
                raise
            await self.redraw_lost()
            drawn = await self._generate(prompt, seed, references)
        self._mesh.publish(m.ImageDrawn(round=round_, candidate=candidate, image=drawn.image))
        verified = m.Verification(verdicts=())
        if requirements:
            try:
                verified = await verify(drawn.image)
            except BlobError as error:  # no record names the lost picture yet, so another one is as good
                if error.is_outage:
                    raise
                _log.warning("picture_redrawn", digest=drawn.image.digest, round=round_, reason=str(error))
                again = await self._generate(prompt, seed, references)
                drawn = structs.replace(again, spent=sum_spent(drawn.spent, again.spent))
                verified = await verify(drawn.image)
        return m.Attempt(
            round=round_,
            candidate=candidate,
            prompt=prompt,
            image=drawn.image,
            seed=seed,
            verdicts=verified.verdicts,
            verify_calls_saved=verified.calls_saved,
            is_judged_blind=verified.is_blind,
            references=references,
            edited=turn.edited,
            can_be_edited=drawn.can_be_edited,
            drawing=drawn.spent,
            verifying=verified.spent,
        )

    def _references_of(self, turn: m.Refinement) -> tuple[m.ImageRef, ...]:
        """Return what a round is drawn from: the picture that is edited, else the references of the task."""
        if turn.edited is None:
            return self._task.references
        return (self.attempts[turn.edited.round, turn.edited.candidate].image,)

    async def _verify(self, requirements: tuple[m.Requirement, ...], image: m.ImageRef) -> m.Verification:
        request = m.VerifyImage(image=image, requirements=requirements, references=self._task.references)
        return await self._steps.take(request)

    async def _generate(self, prompt: str, seed: int, references: tuple[m.ImageRef, ...]) -> m.Image:
        names = ("width_px", "height_px", "steps", "guidance", "negative_prompt", "strength", "exact")
        shared = {name: getattr(self._settings, name) for name in names}
        return await self._steps.take(
            m.GenerateImage(prompt=prompt, seed=seed, references=references, task_seed=self._task.seed, **shared)
        )

    async def redraw_lost(self) -> None:
        await redraw_lost(self._blobs, self.attempts.values(), self._generate)

    async def look_back(self, request: m.Request[ReplyT], role: str | None = None) -> ReplyT:
        """Return the reply of a role that reads the pictures of attempts; those that are lost are drawn again."""
        try:
            return await self._steps.take(request, role)
        except BlobError as error:
            if error.is_outage:
                raise
            await self.redraw_lost()
            return await self._steps.take(request, role)
