"""The parts of every scorer: questions to the judge, judged pictures, and the total score. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from gems_actors.app.evaluation.figures import Figure, Parts
from gems_actors.app.evaluation.prompt_files import BenchmarkError, Prompt

RecordT = TypeVar("RecordT")


@dataclass(frozen=True, slots=True)
class WordQuestion:
    """A question about a picture that the judge answers as text."""

    text: str
    """Text of the message, after the picture."""
    schema: Mapping[str, Any]
    """JSON schema of the answer, for servers that support one."""
    read: Callable[[str], tuple[float, ...]]
    """Parses an answer into scores; raises `ModelOutputError` for an unusable one."""
    temperature: float | None = None
    """Temperature that the benchmark prescribes; None for that of the settings."""


@dataclass(frozen=True, slots=True)
class TokenQuestion:
    """A question about a picture that the judge answers with the probabilities of the first token."""

    text: str
    read: Callable[[Mapping[str, float]], float]
    rule: str = ""
    """Name of the rule by which probabilities become a score; answers that were read by another are asked for again."""


Question = WordQuestion | TokenQuestion


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """The judge's answers about one picture of a prompt; a line of judged.jsonl."""

    id: str
    digest: str
    """Digest of the picture's file; another picture is judged again."""
    judge: str
    asked: str
    """Digest of the questions; other questions are asked again."""
    scores: tuple[float, ...]
    answers: tuple[str, ...] = ()
    """Answers of the judge, to inspect a score; empty for token questions."""
    unseen: float = 0.0
    """Mean probability, 0 to 1, of the tokens that the judge's server did not name; 0 without token questions."""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells whether a picture must be judged again."""
        return self.id, self.digest, self.judge, self.asked


@dataclass(frozen=True, slots=True)
class Scorer:
    """How the pictures of a benchmark are scored."""

    ask: Callable[[Prompt], Sequence[Question]]
    """Returns the questions about a prompt's picture; raises `BenchmarkError` for an incomplete record."""
    total: Callable[[Mapping[str, Prompt], Sequence[Judged]], dict[str, Any]]
    """Returns the scores as a tree for JSON, from the prompts by their ids and at least one judged picture."""
    lines: Callable[[Mapping[str, Any]], Iterator[str]]
    """Yields such a tree as lines of text."""
    compare: Callable[[Mapping[str, Any]], dict[str, float]]
    """Returns the figures of such a tree by which runs are compared."""
    figures: tuple[Figure, ...]
    """The same figures, for resamples of the prompts."""
    parts: Callable[[Prompt, Sequence[Judged]], tuple[Parts, ...]]
    """Returns what the judged pictures of one prompt add to each of the figures."""


def read_record(prompt: Prompt, kind: type[RecordT]) -> RecordT:
    """Return the fields of a prompt's record that its scorer needs.

    Raises:
        BenchmarkError: a field is missing or has another type.
    """
    try:
        return msgspec.convert(prompt.record, kind)
    except msgspec.ValidationError as error:
        raise BenchmarkError(f"prompt {prompt.id}: expected a record that can be scored, got: {error}") from error


def indented_lines(rows: Mapping[str, float], digits: int) -> Iterator[str]:
    """Yield figures as indented lines below the score that they belong to."""
    width = max([16, *map(len, rows)])
    for name, value in rows.items():
        yield f"  {name.replace('_', ' '):<{width}} {value:.{digits}f}"
