"""WISE's scores on cases calculated by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gems_actors.app.evaluation.benchmarks import read_benchmark
from gems_actors.app.evaluation.prompt_files import BenchmarkError, Prompt
from gems_actors.app.evaluation.scores import SCORERS, scorer_name_of
from gems_actors.app.evaluation.scoring.wise import (
    WISE_LEGACY,
    WISE_VERIFIED,
    legacy_total,
    parse_grades,
    parse_verdict,
    verified_total,
    wiscore,
)
from gems_actors.errors import ModelOutputError
from tests.gems_actors.app.evaluation.scoring.cases import judged

CATEGORIES = ("Cultural knowledge", "time", "Space", "Biology", "Physical Knowledge", "Chemistry")


def prompt(id_: str, category: str) -> Prompt:
    return Prompt(id_, "the fruit of Newton", {"Explanation": "An apple falls.", "Category": category})


PROMPTS = {str(number): prompt(str(number), category) for number, category in enumerate(CATEGORIES)}


@pytest.mark.parametrize(
    ("grades", "score"),
    [((2, 2, 2), 1.0), ((0, 0, 0), 0.0), ((2, 0, 0), 0.7), ((0, 2, 0), 0.2), ((0, 0, 2), 0.1), ((1, 2, 1), 0.6)],
)
def test_wiscore_weights_consistency_most(grades: tuple[int, int, int], score: float) -> None:
    assert wiscore(*grades) == pytest.approx(score)


def test_wiscore_weights_the_means_of_the_categories() -> None:
    found = legacy_total(
        PROMPTS,
        [
            judged("0", 2, 2, 2), judged("0", 0, 0, 0),  # culture: (1 + 0) / 2
            judged("1", 2, 0, 0), judged("2", 1, 2, 1), judged("3", 2, 2, 2),
            judged("4", 0, 2, 2), judged("5", 0, 1, 1),
        ],
    )  # fmt: skip
    assert found["by_category"] == pytest.approx(
        {"culture": 0.5, "time": 0.7, "space": 0.6, "biology": 1.0, "physics": 0.3, "chemistry": 0.15}
    )
    assert found["overall"] == pytest.approx(0.4 * 0.5 + 0.167 * 0.7 + 0.133 * 0.6 + 0.1 * (1.0 + 0.3 + 0.15))
    assert found["by_aspect"] == pytest.approx({"consistency": 1.0, "realism": 9 / 7, "aesthetic_quality": 8 / 7})
    assert WISE_LEGACY.compare(found) == {"WiScore x 100": pytest.approx(54.17)}


def test_wise_verified_is_the_weighted_share_of_right_pictures() -> None:
    pictures = [("0", 1), ("0", 0), ("1", 1), ("2", 0), ("2", 1), ("3", 1), ("4", 1), ("4", 0), ("4", 0), ("5", 1)]
    found = verified_total(PROMPTS, [judged(id_, right) for id_, right in pictures])
    assert found["overall"] == pytest.approx(0.4 * 0.5 + 0.12 * (1 + 1 / 2 + 1 + 1 / 3 + 1))
    assert found["by_category"]["culture"] == 0.5


def test_a_missing_category_leaves_no_overall_score() -> None:
    found = legacy_total(PROMPTS, [judged("0", 2, 2, 2), judged("3", 0, 0, 0)])
    assert "overall" not in found
    assert list(WISE_LEGACY.lines(found)) == [
        "WiScore            needs pictures in all of culture, time, space, biology, physics, chemistry",
        "  culture          1.000",
        "  biology          0.000",
        "  consistency       1.00",
        "  realism           1.00",
        "  aesthetic quality 1.00",
    ]
    assert WISE_LEGACY.compare(found) == {}


@pytest.mark.parametrize(("suffix", "name"), [("", "wise"), ("_verified", "wise-verified")])
def test_the_edition_is_that_of_the_files(tmp_path: Path, suffix: str, name: str) -> None:
    record = {"Prompt": "x", "Explanation": "y", "Category": "time", "prompt_id": 1}
    (tmp_path / f"cultural_common_sense{suffix}.json").write_text(json.dumps([record]))
    found = scorer_name_of("wise", read_benchmark("wise", tmp_path).prompts[0])
    assert found == name
    assert SCORERS[found] is (WISE_VERIFIED if suffix else WISE_LEGACY)
    other = {**record, "prompt_id": 2}
    (tmp_path / f"natural_science{'' if suffix else '_verified'}.json").write_text(json.dumps([other]))
    with pytest.raises(BenchmarkError, match="expected files of one edition"):
        read_benchmark("wise", tmp_path)


def test_grades_and_verdicts_are_parsed_strictly() -> None:
    assert parse_grades('{"realism": 1, "consistency": 2, "aesthetic_quality": 0}') == (2, 1, 0)
    assert parse_verdict('{"reason": "it falls", "is_right": true}') == (1.0,)
    assert parse_verdict('{"is_right": false}') == (0.0,)
    for answer in ("Consistency: 2", '{"realism": 3, "consistency": 2, "aesthetic_quality": 0}', '{"consistency": 2}'):
        with pytest.raises(ModelOutputError, match="expected JSON with 0, 1 or 2 for each of consistency, realism, "):
            parse_grades(answer)
    for answer in ("yes", '{"is_right": "yes"}', '{"is_right": 1}', '{"reason": "it falls"}'):
        with pytest.raises(ModelOutputError, match='expected JSON with "is_right", true or false'):
            parse_verdict(answer)


def test_a_file_that_cannot_be_scored_is_refused() -> None:
    with pytest.raises(BenchmarkError, match=r"prompt 7: expected a category of .*, got 'History'"):
        WISE_VERIFIED.ask(prompt("7", "History"))
    with pytest.raises(BenchmarkError, match=r"prompt 7: expected a record that can be scored.*Explanation"):
        WISE_LEGACY.ask(Prompt("7", "x", {"Category": "time"}))


def test_the_question_contains_the_explanation() -> None:
    for scorer in (WISE_LEGACY, WISE_VERIFIED):
        (question,) = scorer.ask(PROMPTS["4"])
        assert '"the fruit of Newton"' in question.text
        assert '"An apple falls."' in question.text
