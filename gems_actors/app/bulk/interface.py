"""What a bulk is given, what it returns, and what shows it meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gems_actors.app.bulk.finished.pruning import Pruned
from gems_actors.app.bulk.images.budget import ImageBudget
from gems_actors.app.bulk.run_spec import Consent, RunSpec
from gems_actors.app.bulk.running.limits import Allowance
from gems_actors.app.bulk.running.servers import WAIT_S
from gems_actors.app.bulk.tasks import Part
from gems_actors.app.bulk.totals import BulkProgress, Tally

Outcome = Literal["done", "failed", "interrupted", "unavailable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkOptions:
    """What `run` draws, and into which folder."""

    spec: RunSpec
    file: Path
    """Input file; `-` for standard input."""
    out: Path
    """Folder to fill; one that an earlier run filled is continued."""
    part: Part = field(default_factory=Part)
    router: str | None = None
    """Address of a running mesh; by default a mesh is started, whose data lies in the folder."""
    concurrency: int | None = None
    """Tasks in flight; by default four times what the generators draw at once, with a minimum of 32."""
    wait_for_servers_s: float = WAIT_S
    """Seconds to wait for model servers that are not ready, or that all fail later, before the run stops; with 0, a
    server must be ready at the start."""
    image_budget: ImageBudget | None = None
    """Images of the whole run, which go where they are expected to gain most; by default each task has its own."""
    allowance: Allowance = field(default_factory=Allowance)
    """What the tasks that this call draws may cost; by default, anything."""
    keeps_failures: bool = False
    """Whether failed.jsonl keeps the failures of the run before."""
    consent: Consent | None = None
    """What to do with finished pictures that were drawn in another way; by default the run stops before it begins."""
    redirects_stderr: bool = False
    """Whether standard error of this process and of the mesh that it starts goes to the mesh's log in the folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkResult:
    """What a run has drawn."""

    run: str
    folder: Path
    tally: Tally
    """Counts over all pictures in the folder, also of earlier runs."""
    seconds: float
    outcome: Outcome
    """`failed` when a task failed or the budget is spent; `interrupted` by a signal or `gems cancel`; `unavailable`
    when model servers were away for too long."""
    unfinished: str
    """Why the run ended early, how far it is and what continues it; empty for a run that is complete."""
    redrawn: int
    """Pictures drawn again because their prompt, seed, settings, models or skill had changed."""
    continued: int
    """Pictures whose tasks were continued, whether a better one was found or not."""
    report: Path | None
    images: tuple[int, int | None] | None = None
    """Images drawn or granted, and the budget of them, None while that is unknown; None without a budget."""
    report_error: str = ""
    """Why there is no report."""
    pruned: Pruned | None = None
    """Attempts that were dropped from the mesh's store at the end; None where all are kept."""


class BulkView:
    """Shows a bulk while it runs; this base class shows nothing."""

    is_live: bool = False
    """Whether `show` paints over what it showed before."""

    def say(self, text: str) -> None:
        """Show a line that stays."""

    def show(self, progress: BulkProgress) -> None:
        """Show the progress now."""

    def finish(self, progress: BulkProgress) -> None:
        """Show the progress for the last time."""
