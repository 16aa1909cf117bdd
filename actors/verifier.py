"""The verifier: answers each requirement for one picture, and skips questions that another answer settles.

It must not know the prompt: it judges what is drawn, not what was meant. Only where it compares two pictures is it told
what both were drawn for. Where a requirement compares the picture with those that it was drawn from, it is shown these
as well. A failed call is never a verdict.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from io import BytesIO
from typing import Final

import structlog
import trio
from msgspec import structs
from PIL import Image as Pillow

from actors.blob_actor import BlobActor
from actors.prompting import ChatActor, ask_model
from actors.verifying.comparing import compare_pictures
from actors.verifying.evidence import decide
from actors.verifying.evidence_listing import evidence_request, parse_evidence
from actors.verifying.questions import (
    MAX_REASON_CHARS,
    batch_request,
    parse_batch,
    parse_verdict,
    score_of,
    verify_request,
)
from actors.verifying.text_matching import shows_text, text_asked_for
from actors.verifying.verdict_rules import count_votes, needs_unmet
from gems_actors.actor import answers
from gems_actors.backends import ChatModel, ImagePart, TextReader
from gems_actors.backends.factory import open_second_opinion, open_text_reader
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig, VerifyConfig
from gems_actors.errors import RequestError
from gems_actors.tasks import gather, open_background
from protocol.costs import sum_spent
from protocol.messages import (
    Answer,
    CompareImages,
    Comparison,
    Requirement,
    Spent,
    Verdict,
    Verification,
    VerifyImage,
)

MAX_CONCURRENT_CALLS: Final = 8
"""Maximum number of concurrent questions about one picture."""

CANARY_QUESTION: Final = "Is the whole picture red?"
CANARY_EVERY: Final = 1000
"""Number of pictures between two checks that the model sees pictures at all; the first picture is checked."""

_log = structlog.get_logger()


class Verifier(BlobActor, ChatActor):
    """Answers `VerifyImage` and `CompareImages`."""

    role = "verifier"

    def __init__(self, config: MeshConfig, mesh: Mesh) -> None:
        super().__init__(config, mesh)
        self._verified = 0
        self._is_blind = False
        self._is_sight_known = trio.Event()
        """Set once the model's sight was checked for the first time, or could not be checked."""
        self._second: ChatModel | None = None
        self._reader: TextReader | None = None
        self._background: trio.Nursery | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Keep the store, the chat models and the reader of texts open."""
        async with (
            super().open(),
            open_second_opinion(self.config) as self._second,
            open_text_reader(self.config) as self._reader,
            open_background() as self._background,
        ):
            yield

    def note(self) -> str:
        """Return what is currently wrong with the chat model."""
        blind = "the model gives the same answer about a red and a blue picture" if self._is_blind else ""
        return "; ".join(filter(None, (blind, super().note())))

    @answers
    async def verify(self, request: VerifyImage) -> Verification:
        """Return a verdict for each requirement, in order."""
        if self._background is not None and self._verified % CANARY_EVERY == 0:
            self._background.start_soon(self._check_sight)
        self._verified += 1
        picture, wanted = await self.read_picture(request.image), request.requirements
        needed = request.references if any(item.compares for item in wanted) else ()
        given = [await self.read_picture(image) for image in needed]
        found = await verify_picture(
            self.chat, picture, wanted, self.config.verify, self._second, self._reader, given=given
        )
        if self._background is not None:
            await self._is_sight_known.wait()
        return structs.replace(found, is_blind=self._is_blind)

    @answers
    async def compare(self, request: CompareImages) -> Comparison:
        """Return which of two pictures meets the request better; a tie if that depends on their order."""
        first, second = await self.read_picture(request.first), await self.read_picture(request.second)
        given = [await self.read_picture(image) for image in request.references]
        return await compare_pictures(self.chat, first, second, request.prompt, request.requirements, given=given)

    async def _check_sight(self) -> None:
        """Log an error if the model gives the same answer about two pictures that cannot both have it.

        Servers have done so whose cache keyed on the text of a prompt and not on its pictures.
        """
        try:
            self._is_blind = await is_blind(self.chat, self.config.verify)
        except RequestError as error:
            _log.warning("sight_not_checked", reason=str(error))
            return
        finally:
            self._is_sight_known.set()
        if self._is_blind:
            _log.error("model_is_blind", question=CANARY_QUESTION, answered_the_same_of=["red", "blue"])


async def is_blind(chat: ChatModel, settings: VerifyConfig) -> bool:
    """Return whether a model gives the same answer, other than unsure, about a red and a blue picture.

    Raises:
        RequestError: the model could not be asked.
    """
    inspection = _Inspection(chat, settings, None)
    said = []
    for colour in ("red", "blue"):
        file = BytesIO()
        Pillow.new("RGB", (128, 128), colour).save(file, "PNG")
        requirement = Requirement(id="canary", question=CANARY_QUESTION, kind="attribute")
        said.append((await inspection.ask(ImagePart(file.getvalue(), "image/png"), requirement)).answer)
    return said[0] == said[1] != "unsure"


async def verify_picture(
    chat: ChatModel,
    picture: ImagePart,
    requirements: Sequence[Requirement],
    settings: VerifyConfig,
    second: ChatModel | None = None,
    reader: TextReader | None = None,
    *,
    given: Sequence[ImagePart] = (),
) -> Verification:
    """Answer all requirements for one picture, parents before children.

    Args:
        chat: the chat model.
        picture: the picture.
        requirements: the requirements.
        settings: the mode, and the probabilities from which a requirement is met or unmet.
        second: another model, which is asked if the first is unsure.
        reader: reads the texts in the picture, so that the model is asked only about those that it does not find.
        given: pictures that it was drawn from, which are shown with it for requirements that compare.

    Raises:
        BackendError: a model could not be asked; there are no partial results.
        ModelOutputError: an answer cannot be parsed.
    """
    inspection = _Inspection(chat, settings, second, given)
    verdicts = {
        item.id: Verdict(requirement=item.id, answer="unsure", reason="not understood, so not checked")
        for item in requirements
        if item.not_understood
    }
    checked = [item for item in requirements if not item.not_understood]
    calls_saved = 0
    if reader is not None:
        verdicts |= await inspection.read_texts(picture, checked, reader)
    if settings.mode == "evidence":
        listed = [item for item in checked if item.id not in verdicts and not item.compares]
        verdicts |= await inspection.list_evidence(picture, listed)
        checked = [item for item in checked if not needs_unmet(item, checked, verdicts)]
    if settings.mode in ("batch", "evidence"):
        asked = [item for item in checked if item.id not in verdicts]
        for compares in (False, True):  # two calls, so that the given pictures change no answer that needs none
            verdicts |= await inspection.ask_all(picture, [item for item in asked if item.compares == compares])
    for layer in layers_of(requirements):
        open_questions: list[Requirement] = []
        for requirement in layer:
            parent = verdicts.get(requirement.depends_on or "")
            if parent is not None and parent.answer == "unmet":
                calls_saved += requirement.id not in verdicts
                reason = f"needs {parent.requirement}, which is unmet"
                verdicts[requirement.id] = Verdict(requirement=requirement.id, answer="unmet", reason=reason)
            elif requirement.id not in verdicts:
                open_questions.append(requirement)
        answered = await gather(*(partial(inspection.ask, picture, requirement) for requirement in open_questions))
        verdicts |= {verdict.requirement: verdict for verdict in answered}
    ordered = tuple(verdicts[requirement.id] for requirement in requirements)
    return Verification(verdicts=ordered, calls_saved=calls_saved, spent=inspection.spent)


class _Inspection:
    """The questions about one picture and their cost."""

    def __init__(
        self, chat: ChatModel, settings: VerifyConfig, second: ChatModel | None, given: Sequence[ImagePart] = ()
    ) -> None:
        self.spent = Spent()
        self._chat, self._settings, self._second, self._given = chat, settings, second, given
        self._limiter = trio.CapacityLimiter(MAX_CONCURRENT_CALLS)

    async def ask(self, picture: ImagePart, requirement: Requirement) -> Verdict:
        """Return the verdict for one requirement."""
        async with self._limiter:
            verdict = await self._ask(self._chat, picture, requirement)
            verdict = await self._ask_second(picture, requirement, verdict)
            votes = self._votes if self._is_voted_on(verdict) else ()
            return count_votes(
                verdict, [await self._ask(self._chat, picture, requirement, f"vote {vote}", vote) for vote in votes]
            )

    async def ask_all(self, picture: ImagePart, requirements: Sequence[Requirement]) -> dict[str, Verdict]:
        """Return the verdicts for all requirements by id, from one call, and one for each vote."""
        verdicts = await self._ask_all(picture, requirements)
        asked = [partial(self._ask_second, picture, item, verdicts[item.id]) for item in requirements]
        verdicts = {verdict.requirement: verdict for verdict in await gather(*asked)}
        open_ = [item for item in requirements if self._is_voted_on(verdicts[item.id])]
        votes = await gather(*(partial(self._ask_all, picture, open_, vote) for vote in self._votes))
        return verdicts | {item.id: count_votes(verdicts[item.id], [one[item.id] for one in votes]) for item in open_}

    async def list_evidence(self, picture: ImagePart, requirements: Sequence[Requirement]) -> dict[str, Verdict]:
        """Return the verdicts that follow from a list of what the picture shows, by id; one call, or none."""
        claims = {item.id: item.claim for item in requirements if item.claim is not None}
        if not claims:
            return {}
        answer = await ask_model(self._chat, evidence_request(picture, requirements), parse_evidence)
        self.spent = sum_spent(self.spent, answer.spent)
        found = {id_: decide(claim, answer.value) for id_, claim in claims.items()}
        return {
            id_: Verdict(requirement=id_, answer=finding.answer, reason=finding.reason[:MAX_REASON_CHARS])
            for id_, finding in found.items()
            if finding.answer != "unsure"
        }

    async def read_texts(
        self, picture: ImagePart, requirements: Sequence[Requirement], reader: TextReader
    ) -> dict[str, Verdict]:
        """Return the verdicts on texts by id, from what a reader finds; none if it finds no text at all."""
        wanted = {item.id: text for item in requirements if (text := text_asked_for(item)) is not None}
        read = await reader.read(picture.data) if wanted else ()
        reason = f"reads {' / '.join(read)}"[:MAX_REASON_CHARS]
        return {
            id_: Verdict(requirement=id_, answer="met" if shows_text(text, read) else "unmet", reason=reason)
            for id_, text in wanted.items()
            if read
        }

    def _is_voted_on(self, verdict: Verdict) -> bool:
        return self._settings.vote_on == "all" or verdict.answer == "unsure"

    @property
    def _votes(self) -> range:
        """Numbers of the votes after the first answer."""
        return range(2, self._settings.votes + 1)

    async def _ask(
        self, chat: ChatModel, picture: ImagePart, requirement: Requirement, look: str = "", vote: int = 0
    ) -> Verdict:
        is_scored = self._settings.mode == "score" and not vote  # one token's probability does not vary
        given = self._given if requirement.compares else ()
        request = verify_request(picture, requirement.question, is_scored=is_scored, look=look, given=given)
        if vote:
            request = replace(request, vary=True, vote=vote)
        answer = await ask_model(chat, request, parse_verdict)
        self.spent = sum_spent(self.spent, answer.spent)
        said, reason = answer.value
        if not answer.probabilities:
            return Verdict(requirement=requirement.id, answer=said, reason=reason)
        score = score_of(answer.probabilities)
        return Verdict(requirement=requirement.id, answer=self._answer_for(score, requirement), score=score)

    async def _ask_all(
        self, picture: ImagePart, requirements: Sequence[Requirement], vote: int = 0
    ) -> dict[str, Verdict]:
        if not requirements:
            return {}
        ids = [requirement.id for requirement in requirements]
        given = self._given if requirements[0].compares else ()
        request = batch_request(picture, requirements, look=f"vote {vote}" if vote else "", given=given)
        if vote:
            request = replace(request, vary=True, vote=vote)
        answer = await ask_model(self._chat, request, lambda text: parse_batch(text, ids))
        self.spent = sum_spent(self.spent, answer.spent)
        return {verdict.requirement: verdict for verdict in answer.value}

    def _answer_for(self, score: float, requirement: Requirement) -> Answer:
        thresholds = self._settings.thresholds_of(requirement.kind)
        if score >= thresholds.met_from:
            return "met"
        return "unmet" if score < thresholds.unmet_below else "unsure"

    async def _ask_second(self, picture: ImagePart, requirement: Requirement, verdict: Verdict) -> Verdict:
        """Ask the second model if the first is unsure; if the second is unsure too, the first verdict counts."""
        if verdict.answer != "unsure" or self._second is None:
            return verdict
        other = await self._ask(self._second, picture, requirement, "second opinion")
        if other.answer == "unsure":
            return verdict
        return structs.replace(other, reason=f"second opinion: {other.reason}" if other.reason else "second opinion")


def layers_of(requirements: Iterable[Requirement]) -> list[list[Requirement]]:
    """Sort requirements into layers, each requirement in a later layer than the one it depends on.

    A dependency that is not in the list is ignored. A circle, which the decomposer rejects, forms the last layer.
    """
    layers: list[list[Requirement]] = []
    waiting = list(requirements)
    while waiting:
        ids = {requirement.id for requirement in waiting}
        ready = [requirement for requirement in waiting if requirement.depends_on not in ids]
        if not ready:
            return [*layers, waiting]
        layers.append(ready)
        waiting = [requirement for requirement in waiting if requirement.depends_on in ids]
    return layers
