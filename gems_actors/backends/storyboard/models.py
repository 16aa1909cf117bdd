"""The storyboard as an image model and a chat model, which run its pure functions in worker threads."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from gems_actors.backends import ChatReply, ChatRequest, GeneratedImage, ImagePart, ImageRequest
from gems_actors.backends.storyboard.claims import parse_claim
from gems_actors.backends.storyboard.drawing import draw
from gems_actors.backends.storyboard.editing.framing import fingerprint_of
from gems_actors.backends.storyboard.editing.keeping import Given, excepted_in, judge_kept
from gems_actors.backends.storyboard.editing.redrawing import draw_from_references
from gems_actors.backends.storyboard.error_model import apply_errors, choose_errors
from gems_actors.backends.storyboard.evidence import list_evidence
from gems_actors.backends.storyboard.grammar import parse_scene
from gems_actors.backends.storyboard.judging import judge
from gems_actors.backends.storyboard.laboratory.planted import Garden
from gems_actors.backends.storyboard.reading import Seen, look
from gems_actors.backends.storyboard.rules import answer
from gems_actors.backends.storyboard.scene import Kind
from gems_actors.backends.storyboard.verifier_error import NO_ERRORS, Eye
from gems_actors.config import PlantedInstruction, VerifierErrorConfig
from gems_actors.errors import BackendError

_MAX_SEEN: Final = 16
"""Maximum readings cached; a trajectory asks all questions on one picture before it draws the next."""

_GLANCE: Final = {
    "yes": "it looks right at a glance",
    "no": "it looks wrong at a glance",
    "unsure": "it cannot be told at a glance",
}
"""Reasons of answers that are simulated errors."""


class StoryboardImageModel:
    """Draws a storyboard of the prompt and, like a real model, gets some of it wrong."""

    capacity = 4
    can_edit = True

    def __init__(self, planted: Sequence[PlantedInstruction] = ()) -> None:
        """Draw with errors that planted instructions change, if there are any."""
        self._planted = planted
        self._drawing = trio.CapacityLimiter(2)  # one draws while the other compresses

    def figures(self) -> dict[str, float]:
        """Return no measurements."""
        return {}

    async def generate(self, request: ImageRequest) -> GeneratedImage:
        """Return the storyboard of one request as a PNG file; equal requests give equal bytes."""
        rule = draw_from_references if request.references else draw_request
        data = await trio.to_thread.run_sync(rule, request, self._planted, limiter=self._drawing)
        # Without references nothing is edited, so that tasks are drawn, and their refiners asked, as ever.
        is_edit = bool(request.references)
        return GeneratedImage(data, "image/png", request.width_px, request.height_px, can_be_edited=is_edit)


def draw_request(request: ImageRequest, planted: Sequence[PlantedInstruction] = ()) -> bytes:
    """Return the PNG file of one request."""
    scene, garden = parse_scene(request.prompt), Garden(planted, request.prompt)
    lost = choose_errors(scene, garden.seed_of_errors(request.seed), garden.factor)
    drawn = apply_errors(scene, lost, request.seed)
    width_px, height_px = request.width_px, request.height_px
    shown = request.seed if request.task_seed is None else request.task_seed
    return draw(drawn, seed=shown, width_px=width_px, height_px=height_px, caption=request.prompt)


class _Turns:
    """Lets one task at a time do something, those first that a user waits for."""

    def __init__(self) -> None:
        self._is_taken = False
        self._awaited, self._others = trio.lowlevel.ParkingLot(), trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def turn(self, *, is_awaited: bool) -> AsyncIterator[None]:
        """Wait for a turn, and have it for the block."""
        if self._is_taken:
            await (self._awaited if is_awaited else self._others).park()  # the task that wakes this one hands over
        else:
            self._is_taken = True
        try:
            yield
        finally:
            if not (self._awaited.unpark() or self._others.unpark()):
                self._is_taken = False


class StoryboardChatModel:
    """Answers by rules; questions about a picture are answered from its pixels alone."""

    def __init__(
        self,
        read: Callable[[bytes], Seen | None] = look,
        errors: VerifierErrorConfig = NO_ERRORS,
        *,
        follows_rules: bool = False,
    ) -> None:
        """Answer from what `read` finds in a picture, with simulated errors.

        With `follows_rules`, for planted instructions, a prompt contains the rules of the skill that it follows.
        """
        self._read, self._errors, self._follows_rules = read, errors, follows_rules
        self._seen: OrderedDict[bytes, Seen | None] = OrderedDict()
        self._looking = _Turns()

    def figures(self) -> dict[str, float]:
        """Return no measurements."""
        return {}

    def note(self) -> str:
        """Return an empty note: nothing can go wrong."""
        return ""

    async def chat(self, request: ChatRequest) -> ChatReply:
        """Return the answer to one task.

        Raises:
            BackendError: a picture cannot be decoded, or a field of the task is missing.
        """
        match request.task, request.fields:
            case "verify", {"question": str(question)}:
                seen, eye, given = await self._look_at(request)
                verdict, reasoning = judge_question(question, seen, eye, given)
                return ChatReply(verdict, reasoning)
            case "verify_all", {"questions": list(questions)}:
                seen, eye, given = await self._look_at(request)
                told = {item["id"]: judge_question(item["question"], seen, eye, given)[0] for item in questions}
                verdicts = {id_: verdict.partition(": ") for id_, verdict in told.items()}
                answers = [{"id": id_, "answer": word, "reason": why} for id_, (word, _, why) in verdicts.items()]
                return ChatReply(json.dumps({"answers": answers}))
            case "compare", {"questions": list(questions)}:
                *before, one, other = _pictures_in(request, 2)
                is_awaited = request.interactive
                given = [await self._look_before(data, is_awaited=is_awaited) for data in before]
                places = ((one, "compared first"), (other, "compared second"))
                first, second = [await self._look_as(data, place, is_awaited=is_awaited) for data, place in places]
                return ChatReply(json.dumps(compare_seen(questions, first, second, given)))
            case "list_evidence", {"names": list(), "pairs": list(), "requirements": list()} as fields:
                seen, eye, _ = await self._look_at(request)
                return ChatReply(json.dumps(list_evidence(fields, seen, eye)))
            case "verify" | "verify_all" | "compare" | "list_evidence", _:
                raise BackendError("storyboard chat: expected questions, got none")
        fields = {**request.fields, "follows_rules": True} if self._follows_rules else request.fields
        return await trio.to_thread.run_sync(answer, request.task, fields)

    async def _look_at(self, request: ChatRequest) -> tuple[Seen | None, Eye, list[Given]]:
        """Return what the last picture of a request shows, how it is seen, and the pictures before it."""
        *before, data = _pictures_in(request, 1)
        is_awaited = request.interactive
        given = [await self._look_before(picture, is_awaited=is_awaited) for picture in before]
        return *await self._look_as(data, str(request.fields.get("look", "")), is_awaited=is_awaited), given

    async def _look_before(self, data: bytes, *, is_awaited: bool) -> Given:
        """Return what a given picture shows, and the fingerprint by which it is known again where it is framed."""
        seen, _ = await self._look(data, is_awaited=is_awaited)
        return seen, await trio.to_thread.run_sync(fingerprint_of, data)

    async def _look_as(self, data: bytes, look: str, *, is_awaited: bool) -> tuple[Seen | None, Eye]:
        seen, digest = await self._look(data, is_awaited=is_awaited)
        return seen, Eye(self._errors, digest, look)

    async def _look(self, data: bytes, *, is_awaited: bool) -> tuple[Seen | None, bytes]:
        """Return what a picture shows, cached by its digest, and the digest; what a user waits for goes first.

        One thread reads at a time: the work holds the interpreter lock, so more threads would only cost memory.
        """
        digest = hashlib.blake2b(data, digest_size=16).digest()
        async with self._looking.turn(is_awaited=is_awaited):
            if digest not in self._seen:
                self._seen[digest] = await trio.to_thread.run_sync(self._read, data)
            self._seen.move_to_end(digest)
            if len(self._seen) > _MAX_SEEN:
                self._seen.popitem(last=False)
            return self._seen[digest], digest


def _pictures_in(request: ChatRequest, count: int) -> list[bytes]:
    found = [part.data for message in request.messages for part in message.parts if isinstance(part, ImagePart)]
    if len(found) < count:
        expected = "one picture" if count == 1 else f"{count} pictures"
        raise BackendError(f"storyboard chat: expected {expected}, got {len(found)}")
    return found


def compare_seen(
    questions: Sequence[str],
    first: tuple[Seen | None, Eye],
    second: tuple[Seen | None, Eye],
    given: Sequence[Given] = (),
) -> dict[str, str]:
    """Return which of two pictures lacks less of what some questions ask for, in the form of the task `compare`."""
    lacks = [
        [question for question in questions if not judge_question(question, seen, eye, given)[0].startswith("yes")]
        for seen, eye in (first, second)
    ]
    counts = [len(missing) for missing in lacks]
    better = "neither" if counts[0] == counts[1] else "first" if counts[0] < counts[1] else "second"
    said = [f"{len(missing)} of {len(questions)}, first {missing[0]}" if missing else "nothing" for missing in lacks]
    return {"first_lacks": said[0], "second_lacks": said[1], "better": better}


def judge_question(
    question: str, seen: Seen | None, eye: Eye | None = None, given: Sequence[Given] = ()
) -> tuple[str, str]:
    """Return the answer to one question about a picture, and the reasoning; the truth unless an eye may err.

    A question that compares is answered from the given pictures as well.
    """
    if seen is None:
        return "unsure: this picture is no storyboard, and a storyboard is all I can read.", ""
    claim = parse_claim(question)
    kind: Kind = "other"
    if (excepted := excepted_in(question)) is not None:
        verdict = judge_kept(excepted, seen, given)
    elif claim is not None:
        verdict, kind = judge(claim, seen), claim.kind
    else:
        return "unsure: I cannot tell what is asked.", ""
    word = verdict.answer if eye is None else eye.sees(verdict.answer, question, kind)
    if word != verdict.answer:  # the reason must not tell the truth
        return f"{word}: {_GLANCE[word]}.", f"I glanced at the picture: {_GLANCE[word]}."
    return f"{word}: {verdict.reason}.", f"I read the picture: {verdict.reason}."
