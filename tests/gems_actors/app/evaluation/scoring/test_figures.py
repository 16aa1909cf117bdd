"""The figures that are computed from the sums over prompts are those of the scores."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gems_actors.app.evaluation.figures import Figure, sum_parts
from gems_actors.app.evaluation.prompt_files import Prompt
from gems_actors.app.evaluation.scores import SCORERS
from gems_actors.app.evaluation.scoring.scorer import Judged
from tests.gems_actors.app.evaluation.scoring.cases import judged

CATEGORIES = ("Cultural knowledge", "time", "Space", "Biology", "Physical Knowledge", "Chemistry")
WISE = [Prompt(str(n), "x", {"Category": CATEGORIES[n % 6], "Explanation": "y"}) for n in range(13)]
VQA = [
    Prompt(str(n), "x", {"atom_count": 3, "skills": ["count"] * (2 + n), "vqa_list": [["?", "Yes"]] * (2 + n)})
    for n in range(3)
]
SPATIAL = [
    Prompt("0", "x", {"question_type": ["Object", "Layout"], "questions": ["?"] * 2, "answers": ["A"] * 2}),
    Prompt("1", "y", {"question_type": ["Object"], "questions": ["?"], "answers": ["A"]}),
]
CASES: dict[str, tuple[list[Prompt], list[Judged]]] = {
    "crea": ([Prompt("0", "x", {}), Prompt("1", "y", {})], [judged("0", *range(1, 7)), judged("1", *[4.0] * 6)]),
    "geneval2": (VQA, [judged(str(n), *[0.3 + 0.1 * k * (n % 2) for k in range(2 + n % 3)]) for n in (0, 1, 2)]),
    "wise": (WISE, [judged(str(n % 13), n % 3, (n + 1) % 3, 2) for n in range(20)]),
    "wise-verified": (WISE, [judged(str(n % 13), n % 4 == 0) for n in range(20)]),
    "spatialgeneval": (
        SPATIAL,
        [judged("0", *[1.0, 0.0] * 5), judged("0", *[1.0] * 10), judged("1", 1, 1, 1, 0, 0), judged("1", *[1.0] * 5)],
    ),
}


def in_groups(items: Sequence[Judged]) -> dict[str, list[Judged]]:
    found: dict[str, list[Judged]] = {}
    for item in items:
        found.setdefault(item.id, []).append(item)
    return found


def test_every_scorer_has_a_case() -> None:
    assert CASES.keys() == SCORERS.keys()


@pytest.mark.parametrize("name", list(CASES))
def test_the_sums_over_prompts_give_the_score(name: str) -> None:
    prompts, items = CASES[name]
    scorer, by_id = SCORERS[name], {prompt.id: prompt for prompt in prompts}
    scores = scorer.compare(scorer.total(by_id, items))
    assert list(scores) == [figure.name for figure in scorer.figures]
    parts = [scorer.parts(by_id[id_], group) for id_, group in in_groups(items).items()]
    for place, figure in enumerate(scorer.figures):
        assert figure.value(sum_parts(one[place] for one in parts)) == pytest.approx(scores[figure.name], abs=1e-9)


def test_a_figure_without_all_its_groups_has_no_value() -> None:
    figure = Figure("x", weights={"a": 0.5, "b": 0.5})
    assert figure.value({"a": (1.0, 1.0)}) is None
    assert figure.value({"a": (1.0, 1.0), "b": (0.0, 0.0)}) is None
    assert figure.value({}) is None
    assert figure.value({"a": (1.0, 2.0), "b": (3.0, 3.0)}) == pytest.approx(0.75)


def test_a_figure_stays_on_its_scale() -> None:
    assert Figure("x", scale=100.0, largest=100.0).value({"": (1.0 + 1e-12, 1.0)}) == 100.0
    assert Figure("x", smallest=6.0, largest=30.0).value({"": (6.0 - 1e-12, 1.0)}) == 6.0
