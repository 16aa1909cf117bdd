"""SpatialGenEval's score: ten questions per picture, each right if at least four of five votes are right. Pure.

Each question belongs to one spatial dimension and has the options A to E; E means none of the others.

Source: arXiv 2601.20354 and github.com/AMAP-ML/SpatialGenEval: all questions in one call, five calls, temperature 1.0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any, Final, Literal

import msgspec

from actors.prompting import object_schema, parse_json, render, unexpected
from gems_actors.app.evaluation.figures import Figure, Parts, sum_parts
from gems_actors.app.evaluation.prompt_files import BenchmarkError, Prompt
from gems_actors.app.evaluation.scoring.scorer import Judged, Scorer, WordQuestion, indented_lines, read_record
from gems_actors.errors import ModelOutputError

VOTES: Final = 5
RIGHT_FROM: Final = 4
"""Number of right votes from which a question counts as right."""
_TEMPERATURE: Final = 1.0

_PROMPT: Final = """\
Answer these questions by what can be seen in the picture above, and by nothing else: neither by what a question takes \
for granted nor by what such scenes are usually like. Choose one option for each. Where the picture does not show the \
answer, or shows none of the options, choose E.

$questions

Answer with JSON and nothing else, with each question once, of the form
{"answers": [{"question": 1, "option": "E"}, {"question": 2, "option": "E"}]}"""

_Option = Literal["A", "B", "C", "D", "E"]


class _Record(msgspec.Struct, frozen=True):
    questions: tuple[str, ...]
    answers: tuple[_Option, ...]
    question_type: tuple[str, ...]


class _Answer(msgspec.Struct, frozen=True):
    question: int
    option: _Option


class _Answers(msgspec.Struct, frozen=True):
    answers: tuple[_Answer, ...]


_ANSWER_SCHEMA: Final = object_schema(
    question={"type": "integer"}, option={"type": "string", "enum": ["A", "B", "C", "D", "E"]}
)
_SCHEMA: Final = object_schema(answers={"type": "array", "items": _ANSWER_SCHEMA})


def parse_vote(right: Sequence[str], text: str) -> tuple[float, ...]:
    """Return for each question 1 if the judge's answer chooses the right option, else 0.

    Raises:
        ModelOutputError: a question has no option from A to E, or more than one.
    """
    chosen: dict[int, str] = {}
    expected = 'JSON of the form {"answers": [{"question": 1, "option": "A, B, C, D or E"}]}'
    for answer in parse_json(text, _Answers, expected).answers:
        if answer.question in chosen or not 1 <= answer.question <= len(right):
            raise unexpected(f"each question from 1 to {len(right)} once", str(answer.question))
        chosen[answer.question] = answer.option
    if missing := [str(number) for number in range(1, len(right) + 1) if number not in chosen]:
        raise ModelOutputError(f"expected an option for each question, got none for {', '.join(missing)}")
    return tuple(float(chosen[number] == option) for number, option in enumerate(right, 1))


def accuracy(prompts: Mapping[str, Prompt], judged: Sequence[Judged]) -> dict[str, Any]:
    """Return the percentage of right questions in each dimension, and the mean of the dimensions."""
    found: dict[str, list[bool]] = defaultdict(list)
    for item in judged:
        for dimension, is_right in _right_answers(prompts[item.id], item):
            found[dimension].append(is_right)
    means = {dimension: 100 * fmean(right) for dimension, right in found.items()}
    return {"accuracy": fmean(means.values()), "by_dimension": means}


def _right_answers(prompt: Prompt, item: Judged) -> Iterator[tuple[str, bool]]:
    """Yield the dimension of each question, and whether enough votes are right."""
    dimensions = read_record(prompt, _Record).question_type
    for index, dimension in enumerate(dimensions):
        yield dimension, sum(item.scores[index :: len(dimensions)]) >= RIGHT_FROM


def _ask(prompt: Prompt) -> tuple[WordQuestion, ...]:
    record = read_record(prompt, _Record)
    counts = (len(record.questions), len(record.answers), len(record.question_type))
    if not counts[0] or len(set(counts)) > 1:
        got = "{} questions, {} answers and {} types".format(*counts)
        raise BenchmarkError(f"prompt {prompt.id}: expected an answer and a type for each question, got {got}")
    listed = "\n".join(f"{number}. {question.strip()}" for number, question in enumerate(record.questions, 1))
    text = render(_PROMPT, questions=listed)
    return (WordQuestion(text, _SCHEMA, partial(parse_vote, record.answers), _TEMPERATURE),) * VOTES


def _lines(scores: Mapping[str, Any]) -> Iterator[str]:
    yield f"SpatialGenEval     {scores['accuracy']:.1f}"
    yield from indented_lines(scores["by_dimension"], 1)


def _parts(prompt: Prompt, judged: Sequence[Judged]) -> tuple[Parts]:
    right = (answer for item in judged for answer in _right_answers(prompt, item))
    return (sum_parts({dimension: (float(is_right), 1.0)} for dimension, is_right in right),)


_FIGURE: Final = Figure("SpatialGenEval", scale=100.0, largest=100.0)
SPATIALGENEVAL: Final = Scorer(
    _ask, accuracy, _lines, lambda scores: {_FIGURE.name: scores["accuracy"]}, (_FIGURE,), _parts
)
