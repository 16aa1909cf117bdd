"""The rules by which requirements that are met, a step that fails, or a budget end a trajectory. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from gems_actors import errors
from protocol.messages import Attempt, Budget, Outcome, Requirement

_NOT_OF_THE_REQUEST = (
    errors.CancelledRequestError,
    errors.ForbiddenError,
    errors.UnansweredError,
    errors.BlobError,
    errors.LogError,
)
"""Failures by the will of the user, the settings of the mesh or its storage."""


def outcome_of(error: errors.RequestError) -> Outcome | None:
    """Return the outcome of a trajectory whose step failed for good, or None if waiting or mending might complete it.

    A refusal is `refused`, and another failure of this one request is `failed_later`. After an outage, a cancellation
    or a failure of the mesh itself the trajectory fails, and resumes at that step when it is asked for again.
    """
    if error.is_outage or isinstance(error, _NOT_OF_THE_REQUEST):
        return None
    return "refused" if isinstance(error, errors.RefusedError) else "failed_later"


def outcome_if_met(requirements: Iterable[Requirement], attempts: Iterable[Attempt]) -> Outcome | None:
    """Return the outcome if an attempt leaves nothing to do, or None if another round may help.

    It is `all_met` if every requirement is met, and `checkable_met` if words that were not understood are the only
    exception. If there is nothing else, or no verdict at all, it is `nothing_to_check`.
    """
    skipped = {item.id for item in requirements if item.not_understood}
    verdicts = [attempt.verdicts for attempt in attempts if attempt.verdicts]
    if any(all(verdict.answer == "met" for verdict in each) for each in verdicts):
        return "all_met"
    if all(verdict.requirement in skipped for each in verdicts for verdict in each):
        return "nothing_to_check"
    for each in verdicts:
        left = [verdict for verdict in each if verdict.answer != "met"]
        if all(verdict.answer == "unsure" and verdict.requirement in skipped for verdict in left):
            return "checkable_met"
    return None


def is_within(budget: Budget, calls: int, tokens: int) -> bool:
    """Return whether a trajectory may have cost this many calls and tokens of chat models."""
    is_enough = budget.max_calls is None or calls <= budget.max_calls
    return is_enough and (budget.max_tokens is None or tokens <= budget.max_tokens)
