"""Opens a bulk: its input, its folder and what it may spend, and counts what is done already."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from gems_actors.app.bulk.ending import forget_ending
from gems_actors.app.bulk.finished.removed import Removed
from gems_actors.app.bulk.folder import open_bulk_folder
from gems_actors.app.bulk.folder_files import MESH_FOLDER, run_of
from gems_actors.app.bulk.images.allotment import ImageAllotment
from gems_actors.app.bulk.images.places import UnlimitedImages
from gems_actors.app.bulk.interface import BulkOptions, BulkView
from gems_actors.app.bulk.recipe import recipe_of
from gems_actors.app.bulk.rows import Row
from gems_actors.app.bulk.running.limits import TaskLimit, TokenBudget
from gems_actors.app.bulk.running.progress import RunProgress
from gems_actors.app.bulk.running.servers import Servers
from gems_actors.app.bulk.task_feed import TaskFeed
from gems_actors.app.bulk.totals import BulkProgress, Tally
from gems_actors.app.picture_files import OutputError, text_of_path
from gems_actors.app.prompts import PromptError
from gems_actors.app.run_history import HistoryEntry
from gems_actors.app.run_registry import RegistryEntry
from gems_actors.config import MeshConfig
from gems_actors.errors import UsageError


class OpenBulk:
    """What the parts of a bulk in progress share: input, folder, limits and counts."""

    def __init__(self, options: BulkOptions, config: MeshConfig, view: BulkView, stack: ExitStack) -> None:
        """Open the input and the folder until the stack ends, and count what is done already.

        Raises:
            UsageError: one of them cannot be opened.
        """
        self.options, self.spec, self.part, self.view = options, options.spec, options.part, view
        self.run, self.config = run_of(options.out), config
        self.recipe = recipe_of(self.spec.seed, self.spec.settings, config)
        self.token_budget = TokenBudget(config.budget.max_tokens_per_run)
        self.task_limit = TaskLimit(options.concurrency)
        own_config = config if options.router is None else None
        self.servers = Servers(own_config, options.wait_for_servers_s, view.say)
        self.progressing = RunProgress(Tally(), self.recipe.settings.max_rounds)
        self._elsewhere = 0
        """Pictures of earlier runs whose tasks are not selected now."""
        self.continued = 0
        """Pictures of earlier runs whose tasks got more images of the run's."""
        self.set_aside_pictures = 0
        """Finished pictures without a record that have left the dataset."""
        self.unfinished = 0
        """Tasks that were started and have no outcome."""
        self.images = UnlimitedImages()
        try:
            if (budget := options.image_budget) is not None:
                self.images = ImageAllotment(budget, options.out / MESH_FOLDER, self.recipe.settings.candidates)
            self.feed = TaskFeed(
                options.file, options.out, self.spec.record_options, self.part, self.recipe, options.consent, stack
            )
            opened = open_bulk_folder(
                options.out,
                self.spec,
                self._count_earlier,
                keeps_failures=options.keeps_failures,
                agree=self.feed.agree,
                access=config.access,
            )
            self.folder = stack.enter_context(opened)
            self.removed = Removed(options.out, self.recipe)
        except PromptError as error:
            raise UsageError(f"FILE: {text_of_path(options.file)}: {error}") from error
        except OutputError as error:
            raise UsageError(f"--out: {error}") from error
        self.tally.spent = self.folder.spent
        self.images.begin(self.feed.total)
        forget_ending(options.out)

    def _count_earlier(self, row: Row) -> None:
        self.tally.add(row, is_from_before=True)
        self.progressing.count_earlier(row)
        self._elsewhere += not self.part.has(row.ref, row.index, row.sample)
        self.images.note_row(row.ref, row.sample, row.images, row.outcome)

    @property
    def tally(self) -> Tally:
        """Counts over the pictures in the folder."""
        return self.progressing.tally

    @property
    def total_of_run(self) -> int | None:
        """Tasks of the whole run where they are known; memory and registry count the done tasks of all its parts."""
        return self.feed.total if self.part.is_all else None

    def history_entry(self) -> HistoryEntry:
        """Return the entry of this run in the user's history."""
        folder = text_of_path(self.folder.path.absolute())
        return HistoryEntry(run=self.run, kind="bulk", what=self.spec.source, where=folder, total=self.total_of_run)

    def registry_entry(self, address: str) -> RegistryEntry:
        """Return the entry of this run among those that the mesh at an address draws."""
        folder = text_of_path(self.folder.path.absolute())
        return RegistryEntry(
            run=self.run, what=self.spec.source, total=self.total_of_run, address=address, folder=folder
        )

    def progress(self, note: str = "") -> BulkProgress:
        """Return the progress now."""
        total = self.feed.total
        if total is not None and self.part.limit is not None:
            total = min(total, self.tally.before - self._elsewhere + self.part.limit + self.tally.failed)
        gone = self.feed.gone - self.set_aside_pictures if self.part.is_all else 0
        uncounted = self._elsewhere + self.feed.redrawn + gone
        progress = self.progressing.at(total, uncounted=uncounted, busy_share=self.task_limit.busy_share, note=note)
        return replace(progress, images=self.images.figures(self.feed.total))
