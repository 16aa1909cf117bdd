"""A chat model and a mesh with fixed answers, and makers of trajectory states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any, cast

import trio
from PIL import Image as Pillow

from gems_actors.backends import ChatReply, ChatRequest
from gems_actors.client import Mesh
from protocol.identity import digest_of
from protocol.messages import (
    Answer,
    Attempt,
    DrawPicture,
    Experience,
    ImageRef,
    Plan,
    ReadTrajectory,
    RecalledExperience,
    RecallExperiences,
    Recollection,
    Reply,
    Request,
    Requirement,
    TrajectoryState,
    Verdict,
)

TRAJECTORY = "0" * 32


class FakeChat:
    """Answers each request by a rule, or with the next of several texts, and remembers the requests."""

    def __init__(self, *replies: str | ChatReply, rule: Callable[[ChatRequest], str] | None = None) -> None:
        self._replies = list(replies)
        self._rule = rule
        self.requests: list[ChatRequest] = []
        self.busy = 0
        self.peak_busy = 0

    def figures(self) -> dict[str, float]:
        return {}

    def note(self) -> str:
        return ""

    async def chat(self, request: ChatRequest) -> ChatReply:
        self.requests.append(request)
        self.busy += 1
        self.peak_busy = max(self.peak_busy, self.busy)
        await trio.lowlevel.checkpoint()
        self.busy -= 1
        reply = self._rule(request) if self._rule else self._replies.pop(0)
        return ChatReply(reply) if isinstance(reply, str) else reply


class FakeMesh:
    """Answers as a memory with one trajectory that recalls the same lessons for every prompt; records requests."""

    address = "ipc:///nowhere"

    def __init__(self, state: TrajectoryState, recalled: Recollection, asked: list[Request[Any]]) -> None:
        self._state = state
        self._recalled = recalled
        self._asked = asked

    async def ask(self, request: Request[Any]) -> Reply:
        self._asked.append(request)
        await trio.lowlevel.checkpoint()
        match request:
            case ReadTrajectory():
                return self._state
            case RecallExperiences():
                return self._recalled
        raise AssertionError(f"memory was asked {type(request).__name__}")


def mesh_with(
    state: TrajectoryState | None = None,
    *,
    recalled: Recollection | None = None,
    asked: list[Request[Any]] | None = None,
) -> Mesh:
    """Return a mesh with such a memory, by default an empty one; its requests are added to `asked`."""
    nothing = Recollection(experiences=(), trajectories=0, gained=0)
    fake = FakeMesh(state or TrajectoryState(), recalled or nothing, [] if asked is None else asked)
    return cast(Mesh, fake)


def recollection(*texts: str) -> Recollection:
    """Return one lesson per text, each from another prompt, after which three more requirements were met."""
    experiences = tuple(
        RecalledExperience(
            trajectory=f"{number:032x}",
            prompt=f"five owls on lamp {number}",
            round=1,
            text=text,
            met_before=1,
            met_after=4,
            requirements=5,
        )
        for number, text in enumerate(texts, 1)
    )
    return Recollection(experiences=experiences, trajectories=12, gained=9)


def text_of(request: ChatRequest) -> str:
    """Return the text of all messages of a request."""
    return "\n".join(getattr(part, "text", "") for message in request.messages for part in message.parts)


def pictures_of(request: ChatRequest) -> list[bytes]:
    """Return the pictures of all messages of a request, in order."""
    return [part.data for message in request.messages for part in message.parts if hasattr(part, "data")]


def png(width_px: int = 32, height_px: int = 16, colour: str = "red") -> bytes:
    file = BytesIO()
    Pillow.new("RGB", (width_px, height_px), colour).save(file, "PNG")
    return file.getvalue()


PICTURE = png()
"""The bytes behind `image_ref()`."""


def image_ref(data: bytes = PICTURE) -> ImageRef:
    return ImageRef(digest=digest_of(data), media_type="image/png", bytes=len(data), width_px=32, height_px=16)


def requirement(id_: str, depends_on: str | None = None) -> Requirement:
    return Requirement(id=id_, question=f"{id_}?", kind="object", depends_on=depends_on)


def attempt(
    round_: int,
    answers: str,
    *,
    candidate: int = 1,
    scores: Sequence[float | None] = (),
    image: ImageRef | None = None,
) -> Attempt:
    """Return an attempt with a verdict on r1, r2, … for each letter of `answers`: m(et), u(nmet) or s (unsure)."""
    words: dict[str, Answer] = {"m": "met", "u": "unmet", "s": "unsure"}
    return Attempt(
        round=round_,
        candidate=candidate,
        prompt=f"prompt of round {round_}",
        image=image or image_ref(),
        seed=round_,
        verdicts=tuple(
            Verdict(
                requirement=f"r{number}",
                answer=words[letter],
                score=scores[number - 1] if scores else None,
                reason=f"seen in round {round_}",
            )
            for number, letter in enumerate(answers, 1)
        ),
    )


def state_of(
    *attempts: Attempt,
    plan: Plan | None = None,
    refinements: Sequence[Any] = (),
    experiences: Sequence[Experience] = (),
) -> TrajectoryState:
    """Return the state of a trajectory with these attempts, which have the same requirements."""
    return TrajectoryState(
        task=DrawPicture(run="run", prompt="the user's own prompt", seed=1),
        plan=plan,
        requirements=tuple(requirement(verdict.requirement) for verdict in attempts[0].verdicts),
        attempts=attempts,
        refinements=tuple(refinements),
        experiences=tuple(experiences),
    )
