"""Paired evidence: by prompt, never by requirement, and no verdict from luck."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from gems_actors.app.skills.pairing import Pair, Side, mcnemar, prompts_to_tell, sign_flip, weigh
from tests.gems_actors.app.skills.laboratory import HARMFUL, HELPFUL, NEUTRAL, try_rule


def side(met: int, total: int, *, pictures: int = 1, kind: str = "count") -> Side:
    return Side(pictures, pictures if met == total else 0, pictures, {kind: (met, total)})


def pairs(changes: list[int], total: int = 10) -> list[Pair]:
    return [Pair(f"p{number}", side(5, total), side(5 + change, total)) for number, change in enumerate(changes)]


@pytest.fixture(scope="module")
def stats() -> Any:
    """Return `scipy.stats`, which only the worker that runs these tests imports: it takes half a second of CPU."""
    from scipy import stats

    return stats


@pytest.mark.slow
@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 0), (7, 2), (3, 3), (2, 9)])
def test_mcnemar_is_the_exact_test_of_scipy(stats: Any, gained: int, lost: int) -> None:
    expected = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected)


@pytest.mark.slow
def test_the_sign_flip_test_visits_all_signs_where_they_are_few(stats: Any) -> None:
    changes = [1.0, 2.0, -0.5, 3.0, 0.25]
    data = (changes,)
    expected = stats.permutation_test(data, sum, permutation_type="samples", alternative="two-sided").pvalue
    assert sign_flip(changes) == pytest.approx(expected)


@pytest.mark.slow
def test_the_sign_flip_test_of_many_prompts_is_close_to_the_normal_one(stats: Any) -> None:
    changes = [((number * 7919) % 11 - 4.2) / 10 for number in range(120)]
    z = sum(changes) / sum(change * change for change in changes) ** 0.5
    assert sign_flip(changes) == pytest.approx(2 * stats.norm.sf(abs(z)), abs=0.02)


def test_a_clear_gain_helps_and_a_clear_loss_hurts() -> None:
    assert weigh(pairs([2, 3, 1, 2, 4, 2, 3, 1, 2, 2])).verdict == "helps"
    assert weigh(pairs([-2, -3, -1, -2, -4, -2, -3, -1, -2, -2])).verdict == "hurts"


def test_a_tie_and_too_few_prompts_cannot_tell() -> None:
    tie = weigh(pairs([0] * 30))
    assert (tie.verdict, tie.prompts_to_tell, tie.prompts_to_tell_2_points) == ("cannot_tell", None, None)
    few = weigh(pairs([3, 3, 3]))  # the bootstrap's interval has no width: the test over prompts says that they are few
    assert few.requirements.low is not None
    assert few.requirements.low > 0
    assert few.verdict == "cannot_tell"


def test_requirements_of_one_picture_count_as_one_piece_of_evidence() -> None:
    """Ten requirements that share one picture's luck say no more than one of them."""
    changes = [4, -3, 5, -4, 3, -2, 4, -3]
    tenfold = [Pair(f"p{n}", side(50, 100), side(50 + 10 * change, 100)) for n, change in enumerate(changes)]
    one, ten = weigh(pairs(changes, 10)), weigh(tenfold)
    assert one.p_requirements == ten.p_requirements
    assert one.requirements == ten.requirements


def test_pictures_that_all_meet_less_contradict_a_gain() -> None:
    found = [Pair(f"p{n}", Side(1, 1, 1, {"count": (5, 10)}), Side(1, 0, 1, {"count": (7, 10)})) for n in range(12)]
    evidence = weigh(found)
    assert evidence.requirements.low is not None
    assert evidence.requirements.low > 0
    assert (evidence.gained, evidence.lost, evidence.verdict) == (0, 12, "cannot_tell")


def test_kinds_and_prompts_without_requirements_are_kept_apart() -> None:
    mixed = [
        Pair(
            "a", Side(1, 0, 1, {"count": (0, 2), "object": (1, 1)}), Side(1, 1, 1, {"count": (2, 2), "object": (1, 1)})
        ),
        Pair("b", Side(1, 1, 1, {"object": (1, 1)}), Side(1, 1, 1, {"object": (1, 1)})),
        Pair("nothing", Side(1, 0, 1, {}), Side(1, 0, 1, {})),
    ]
    evidence = weigh(mixed)
    assert (evidence.prompts, {kind: (found.prompts, found.change) for kind, found in evidence.kinds.items()}) == (
        2,
        {"count": (1, 1.0), "object": (2, 0.0)},
    )
    with pytest.raises(ValueError, match="expected prompts that were drawn both ways"):
        weigh(mixed[2:])


def test_the_number_of_prompts_that_would_tell_is_that_of_the_normal_approximation() -> None:
    # two means of 0.1 apart, spread 0.5, 95 % and 80 %: (1.96 + 0.8416)^2 * 25
    assert prompts_to_tell(0.5, 0.1, 0.95) == 197
    assert prompts_to_tell(0.0, 0.1, 0.95) is None


SEEDS = 100


@pytest.mark.slow
def test_a_neutral_rule_is_rejected_in_at_least_95_of_100_seeds() -> None:
    verdicts = Counter(try_rule(NEUTRAL, seed).verdict for seed in range(SEEDS))
    assert SEEDS - verdicts["helps"] >= 95, verdicts


@pytest.mark.slow
def test_a_planted_rule_is_found_and_a_harmful_one_never_accepted() -> None:
    helpful = Counter(try_rule(HELPFUL, seed).verdict for seed in range(20))
    harmful = Counter(try_rule(HARMFUL, seed).verdict for seed in range(20))
    assert helpful["helps"] >= 18, helpful
    assert harmful["helps"] == 0, harmful
    assert harmful["hurts"] >= 10, harmful
