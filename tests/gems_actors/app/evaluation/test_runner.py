"""A benchmark is drawn from a Python program."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gems_actors.app.bulk import BulkResult
from gems_actors.app.evaluation import EvaluationOptions, EvaluationView, run
from gems_actors.app.options import DrawOptions
from gems_actors.errors import UsageError
from tests.gems_actors.backends.servers import Answer, ScriptedServer, drawn, open_server
from tests.gems_actors.cli.commands import run_gems


class Recorder(EvaluationView):
    """Keeps what a view is shown after the pictures are drawn."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def finish_bulk(self, result: BulkResult) -> None:
        self.shown.append(f"{result.tally.pictures} pictures")

    def note(self, text: str) -> None:
        self.shown.append(text.partition(" in ")[0])


def options(folder: Path, **more: Any) -> EvaluationOptions:
    return EvaluationOptions(
        benchmark="artimuse", data=folder / "data.jsonl", out=folder / "out", options=DrawOptions(rounds=1), **more
    )


@pytest.mark.slow
async def test_a_program_draws_a_part_of_a_benchmark_and_then_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "data.jsonl").write_text('{"prompt": "a cow"}\n{"prompt": "a pig"}\n{"prompt": "a hen"}\n')
    view = Recorder()
    drawn: dict[str, float] = {}
    for limit, chosen in ((2, 2), (2, 2), (None, 3), (1, 1)):
        result = await run(options(tmp_path, limit=limit), view)
        assert (result.prompts, result.of_prompts, result.total) == (chosen, 3, chosen)
        assert (result.missing, result.scores) == (0, None)
        laid_out = {path.name for path in (tmp_path / "out" / "artimuse").iterdir()}
        assert laid_out == {f"{number:05d}.png" for number in range(chosen)}, "nothing stays of a larger part"
        pictures = {path.name: path.stat().st_mtime for path in (tmp_path / "out/dataset").rglob("*.png")}
        assert drawn.items() <= pictures.items(), "nothing is drawn again"
        drawn = pictures
    provenance = json.loads((tmp_path / "out" / "provenance.json").read_text())
    data = hashlib.sha256((tmp_path / "data.jsonl").read_bytes()).hexdigest()
    assert (provenance["evaluation"]["benchmark"], provenance["evaluation"]["data_sha256"]) == ("artimuse", data)
    assert view.shown == [
        "2 pictures", "laid out 2 of 3 prompts for the scorer of ArtiMuse",
        "2 pictures", "laid out 2 of 3 prompts for the scorer of ArtiMuse",
        "3 pictures", "laid out for the scorer of ArtiMuse",
        "3 pictures", "laid out 1 of 3 prompts for the scorer of ArtiMuse",
    ]  # fmt: skip
    reseeded = replace(options(tmp_path, limit=1), options=DrawOptions(rounds=1, seed=1))
    for other in ({"rounds": 1, "seed": 1}, {"rounds": 2}, {"strategy": "single"}, {"rounds": 1, "size": (64, 64)}):
        with pytest.raises(UsageError, match="would replace 1 of 3 finished pictures; --keep leaves"):
            await run(replace(reseeded, options=DrawOptions(**other)))
    assert (await run(replace(reseeded, consent="redraw"), view)).missing == 0
    pictures = {path.name: path.stat().st_mtime for path in (tmp_path / "out/dataset").rglob("*.png")}
    assert len(drawn.items() - pictures.items()) == 1, "only the picture of the part is drawn again"
    view.shown = view.shown[:8]
    (tmp_path / "data.jsonl").write_text('{"prompt": "a cow"}\n{"prompt": "a fox"}\n{"prompt": "a hen"}\n')
    with pytest.raises(UsageError, match=r"^--out: .* got 3 others, first at prompt 00001; choose another --out$"):
        await run(options(tmp_path), view)
    assert len(view.shown) == 8


@pytest.mark.slow
def test_a_part_is_laid_out_and_scored_as_such_and_its_questions_stay_private(tmp_path: Path) -> None:
    records = [{"id": f"{n:06d}", "prompt": f"{n} pigs", **QUESTIONS} for n in range(4)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    command = ("eval", "spatialgeneval", "--data", "data.jsonl", "--out", "out", "--rounds", "1", "--score")
    with open_server(ScriptedServer(voting)) as server:
        judge = ("--set", "judge.backend=openai", "--set", f"judge.url={server.url}", "--set", "judge.model=judge-8b")
        part = run_gems(tmp_path, *command, *judge, "--limit", "3")
        assert part.returncode == 0, part.stderr
        assert "laid out 3 of 4 prompts for the scorer of SpatialGenEval in out/spatialgeneval" in part.stderr
        assert "judge              judge-8b, 3 of 4 prompts, 3 pictures" in part.stdout
        scores = json.loads((tmp_path / "out/scores.json").read_text())
        assert (scores["prompts"], scores["of_prompts"], scores["accuracy"]) == (3, 4, 100.0)
        old = tmp_path / "out/spatialgeneval"
        for name in ("judged.jsonl", "scores.json"):  # where earlier versions put them
            (tmp_path / "out" / name).rename(old / name)
        whole = run_gems(tmp_path, *command, *judge)
        assert whole.returncode == 0, whole.stderr
        assert "judge              judge-8b, 4 prompts, 4 pictures" in whole.stdout
        assert len(server.asked) == 4 * 5, "answers of an earlier version are kept"
    assert sorted(path.name for path in old.iterdir()) == [f"{n:06d}.png" for n in range(4)], "pictures only"
    lines = (tmp_path / "out/scores_by_prompt.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {
        "id": "000000", "parts": {"SpatialGenEval": {"Object": [1.0, 1.0], "Layout": [1.0, 1.0]}}
    }  # fmt: skip
    for name in ("prompts.jsonl", "dataset/metadata.jsonl"):
        assert b"Options" not in (tmp_path / "out" / name).read_bytes()
    described = json.loads((tmp_path / "out/eval.json").read_text())
    assert described["data_sha256"] == hashlib.sha256((tmp_path / "data.jsonl").read_bytes()).hexdigest()
    unknown = run_gems(tmp_path, "eval", "genevil", "--data", "data.jsonl", "--out", "out")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
    assert "expected one of geneval, geneval2, dpg, oneig" in unknown.stderr


@pytest.mark.slow
def test_nothing_is_laid_out_while_a_picture_of_the_part_is_missing(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"prompt": "a cow"}\n{"prompt": "a pig"}\n{"prompt": "a hen"}\n')
    command = ("eval", "artimuse", "--data", "data.jsonl", "--out", "out", "--strategy", "single")

    def refusing(fields: dict[str, Any]) -> Answer:
        return Answer(b'{"error": {"message": "unsafe"}}', 400) if "pig" in fields["prompt"] else drawn(fields)

    with open_server(ScriptedServer(refusing)) as server:
        image = ("--set", "image.backend=openai", "--set", f"image.url={server.url}")
        failed = run_gems(tmp_path, *command, *image, "--limit", "2")
        assert failed.returncode == 1
        last = failed.stderr.splitlines()[-1]
        assert last == "gems: 1 of 2 pictures are missing, so nothing is laid out for the scorer"
        assert not (tmp_path / "out/artimuse").exists()
        first = run_gems(tmp_path, *command, *image, "--limit", "1")
        assert first.returncode == 0, first.stderr
        assert [path.name for path in (tmp_path / "out/artimuse").iterdir()] == ["00000.png"]


QUESTIONS = {
    "question_type": ["Object", "Layout"],
    "questions": ["What?  Options: A: a pig, E: None", "How?  Options: A: a row, E: None"],
    "answers": ["A", "A"],
}


def voting(_: dict[str, Any]) -> Answer:
    vote = json.dumps({"answers": [{"question": 1, "option": "A"}, {"question": 2, "option": "A"}]})
    return Answer(json.dumps({"choices": [{"message": {"content": vote}}]}).encode())


async def test_an_unreadable_prompt_file_is_a_usage_error(tmp_path: Path) -> None:
    options = EvaluationOptions(benchmark="artimuse", data=tmp_path / "none.jsonl", out=tmp_path / "out")
    with pytest.raises(UsageError, match=r"--data: .*none\.jsonl: expected a readable file"):
        await run(options)
    assert not (tmp_path / "out").exists()


async def test_an_unknown_benchmark_is_a_usage_error(tmp_path: Path) -> None:
    options = EvaluationOptions(benchmark="gem", data=tmp_path / "data.jsonl", out=tmp_path / "out")
    with pytest.raises(UsageError, match=r"^benchmark: expected one of .*, got 'gem'$"):
        await run(options)
