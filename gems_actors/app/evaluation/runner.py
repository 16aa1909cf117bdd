"""Draws the prompts of a benchmark as a bulk, lays the pictures out for its official scorer, and scores them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gems_actors.app.bulk.folder import spec_of
from gems_actors.app.bulk.rows import file_name_of
from gems_actors.app.bulk.runner import BulkOptions, BulkResult, BulkView
from gems_actors.app.bulk.runner import run as run_bulk
from gems_actors.app.bulk.servers import WAIT_S
from gems_actors.app.bulk.tasks import Part
from gems_actors.app.evaluation.benchmarks import BENCHMARKS, BenchmarkError, Prompt, read_benchmark
from gems_actors.app.evaluation.scores import ScoringPlan, plan_scoring, score_pictures
from gems_actors.app.options import DrawOptions
from gems_actors.app.picture_files import OutputError, check_writable, text_of_path, write_whole
from gems_actors.errors import UsageError
from gems_actors.transport.sockets import require_trio


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """What `run` draws and scores, and where the pictures go."""

    benchmark: str
    """Name of the benchmark, a key of `BENCHMARKS`."""
    data: Path
    """Its official prompt file, or the folder of its prompt files."""
    out: Path
    """Folder to fill; one that an earlier run filled is continued."""
    options: DrawOptions = field(default_factory=DrawOptions)
    samples: int | None = None
    """Pictures per prompt; by default as many as the official scorer expects."""
    limit: int | None = None
    """Maximum number of pictures to draw in this run."""
    wait_for_servers_s: float = WAIT_S
    """Seconds to wait for model servers, as in `BulkOptions`."""
    is_scored: bool = False
    """Whether the judge scores the pictures."""
    redirects_stderr: bool = False
    """Whether standard error goes to the mesh's log while the pictures are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """What a run has drawn and scored."""

    bulk: BulkResult
    missing: int
    """Pictures that do not exist yet; without all of them, nothing is laid out or scored."""
    total: int
    """Pictures of the whole benchmark."""
    scores: Mapping[str, Any] | None
    """Scores as in scores.json; None unless the pictures were scored."""


class EvaluationView:
    """Shows an evaluation while it runs; this base class shows nothing."""

    bulk: BulkView = BulkView()
    """Shows the bulk that draws the pictures."""

    def finish_bulk(self, result: BulkResult) -> None:
        """Show what was drawn, before the pictures are laid out and scored."""

    def note(self, text: str) -> None:
        """Show a line about the progress after drawing."""

    def warn(self, text: str) -> None:
        """Show a warning."""


async def run(options: EvaluationOptions, view: EvaluationView | None = None) -> EvaluationResult:
    """Draw the pictures of a benchmark that do not exist yet, and lay out and score all of them once they exist.

    Raises:
        UsageError: benchmark, prompt file or folder cannot be used, or there is no score for the benchmark.
        JudgingError: some pictures could not be judged; the same options continue.
        GemsError: as `bulk.run`.
    """
    require_trio("app.evaluation.run")
    view = view or EvaluationView()
    if (benchmark := BENCHMARKS.get(options.benchmark)) is None:
        raise UsageError(f"benchmark: expected one of {', '.join(BENCHMARKS)}, got {options.benchmark!r}")
    prompts, plan = _prepare(options, view)
    source = options.out / "prompts.jsonl"
    spec = spec_of(source, options.options, samples=options.samples or benchmark.samples)
    part, router = Part(limit=options.limit), options.options.router
    bulk_options = BulkOptions(
        spec=spec,
        file=source,
        out=options.out,
        part=part,
        router=router,
        wait_for_servers_s=options.wait_for_servers_s,
        redirects_stderr=options.redirects_stderr,
    )
    bulk = await run_bulk(bulk_options, view.bulk)
    view.finish_bulk(bulk)
    pictures = {
        prompt.id: [options.out / "dataset" / file_name_of(index, sample) for sample in range(spec.samples)]
        for index, prompt in enumerate(prompts)
    }
    missing = sum(not path.is_file() for paths in pictures.values() for path in paths)
    scores = None
    if not missing:
        folder = options.out / options.benchmark
        benchmark.lay_out(folder, prompts, pictures)
        view.note(f"laid out for the scorer of {benchmark.title} in {text_of_path(folder)}")
        if plan is not None:
            scores = await score_pictures(plan, prompts, pictures, folder, view.note)
    return EvaluationResult(bulk=bulk, missing=missing, total=len(prompts) * spec.samples, scores=scores)


def _prepare(options: EvaluationOptions, view: EvaluationView) -> tuple[list[Prompt], ScoringPlan | None]:
    """Return prompts and scoring plan, and write the prompts as tasks of a bulk into the folder."""
    try:
        prompts = read_benchmark(options.benchmark, options.data)
        plan = None
        if options.is_scored:
            plan = plan_scoring(options.benchmark, prompts, options.options.read_config(), view.warn)
        check_writable(options.out)
        write_whole(options.out / "prompts.jsonl", _tasks_of(prompts))
    except BenchmarkError as error:
        raise UsageError(f"--data: {error}") from error
    except OutputError as error:
        raise UsageError(f"--out: {error}") from error
    return prompts, plan


def _tasks_of(prompts: Sequence[Prompt]) -> bytes:
    """Return the prompts as tasks of a bulk: each with its id and without the other fields of its record."""
    lines = (json.dumps({"prompt": prompt.text, "id": prompt.id}, ensure_ascii=False) for prompt in prompts)
    return "".join(f"{line}\n" for line in lines).encode()
