"""WISE's scores for both editions: whether a picture shows what needs knowledge of the world to draw. Pure.

The edition of 2025 grades consistency, realism and aesthetic quality from 0 to 2, and WiScore weights them. WISE
Verified of 2026 has other prompts and asks only if the picture is right. Both average by category and weight those.

Source: arXiv 2503.07265 and github.com/PKU-YuanGroup/WISE.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Annotated, Any, Final

import msgspec

from actors.prompting import object_schema, parse_json, render
from gems_actors.app.evaluation.figures import Figure, Parts
from gems_actors.app.evaluation.prompt_files import BenchmarkError, Prompt
from gems_actors.app.evaluation.scoring.scorer import Judged, Scorer, WordQuestion, indented_lines, read_record

_LEGACY_PROMPT: Final = """\
The picture above was drawn for these words: "$prompt"
What a right picture of them shows: "$explanation"

Grade it in three respects, each with a whole number from 0 to 2:

consistency: is what was asked for there? 0: what matters is missing or wrong; 1: a part of it is there, or not quite \
right; 2: all of it is there and right.
realism: could it be a photograph? 0: it could not be, and one sees why at once; 1: nearly, with flaws in light, \
matter or space; 2: nothing gives it away.
aesthetic_quality: is it good to look at? 0: it is not; 1: it is pleasant and common; 2: composition, colour and style \
are those of a master.

Be strict: 2 is for what has no flaw in that respect. Between two grades give the lower.

Answer with JSON and nothing else, of the form {"consistency": 0, "realism": 0, "aesthetic_quality": 0}"""

_VERIFIED_PROMPT: Final = """\
The picture above was drawn for these words: "$prompt"
What a right picture of them shows: "$explanation"

Decide whether it is right: everything that the explanation asks for can be seen in it, and nothing contradicts it. \
Style and beauty do not count, and what can only be guessed is not seen.

Answer with JSON and nothing else, of the form {"reason": "one sentence", "is_right": false}"""

_CATEGORIES: Final = {
    "cultural knowledge": "culture", "time": "time", "space": "space", "biology": "biology",
    "physical knowledge": "physics", "chemistry": "chemistry",
}  # fmt: skip
"""Categories in the files, in lower case, and their names in the scores."""
_LEGACY_WEIGHTS: Final = {
    "culture": 0.4, "time": 0.167, "space": 0.133, "biology": 0.1, "physics": 0.1, "chemistry": 0.1,
}  # fmt: skip
_VERIFIED_WEIGHTS: Final = {
    "culture": 0.4, "time": 0.12, "space": 0.12, "biology": 0.12, "physics": 0.12, "chemistry": 0.12,
}  # fmt: skip

_Grade = Annotated[int, msgspec.Meta(ge=0, le=2)]


class _Grades(msgspec.Struct, frozen=True):
    consistency: _Grade
    realism: _Grade
    aesthetic_quality: _Grade


class _Verdict(msgspec.Struct, frozen=True):
    is_right: bool


class _Record(msgspec.Struct, frozen=True, rename={"explanation": "Explanation", "category": "Category"}):
    explanation: str
    category: str


_ASPECTS: Final = _Grades.__struct_fields__
_LEGACY_SCHEMA: Final = object_schema(**{name: {"type": "integer", "enum": [0, 1, 2]} for name in _ASPECTS})
_VERIFIED_SCHEMA: Final = object_schema(reason={"type": "string"}, is_right={"type": "boolean"})


def parse_grades(text: str) -> tuple[float, ...]:
    """Return consistency, realism and aesthetic quality, each 0, 1 or 2.

    Raises:
        ModelOutputError: the answer is not three named numbers from 0 to 2.
    """
    expected = f"JSON with 0, 1 or 2 for each of {', '.join(_ASPECTS)}"
    return msgspec.structs.astuple(parse_json(text, _Grades, expected))


def parse_verdict(text: str) -> tuple[float]:
    """Return 1 if the answer says that the picture is right, else 0.

    Raises:
        ModelOutputError: the answer has no such field.
    """
    return (float(parse_json(text, _Verdict, 'JSON with "is_right", true or false').is_right),)


def wiscore(consistency: float, realism: float, aesthetic_quality: float) -> float:
    """Return WiScore of one picture, 0 to 1, from three grades of 0 to 2."""
    return (0.7 * consistency + 0.2 * realism + 0.1 * aesthetic_quality) / 2


def total(
    score: Callable[..., float], weights: Mapping[str, float], prompts: Mapping[str, Prompt], judged: Sequence[Judged]
) -> dict[str, Any]:
    """Return the mean of each category, 0 to 1, and their sum by weights of sum 1 if every category has pictures."""
    found: dict[str, list[float]] = defaultdict(list)
    for item in judged:
        found[_category_of(prompts[item.id])].append(score(*item.scores))
    means = {category: fmean(found[category]) for category in weights if category in found}
    overall = {"overall": sum(weights[category] * mean for category, mean in means.items())}
    return (overall if means.keys() == weights.keys() else {}) | {"by_category": means}


def legacy_total(prompts: Mapping[str, Prompt], judged: Sequence[Judged]) -> dict[str, Any]:
    """Return WiScore of all pictures, and the mean grade of each aspect, 0 to 2."""
    grades = {name: fmean(item.scores[index] for item in judged) for index, name in enumerate(_ASPECTS)}
    return total(wiscore, _LEGACY_WEIGHTS, prompts, judged) | {"by_aspect": grades}


verified_total = partial(total, float, _VERIFIED_WEIGHTS)
"""Returns the share of right pictures."""


def _category_of(prompt: Prompt) -> str:
    category = read_record(prompt, _Record).category
    if (known := _CATEGORIES.get(category.casefold())) is None:
        raise BenchmarkError(f"prompt {prompt.id}: expected a category of {', '.join(_CATEGORIES)}, got {category!r}")
    return known


def _fill(template: str, prompt: Prompt) -> str:
    _category_of(prompt)  # a file that cannot be scored is refused before anything is drawn
    return render(template, prompt=prompt.text, explanation=read_record(prompt, _Record).explanation)


def _lines(title: str, scores: Mapping[str, Any]) -> Iterator[str]:
    if "overall" in scores:
        yield f"{title:<19}{scores['overall']:.3f}"
    else:
        yield f"{title:<19}needs pictures in all of {', '.join(_CATEGORIES.values())}"
    yield from indented_lines(scores["by_category"], 3)
    yield from indented_lines(scores.get("by_aspect", {}), 2)


def _compare(figure: Figure, scores: Mapping[str, Any]) -> dict[str, float]:
    return {figure.name: 100 * scores["overall"]} if "overall" in scores else {}


def _parts(score: Callable[..., float], prompt: Prompt, judged: Sequence[Judged]) -> tuple[Parts]:
    return ({_category_of(prompt): (sum(score(*item.scores) for item in judged), len(judged))},)


_LEGACY_FIGURE: Final = Figure("WiScore x 100", scale=100.0, largest=100.0, weights=_LEGACY_WEIGHTS)
_VERIFIED_FIGURE: Final = Figure("WISE Verified x 100", scale=100.0, largest=100.0, weights=_VERIFIED_WEIGHTS)


WISE_LEGACY: Final = Scorer(
    lambda prompt: (WordQuestion(_fill(_LEGACY_PROMPT, prompt), _LEGACY_SCHEMA, parse_grades, temperature=0.0),),
    legacy_total, partial(_lines, "WiScore"), partial(_compare, _LEGACY_FIGURE),
    (_LEGACY_FIGURE,), partial(_parts, wiscore),
)  # fmt: skip
WISE_VERIFIED: Final = Scorer(
    lambda prompt: (WordQuestion(_fill(_VERIFIED_PROMPT, prompt), _VERIFIED_SCHEMA, parse_verdict),),
    verified_total, partial(_lines, "WISE Verified"), partial(_compare, _VERIFIED_FIGURE),
    (_VERIFIED_FIGURE,), partial(_parts, float),
)  # fmt: skip
