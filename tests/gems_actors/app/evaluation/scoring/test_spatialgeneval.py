"""SpatialGenEval's score on cases calculated by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gems_actors.app.evaluation.prompt_files import BenchmarkError, Prompt
from gems_actors.app.evaluation.scoring.scorer import WordQuestion
from gems_actors.app.evaluation.scoring.spatialgeneval import SPATIALGENEVAL, accuracy, parse_vote
from gems_actors.errors import ModelOutputError
from tests.gems_actors.app.evaluation.scoring.cases import judged

RECORD = {
    "question_type": ["Object", "Layout"],
    "questions": ["What is there?  Options: A: a cat, B: a dog, E: None", "In what order?  Options: A: a row, E: None"],
    "answers": ["B", "A"],
}
PROMPTS = {id_: Prompt(id_, "a scene", RECORD) for id_ in ("1", "2")}


def votes(*right: tuple[int, int]) -> list[float]:
    """Return the scores of five votes on two questions."""
    return [float(score) for vote in right for score in vote]


def test_a_question_is_right_from_four_votes_and_dimensions_are_averaged() -> None:
    found = accuracy(
        PROMPTS,
        [
            judged("1", *votes((1, 1), (1, 1), (1, 1), (1, 0), (0, 0))),  # 4 and 3 of 5
            judged("2", *votes((1, 1), (1, 0), (1, 0), (1, 0), (1, 0))),  # 5 and 1 of 5
        ],
    )
    assert found["by_dimension"] == {"Object": 100.0, "Layout": 0.0}
    assert found["accuracy"] == 50.0
    assert SPATIALGENEVAL.compare(found) == {"SpatialGenEval": 50.0}


def test_every_dimension_has_the_same_weight() -> None:
    lone = Prompt("3", "y", {"question_type": ["Object"], "questions": ["?"], "answers": ["A"]})
    found = accuracy(PROMPTS | {"3": lone}, [judged("1", *votes(*[(0, 1)] * 5)), judged("3", 1, 1, 1, 1, 1)])
    assert found["by_dimension"] == {"Object": 50.0, "Layout": 100.0}
    assert found["accuracy"] == 75.0


def vote(*answers: tuple[int, str]) -> str:
    return json.dumps({"answers": [{"question": number, "option": option} for number, option in answers]})


def test_a_vote_is_parsed_by_question_numbers() -> None:
    assert parse_vote("BA", vote((2, "A"), (1, "E"))) == (0.0, 1.0)
    assert parse_vote("BA", vote((1, "B"), (2, "D"))) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("B: a dog\nA: a row", 'expected JSON of the form {"answers"'),
        (vote((1, "B"), (2, "F")), 'expected JSON of the form {"answers"'),
        (vote((1, "B"), (2, "A: a row")), 'expected JSON of the form {"answers"'),
        (vote((1, "B")), "expected an option for each question, got none for 2"),
        (vote((1, "B"), (1, "B"), (2, "A")), "expected each question from 1 to 2 once, got '1'"),
        (vote((0, "B"), (1, "B"), (2, "A")), "expected each question from 1 to 2 once, got '0'"),
        ('{"answers": []}', "expected an option for each question, got none for 1, 2"),
    ],
)
def test_an_incomplete_vote_is_refused(answer: str, message: str) -> None:
    with pytest.raises(ModelOutputError) as raised:
        parse_vote("BA", answer)
    assert str(raised.value).startswith(message)


def test_all_questions_are_asked_five_times_without_the_right_options() -> None:
    asked = SPATIALGENEVAL.ask(PROMPTS["1"])
    assert len(asked) == 5
    assert len(set(map(id, asked))) == 1
    assert isinstance(asked[0], WordQuestion)
    assert asked[0].temperature == 1.0
    assert "\n1. What is there?  Options: A: a cat, B: a dog, E: None\n2. In what order?" in asked[0].text
    swapped = Prompt("1", "a scene", {**RECORD, "answers": ["C", "D"]})
    assert SPATIALGENEVAL.ask(swapped)[0].text == asked[0].text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"answers": ["B"]},
            "expected an answer and a type for each question, got 2 questions, 1 answers and 2 types",
        ),
        ({"answers": ["B", "Z"]}, "expected a record that can be scored, got: Invalid enum value 'Z'"),
        (
            {"questions": [], "answers": [], "question_type": []},
            "expected an answer and a type for each question, got 0",
        ),
    ],
)
def test_a_record_that_cannot_be_scored_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchmarkError) as raised:
        SPATIALGENEVAL.ask(Prompt("1", "x", RECORD | change))
    assert str(raised.value).startswith(f"prompt 1: {message}")
