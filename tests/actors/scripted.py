"""Roles that answer by script, for a mesh in which the conductor and memory are the real ones."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from gems_actors.actor import Actor, answers
from gems_actors.errors import BackendError
from protocol.identity import digest_of
from protocol.messages import (
    CompressAttempt,
    DecomposePrompt,
    GenerateImage,
    Image,
    ImageRef,
    Lesson,
    Plan,
    PlanPrompt,
    Refined,
    RefinePrompt,
    Requirement,
    Requirements,
    Spent,
    Verdict,
    Verification,
    VerifyImage,
)

REQUIREMENTS = (
    Requirement(id="r1", question="Is there a cat?", kind="object"),
    Requirement(id="r2", question="Is the cat red?", kind="attribute", depends_on="r1"),
)


COSTS = {
    "planner": Spent(seconds=1.0, calls=2, prompt_tokens=20, cached_tokens=10, completion_tokens=5),
    "decomposer": Spent(seconds=2.0, calls=1),
    "generator": Spent(seconds=3.0, calls=1),
    "verifier": Spent(seconds=4.0, calls=2),
    "compressor": Spent(seconds=5.0, calls=1),
    "refiner": Spent(seconds=6.0, calls=1),
}
"""What each request to a role costs."""


class Script:
    """What the roles say, and how often each was asked."""

    requirements: tuple[Requirement, ...] = REQUIREMENTS
    met_from_round: int = 2
    """The round from which on every requirement is met; before, only the first is."""
    failures: int = 0
    """So many calls of the generator fail before one succeeds."""
    asked: Counter[str]
    seeds: list[int]

    def __init__(self) -> None:
        self.asked, self.seeds = Counter(), []


class _Scripted(Actor):
    default_capacity = 100
    script: ClassVar[Script]


def scripted_roles(script: Script) -> list[type[Actor]]:
    """Return one class a role, all of them bound to the script; a prompt says in which round it is: `p1`, `p2`."""

    class Planner(_Scripted):
        role = "planner"

        @answers
        async def plan(self, request: PlanPrompt) -> Plan:
            script.asked["plan"] += 1
            return Plan(prompt="p1", skill="spatial-layout", reasoning="it has a place", spent=COSTS[self.role])

    class Decomposer(_Scripted):
        role = "decomposer"

        @answers
        async def decompose(self, request: DecomposePrompt) -> Requirements:
            script.asked["decompose"] += 1
            return Requirements(requirements=script.requirements, spent=COSTS[self.role])

    class Generator(_Scripted):
        role = "generator"

        @answers
        async def generate(self, request: GenerateImage) -> Image:
            script.asked["generate"] += 1
            if script.asked["generate"] <= script.failures:
                raise BackendError("the model server restarts")
            script.seeds.append(request.seed)
            digest = digest_of(f"{request.prompt}\0{request.seed}".encode())
            ref = ImageRef(digest=digest, media_type=request.prompt, bytes=1, width_px=64, height_px=64)
            return Image(image=ref, spent=COSTS[self.role])

    class Verifier(_Scripted):
        role = "verifier"

        @answers
        async def verify(self, request: VerifyImage) -> Verification:
            script.asked["verify"] += 1
            is_met = int(request.image.media_type[1:]) >= script.met_from_round
            verdicts = tuple(
                Verdict(requirement=item.id, answer="met" if is_met or item.depends_on is None else "unmet")
                for item in request.requirements
            )
            return Verification(verdicts=verdicts, calls_saved=1, spent=COSTS[self.role])

    class Compressor(_Scripted):
        role = "compressor"

        @answers
        async def compress(self, request: CompressAttempt) -> Lesson:
            script.asked["compress"] += 1
            return Lesson(text=f"lesson of round {request.round}", spent=COSTS[self.role])

    class Refiner(_Scripted):
        role = "refiner"

        @answers
        async def refine(self, request: RefinePrompt) -> Refined:
            script.asked["refine"] += 1
            return Refined(prompt=f"p{request.round + 1}", reasoning="because", spent=COSTS[self.role])

    return [Planner, Decomposer, Generator, Verifier, Compressor, Refiner]
