"""A judge scores pictures; usable answers are stored, and the others are asked for again."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gems_actors.app.evaluation.judge import MAX_CONCURRENT, REPORT_EVERY, JudgingError, judge_pictures
from gems_actors.app.evaluation.prompt_files import Prompt
from gems_actors.app.evaluation.scores import SCORERS
from gems_actors.app.evaluation.scoring.scorer import Judged
from gems_actors.cli import main
from gems_actors.config import ChatModelConfig
from tests.actors.fakes import png
from tests.gems_actors.backends.servers import Answer, ScriptedServer, open_server
from tests.gems_actors.cli.commands import run_gems

GRADES = ("originality", "expressiveness", "aesthetic_appeal", "technical_execution", "unexpected_associations")


def reply(text: str) -> Answer:
    return Answer(json.dumps({"choices": [{"message": {"content": text}}]}).encode())


def picture_of(fields: dict[str, Any]) -> bytes:
    """Return the picture in a request to the judge."""
    url: str = fields["messages"][0]["content"][0]["image_url"]["url"]
    return base64.b64decode(url.removeprefix("data:image/png;base64,"))


def grade_of(fields: dict[str, Any]) -> int:
    """Return the width of the picture in a request."""
    return int.from_bytes(picture_of(fields)[16:20], "big")


def question_of(fields: dict[str, Any]) -> str:
    text: str = fields["messages"][0]["content"][1]["text"]
    return text


def graded(fields: dict[str, Any]) -> Answer:
    """Answer with the grade that is the width of the picture."""
    grade = grade_of(fields)
    return reply(json.dumps({**dict.fromkeys(GRADES, grade), "interpretability_and_depth": grade}))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with open_server(ScriptedServer(graded)) as opened:
        yield opened


class Bench:
    """Judges pictures whose width is their grade."""

    def __init__(self, folder: Path, server: ScriptedServer) -> None:
        self.folder, self.server = folder, server
        self.reports: list[str] = []

    async def judge(
        self,
        name: str,
        prompts: Sequence[Prompt],
        grades: Sequence[Sequence[int]],
        *,
        model: str = "judge-8b",
        max_concurrent: int = MAX_CONCURRENT,
        report_every: int = REPORT_EVERY,
    ) -> list[Judged]:
        pictures: dict[str, list[Path]] = {}
        for prompt, row in zip(prompts, grades, strict=True):
            for sample, grade in enumerate(row):
                path = self.folder / f"{prompt.id}-{sample}.png"
                path.write_bytes(png(grade, 16))
                pictures.setdefault(prompt.id, []).append(path)
        judge = ChatModelConfig(backend="openai", url=self.server.url, model=model)
        questions = {prompt.id: SCORERS[name].ask(prompt) for prompt in prompts}
        return await judge_pictures(
            judge,
            questions,
            pictures,
            self.folder / "judged.jsonl",
            self.reports.append,
            max_concurrent=max_concurrent,
            report_every=report_every,
        )


@pytest.fixture
def bench(tmp_path: Path, server: ScriptedServer) -> Bench:
    return Bench(tmp_path, server)


KETTLES = [Prompt(id_, f"a creative kettle {id_}", {}) for id_ in ("00000", "00001")]


async def test_a_picture_is_judged_again_only_by_another_judge_or_with_another_question(bench: Bench) -> None:
    first = await bench.judge("crea", KETTLES, [[1, 2], [3, 5]])
    assert [item.scores[0] for item in first] == [1, 2, 3, 5]
    assert [item.id for item in first] == ["00000", "00000", "00001", "00001"]
    assert len(bench.server.asked) == 4
    assert await bench.judge("crea", KETTLES, [[1, 2], [3, 5]]) == first
    assert len(bench.server.asked) == 4
    assert [item.scores[0] for item in await bench.judge("crea", KETTLES, [[1, 4], [3, 5]])] == [1, 4, 3, 5]
    assert len(bench.server.asked) == 5
    await bench.judge("crea", KETTLES, [[1, 4], [3, 5]], model="judge-72b")
    assert len(bench.server.asked) == 9
    await bench.judge("crea", [KETTLES[0], Prompt("00001", "a creative lamp", {})], [[1, 4], [3, 5]])
    assert len(bench.server.asked) == 11


async def test_progress_is_reported(bench: Bench) -> None:
    await bench.judge("crea", KETTLES, [[1, 2], [3, 5]], report_every=2)
    assert bench.reports == [
        "judging 4 of 4 pictures by judge-8b",
        "judged 2 of 4",
        "judged 4 of 4",
    ]


async def test_the_picture_of_an_incomplete_line_is_judged_again(bench: Bench, tmp_path: Path) -> None:
    await bench.judge("crea", KETTLES, [[1], [3]])
    path = tmp_path / "judged.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    for _ in range(2):
        assert [item.scores[0] for item in await bench.judge("crea", KETTLES, [[1], [3]])] == [1, 3]
    assert len(bench.server.asked) == 3


def babbling_about(*grades: int) -> Callable[[dict[str, Any]], Answer]:
    return lambda fields: reply("What a lovely kettle!") if grade_of(fields) in grades else graded(fields)


async def test_a_picture_with_an_unusable_answer_is_named_and_alone_judged_again(bench: Bench) -> None:
    bench.server.rule = babbling_about(2)
    with pytest.raises(JudgingError) as raised:
        await bench.judge("crea", KETTLES, [[1, 2], [3, 5]])
    message = str(raised.value)
    assert message.startswith("expected 4 pictures judged, got 3 (the same command judges the others): ")
    assert "prompt 00000, picture 2: expected JSON with a whole number from 1 to 5" in message
    assert "got 'What a lovely kettle!' (" in message, "followed by what helps"
    assert len(bench.server.asked) == 5, "an unusable answer is repaired once"
    bench.server.rule = graded
    assert [item.scores[0] for item in await bench.judge("crea", KETTLES, [[1, 2], [3, 5]])] == [1, 2, 3, 5]
    assert len(bench.server.asked) == 6


async def test_a_repaired_answer_counts(bench: Bench) -> None:
    bench.server.first = [reply("Four stars!")]
    (found,) = await bench.judge("crea", KETTLES[:1], [[4]])
    assert found.scores == (4.0,) * 6
    assert json.loads(found.answers[0])["originality"] == 4
    assert "That answer cannot be used" in bench.server.asked[1][2]["messages"][2]["content"]


@pytest.mark.slow
async def test_a_judge_that_always_fails_is_given_up(bench: Bench) -> None:
    bench.server.rule = lambda _: Answer(b'{"error": {"message": "no such model"}}', 404)
    with pytest.raises(JudgingError, match=r"got 0 .*no such model.*; and 1[34] more$"):
        await bench.judge("crea", KETTLES[:1], [[1] * 60], max_concurrent=2)
    assert len(bench.server.asked) <= 2 * 17, "each with a schema and without"


async def test_five_votes_are_five_answers(bench: Bench) -> None:
    record = {
        "question_type": ["Object", "Layout"],
        "questions": ["What?  Options: A: a cat, E: None", "How?  Options: A: a row, E: None"],
        "answers": ["A", "A"],
    }
    prompts = [Prompt("000001", "a cat", record)]

    def voting(fields: dict[str, Any]) -> Answer:
        assert fields["temperature"] == 1.0
        assert fields["response_format"]["json_schema"]["name"] == "judge"
        second = "E" if len(bench.server.asked) in (2, 4) else "A"
        options = [{"question": 1, "option": "A"}, {"question": 2, "option": second}]
        return reply(json.dumps({"answers": options}))

    bench.server.rule = voting
    judged = await bench.judge("spatialgeneval", prompts, [[1]])
    assert [item.scores for item in judged] == [(1, 1, 1, 0, 1, 1, 1, 0, 1, 1)]
    assert len(judged[0].answers) == 5
    scores = SCORERS["spatialgeneval"].total({"000001": prompts[0]}, judged)
    assert list(SCORERS["spatialgeneval"].lines(scores)) == [
        "SpatialGenEval     50.0",
        "  Object           100.0",
        "  Layout           0.0",
    ]
    assert len({question_of(fields) for _, _, fields in bench.server.asked}) == 1


WISE = [
    {"prompt_id": 2, "Prompt": "Newton's fruit", "Explanation": "It is an apple.", "Category": "Physical Knowledge"},
    {"prompt_id": 1, "Prompt": "the moon at noon", "Explanation": "It is pale.", "Category": "time"},
]


def deciding(fields: dict[str, Any]) -> Answer:
    is_right = "It is an apple." in question_of(fields)
    return reply(json.dumps({"reason": "so it is", "is_right": is_right}))


@pytest.mark.slow
def test_a_benchmark_has_no_score_until_every_picture_is_judged(tmp_path: Path, server: ScriptedServer) -> None:
    (tmp_path / "natural_science_verified.json").write_text(json.dumps(WISE))
    command = ("eval", "wise", "--data", "natural_science_verified.json", "--out", "out", "--rounds", "1", "--score")
    judge = ("--set", "judge.backend=openai", "--set", f"judge.url={server.url}", "--set", "judge.model=judge-8b")
    server.rule = lambda fields: reply("It is pale.") if "It is pale." in question_of(fields) else deciding(fields)
    failed = run_gems(tmp_path, *command, *judge)
    assert failed.returncode == 1
    last = failed.stderr.splitlines()[-1]
    assert last.startswith("gems: expected 2 pictures judged, got 1 (the same command judges the others): ")
    assert "prompt 1, picture 1: expected JSON" in last
    assert not (tmp_path / "out/scores.json").exists()
    server.rule = deciding
    done = run_gems(tmp_path, *command, *judge, "--json")
    assert done.returncode == 0, done.stderr
    assert len(server.asked) == 4
    assert done.stderr.splitlines()[-4:] == [
        "judge              judge-8b, 2 prompts, 2 pictures",
        "WISE Verified      needs pictures in all of culture, time, space, biology, physics, chemistry",
        "  time             0.000",
        "  physics          1.000",
    ]
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert (scores["scorer"], scores["by_category"]) == ("wise-verified", {"time": 0.0, "physics": 1.0})
    for name in ("prompts.jsonl", "dataset/metadata.jsonl"):
        assert b"apple" not in (tmp_path / "out" / name).read_bytes(), "the roles do not see explanations"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "artimuse",
            {"prompt": "a cow"},
            "--score: expected one of geneval2, wise, spatialgeneval, crea, whose scores ",
        ),
        ("crea", {"prompt": "a cow"}, '--score: expected a table [judge] with backend = "openai" and a url, got none'),
        (
            "geneval2",
            {"prompt": "x", "atom_count": 1, "vqa_list": 1, "skills": []},
            "--data: prompt 00000: expected a ",
        ),
    ],
)
def test_an_impossible_score_is_refused_before_anything_is_drawn(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    data: dict[str, Any],
    message: str,
) -> None:
    (tmp_path / "data.jsonl").write_text(json.dumps(data) + "\n")
    monkeypatch.chdir(tmp_path)
    judge = ("--set", 'judge={backend="openai", url="http://127.0.0.1:9"}') if name == "geneval2" else ()
    assert main(["eval", name, "--data", "data.jsonl", "--out", "out", "--score", *judge]) == 2
    assert capsys.readouterr().err.startswith(f"gems: {message}")
    assert not (tmp_path / "out").exists()


def test_a_judge_that_the_roles_also_use_is_pointed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data.jsonl").write_text('{"prompt": "x", "atom_count": 1, "vqa_list": 1, "skills": []}\n')
    monkeypatch.chdir(tmp_path)
    command = ["eval", "geneval2", "--data", "data.jsonl", "--out", "out", "--score"]
    model = '{backend="openai", url="http://127.0.0.1:9/v1", model="vlm"}'
    for other, count in ((model, 2), (model.replace("vlm", "llm"), 1)):
        assert main([*command, "--set", f"judge={model}", "--set", f"chat={other}"]) == 2
        printed = capsys.readouterr().err.splitlines()
        assert len(printed) == count
        if count == 2:
            assert printed[0] == "gems: a role uses the same model as the judge, so the scores may be too high"
