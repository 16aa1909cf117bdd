"""Has a judge answer a scorer's questions on the pictures, and keeps each answer: judged once is judged.

The judge is a model of its own, named by `[judge]` in the settings; it knows nothing of the agent. What it says is read
strictly: a picture about which it babbles is not judged, and never a bad one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os import SEEK_END
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, TextIO

import click
import msgspec
import trio

from actors.prompting import ask_model
from gems_actors.app.evaluation.scoring.scorer import Judged, Question, TokenQuestion, WordQuestion
from gems_actors.backends import ChatMessage, ChatRequest, ImagePart, TextPart
from gems_actors.backends.openai_chat import OpenAIChatModel, open_openai_chat
from gems_actors.config import ChatModelConfig
from gems_actors.errors import GemsError, RequestError
from gems_actors.tasks import gather

_PICTURES_AT_ONCE: Final = 64
_FAILURES_IN_A_ROW: Final = 16
"""After so many without a picture judged between them it is the judge, and not the pictures."""
_MAX_NAMED: Final = 3
_TOLD_EVERY: Final = 100
"""So many pictures after one another say how far it is."""


class JudgingError(GemsError):
    """Pictures could not be judged; says which, and why. What was judged is kept."""


class _Key(NamedTuple):
    """By what a picture that was judged is known again; the fields of `Judged` of these names."""

    id: str
    digest: str
    judge: str
    asked: str


@dataclass(frozen=True, slots=True)
class _Case:
    """A picture and what is asked about it."""

    key: _Key
    sample: int
    """From 1."""
    picture: Path
    questions: Sequence[Question]


def judge_pictures(
    judge: ChatModelConfig,
    questions: Mapping[str, Sequence[Question]],
    pictures: Mapping[str, Sequence[Path]],
    path: Path,
    stream: TextIO,
) -> list[Judged]:
    """Return what the judge finds of each picture, in the order of the prompts.

    Args:
        judge: the model.
        questions: by the ids of the prompts.
        pictures: likewise.
        path: a file of what was judged before, to which the rest is added.
        stream: told how far it is.

    Raises:
        JudgingError: pictures could not be judged; those that were are not judged again.
        ConfigError: the judge cannot be asked with these settings.
    """
    name = judge.model or judge.url or judge.backend
    cases = [
        _Case(_Key(id_, _digest_of(picture.read_bytes()), name, _digest_of(_words_of(asked))), sample, picture, asked)
        for id_, asked in questions.items()
        for sample, picture in enumerate(pictures[id_], 1)
    ]
    known = {_key_of(item): item for item in _read(path)}
    missing = [case for case in cases if case.key not in known]
    if missing:
        click.echo(f"judging {len(missing)} of {len(cases)} pictures by {name}", file=stream)
        with path.open("ab+") as sink:
            _end_line(sink)
            found, failures = trio.run(_judge_all, judge, missing, sink, stream)
        known |= {_key_of(item): item for item in found}
        if failures:
            named = "; ".join(failures[:_MAX_NAMED])
            more = f"; and {len(failures) - _MAX_NAMED} more" if len(failures) > _MAX_NAMED else ""
            raise JudgingError(
                f"expected {len(cases)} pictures judged, got {len(cases) - len(missing) + len(found)} "
                f"(the same command asks about the others again): {named}{more}"
            )
    return [known[case.key] for case in cases]


async def _judge_all(
    judge: ChatModelConfig, cases: Sequence[_Case], sink: BinaryIO, stream: TextIO
) -> tuple[list[Judged], list[str]]:
    """Return what was found of the pictures, each written down at once, and what kept others from being judged."""
    found: list[Judged] = []
    failures: list[str] = []
    in_a_row = 0
    limiter = trio.CapacityLimiter(_PICTURES_AT_ONCE)

    async def one(model: OpenAIChatModel, case: _Case) -> None:
        nonlocal in_a_row
        async with limiter:
            if in_a_row >= _FAILURES_IN_A_ROW:
                return
            try:
                scores, answers = await _judge(model, case)
            except RequestError as error:
                failures.append(f"prompt {case.key.id}, picture {case.sample}: {error}")
                in_a_row += 1
                return
        in_a_row = 0
        item = Judged(**case.key._asdict(), scores=scores, answers=answers)
        found.append(item)
        sink.write(msgspec.json.encode(item) + b"\n")
        sink.flush()
        if len(found) % _TOLD_EVERY == 0:
            click.echo(f"judged {len(found)} of {len(cases)}", file=stream)

    async with open_openai_chat(judge, "judge") as model:
        await gather(*(partial(one, model, case) for case in cases))
    return found, failures


async def _judge(model: OpenAIChatModel, case: _Case) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Return scores and words; the picture comes first, so that the server can share its work among the questions."""
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


def _words_of(questions: Sequence[Question]) -> bytes:
    return "\0".join(question.text for question in questions).encode()


def _digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _end_line(sink: BinaryIO) -> None:
    """Begin a new line where a kill tore the last one."""
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
            except msgspec.DecodeError:  # a line torn by a kill, or of an older version: its picture is judged again
                continue
    return found
