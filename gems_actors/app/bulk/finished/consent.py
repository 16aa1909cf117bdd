"""Consent to replace finished pictures: a run that would change some stops before it begins, unless its user agrees.

`--keep` leaves them as they are, now and in later runs; `--redraw` draws them again, also after an interruption. The
folder's run.json remembers which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gems_actors.app.bulk.finished.identity import BY_INDEX
from gems_actors.app.bulk.finished.ledger import Ledger
from gems_actors.app.bulk.finished.survey import TaskCount
from gems_actors.app.bulk.recipe import Recipe
from gems_actors.app.bulk.run_spec import Consent, RunSpec
from gems_actors.app.picture_files import text_of_path
from gems_actors.errors import UsageError

_MAX_RECIPES = 8
"""Recipes that run.json remembers; they name what has changed."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a run may do with finished pictures that would change."""

    run: RunSpec
    """The run with what its folder is to remember."""
    consent: Consent | None
    """None: the run stops at the first of them."""
    changes: Sequence[str]
    """What differs from how they were drawn, such as `draw.steps 8 -> 12`."""
    count: TaskCount | None = None
    """What the input has, if it was counted."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A run as it is about to start."""

    file: Path
    run: RunSpec
    """Its specification, with what the folder remembers."""
    recipe: Recipe
    ledger: Ledger
    consent: Consent | None
    """What the user chose for this run."""

    def agree(self, survey: Callable[[], TaskCount] | None, *, must_count: bool = False) -> Agreement:
        """Return what the run may do.

        Args:
            survey: counts the input; None for standard input, which is read only once.
            must_count: whether the input is counted in any case.
        """
        stale_skills = self.ledger.compare_skills(self.recipe.skills)
        consent = self.consent or self._remembered()
        changes = [*self._changes(), *stale_skills]
        may_change = bool(changes) or self._goes_by_record or not self.run.recipes
        count = None
        if survey is not None and (must_count or (consent is None and may_change and self.ledger.pictures)):
            count = survey()
        return Agreement(self._run_to_remember(consent), consent, changes or self._edits(), count)

    @property
    def _goes_by_record(self) -> bool:
        """Whether an edited record keeps its id, so that its picture can change."""
        return self.run.identity == BY_INDEX or self.run.id_column is not None

    def _remembered(self) -> Consent | None:
        """Return the consent of an earlier run, if it still holds: one to draw again holds for what it was given to."""
        if self.run.consent != "redraw":
            return self.run.consent
        is_same = self._draws_like(self.run.recipes[-1], self.ledger.skills)
        return "redraw" if is_same and self.run.consent_input == self._input() else None

    def _draws_like(self, other: Recipe, skills: Iterable[str] = ()) -> bool:
        if self.run.identity == BY_INDEX and self.recipe.all_skills != other.all_skills:
            return False
        return self.recipe.draws_like(other, skills)

    def _input(self) -> str:
        if not self._goes_by_record or not self.file.is_file():
            return ""
        status = self.file.stat()
        return f"{status.st_size} {status.st_mtime_ns}"

    def _changes(self) -> list[str]:
        """Return what differs from the recipes that finished pictures may have been drawn with."""
        found = dict.fromkeys(change for other in self.run.recipes for change in self.recipe.changes_from(other))
        if self.run.identity == BY_INDEX and any(self.recipe.all_skills != it.all_skills for it in self.run.recipes):
            found["skills that were added, edited or removed"] = None
        return list(found)

    def _edits(self) -> list[str]:
        if self.run.id_column is not None:
            return ["records that were edited"]
        if self.run.recipes:
            return ["records that were edited or moved"]
        return ["records, settings, models or skills that differ"]

    def _run_to_remember(self, consent: Consent | None) -> RunSpec:
        if consent == "redraw" and self.consent is None:  # it holds for the recipe to which it was given
            return self.run
        others = [other for other in self.run.recipes if not self._draws_like(other)]
        return msgspec.structs.replace(
            self.run,
            recipes=(*others[1 - _MAX_RECIPES :], self.recipe),
            consent=consent,
            consent_input=self._input() if consent == "redraw" else "",
        )


def settled(run: RunSpec, recipe: Recipe) -> RunSpec:
    """Return a run after all of its pictures were checked or drawn with a recipe, unless it keeps others."""
    if run.consent == "keep":
        return run
    return msgspec.structs.replace(run, recipes=(recipe,), consent=None, consent_input="")


def check_agreement(agreement: Agreement, out: Path, pictures: int) -> None:
    """Check that a run may do what it would do; `pictures` is the number of finished pictures.

    Raises:
        UsageError: it would replace finished pictures without consent.
    """
    if agreement.consent is None and agreement.count is not None and (changed := agreement.count.changed):
        which = f"{changed} of {pictures} finished pictures"
        raise UsageError(_refusal(f"--out: {text_of_path(out)}", agreement, which, f"these {changed}"))


def refuse_record(agreement: Agreement, where: str) -> UsageError:
    """Return the error with which a run stops at a record whose finished picture would change."""
    return UsageError(_refusal(where, agreement, "a finished picture", "such pictures"))


def _refusal(where: str, agreement: Agreement, which: str, these: str) -> str:
    expected = f"{where}: expected what its finished pictures were drawn with, got {', '.join(agreement.changes)}"
    keep = "--keep leaves finished pictures as they are and draws only what is missing"
    return f"{expected}, which would replace {which}; {keep}; --redraw draws {these} again in their place"
