"""A mesh in the process of a test that judges by the truth and draws no picture, so that trials take no time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

from msgspec import structs

from actors.conducting.endings import is_within
from actors.memory import Memory
from gems_actors.actor import Actor, answers
from gems_actors.app.options import DrawOptions
from gems_actors.app.skills.budget import most_calls_to_verify
from gems_actors.backends.storyboard.claims import parse_claim
from gems_actors.backends.storyboard.error_model import choose_errors
from gems_actors.backends.storyboard.grammar import parse_scene
from gems_actors.backends.storyboard.laboratory.planted import Garden
from gems_actors.backends.storyboard.rules import answer
from gems_actors.backends.storyboard.scene import Claim
from gems_actors.blobs import BlobFolder
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig, load_config
from gems_actors.config.skill_folders import catalogue_of
from gems_actors.errors import BackendError, RefusedError
from gems_actors.testing import open_test_mesh
from protocol import messages as m
from protocol.identity import attempt_seed
from tests.actors.fakes import png
from tests.gems_actors.app.skills.laboratory import PLANTED, SETTING

_PICTURE = png(16, 16, "#804020")


class FastConductor(Actor):
    """Draws with the storyboard's rules and errors, without a picture; it plays all roles but memory and curator."""

    role = "conductor"
    default_capacity = 64
    dear: ClassVar[Collection[str]] = ()
    """Prompts of which each image costs as many calls as any image may."""
    broken: ClassVar[Collection[str]] = ()
    """Prompts whose pictures fail."""

    def __init__(self, config: MeshConfig, mesh: Mesh) -> None:
        """Keep one catalogue, as the planner does: each one parses every skill, which took a third of a test."""
        super().__init__(config, mesh)
        self._catalogue = catalogue_of(config)

    @answers
    async def draw(self, request: m.DrawPicture) -> m.Picture:
        """Return a picture of one candidate a round, whose every step memory has."""
        if request.prompt in self.broken:
            raise BackendError("expected a picture, got none")
        state = await self.mesh.ask(m.ReadTrajectory(trajectory=request.trajectory))
        if state.ending is None:
            await self._draw(request)
            state = await self.mesh.ask(m.ReadTrajectory(trajectory=request.trajectory))
        assert state.ending is not None
        return m.Picture(
            trajectory=request.trajectory,
            prompt=request.prompt,
            skill=state.plan.skill if state.plan else None,
            requirements=state.requirements or (),
            attempts=state.attempts,
            ending=state.ending,
            settings=request.settings,
            spent=state.spent,
        )

    async def _draw(self, request: m.DrawPicture) -> None:
        plan = self._plan(request)
        found = json.loads(answer("decompose", {"prompt": request.prompt}).text)["requirements"]
        requirements = tuple(m.Requirement(**item) for item in found)
        id_, attempts, prompt = request.trajectory, [], plan.prompt
        records: list[m.AnyRecord] = [
            m.TrajectoryBegun(trajectory=id_, task=request),
            plan,
            m.PromptDecomposed(trajectory=id_, requirements=requirements, spent=m.Spent(calls=1)),
        ]
        history: list[dict[str, Any]] = []
        for round_ in range(1, request.settings.max_rounds + 1):
            seed = attempt_seed(request.seed, round_, 1)
            attempt = await self._attempt(round_, prompt, seed, requirements)
            if request.prompt in self.dear:
                calls = most_calls_to_verify(self.config.verify)
                attempt = structs.replace(attempt, verifying=m.Spent(calls=calls))
            attempts.append(attempt)
            records.append(m.AttemptVerified(trajectory=id_, attempt=attempt))
            unmet = [q.question for q, v in zip(requirements, attempt.verdicts, strict=True) if v.answer != "met"]
            if not unmet or round_ == request.settings.max_rounds:
                break
            history.append({"unmet": unmet})
            if not self._can_afford_a_round(request, attempts):
                break
            prompt = json.loads(answer("refine", {"prompt": request.prompt, "attempts": history}).text)["prompt"]
            records.append(m.PromptRefined(trajectory=id_, refinement=m.Refinement(round=round_ + 1, prompt=prompt)))
        best = max(attempts, key=lambda item: sum(verdict.answer == "met" for verdict in item.verdicts))
        outcome: m.Outcome = "all_met" if all(v.answer == "met" for v in best.verdicts) else "rounds_spent"
        ending = m.Ending(outcome=outcome, best_round=best.round, best_candidate=1, decided_by="most requirements met")
        records.append(m.TrajectoryEnded(trajectory=id_, ending=ending))
        await self.mesh.ask(m.AppendRecords(records=tuple(records)))

    def _can_afford_a_round(self, request: m.DrawPicture, attempts: list[m.Attempt]) -> bool:
        """Decide as the conductor does."""
        calls = [1 + sum(attempt.verifying.calls for attempt in attempts[:end]) for end in range(len(attempts) + 1)]
        return is_within(request.budget, 2 * calls[-1] - (calls[-2] if len(attempts) > 1 else 0), 0)

    def _plan(self, request: m.DrawPicture) -> m.PromptPlanned:
        chosen = request.settings.skill
        if chosen in (None, "none"):
            return m.PromptPlanned(trajectory=request.trajectory, prompt=request.prompt)
        skill = next((skill for skill in self._catalogue.skills() if skill.id == chosen), None)
        if skill is None:
            raise RefusedError(f"skill: expected a known one, got {chosen}")
        fields = {
            "prompt": request.prompt,
            "skill": skill.id,
            "instructions": skill.instructions,
            "follows_rules": True,
        }
        prompt = json.loads(answer("write_prompt", {**fields, "follows_rules": True}).text)["prompt"]
        return m.PromptPlanned(
            trajectory=request.trajectory,
            prompt=prompt,
            skill=skill.id,
            skill_digest=skill.digest,
            spent=m.Spent(calls=1),
        )

    async def _attempt(self, round_: int, prompt: str, seed: int, requirements: tuple[m.Requirement, ...]) -> m.Attempt:
        scene, garden = parse_scene(prompt), Garden(PLANTED, prompt)
        lost = choose_errors(scene, garden.seed_of_errors(seed), garden.factor)
        blobs = BlobFolder(self.config.data_path / "blobs")
        image = await blobs.put(_PICTURE, media_type="image/png", width_px=16, height_px=16)
        verdicts = []
        for item in requirements:
            claim = parse_claim(item.question)
            is_lost = claim is None or claim in lost or Claim("object", claim.subject) in lost
            verdicts.append(m.Verdict(requirement=item.id, answer="unmet" if is_lost else "met"))
        return m.Attempt(
            round=round_, candidate=1, prompt=prompt, image=image, seed=seed, verdicts=tuple(verdicts),
            drawing=m.Spent(calls=1), verifying=m.Spent(calls=len(requirements)),
        )  # fmt: skip


@asynccontextmanager
async def open_fast_mesh(
    folder: Path,
    *more: type[Actor],
    skills: tuple[Path, ...] = (),
    conductor: type[FastConductor] = FastConductor,
) -> AsyncIterator[DrawOptions]:
    """Start the mesh with `more` roles and folders of skills, and yield the options to draw with it."""
    listed = ", ".join(f'"{path}"' for path in skills)
    overrides = (f"data_dir={folder}/data", SETTING, f"skills.folders=[{listed}]")
    async with open_test_mesh(Memory, conductor, *more, config=load_config(None, settings=overrides)) as mesh:
        yield DrawOptions(router=mesh.address, overrides=overrides)
