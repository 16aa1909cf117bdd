"""Soft-TIFA on cases calculated by hand, and with a scripted judge."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gems_actors.app.evaluation.prompt_files import Prompt
from gems_actors.app.evaluation.scoring.geneval2 import (
    GENEVAL2,
    geometric_mean,
    score_answer,
    soft_tifa,
    spellings_of,
)
from tests.gems_actors.app.evaluation.scoring.cases import judged
from tests.gems_actors.backends.servers import Answer, ScriptedServer, open_server
from tests.gems_actors.cli.commands import run_gems


@pytest.mark.parametrize(
    ("question", "answer", "spellings"),
    [
        ("How many pigs are in the image?", "two", {"two", "Two", "2", " two", " Two", " 2"}),
        ("Is the pig green?", "Yes", {"yes", "Yes", " yes", " Yes"}),
    ],
)
def test_all_spellings_of_an_answer_count(question: str, answer: str, spellings: set[str]) -> None:
    assert spellings_of(question, answer) == spellings


def test_the_probabilities_of_all_spellings_are_summed() -> None:
    tokens = {"Two": 0.4, " two": 0.2, "2": 0.1, "three": 0.2, "t": 0.1}
    assert score_answer("How many pigs are there?", "two", tokens) == pytest.approx(0.7)
    assert score_answer("Are there pigs?", "Yes", tokens) == 0.0
    assert score_answer("Are there pigs?", "Yes", {"Yes": 0.7, " yes": 0.300001}) == 1.0


@pytest.mark.parametrize(
    ("tokens", "score"),
    [
        ({"five": 0.3, " ": 0.5, "5": 0.1, "six": 0.1}, 0.9),  # BPE with numbers apart: " 5" begins with a bare space
        ({"five": 0.3, " ": 0.5, " 6": 0.1, "5": 0.1}, 0.4),  # a tokenizer that has " 6" has " 5"
        ({"five": 0.3, " ": 0.5, " 5": 0.1}, 0.4),
        ({" five": 0.3, "\u2581": 0.5, "  ": 0.1, "\n": 0.1}, 0.3),
    ],
)
def test_a_bare_space_begins_a_number_where_the_tokenizer_has_no_other_form(
    tokens: dict[str, float], score: float
) -> None:
    assert score_answer("How many pigs are there?", "five", tokens) == pytest.approx(score)
    assert score_answer("Are there pigs?", "Yes", tokens) == 0.0, "only a number is written as a digit"


def test_what_the_server_does_not_name_is_said_where_it_is_much() -> None:
    for unseen, is_said in ((0.0, False), (0.04, False), (0.08, True)):
        item = msgspec.structs.replace(judged("a", 0.5, 0.5), unseen=unseen)
        scores = soft_tifa(PROMPTS, [item])
        assert scores["unseen_probability"] == pytest.approx(100 * unseen)
        said = [line for line in GENEVAL2.lines(scores) if "too low" in line]
        assert bool(said) == is_said
    assert said == ["  AM up to 8.0 too low: so much probability is on tokens that the judge's server did not name"]


PROMPTS = {
    "a": Prompt("a", "x", {"atom_count": 3, "skills": ["count", "object"], "vqa_list": [["?", "Yes"]] * 2}),
    "b": Prompt("b", "y", {"atom_count": 4, "skills": ["count", "verb", "object"], "vqa_list": [["?", "Yes"]] * 3}),
}


def test_the_score_is_the_mean_over_prompts_of_the_geometric_mean_over_questions() -> None:
    found = soft_tifa(PROMPTS, [judged("a", 0.25, 1.0), judged("b", 0.9, 0.6, 0.0)])
    assert found["soft_tifa_gm"] == pytest.approx(100 * (math.sqrt(0.25 * 1.0) + 0.0) / 2)
    assert found["soft_tifa_am"] == pytest.approx(100 * (0.625 + 0.5) / 2)
    assert found["am_by_skill"] == pytest.approx({"count": 57.5, "object": 50.0, "verb": 60.0})
    assert found["gm_by_atom_count"] == pytest.approx({"3": 50.0, "4": 0.0})


def test_the_pictures_of_a_prompt_are_averaged_before_the_prompts() -> None:
    found = soft_tifa(PROMPTS, [judged("a", 1.0, 1.0), judged("a", 0.0, 1.0), judged("b", 1.0, 1.0, 1.0)])
    assert found["soft_tifa_gm"] == pytest.approx(75.0)
    assert found["am_by_skill"]["count"] == pytest.approx(75.0)


def test_the_geometric_mean_is_the_root_of_the_product() -> None:
    assert geometric_mean([0.5, 0.5, 0.5]) == pytest.approx(0.5)
    assert geometric_mean([0.9, 0.4]) == pytest.approx(0.6)


def answer(fields: dict[str, Any]) -> Answer:
    """Answer: one pig with 90 %, two pigs with 5 %, and any object with 80 %."""
    picture, question = fields["messages"][0]["content"]
    assert picture["type"] == "image_url"
    assert question["text"].endswith("? Answer in one word.")
    assert (fields["max_tokens"], fields["logprobs"], fields["top_logprobs"]) == (1, True, 20)
    found = {"one": 0.5, "One": 0.4, "two": 0.05} if "many" in question["text"] else {"Yes": 0.8, "No": 0.2}
    tokens = [{"token": token, "logprob": math.log(chance)} for token, chance in found.items()]
    choice = {"message": {"content": "x"}, "logprobs": {"content": [{**tokens[0], "top_logprobs": tokens}]}}
    return Answer(json.dumps({"choices": [choice]}).encode())


@pytest.mark.slow
def test_a_separate_judge_scores_the_pictures_once(tmp_path: Path) -> None:
    records = [
        {
            "prompt": f"{count} pigs", "atom_count": 3, "skills": ["count", "object"],
            "vqa_list": [["How many pigs are in the image?", count], ["Are there any pigs?", "Yes"]],
        }
        for count in ("one", "two")
    ]  # fmt: skip
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    command = ("eval", "geneval2", "--data", "data.jsonl", "--out", "out", "--rounds", "1", "--score")
    with open_server(ScriptedServer(answer)) as server:
        judge = ("--set", "judge.backend=openai", "--set", f"judge.url={server.url}", "--set", "judge.model=judge-8b")
        first = run_gems(tmp_path, *command, *judge, more={"NO_PROXY": "127.0.0.1"})
        assert first.returncode == 0, first.stderr
        again = run_gems(tmp_path, *command, *judge, more={"NO_PROXY": "127.0.0.1"})
        assert len(server.asked) == 4
        judged_lines = [json.loads(line) for line in (tmp_path / "out/judged.jsonl").read_text().splitlines()]
        assert [line["unseen"] for line in judged_lines] == [pytest.approx(0.025)] * 2, "5 % of one of two questions"
    gm = 100 * (math.sqrt(0.9 * 0.8) + math.sqrt(0.05 * 0.8)) / 2
    assert first.stdout.splitlines() == again.stdout.splitlines() == [
        "judge              judge-8b, 2 prompts, 2 pictures",
        f"Soft-TIFA GM       {gm:.1f}",
        "Soft-TIFA AM       63.8",
        "  AM count         47.5",
        "  AM object        80.0",
        f"  GM 3 atoms       {gm:.1f}",
    ]  # fmt: skip
    assert json.loads((tmp_path / "out/scores.json").read_text())["soft_tifa_gm"] == pytest.approx(gm)
    compared = run_gems(tmp_path, "eval", "compare", "out").stdout.splitlines()
    assert " ".join(compared[0].split()).startswith("repeats Soft-TIFA GM Soft-TIFA AM all met %")
    assert compared[1].split()[4] == f"{gm:.1f}"
    without = run_gems(tmp_path, *command)
    assert (without.returncode, without.stderr.count("\n")) == (2, 1)
    assert 'expected a table [judge] with backend = "openai" and a url, got none' in without.stderr
