"""Asks a chat model, the judge, the scorer's questions about each picture, and stores every answer for later runs.

The judge is configured by `[judge]` and knows nothing of the roles. Its answers are parsed strictly: a picture with an
unusable answer counts as not judged, never as a bad picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os import SEEK_END
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import msgspec
import trio

from actors.prompting import ask_model
from gems_actors.app.evaluation.scoring.scorer import Judged, Question, TokenQuestion, WordQuestion
from gems_actors.backends import ChatMessage, ChatRequest, ImagePart, TextPart
from gems_actors.backends.openai_chat import OpenAIChatModel, open_openai_chat
from gems_actors.config import ChatModelConfig
from gems_actors.errors import GemsError, RequestError
from gems_actors.tasks import gather

MAX_CONCURRENT: Final = 64
REPORT_EVERY: Final = 100
_MAX_FAILURES_IN_A_ROW: Final = 16
"""Consecutive failures after which the judge is at fault rather than the pictures, and no more are sent."""
_MAX_NAMED: Final = 3


class JudgingError(GemsError):
    """Some pictures could not be judged; the message names them, and the stored answers are kept."""


class _Key(NamedTuple):
    """Identifies a judged picture; the fields of `Judged` with the same names."""

    id: str
    digest: str
    judge: str
    asked: str


@dataclass(frozen=True, slots=True)
class _Case:
    """A picture and the questions about it."""

    key: _Key
    sample: int
    """Number of the picture among those of its prompt, from 1."""
    picture: Path
    questions: Sequence[Question]


async def judge_pictures(
    judge: ChatModelConfig,
    questions: Mapping[str, Sequence[Question]],
    pictures: Mapping[str, Sequence[Path]],
    path: Path,
    report: Callable[[str], None],
    *,
    max_concurrent: int = MAX_CONCURRENT,
    report_every: int = REPORT_EVERY,
) -> list[Judged]:
    """Return the judge's scores for each picture, in the order of the prompts.

    Args:
        judge: the model.
        questions: questions about the pictures of a prompt, by its id.
        pictures: pictures of a prompt, by its id.
        path: file with the answers of earlier runs; new answers are appended.
        report: called with a line about the progress after every `report_every` pictures.
        max_concurrent: maximum number of pictures in flight.
        report_every: number of pictures between two reports.

    Raises:
        JudgingError: some pictures could not be judged; the others are not judged again.
        ConfigError: the judge cannot be used with these settings.
    """
    name = judge.model or judge.url or judge.backend
    cases = [
        _Case(_Key(id_, _digest_of(picture.read_bytes()), name, _digest_of(_text_of(asked))), sample, picture, asked)
        for id_, asked in questions.items()
        for sample, picture in enumerate(pictures[id_], 1)
    ]
    known = {_key_of(item): item for item in _read(path)}
    missing = [case for case in cases if case.key not in known]
    if missing:
        report(f"judging {len(missing)} of {len(cases)} pictures by {name}")
        with path.open("ab+") as sink:
            _end_line(sink)
            run = _Judging(missing, sink, report, report_every)
            await run.judge_all(judge, max_concurrent)
        known |= {_key_of(item): item for item in run.found}
        if run.failures:
            named = "; ".join(run.failures[:_MAX_NAMED])
            more = f"; and {len(run.failures) - _MAX_NAMED} more" if len(run.failures) > _MAX_NAMED else ""
            raise JudgingError(
                f"expected {len(cases)} pictures judged, got {len(cases) - len(missing) + len(run.found)} "
                f"(the same command judges the others): {named}{more}"
            )
    return [known[case.key] for case in cases]


class _Judging:
    """Judges pictures concurrently and appends each result to a file at once."""

    def __init__(
        self, cases: Sequence[_Case], sink: BinaryIO, report: Callable[[str], None], report_every: int
    ) -> None:
        self.found: list[Judged] = []
        self.failures: list[str] = []
        self._cases = cases
        self._sink = sink
        self._report = report
        self._report_every = report_every
        self._failures_in_a_row = 0

    async def judge_all(self, judge: ChatModelConfig, max_concurrent: int) -> None:
        limiter = trio.CapacityLimiter(max_concurrent)
        async with open_openai_chat(judge, "judge") as model:
            await gather(*(partial(self._judge_one, model, case, limiter) for case in self._cases))

    async def _judge_one(self, model: OpenAIChatModel, case: _Case, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            if self._failures_in_a_row >= _MAX_FAILURES_IN_A_ROW:
                return
            try:
                scores, answers = await _judge(model, case)
            except RequestError as error:
                self.failures.append(f"prompt {case.key.id}, picture {case.sample}: {error}")
                self._failures_in_a_row += 1
                return
        self._failures_in_a_row = 0
        item = Judged(**case.key._asdict(), scores=scores, answers=answers)
        self.found.append(item)
        self._sink.write(msgspec.json.encode(item) + b"\n")
        self._sink.flush()
        if len(self.found) % self._report_every == 0:
            self._report(f"judged {len(self.found)} of {len(self._cases)}")


async def _judge(model: OpenAIChatModel, case: _Case) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Return scores and answers; the picture precedes the questions, so that the server can cache it between them."""
    image = ImagePart(await trio.Path(case.picture).read_bytes(), "image/png")
    scores: list[float] = []
    answers: list[str] = []
    for question in case.questions:
        messages = (ChatMessage("user", (image, TextPart(question.text))),)
        match question:
            case TokenQuestion():
                reply = await model.first_tokens(ChatRequest("judge", {}, messages))
                scores += question.read(reply.probabilities)
            case WordQuestion():
                request = ChatRequest("judge", {}, messages, schema=question.schema, temperature=question.temperature)
                text, read = (await ask_model(model, request, partial(_read_answer, question))).value
                scores += read
                answers.append(text)
    return tuple(scores), tuple(answers)


def _read_answer(question: WordQuestion, text: str) -> tuple[str, tuple[float, ...]]:
    return text, question.read(text)


def _key_of(item: Judged) -> _Key:
    return _Key(item.id, item.digest, item.judge, item.asked)


def _text_of(questions: Sequence[Question]) -> bytes:
    return "\0".join(question.text for question in questions).encode()


def _digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _end_line(sink: BinaryIO) -> None:
    """Start a new line if a killed process left an incomplete one."""
    if sink.tell():
        sink.seek(-1, SEEK_END)
        if sink.read() != b"\n":
            sink.write(b"\n")


def _read(path: Path) -> list[Judged]:
    if not path.exists():
        return []
    found = []
    with path.open("rb") as lines:
        for line in lines:
            try:
                found.append(msgspec.json.decode(line, type=Judged))
            except msgspec.DecodeError:  # an incomplete line or one of an older version: its picture is judged again
                continue
    return found
