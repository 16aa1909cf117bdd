"""Scores the pictures of a benchmark with a judge, and reads the figures by which runs are compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gems_actors.app.bulk.folder import inspect_folder, read_run
from gems_actors.app.bulk.totals import Tally
from gems_actors.app.evaluation.benchmarks import BENCHMARKS, Prompt
from gems_actors.app.evaluation.scoring.crea import CREA
from gems_actors.app.evaluation.scoring.geneval2 import GENEVAL2
from gems_actors.app.evaluation.scoring.scorer import Question, Scorer
from gems_actors.app.evaluation.scoring.spatialgeneval import SPATIALGENEVAL
from gems_actors.app.evaluation.scoring.wise import WISE_LEGACY, WISE_VERIFIED
from gems_actors.app.picture_files import OutputError, encode_json, write_whole
from gems_actors.config import ChatModelConfig, MeshConfig
from gems_actors.errors import UsageError
from protocol.costs import chat_cost

SCORERS: Final[Mapping[str, Scorer]] = {
    "geneval2": GENEVAL2,
    "crea": CREA,
    "wise": WISE_LEGACY,
    "wise-verified": WISE_VERIFIED,
    "spatialgeneval": SPATIALGENEVAL,
}
"""Scorers by the name in scores.json: that of the benchmark, with its edition where it has several."""
SCORED_BENCHMARKS: Final = tuple(name for name in BENCHMARKS if name in SCORERS)
"""Benchmarks whose scores need only a chat model."""


@dataclass(frozen=True, slots=True)
class ScoringPlan:
    """The judge, and its questions about the pictures of each prompt."""

    scorer: str
    judge: ChatModelConfig
    questions: Mapping[str, Sequence[Question]]


def scorer_name_of(benchmark: str, prompt: Prompt) -> str | None:
    """Return the name of a benchmark's scorer, chosen by one of its prompts; None if there is no scorer for it here."""
    edition = prompt.record.get("edition") if benchmark == "wise" else None
    name = f"{benchmark}-verified" if edition == "verified" else benchmark
    return name if name in SCORERS else None


def plan_scoring(
    benchmark: str, prompts: Sequence[Prompt], config: MeshConfig, warn: Callable[[str], None]
) -> ScoringPlan:
    """Return how to score a benchmark, so that an impossible score is refused before pictures are drawn.

    Raises:
        BenchmarkError: a record lacks fields that the scorer needs.
        UsageError: there is no scorer for the benchmark, or no judge.
    """
    if (scorer := scorer_name_of(benchmark, prompts[0])) is None:
        scored = ", ".join(SCORED_BENCHMARKS)
        raise UsageError(f"--score: expected one of {scored}, whose scores need only a chat model, got {benchmark}")
    judge = config.judge
    if judge is None or judge.backend != "openai":
        raise UsageError('--score: expected a table [judge] with backend = "openai" and a url, got none')
    models = [config.chat.of(role) for role in config.chat_roles]
    if any((model.backend, model.url, model.model) == (judge.backend, judge.url, judge.model) for model in models):
        warn("a role uses the same model as the judge, so the scores may be too high")
    return ScoringPlan(scorer, judge, {prompt.id: SCORERS[scorer].ask(prompt) for prompt in prompts})


async def score_pictures(
    plan: ScoringPlan,
    prompts: Sequence[Prompt],
    pictures: Mapping[str, Sequence[Path]],
    folder: Path,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Judge the pictures, write scores.json and judged.jsonl into a folder, and return the scores.

    Raises:
        JudgingError: some pictures could not be judged, so there is no score.
    """
    from gems_actors.app.evaluation.judge import judge_pictures  # loads httpx, which drawing does not need

    judge = plan.judge
    judged = await judge_pictures(judge, plan.questions, pictures, folder / "judged.jsonl", report)
    total = SCORERS[plan.scorer].total({prompt.id: prompt for prompt in prompts}, judged)
    counts = {"prompts": len({item.id for item in judged}), "pictures": len(judged)}
    scores = {"scorer": plan.scorer, "judge": judge.model or judge.url, **counts, **total}
    write_whole(folder / "scores.json", encode_json(scores).encode() + b"\n")
    return scores


def score_lines(scores: Mapping[str, Any]) -> Iterator[str]:
    """Yield scores as lines of text."""
    yield f"judge              {scores['judge']}, {scores['prompts']} prompts, {scores['pictures']} pictures"
    yield from SCORERS[scores["scorer"]].lines(scores)


def figures_of(folder: Path) -> tuple[str, dict[str, float]]:
    """Return the strategy of the run in a folder, and its figures: scores first, if it has any.

    Raises:
        UsageError: the folder has no run, or no pictures.
    """
    tally = Tally()
    try:
        spec = read_run(folder)
        if spec is None:
            raise OutputError(f"{folder}: expected the output of `gems bulk` or `gems eval`, got none")
        state = inspect_folder(folder, tally.add)
    except OutputError as error:
        raise UsageError(f"DIR: {error}") from error
    if not tally.pictures:
        raise UsageError(f"DIR: {folder}: expected pictures, got none")
    figures: dict[str, float] = {}
    for path in sorted(folder.glob("*/scores.json")):
        scores = json.loads(path.read_bytes())
        figures |= SCORERS[scores["scorer"]].compare(scores)
    figures["all met %"] = 100 * tally.all_met / tally.pictures
    if tally.chosen.rate is not None:
        figures["requirements met %"] = 100 * tally.chosen.rate
    figures["images each"] = tally.images / tally.pictures
    figures["calls each"] = chat_cost(state.spent).calls / tally.pictures
    named = {"gems": ("rounds", "memory"), "best-of-n": ("candidates",)}.get(spec.strategy, ())
    settings = "".join(f" {name} {spec.settings[name]}" for name in named if name in spec.settings)
    return spec.strategy + settings, figures
