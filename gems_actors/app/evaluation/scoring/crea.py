"""CREA's score as GEMS counts it: six grades from 1 to 5, each averaged over all pictures, and added up. Pure.

Source: arXiv 2504.05306 names the six principles and adds their grades up, 6 to 30; github.com/lcqysl/GEMS, eval/CREA,
lets a chat model grade 25 pictures of each prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Annotated, Any, Final

import msgspec

from actors.prompting import object_schema, parse_json, render
from gems_actors.app.evaluation.figures import Figure, Parts
from gems_actors.app.evaluation.prompt_files import Prompt
from gems_actors.app.evaluation.scoring.scorer import Judged, Scorer, WordQuestion, indented_lines

_PROMPT: Final = """\
The picture above was drawn for these words: "$prompt"

Grade how creative it is, by six principles, each with a whole number from 1 (nothing of it) through 3 (ordinary) to 5 \
(outstanding):

originality: would somebody who knows many pictures of this thing still find the idea new?
expressiveness: does it carry a mood, a feeling or a story?
aesthetic_appeal: are form, colour and composition a pleasure to look at?
technical_execution: is it made well, without faults in shapes, textures and light?
unexpected_associations: does it join things that nobody would think of together, so that it makes sense?
interpretability_and_depth: is there more to find in it the longer one looks, and can one say what?

Grade each by itself. Do not give a grade for good will: most pictures are ordinary in most of this.

Answer with JSON and nothing else, of the form
{"originality": 1, "expressiveness": 1, "aesthetic_appeal": 1, "technical_execution": 1, \
"unexpected_associations": 1, "interpretability_and_depth": 1}"""

_Grade = Annotated[int, msgspec.Meta(ge=1, le=5)]


class _Grades(msgspec.Struct, frozen=True):
    originality: _Grade
    expressiveness: _Grade
    aesthetic_appeal: _Grade
    technical_execution: _Grade
    unexpected_associations: _Grade
    interpretability_and_depth: _Grade


_PRINCIPLES: Final = _Grades.__struct_fields__
_SCHEMA: Final = object_schema(**{name: {"type": "integer", "enum": [1, 2, 3, 4, 5]} for name in _PRINCIPLES})


def parse_grades(text: str) -> tuple[float, ...]:
    """Return the six grades of an answer, in the order of the principles.

    Raises:
        ModelOutputError: the answer is not six named whole numbers from 1 to 5.
    """
    expected = f"JSON with a whole number from 1 to 5 for each of {', '.join(_PRINCIPLES)}"
    return msgspec.structs.astuple(parse_json(text, _Grades, expected))


def creativity(_: Mapping[str, Prompt], judged: Sequence[Judged]) -> dict[str, Any]:
    """Return the benchmark's score of all pictures, 6 to 30, and the mean grade of each principle, 1 to 5."""
    means = {name: fmean(item.scores[index] for item in judged) for index, name in enumerate(_PRINCIPLES)}
    return {"creativity": sum(means.values()), "by_principle": means}


def _ask(prompt: Prompt) -> tuple[WordQuestion, ...]:
    return (WordQuestion(render(_PROMPT, prompt=prompt.text), _SCHEMA, parse_grades),)


def _lines(scores: Mapping[str, Any]) -> Iterator[str]:
    yield f"creativity         {scores['creativity']:.2f} of 30"
    yield from indented_lines(scores["by_principle"], 2)


def _parts(_: Prompt, judged: Sequence[Judged]) -> tuple[Parts]:
    return ({"": (sum(sum(item.scores) for item in judged), len(judged))},)


_FIGURE: Final = Figure("creativity (of 30)", smallest=6.0, largest=30.0)
CREA: Final = Scorer(_ask, creativity, _lines, lambda scores: {_FIGURE.name: scores["creativity"]}, (_FIGURE,), _parts)
