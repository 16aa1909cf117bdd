"""The best attempt follows one rule, and the text says what decided."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.ranking import choose_best
from protocol.messages import Attempt
from tests.actors.fakes import attempt

CASES = {
    "the only one": ([attempt(1, "mu")], 1, "1 of 2 requirements met; the only attempt"),
    "the only one, unchecked": ([attempt(1, "")], 1, "no requirements to check; the only attempt"),
    "most met": (
        [attempt(1, "mmuu"), attempt(2, "mmmu"), attempt(3, "mmss")],
        2,
        "3 of 4 requirements met, more than any other attempt",
    ),
    "a tie in all": (
        [attempt(1, "uum"), attempt(3, "mmu"), attempt(2, "mum")],
        2,
        "2 of 3 requirements met, tied with round 3; the earlier one is taken",
    ),
    "unsure before unmet": (
        [attempt(1, "mmu"), attempt(2, "mms")],
        2,
        "2 of 3 requirements met, tied with round 1; fewer unmet",
    ),
    "fewer unmet, and still a tie": (
        [attempt(1, "mmu"), attempt(2, "mms"), attempt(3, "smm")],
        2,
        "2 of 3 requirements met, tied with rounds 1 and 3; fewer unmet, as in round 3; the earlier one is taken",
    ),
    "higher score": (
        [attempt(1, "mu", scores=[0.9, 0.2]), attempt(2, "um", scores=[0.4, 0.9])],
        2,
        "1 of 2 requirements met, tied with round 1; the highest mean score, 0.65",
    ),
    "a score is missing": (
        [attempt(1, "mu", scores=[0.9, None]), attempt(2, "um", scores=[0.4, 0.9])],
        1,
        "1 of 2 requirements met, tied with round 2; the earlier one is taken",
    ),
    "nothing to check": ([attempt(2, ""), attempt(1, "")], 1, "no requirements to check; the earlier one is taken"),
    "nothing to check in one round": (
        [attempt(1, "", candidate=2), attempt(1, "", candidate=1)],
        1,
        "no requirements to check; the first drawn is taken",
    ),
    "fewer unmet among candidates": (
        [attempt(1, "mu", candidate=1), attempt(1, "ms", candidate=2), attempt(2, "su")],
        1,
        "1 of 2 requirements met, tied with round 1 candidate 1; fewer unmet",
    ),
    "higher score, and still a tie": (
        [
            attempt(1, "mu", scores=[0.9, 0.1]),
            attempt(3, "mu", scores=[0.9, 0.4]),
            attempt(2, "mu", scores=[0.8, 0.5]),
        ],
        2,
        "1 of 2 requirements met, tied with rounds 1 and 3; the highest mean score, 0.65, as in round 3; "
        "the earlier one is taken",
    ),
    "the same scores": (
        [attempt(1, "m", scores=[0.9]), attempt(2, "m", scores=[0.9])],
        1,
        "1 of 1 requirements met, tied with round 2; the earlier one is taken",
    ),
    "scores of the tied alone": (
        [attempt(1, "mu", scores=[0.9, 0.1]), attempt(2, "mu", scores=[0.9, 0.2]), attempt(3, "uu")],
        2,
        "1 of 2 requirements met, tied with round 1; the highest mean score, 0.55",
    ),
    "four tied": (
        [attempt(number, "m") for number in range(1, 6)],
        1,
        "1 of 1 requirements met, tied with rounds 2, 3, 4 and 5; the earlier one is taken",
    ),
    "many tied": (
        [attempt(number, "m") for number in range(1, 7)],
        1,
        "1 of 1 requirements met, tied with 5 others; the earlier one is taken",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_rule_decides_and_says_why(case: str) -> None:
    attempts, round_, decided_by = CASES[case]
    best, words = choose_best(attempts)
    assert (best.round, words) == (round_, decided_by)


def test_a_lower_candidate_of_the_same_round_is_taken() -> None:
    best, words = choose_best([attempt(1, "m", candidate=3), attempt(1, "m", candidate=2), attempt(2, "m")])
    assert (best.round, best.candidate) == (1, 2)
    tied = "tied with round 1 candidate 3 and round 2 candidate 1"
    assert words == f"1 of 1 requirements met, {tied}; the first drawn is taken"


@st.composite
def some_attempts(draw: st.DrawFn) -> list[Attempt]:
    total = draw(st.integers(0, 3))
    places = draw(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3)), min_size=1, max_size=8, unique=True))
    return [
        attempt(
            round_,
            draw(st.text("mus", min_size=total, max_size=total)),
            candidate=candidate,
            scores=draw(st.just([]) | st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=total, max_size=total)),
        )
        for round_, candidate in places
    ]


@given(some_attempts(), st.randoms())
def test_the_choice_does_not_depend_on_the_order_of_attempts(attempts: list[Attempt], random: Random) -> None:
    chosen = choose_best(attempts)
    shuffled = sorted(attempts, key=lambda _: random.random())
    assert choose_best(shuffled) == chosen


@given(some_attempts())
def test_no_attempt_beats_the_best_by_requirements_met_or_unmet(attempts: list[Attempt]) -> None:
    def rank(item: Attempt) -> tuple[int, int]:
        answers = [verdict.answer for verdict in item.verdicts]
        return answers.count("met"), -answers.count("unmet")

    assert rank(choose_best(attempts)[0]) == max(map(rank, attempts))
