"""What learning may spend, and what it has spent: counted from what is on disk, so that a kill forgets nothing.

A limit is never exceeded: a picture is begun only if the most that it may cost is left. That is a bound for as many
requirements as a prompt may have, several times what most pictures cost. A picture that fails counts as the bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Final

from gems_actors.app.bulk.folder_files import inspect_folder
from gems_actors.app.bulk.recipe import hooks_of, replaced_roles
from gems_actors.app.bulk.rows import Row
from gems_actors.app.bulk.running.limits import NOTHING, Allowance, Cost
from gems_actors.app.options import DrawOptions, draw_settings
from gems_actors.app.skills.learn_files import read_json
from gems_actors.app.skills.learn_interface import LearnOptions
from gems_actors.config import MeshConfig, VerifyConfig
from gems_actors.errors import UsageError
from protocol.costs import chat_cost
from protocol.limits import MAX_REQUIREMENTS
from protocol.messages import SkillProposal

CALLS_BEFORE_LAST_ROUND: Final = 128
"""Calls after which a picture begins no other round if calls are limited; five rounds of 20 requirements cost 112."""
ASKED: Final = "asked.json"
"""File with how often the curator was asked for a proposal."""
CALLS_OF_PROPOSAL: Final = 2
"""Calls of the curator for a proposal: a model may repair its answer once, here and below."""
_CALLS_OF_STEP: Final = 2
_CALLS_OF_SCORE: Final = 4
"""Calls for an answer with probabilities: each of the two may be asked again without them."""


def limits_of(options: LearnOptions) -> Cost:
    """Return the limits of all calls for one folder together, infinite where there is none."""
    return Cost(*(inf if limit is None else limit for limit in (options.max_images, options.max_calls)))


def most_of(options: DrawOptions) -> Cost:
    """Return the most that a picture may cost."""
    config = options.read_config()
    settings = draw_settings(config, options.settings())
    planning = 3 * _CALLS_OF_STEP  # choice of a skill, prompt, requirements
    learning = 2 * _CALLS_OF_STEP  # lesson, prompt
    judging = settings.candidates * most_calls_to_verify(config.verify)
    calls = planning + settings.max_rounds * (learning + judging)
    if (limit := config.budget.max_calls_per_trajectory) is not None:  # no round begins after that many
        calls = min(calls, max(planning, limit + learning) + judging)
    comparing = 2 * _CALLS_OF_STEP if settings.choose == "pairwise" else 0
    return Cost(settings.max_rounds * settings.candidates, calls + comparing)


def most_calls_to_verify(verify: VerifyConfig) -> int:
    """Return the most calls that the verdicts on one image may cost, for as many requirements as there may be."""
    second = verify.second_opinion is not None
    if verify.mode in ("score", "words"):
        first = _CALLS_OF_SCORE if verify.mode == "score" else _CALLS_OF_STEP
        return MAX_REQUIREMENTS * (first * (1 + second) + _CALLS_OF_STEP * (verify.votes - 1))
    listing = _CALLS_OF_STEP if verify.mode == "evidence" else 0
    return listing + _CALLS_OF_STEP * (verify.votes + second * MAX_REQUIREMENTS)


def check_calls(limit: int | None, most: Cost, config: MeshConfig) -> None:
    """Check that the calls of a picture have a bound, and that a limit leaves room for one.

    Raises:
        UsageError: it does not, or somebody's own code asks models.
    """
    if limit is None:
        return
    if limit < most.calls:
        raise UsageError(
            f"--calls: expected at least {most.calls}, which a picture with {MAX_REQUIREMENTS} requirements may cost "
            f"with these settings, got {limit}; with verify.mode=batch it costs least"
        )
    own = {**hooks_of(config), **replaced_roles(config)}
    own.pop("roles.generator", None)  # which asks image models alone
    if own:
        got = ", ".join(f"{name} {what}" for name, what in own.items())
        raise UsageError(f"--calls: expected a mesh without roles of your own, whose calls have no bound, got {got}")


class Spending:
    """What the folder of a learning command has cost so far."""

    def __init__(self, folder: Path, limits: Cost, most: Mapping[str, Cost]) -> None:
        """Count everything on disk.

        Args:
            folder: that of the command.
            limits: of all calls for it together.
            most: the most that a picture may cost, of the evidence and of the `proposals`.
        """
        self._folder, self._limits, self._most = folder, limits, most
        self.count()

    def count(self) -> None:
        """Count everything on disk again."""
        self.images = self.calls = 0
        self._reserved = NOTHING
        """What failed pictures and questions to the curator without an answer may have cost."""
        bulks = [self._folder / "evidence", *sorted(self._folder.glob("proposals/*/with*"))]
        for bulk in (bulk for bulk in bulks if (bulk / "run.json").exists()):
            self._count_bulk(bulk)
        for folder in self._folder.glob("proposals/*"):
            unanswered = read_json(folder / ASKED, int) or 0
            if (proposal := read_json(folder / "proposal.json", SkillProposal)) is not None:
                self.calls += proposal.spent.calls
                unanswered = max(0, unanswered - 1)
            self._reserved = self._reserved.plus(Cost(calls=CALLS_OF_PROPOSAL), unanswered)

    def _count_bulk(self, bulk: Path) -> None:
        images = 0

        def take(row: Row) -> None:
            nonlocal images
            images += row.images

        state = inspect_folder(bulk, take)
        self.images, self.calls = self.images + images, self.calls + chat_cost(state.spent).calls
        most = self._most["evidence" if bulk.name == "evidence" else "proposals"]
        self._reserved = self._reserved.plus(most, sum(found.count for found in state.failures.values()))

    @property
    def _left(self) -> Cost:
        self.count()
        return self._limits.plus(Cost(self.images, self.calls), -1).plus(self._reserved, -1)

    def can_propose(self) -> bool:
        """Return whether another proposal stays within the budget."""
        return self._left.calls >= CALLS_OF_PROPOSAL

    def allowance(self, what: str) -> Allowance:
        """Return what further pictures may cost, of the `evidence` or of `proposals`."""
        return Allowance(self._left, self._most[what])
