"""CREA's score on cases calculated by hand."""

from __future__ import annotations

import json

import pytest

from gems_actors.app.evaluation.prompt_files import Prompt
from gems_actors.app.evaluation.scoring.crea import CREA, creativity, parse_grades
from gems_actors.app.evaluation.scoring.scorer import WordQuestion
from gems_actors.errors import ModelOutputError
from tests.gems_actors.app.evaluation.scoring.cases import judged

NAMES = (
    "originality", "expressiveness", "aesthetic_appeal", "technical_execution", "unexpected_associations",
    "interpretability_and_depth",
)  # fmt: skip
GRADES = dict(zip(NAMES, (1, 2, 3, 4, 5, 1), strict=True))


def test_the_score_is_the_sum_of_the_six_mean_grades() -> None:
    found = creativity(
        {}, [judged("a", 1, 2, 3, 4, 5, 1), judged("a", 3, 2, 3, 4, 5, 1), judged("b", 5, 5, 5, 5, 5, 5)]
    )
    # originality has 1, 3 and 5, expressiveness 2, 2 and 5, aesthetic appeal 3, 3 and 5, and so on
    means = (9 / 3, 9 / 3, 11 / 3, 13 / 3, 15 / 3, 7 / 3)
    assert found["by_principle"] == pytest.approx(dict(zip(NAMES, means, strict=True)))
    assert found["creativity"] == pytest.approx(64 / 3)
    assert CREA.compare(found) == {"creativity (of 30)": found["creativity"]}


@pytest.mark.parametrize("grade", [1, 5])
def test_the_score_lies_between_6_and_30(grade: int) -> None:
    assert creativity({}, [judged("a", *[grade] * 6)])["creativity"] == 6 * grade


def test_grades_are_returned_in_the_order_of_the_principles() -> None:
    assert parse_grades(json.dumps(dict(reversed(GRADES.items())))) == (1, 2, 3, 4, 5, 1)
    assert parse_grades(f"```json\n{json.dumps(GRADES)}\n```") == (1, 2, 3, 4, 5, 1)
    assert parse_grades(f"I would say {json.dumps(GRADES)}") == (1, 2, 3, 4, 5, 1)


@pytest.mark.parametrize(
    "answer",
    [
        "Originality: 4, and so on",
        json.dumps({**GRADES, "originality": 0}),
        json.dumps({**GRADES, "originality": 6}),
        json.dumps({**GRADES, "originality": 3.5}),
        json.dumps({**GRADES, "originality": "3"}),
        json.dumps(dict.fromkeys(NAMES[1:], 3)),
    ],
)  # fmt: skip
def test_an_answer_without_six_whole_grades_is_refused(answer: str) -> None:
    with pytest.raises(
        ModelOutputError, match="expected JSON with a whole number from 1 to 5 for each of originality, "
    ):
        parse_grades(answer)


def test_the_question_contains_the_prompt() -> None:
    (question,) = CREA.ask(Prompt("00000", "a creative $ kettle", {}))
    assert isinstance(question, WordQuestion)
    assert '"a creative $ kettle"' in question.text
    assert all(name in question.text for name in NAMES)
