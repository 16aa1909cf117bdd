"""A benchmark is drawn from a Python program."""

from __future__ import annotations

from pathlib import Path

import pytest

from gems_actors.app.bulk import BulkResult
from gems_actors.app.evaluation import EvaluationOptions, EvaluationView, run
from gems_actors.app.options import DrawOptions
from gems_actors.errors import UsageError


class Recorder(EvaluationView):
    """Keeps what a view is shown after the pictures are drawn."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def finish_bulk(self, result: BulkResult) -> None:
        self.shown.append(f"{result.tally.pictures} pictures")

    def note(self, text: str) -> None:
        self.shown.append(text.partition(" in ")[0])


@pytest.mark.slow
async def test_a_program_draws_a_benchmark_and_continues_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "data.jsonl").write_text('{"prompt": "a cow"}\n{"prompt": "a pig"}\n')
    view = Recorder()
    for limit, missing in ((1, 1), (None, 0)):
        options = EvaluationOptions(
            benchmark="artimuse",
            data=tmp_path / "data.jsonl",
            out=tmp_path / "out",
            options=DrawOptions(rounds=1),
            limit=limit,
        )
        result = await run(options, view)
        assert (result.missing, result.total, result.scores) == (missing, 2, None)
    assert view.shown == ["1 pictures", "2 pictures", "laid out for the scorer of ArtiMuse"]
    assert {path.name for path in (tmp_path / "out" / "artimuse").iterdir()} == {"00000.png", "00001.png"}


async def test_an_unreadable_prompt_file_is_a_usage_error(tmp_path: Path) -> None:
    options = EvaluationOptions(benchmark="artimuse", data=tmp_path / "none.jsonl", out=tmp_path / "out")
    with pytest.raises(UsageError, match=r"--data: .*none\.jsonl: expected a readable file"):
        await run(options)
    assert not (tmp_path / "out").exists()


async def test_an_unknown_benchmark_is_a_usage_error(tmp_path: Path) -> None:
    options = EvaluationOptions(benchmark="gem", data=tmp_path / "data.jsonl", out=tmp_path / "out")
    with pytest.raises(UsageError, match=r"^benchmark: expected one of .*, got 'gem'$"):
        await run(options)
