"""Draws the prompts of a benchmark as a bulk, lays the pictures out for its official scorer, and scores them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import trio

from gems_actors.app.bulk.folder_files import MESH_FOLDER
from gems_actors.app.bulk.images.budget import ImageBudget
from gems_actors.app.bulk.interface import BulkOptions, BulkResult, BulkView
from gems_actors.app.bulk.provenance import add_evaluation
from gems_actors.app.bulk.rows import rows_of
from gems_actors.app.bulk.run_spec import Consent, RunSpec, spec_of
from gems_actors.app.bulk.runner import run as run_bulk
from gems_actors.app.bulk.running.servers import WAIT_S
from gems_actors.app.bulk.tasks import Part
from gems_actors.app.evaluation.benchmarks import BENCHMARKS, Benchmark, read_benchmark
from gems_actors.app.evaluation.description import Description, check_folder, prompt_id_of, write_description
from gems_actors.app.evaluation.layout_writer import write_layout
from gems_actors.app.evaluation.layouts import Pictures
from gems_actors.app.evaluation.prompt_files import BenchmarkError, Prompt
from gems_actors.app.evaluation.scores import ScoringPlan, move_old_scores, plan_scoring, score_pictures, scores_in
from gems_actors.app.evaluation.truth import believed_and_true
from gems_actors.app.options import DrawOptions
from gems_actors.app.picture_files import OutputError, check_writable, text_of_path, write_whole
from gems_actors.errors import UsageError
from gems_actors.terminal_text import without_passwords
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
    """Number of prompts to draw, lay out and score, the first ones; all by default."""
    wait_for_servers_s: float = WAIT_S
    """Seconds to wait for model servers, as in `BulkOptions`."""
    image_budget: ImageBudget | None = None
    """Images of the whole run, as in `BulkOptions`."""
    is_scored: bool = False
    """Whether the judge scores the pictures."""
    consent: Consent | None = None
    """What to do with finished pictures that were drawn in another way; by default the run stops before it begins."""
    redirects_stderr: bool = False
    """Whether standard error goes to the mesh's log while the pictures are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """What a run has drawn and scored."""

    bulk: BulkResult
    missing: int
    """Pictures that do not exist yet; without all of them, nothing is laid out or scored."""
    total: int
    """Pictures of the chosen prompts."""
    prompts: int
    """Chosen prompts."""
    of_prompts: int
    """Prompts of the whole benchmark."""
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

    A folder that holds pictures of other prompts is refused unchanged; so is one whose pictures were drawn in another
    way, such as with another seed or strategy, without consent.

    Raises:
        UsageError: benchmark, prompt file or folder cannot be used, or there is no score for the benchmark.
        JudgingError: some pictures could not be judged; the same options continue.
        GemsError: as `bulk.run`.
    """
    require_trio("app.evaluation.run")
    view = view or EvaluationView()
    if (benchmark := BENCHMARKS.get(options.benchmark)) is None:
        raise UsageError(f"benchmark: expected one of {', '.join(BENCHMARKS)}, got {options.benchmark!r}")
    prepared = _Prepared.of(options, benchmark, view)
    bulk_options = BulkOptions(
        spec=prepared.spec,
        file=prepared.file,
        out=options.out,
        part=prepared.part,
        router=options.options.router,
        wait_for_servers_s=options.wait_for_servers_s,
        image_budget=options.image_budget,
        consent=options.consent,
        redirects_stderr=options.redirects_stderr,
    )
    bulk = await run_bulk(bulk_options, view.bulk)
    view.finish_bulk(bulk)
    write_description(options.out, prepared.description)
    if truth := await trio.to_thread.run_sync(believed_and_true, options.out):
        view.note(truth)
    pictures, missing = prepared.pictures()
    scores = None
    if not missing:
        await _lay_out(options, benchmark, prepared, pictures, view)
        if prepared.plan is not None:
            scores = await score_pictures(
                prepared.plan, prepared.chosen, pictures, options.out, view.note, of_prompts=len(prepared.prompts)
            )
    _note_evaluation(options.out, prepared)
    return EvaluationResult(
        bulk=bulk,
        missing=missing,
        total=len(prepared.chosen) * prepared.spec.samples,
        prompts=len(prepared.chosen),
        of_prompts=len(prepared.prompts),
        scores=scores,
    )


def _note_evaluation(folder: Path, prepared: _Prepared) -> None:
    """Add benchmark, prompt file and judge to the provenance of the pictures."""
    scores = scores_in(folder) or {}
    judged = {name: without_passwords(str(scores[name])) for name in ("scorer", "judge") if name in scores}
    add_evaluation(folder, msgspec.to_builtins(prepared.description) | judged)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """What to draw into a folder that was found to be fit for it."""

    out: Path
    prompts: Sequence[Prompt]
    chosen: Sequence[Prompt]
    """The prompts to draw, lay out and score: all, or the first ones."""
    plan: ScoringPlan | None
    spec: RunSpec
    description: Description

    @property
    def part(self) -> Part:
        """The tasks of the chosen prompts."""
        if len(self.chosen) == len(self.prompts):
            return Part()
        samples = range(self.spec.samples)
        return Part(only=frozenset((index, sample) for index in range(len(self.chosen)) for sample in samples))

    @property
    def file(self) -> Path:
        """File from which the bulk draws: the prompts of the whole benchmark."""
        return self.out / "prompts.jsonl"

    @classmethod
    def of(cls, options: EvaluationOptions, benchmark: Benchmark, view: EvaluationView) -> _Prepared:
        """Read the prompts, and write them as the tasks of a bulk into the folder unless it holds something else.

        Raises:
            UsageError: prompts, judge or folder cannot be used.
        """
        spec = spec_of(options.out / "prompts.jsonl", options.options, samples=options.samples or benchmark.samples)
        try:
            found = read_benchmark(options.benchmark, options.data)
            prompts, plan = found.prompts, None
            if options.is_scored:
                plan = plan_scoring(options.benchmark, prompts, options.options.read_config(), view.warn)
            tasks = _tasks_of(prompts)
            check_folder(options.out, options.benchmark, prompts, tasks, spec)
            check_writable(options.out)
            described = Description(
                benchmark=options.benchmark,
                data=text_of_path(options.data.absolute()),
                data_sha256=found.sha256,
                prompts=len(prompts),
            )
            prepared = cls(
                out=options.out,
                prompts=prompts,
                chosen=prompts[: options.limit],
                plan=plan,
                spec=spec,
                description=described,
            )
            if not prepared.file.exists() or prepared.file.read_bytes() != tasks:
                write_whole(prepared.file, tasks)
            if next(rows_of(options.out), None) is None:
                write_description(options.out, described)
        except BenchmarkError as error:
            raise UsageError(f"--data: {error}") from error
        except OutputError as error:
            raise UsageError(f"--out: {error}") from error
        return prepared

    def pictures(self) -> tuple[Pictures, int]:
        """Return the pictures that exist of the chosen prompts, and how many do not exist yet."""
        files = {(prompt_id_of(row), row.sample): self.out / "dataset" / row.file_name for row in rows_of(self.out)}
        pictures: dict[str, list[Path]] = {prompt.id: [] for prompt in self.chosen}
        missing = 0
        for id_, found in pictures.items():
            for sample in range(self.spec.samples):
                path = files.get((id_, sample))
                if path is not None and path.is_file():
                    found.append(path)
                else:
                    missing += 1
        return pictures, missing


async def _lay_out(
    options: EvaluationOptions, benchmark: Benchmark, prepared: _Prepared, pictures: Pictures, view: EvaluationView
) -> None:
    """Write the layout of the scorer."""
    folder = options.out / options.benchmark
    move_old_scores(options.out, options.benchmark)
    layout = benchmark.lay_out(folder, prepared.chosen, pictures)
    await write_layout(folder, layout, options.out / MESH_FOLDER / "layout.jsonl", view.note)
    chosen, total = len(prepared.chosen), len(prepared.prompts)
    what = "" if chosen == total else f" {chosen} of {total} prompts"
    view.note(f"laid out{what} for the scorer of {benchmark.title} in {text_of_path(folder)}")


def _tasks_of(prompts: Sequence[Prompt]) -> bytes:
    """Return the prompts as tasks of a bulk: each with its id and without the other fields of its record."""
    lines = (json.dumps({"prompt": prompt.text, "id": prompt.id}, ensure_ascii=False) for prompt in prompts)
    return "".join(f"{line}\n" for line in lines).encode()
