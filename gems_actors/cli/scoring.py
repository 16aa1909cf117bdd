"""GenEval2's score, Soft-TIFA: how probable a judge finds the right answer to each question about a picture. Pure.

Source: arXiv 2603.28088 reports the geometric mean; arXiv 2512.16853 and github.com/facebookresearch/GenEval2 define
it: one new token a question, the probabilities of all spellings of the right answer added up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from math import prod
from statistics import fmean
from typing import Any, Final

import msgspec

QUESTION_END: Final = " Answer in one word."
_DIGITS: Final = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    )
}


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge found of one picture."""

    id: str
    """Of the prompt."""
    digest: str
    """Of the picture's file, so that another picture is judged anew."""
    judge: str
    scores: tuple[float, ...]
    """Of the questions in their order, each 0 to 1: the probability of the right answer."""


def spellings_of(question: str, answer: str) -> frozenset[str]:
    """Return the tokens that count as the right answer: as a word, with a capital, behind a space, and as a digit."""
    word = answer.strip()
    if question.startswith("How many"):
        forms = {word.lower(), word.capitalize()}
        if (digit := _DIGITS.get(word.lower())) is not None:
            forms.add(digit)
    else:
        forms = {word.lower(), word.capitalize()}
    return frozenset(forms | {f" {form}" for form in forms})


def score_answer(question: str, answer: str, first_tokens: Mapping[str, float]) -> float:
    """Return the score of one question, 0 to 1: what the spellings of the right answer come to, each counted once."""
    accepted = spellings_of(question, answer)
    return min(1.0, sum(chance for token, chance in first_tokens.items() if token in accepted))


def arithmetic_mean(scores: Iterable[float]) -> float:
    """Return Soft-TIFA AM of one picture."""
    return fmean(scores)


def geometric_mean(scores: Iterable[float]) -> float:
    """Return Soft-TIFA GM of one picture: 0 where one of the questions is."""
    found = list(scores)
    return prod(found) ** (1 / len(found))


def soft_tifa(records: Mapping[str, Mapping[str, Any]], judged: Iterable[Judged]) -> dict[str, Any]:
    """Return the benchmark's score of all pictures, 0 to 100.

    Args:
        records: of the benchmark's file, by the ids of the prompts: `atom_count`, `vqa_list`, `skills`.
        judged: one or several pictures of each prompt; those of one prompt are averaged first.
    """
    by_prompt: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for item in judged:
        by_prompt[item.id].append(item.scores)
    means: list[tuple[float, float]] = []
    by_skill: dict[str, list[float]] = defaultdict(list)
    by_atoms: dict[int, list[float]] = defaultdict(list)
    for id_, pictures in by_prompt.items():
        record = records[id_]
        am, gm = fmean(map(arithmetic_mean, pictures)), fmean(map(geometric_mean, pictures))
        means.append((am, gm))
        by_atoms[int(record["atom_count"])].append(gm)
        for place, skill in enumerate(record["skills"]):
            by_skill[skill].append(fmean(scores[place] for scores in pictures))
    return {
        "prompts": len(means),
        "soft_tifa_am": 100 * fmean(am for am, _ in means),
        "soft_tifa_gm": 100 * fmean(gm for _, gm in means),
        "am_by_skill": {skill: 100 * fmean(found) for skill, found in sorted(by_skill.items())},
        "gm_by_atom_count": {str(count): 100 * fmean(found) for count, found in sorted(by_atoms.items())},
    }
