"""GenEval2's score, Soft-TIFA: the probability that the judge gives the right answer to each question. Pure.

Source: arXiv 2603.28088 reports the geometric mean; arXiv 2512.16853 and github.com/facebookresearch/GenEval2 define
it: one new token per question, and the sum of the probabilities of all spellings of the right answer.

The official scorer has the judge's whole vocabulary and its tokenizer, and counts the first token of each spelling. A
server tells the 20 likeliest tokens. So a judge with a long tail of unlikely tokens scores lower here, by at most the
probability of all other tokens, which the scores name. Tokenizers of today write a number after a space as two tokens;
its first token, a bare space, then counts for every number, as it does in the official scorer.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import prod
from statistics import fmean
from typing import Any, Final

import msgspec

from gems_actors.app.evaluation.figures import Figure, Parts
from gems_actors.app.evaluation.prompt_files import Prompt
from gems_actors.app.evaluation.scoring.scorer import Judged, Scorer, TokenQuestion, indented_lines, read_record

QUESTION_END: Final = " Answer in one word."
_NUMBERS: Final = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip


_RULE: Final = "bare space"
_LARGE_UNSEEN: Final = 5.0
"""Percentage of unseen probability from which a score is said to be too low."""
_SPACED_NUMBER: Final = re.compile(r" \d+")


class _Record(msgspec.Struct, frozen=True):
    atom_count: int
    vqa_list: tuple[tuple[str, str], ...]
    """Questions and their right answers."""
    skills: tuple[str, ...]


def spellings_of(question: str, answer: str) -> frozenset[str]:
    """Return the tokens that count as the right answer: the word, capitalised, after a space, and as a digit."""
    word = answer.strip()
    forms = {word.lower(), word.capitalize()}
    if question.startswith("How many") and word.lower() in _NUMBERS:
        forms.add(str(_NUMBERS.index(word.lower())))
    return frozenset(forms | {f" {form}" for form in forms})


def score_answer(question: str, answer: str, first_tokens: Mapping[str, float]) -> float:
    """Return the score of one question, 0 to 1: the summed probability of the spellings of the right answer."""
    accepted = spellings_of(question, answer)
    has_number = any(form.isdecimal() for form in accepted)
    if has_number and not any(_SPACED_NUMBER.fullmatch(token) for token in first_tokens):
        accepted |= {" "}  # the tokenizer has no token such as " 5", so the spelling " 5" begins with a space
    return min(1.0, sum(chance for token, chance in first_tokens.items() if token in accepted))


def geometric_mean(scores: Sequence[float]) -> float:
    """Return Soft-TIFA GM of one picture; 0 if the score of any question is 0."""
    return prod(scores) ** (1 / len(scores))


def soft_tifa(prompts: Mapping[str, Prompt], judged: Sequence[Judged]) -> dict[str, Any]:
    """Return the benchmark's score of all pictures, 0 to 100; the pictures of one prompt are averaged first."""
    by_prompt: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for item in judged:
        by_prompt[item.id].append(item.scores)
    means: list[tuple[float, float]] = []
    by_skill: dict[str, list[float]] = defaultdict(list)
    by_atoms: dict[int, list[float]] = defaultdict(list)
    for id_, pictures in by_prompt.items():
        record = read_record(prompts[id_], _Record)
        am, gm = fmean(map(fmean, pictures)), fmean(map(geometric_mean, pictures))
        means.append((am, gm))
        by_atoms[record.atom_count].append(gm)
        for index, skill in enumerate(record.skills):
            by_skill[skill].append(fmean(scores[index] for scores in pictures))
    return {
        "soft_tifa_am": 100 * fmean(am for am, _ in means),
        "soft_tifa_gm": 100 * fmean(gm for _, gm in means),
        "am_by_skill": {skill: 100 * fmean(found) for skill, found in sorted(by_skill.items())},
        "gm_by_atom_count": {str(count): 100 * fmean(found) for count, found in sorted(by_atoms.items())},
        "unseen_probability": 100 * fmean(item.unseen for item in judged),
    }


def _ask(prompt: Prompt) -> tuple[TokenQuestion, ...]:
    return tuple(
        TokenQuestion(question + QUESTION_END, partial(score_answer, question, answer), _RULE)
        for question, answer in read_record(prompt, _Record).vqa_list
    )


def _lines(scores: Mapping[str, Any]) -> Iterator[str]:
    yield f"Soft-TIFA GM       {scores['soft_tifa_gm']:.1f}"
    yield f"Soft-TIFA AM       {scores['soft_tifa_am']:.1f}"
    yield from indented_lines({f"AM {skill}": score for skill, score in scores["am_by_skill"].items()}, 1)
    yield from indented_lines({f"GM {count} atoms": score for count, score in scores["gm_by_atom_count"].items()}, 1)
    if (unseen := scores.get("unseen_probability", 0.0)) >= _LARGE_UNSEEN:
        yield f"  AM up to {unseen:.1f} too low: so much probability is on tokens that the judge's server did not name"


def _compare(scores: Mapping[str, Any]) -> dict[str, float]:
    return {"Soft-TIFA GM": scores["soft_tifa_gm"], "Soft-TIFA AM": scores["soft_tifa_am"]}


def _parts(_: Prompt, judged: Sequence[Judged]) -> tuple[Parts, Parts]:
    gm = fmean(geometric_mean(item.scores) for item in judged)
    am = fmean(fmean(item.scores) for item in judged)
    return {"": (gm, 1.0)}, {"": (am, 1.0)}


_FIGURES: Final = (
    Figure("Soft-TIFA GM", scale=100.0, largest=100.0), Figure("Soft-TIFA AM", scale=100.0, largest=100.0)
)  # fmt: skip
GENEVAL2: Final = Scorer(_ask, soft_tifa, _lines, _compare, _FIGURES, _parts)
