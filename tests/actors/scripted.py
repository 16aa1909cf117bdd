"""Roles that answer by script, for a mesh with the real conductor and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec import structs

from actors.conductor import Conductor
from actors.memory import Memory
from gems_actors.actor import Actor, answers
from gems_actors.blobs import BlobFolder
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.errors import BackendError, RequestError
from gems_actors.testing import open_test_mesh
from protocol.identity import digest_of
from protocol.messages import (
    CompareImages,
    Comparison,
    CompressAttempt,
    DecomposePrompt,
    DrawPicture,
    GenerateImage,
    Image,
    ImageRef,
    Lesson,
    Picture,
    Plan,
    PlanPrompt,
    Preference,
    Refined,
    RefinePrompt,
    Request,
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
"""Cost of each request to a role."""


class Script:
    """What the roles answer, and how often each was asked."""

    requirements: tuple[Requirement, ...] = REQUIREMENTS
    met_from_round: int = 2
    """First round in which every requirement is met; in earlier rounds only the first requirement is."""
    failures: int = 0
    """Number of calls of the generator that fail before one succeeds."""
    asked: Counter[str]
    seeds: list[int]
    task_seeds: list[int | None]
    references: list[tuple[ImageRef, ...]]
    """References that the generator got."""
    prompts: list[str]
    """Prompts that planner and decomposer got."""
    notes: list[str]
    """Notes that the refiner got."""
    can_edit: bool = False
    """Whether what is drawn can be edited."""
    style: str = ""
    """Part of what is drawn that follows neither from the prompt nor from the seed."""
    refine: Callable[[RefinePrompt], Refined]
    """Returns what the refiner decides, by default another prompt each time."""
    refinements: list[RefinePrompt]
    """What the refiner was asked."""
    preferred: Preference = "tie"
    """The better one of any two pictures."""
    compared: list[CompareImages]
    """Pictures that were compared."""
    broken: Callable[[Request[Any]], RequestError | None]
    """Returns the error with which a request fails every time, or None if it is answered."""

    def __init__(self, *, met_from_round: int = 2, failures: int = 0) -> None:
        self.met_from_round, self.failures = met_from_round, failures
        self.asked, self.seeds, self.prompts, self.notes = Counter(), [], [], []
        self.task_seeds, self.references = [], []
        self.broken = lambda request: None
        self.refine = lambda request: Refined(prompt=f"p{request.round + 1}", reasoning="because")
        self.refinements, self.compared = [], []

    def take(self, name: str, request: Request[Any]) -> None:
        """Count a request, and fail if it is broken."""
        self.asked[name] += 1
        if (error := self.broken(request)) is not None:
            raise error


class _Scripted(Actor):
    default_capacity = 100
    script: ClassVar[Script]


def scripted_roles(script: Script) -> list[type[Actor]]:
    """Return one class per role, all bound to the script; prompts name their round: `p1`, `p2`."""

    class Planner(_Scripted):
        role = "planner"

        @answers
        async def plan(self, request: PlanPrompt) -> Plan:
            script.take("plan", request)
            script.prompts.append(request.prompt)
            return Plan(prompt="p1", skill="spatial-layout", reasoning="it has a place", spent=COSTS[self.role])

    class Decomposer(_Scripted):
        role = "decomposer"

        @answers
        async def decompose(self, request: DecomposePrompt) -> Requirements:
            script.take("decompose", request)
            script.prompts.append(request.prompt)
            return Requirements(requirements=script.requirements, spent=COSTS[self.role])

    class Generator(_Scripted):
        role = "generator"

        @answers
        async def generate(self, request: GenerateImage) -> Image:
            script.take("generate", request)
            if script.asked["generate"] <= script.failures:
                raise BackendError("the model server restarts")
            script.seeds.append(request.seed)
            script.task_seeds.append(request.task_seed)
            script.references.append(request.references)
            blobs = BlobFolder(self.config.data_path / "blobs")
            edited = [blobs.read(image.digest, image.bytes) for image in request.references if script.can_edit]
            data = f"{request.prompt}\0{request.seed}{script.style}".encode() + b"".join(edited)
            digest = digest_of(data)
            path = blobs.path_of(digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            name = request.prompt.partition(" ")[0]
            ref = ImageRef(digest=digest, media_type=name, bytes=len(data), width_px=64, height_px=64)
            return Image(image=ref, spent=COSTS[self.role], can_be_edited=script.can_edit)

    class Verifier(_Scripted):
        role = "verifier"

        @answers
        async def verify(self, request: VerifyImage) -> Verification:
            script.take("verify", request)
            is_met = int(request.image.media_type[1:]) >= script.met_from_round
            verdicts = tuple(
                Verdict(requirement=item.id, answer="met" if is_met or item.depends_on is None else "unmet")
                if not item.not_understood
                else Verdict(requirement=item.id, answer="unsure")
                for item in request.requirements
            )
            return Verification(verdicts=verdicts, calls_saved=1, is_blind=True, spent=COSTS[self.role])

        @answers
        async def compare(self, request: CompareImages) -> Comparison:
            script.take("compare", request)
            script.compared.append(request)
            return Comparison(preferred=script.preferred, reason="the other lacks a cat", spent=COSTS[self.role])

    class Compressor(_Scripted):
        role = "compressor"

        @answers
        async def compress(self, request: CompressAttempt) -> Lesson:
            script.take("compress", request)
            return Lesson(text=f"lesson of round {request.round}", spent=COSTS[self.role])

    class Refiner(_Scripted):
        role = "refiner"

        @answers
        async def refine(self, request: RefinePrompt) -> Refined:
            script.take("refine", request)
            script.notes.append(request.note)
            script.refinements.append(request)
            return structs.replace(script.refine(request), spent=COSTS[self.role])

    return [Planner, Decomposer, Generator, Verifier, Compressor, Refiner]


class EagerConductor(Conductor):
    """A conductor that retries almost at once."""

    retry_delay_s = 0.01


@asynccontextmanager
async def open_loop(
    folder: Path, script: Script, *more: type[Actor], config: MeshConfig | None = None
) -> AsyncIterator[Mesh]:
    """Open a mesh with the real conductor and memory, scripted roles, and `more` roles."""
    config = structs.replace(config or MeshConfig(), data_dir=str(folder))
    async with open_test_mesh(Memory, EagerConductor, *scripted_roles(script), *more, config=config) as mesh:
        yield mesh


async def draw_one(folder: Path, script: Script, task: DrawPicture) -> Picture:
    """Draw one picture in a mesh of its own."""
    async with open_loop(folder, script) as mesh:
        return await mesh.ask(task)


async def draw_interrupted(folder: Path, script: Script, task: DrawPicture, step: int) -> Picture:
    """Draw one picture in its own mesh, where the request with this number, from 1, fails and is asked again."""
    error, asked = BackendError("the server is away"), count(1)
    error.is_outage, error.is_retryable = True, False
    script.broken = lambda request: error if next(asked) == step else None
    async with open_loop(folder, script) as mesh:
        with pytest.raises(BackendError):
            await mesh.ask(task)
        return await mesh.ask(task)
