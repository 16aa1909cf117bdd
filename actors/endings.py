"""The rule by which a failure of a step ends a trajectory that has an attempt, or fails it to be resumed. Pure."""

from __future__ import annotations

from gems_actors import errors
from protocol.messages import Outcome

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
