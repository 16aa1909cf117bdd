"""Scores the pictures of a benchmark with a judge, and keeps the scores of the whole and of each prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from gems_actors.app.evaluation.benchmarks import BENCHMARKS
from gems_actors.app.evaluation.prompt_files import Prompt
from gems_actors.app.evaluation.scoring.crea import CREA
from gems_actors.app.evaluation.scoring.geneval2 import GENEVAL2
from gems_actors.app.evaluation.scoring.scorer import Judged, Question, Scorer
from gems_actors.app.evaluation.scoring.spatialgeneval import SPATIALGENEVAL
from gems_actors.app.evaluation.scoring.wise import WISE_LEGACY, WISE_VERIFIED
from gems_actors.app.picture_files import OutputError, encode_json, write_whole
from gems_actors.config import ChatModelConfig, MeshConfig
from gems_actors.errors import UsageError
from gems_actors.files import reason_of

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


class ScoredPrompt(msgspec.Struct, frozen=True, kw_only=True):
    """What a prompt adds to the figures of the benchmark; a line of scores_by_prompt.jsonl."""

    id: str
    parts: dict[str, dict[str, tuple[float, float]]]
    """By figure and by group of values: their sum over the pictures of the prompt, and their number."""


async def score_pictures(
    plan: ScoringPlan,
    prompts: Sequence[Prompt],
    pictures: Mapping[str, Sequence[Path]],
    folder: Path,
    report: Callable[[str], None],
    *,
    of_prompts: int,
) -> dict[str, Any]:
    """Judge the pictures of `prompts`, which may be a part of the benchmark's `of_prompts`, and return the scores.

    They and the judge's answers are written into a folder: scores.json, scores_by_prompt.jsonl and judged.jsonl.

    Raises:
        JudgingError: some pictures could not be judged, so there is no score.
    """
    from gems_actors.app.evaluation.judge import judge_pictures  # loads httpx, which drawing does not need

    judge, scorer, asked = plan.judge, SCORERS[plan.scorer], {prompt.id: prompt for prompt in prompts}
    questions = {id_: plan.questions[id_] for id_ in asked}
    judged = await judge_pictures(judge, questions, pictures, folder / "judged.jsonl", report)
    of_prompt: dict[str, list[Judged]] = {}
    for item in judged:
        of_prompt.setdefault(item.id, []).append(item)
    counts = {"prompts": len(of_prompt), "of_prompts": of_prompts, "pictures": len(judged)}
    scores = {"scorer": plan.scorer, "judge": judge.model or judge.url, **counts, **scorer.total(asked, judged)}
    names = [figure.name for figure in scorer.figures]
    lines = (
        msgspec.json.encode({"id": id_, "parts": dict(zip(names, scorer.parts(asked[id_], items), strict=True))})
        for id_, items in of_prompt.items()
    )
    write_whole(folder / "scores_by_prompt.jsonl", b"".join(line + b"\n" for line in lines))
    write_whole(folder / "scores.json", encode_json(scores).encode() + b"\n")
    return scores


def move_old_scores(folder: Path, benchmark: str) -> None:
    """Move the files of a score from among the pictures, where earlier versions put them, into the folder itself."""
    for name in ("judged.jsonl", "scores.json"):
        if (old := folder / benchmark / name).is_file() and not (folder / name).exists():
            old.rename(folder / name)


def scores_in(folder: Path) -> dict[str, Any] | None:
    """Return the scores in a folder; None for one without.

    Raises:
        OutputError: the file is not that of this program.
    """
    for path in (folder / "scores.json", *sorted(folder.glob("*/scores.json"))):  # earlier versions wrote the second
        if path.is_file():
            try:
                scores = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
                SCORERS[scores["scorer"]].compare(scores)
            except (OSError, msgspec.DecodeError, KeyError, TypeError) as error:
                raise OutputError(
                    f"{path}: expected scores that `gems eval --score` wrote, got: {reason_of(error)}"
                ) from error
            return scores
    return None


def score_lines(scores: Mapping[str, Any]) -> Iterator[str]:
    """Yield scores as lines of text."""
    prompts, total = scores["prompts"], scores.get("of_prompts", scores["prompts"])
    covered = f"{prompts} prompts" if prompts == total else f"{prompts} of {total} prompts"
    yield f"judge              {scores['judge']}, {covered}, {scores['pictures']} pictures"
    yield from SCORERS[scores["scorer"]].lines(scores)
