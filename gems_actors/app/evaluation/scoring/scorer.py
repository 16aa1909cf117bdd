"""What every scorer is made of: the questions to a judge, what the judge found, and the score of it all. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from gems_actors.app.evaluation.benchmarks import BenchmarkError, Prompt

RecordT = TypeVar("RecordT")


@dataclass(frozen=True, slots=True)
class WordQuestion:
    """A question about a picture that a judge answers in words."""

    text: str
    """Stands behind the picture."""
    schema: Mapping[str, Any]
    """Of the answer, for servers that can be held to one."""
    read: Callable[[str], tuple[float, ...]]
    """Turns an answer into scores; a `ModelOutputError` says what was expected and what was found."""
    temperature: float | None = None
    """As the benchmark prescribes it; None: as the settings have it."""


@dataclass(frozen=True, slots=True)
class TokenQuestion:
    """A question about a picture that a judge answers by how probable each first token is."""

    text: str
    read: Callable[[Mapping[str, float]], tuple[float, ...]]
    """Turns the probabilities of tokens into scores."""


Question = WordQuestion | TokenQuestion


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge found of one picture."""

    id: str
    """Of the prompt."""
    digest: str
    """Of the picture's file, so that another picture is judged anew."""
    judge: str
    asked: str
    """Digest of the questions, so that other questions are asked."""
    scores: tuple[float, ...]
    """Of all questions in their order, those of one question together."""
    answers: tuple[str, ...] = ()
    """The judge's words, for whoever doubts a score; none where tokens were asked for."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """How the pictures of a benchmark are scored."""

    ask: Callable[[Prompt], Sequence[Question]]
    """Returns what is asked about a prompt's picture; a `BenchmarkError` says what its record lacks."""
    total: Callable[[Mapping[str, Prompt], Sequence[Judged]], dict[str, Any]]
    """Returns the scores of all pictures as a tree for JSON, from the prompts by their ids and what was judged.

    Beside the scores it has the numbers of `prompts` and of `pictures`; of these there is at least one.
    """
    tell: Callable[[Mapping[str, Any]], Iterator[str]]
    """Tells such a tree in lines."""
    compare: Callable[[Mapping[str, Any]], dict[str, float]]
    """Returns by their names the figures of such a tree that tell one run from another."""


def read_record(prompt: Prompt, kind: type[RecordT]) -> RecordT:
    """Return of a prompt's record what its scorer needs.

    Raises:
        BenchmarkError: it lacks something of that, or has something else in its place.
    """
    try:
        return msgspec.convert(prompt.record, kind)
    except msgspec.ValidationError as error:
        raise BenchmarkError(
            f"prompt {prompt.id}: expected a record that can be scored, got another: {error}"
        ) from error


def table(rows: Mapping[str, float], digits: int) -> Iterator[str]:
    """Tell figures in lines of a table, beneath the score that they belong to."""
    width = max([16, *map(len, rows)])
    for name, value in rows.items():
        yield f"  {name.replace('_', ' '):<{width}} {value:.{digits}f}"
