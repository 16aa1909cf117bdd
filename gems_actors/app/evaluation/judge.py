"""Asks a chat model, the judge, the scorer's questions about each picture, and stores every answer for later runs.

The judge is configured by `[judge]` and knows nothing of the roles. Its answers are parsed strictly: a picture with an
unusable answer counts as not judged, never as a bad picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from os import SEEK_END
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import trio

from actors.prompting import ask_model
from gems_actors.app.evaluation.scoring.scorer import Judged, Question, TokenQuestion, WordQuestion
from gems_actors.backends import ChatMessage, ChatRequest, TextPart
from gems_actors.backends.openai_chat import OpenAIChatModel, open_openai_chat
from gems_actors.backends.pictures import visible_picture
from gems_actors.config import ChatModelConfig
from gems_actors.errors import BackendError, GemsError, RequestError
from gems_actors.tasks import gather

MAX_CONCURRENT: Final = 64
REPORT_EVERY: Final = 100
_MAX_FAILURES_IN_A_ROW: Final = 16
"""Consecutive failures after which the judge is at fault rather than the pictures, and no more are sent."""
_MAX_NAMED: Final = 3


class JudgingError(GemsError):
    """Some pictures could not be judged; the message names them, and the stored answers are kept."""


@dataclass(frozen=True, slots=True)
class _Case:
    """A picture and the questions about it."""

    unjudged: Judged
    """What becomes a line of judged.jsonl, without scores."""
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

    Questions and pictures are by the id of their prompt. The file at `path` has the answers of earlier runs, and new
    ones are appended. `report` gets a line after every `report_every` pictures.

    Raises:
        JudgingError: some pictures could not be judged; the others are not judged again.
        ConfigError: the judge cannot be used with these settings.
    """
    name = judge.model or judge.url or judge.backend
    cases = [
        _Case(_unjudged(id_, picture, name, asked), sample, picture, asked)
        for id_, asked in questions.items()
        for sample, picture in enumerate(pictures[id_], 1)
    ]
    known = {item.key: item for item in _read(path)}
    missing = [case for case in cases if case.unjudged.key not in known]
    if missing:
        report(f"judging {len(missing)} of {len(cases)} pictures by {name}")
        with path.open("ab+") as sink:
            _end_line(sink)
            run = _Judging(missing, sink, report, report_every)
            limiter = trio.CapacityLimiter(max_concurrent)
            async with open_openai_chat(judge, "judge") as model:
                await gather(*(partial(run.judge_one, model, case, limiter) for case in missing))
        known |= {item.key: item for item in run.found}
        if run.failures:
            named = "; ".join(run.failures[:_MAX_NAMED])
            more = f"; and {len(run.failures) - _MAX_NAMED} more" if len(run.failures) > _MAX_NAMED else ""
            raise JudgingError(
                f"expected {len(cases)} pictures judged, got {len(cases) - len(missing) + len(run.found)} "
                f"(the same command judges the others): {named}{more}"
            )
    return [known[case.unjudged.key] for case in cases]


@dataclass(slots=True)
class _Judging:
    """Judges pictures concurrently and appends each result to a file at once."""

    cases: Sequence[_Case]
    sink: BinaryIO
    report: Callable[[str], None]
    report_every: int
    found: list[Judged] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    failures_in_a_row: int = 0

    async def judge_one(self, model: OpenAIChatModel, case: _Case, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            if self.failures_in_a_row >= _MAX_FAILURES_IN_A_ROW:
                return
            try:
                item = await _judge(model, case)
            except RequestError as error:
                self.failures.append(f"prompt {case.unjudged.id}, picture {case.sample}: {error}")
                self.failures_in_a_row += 1
                return
        self.failures_in_a_row = 0
        self.found.append(item)
        self.sink.write(msgspec.json.encode(item) + b"\n")
        self.sink.flush()
        if len(self.found) % self.report_every == 0:
            self.report(f"judged {len(self.found)} of {len(self.cases)}")


async def _judge(model: OpenAIChatModel, case: _Case) -> Judged:
    """Return the judged picture, which precedes the questions, so that the server can cache it between them."""
    data = await trio.Path(case.picture).read_bytes()
    try:
        image = await trio.to_thread.run_sync(visible_picture, data, "image/png")
    except ValueError as error:
        raise BackendError(f"{case.picture}: {error}") from error
    scores: list[float] = []
    answers: list[str] = []
    unseen: list[float] = []
    for question in case.questions:
        messages = (ChatMessage("user", (image, TextPart(question.text))),)
        match question:
            case TokenQuestion():
                reply = await model.first_tokens(ChatRequest("judge", {}, messages))
                scores.append(question.read(reply.probabilities))
                unseen.append(max(0.0, 1 - sum(reply.probabilities.values())))
            case WordQuestion():
                request = ChatRequest("judge", {}, messages, schema=question.schema, temperature=question.temperature)
                text, read = (await ask_model(model, request, partial(_read_answer, question))).value
                scores += read
                answers.append(text)
    mean_unseen = sum(unseen) / len(unseen) if unseen else 0.0
    return msgspec.structs.replace(case.unjudged, scores=tuple(scores), answers=tuple(answers), unseen=mean_unseen)


def _read_answer(question: WordQuestion, text: str) -> tuple[str, tuple[float, ...]]:
    return text, question.read(text)


def _unjudged(id_: str, picture: Path, judge: str, questions: Sequence[Question]) -> Judged:
    asked = "\0".join(map(_identity_of, questions)).encode()
    return Judged(id=id_, digest=_digest_of(picture.read_bytes()), judge=judge, asked=_digest_of(asked), scores=())


def _identity_of(question: Question) -> str:
    """Return the text of a question, and the rule by which its answer is read where there is more than one."""
    return f"{question.text}\0{question.rule}" if isinstance(question, TokenQuestion) else question.text


def _digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _end_line(sink: BinaryIO) -> None:
    """Start a new line if a killed process left an incomplete one."""
    if sink.tell():
        sink.seek(-1, SEEK_END)
        if sink.read() != b"\n":
            sink.write(b"\n")


def _read(path: Path) -> Iterator[Judged]:
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with suppress(msgspec.DecodeError):  # incomplete, or of an older version: the picture is judged again
            yield msgspec.json.decode(line, type=Judged)
