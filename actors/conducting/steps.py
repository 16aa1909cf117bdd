"""How the conductor asks a role: with retries, and with the outcome that a failure for good has for the trajectory."""

from __future__ import annotations

from typing import TypeVar

import structlog
import trio

from actors.conducting.endings import outcome_of
from gems_actors.client import Mesh
from gems_actors.errors import ModelOutputError, RequestError
from protocol import messages as m

ReplyT = TypeVar("ReplyT", bound=m.Reply)

_TRIES = 3
"""Maximum number of tries of a step that fails with a retryable error, such as that of a server that restarts."""

_log = structlog.get_logger()


class StepError(RequestError):
    """A step of a round failed for good, with the outcome that the trajectory has if it has an attempt."""

    def __init__(self, outcome: m.Outcome, error: RequestError) -> None:
        super().__init__(str(error))
        self.outcome, self.error = outcome, error


class Steps:
    """The requests of one trajectory."""

    def __init__(self, mesh: Mesh, retry_delay_s: float) -> None:
        self._mesh, self._retry_delay_s = mesh, retry_delay_s

    async def ask(self, request: m.Request[ReplyT], role: str | None = None) -> ReplyT:
        """Return the reply of a role; a request that fails with a retryable error is retried with backoff."""
        for attempt in range(1, _TRIES):
            try:
                return await self._mesh.ask(request, role=role)
            except RequestError as error:
                if not error.is_retryable or isinstance(error, ModelOutputError):  # the role itself asked twice
                    raise
                _log.warning("step_retried", request=type(request).__name__, reason=str(error))
                await trio.sleep(self._retry_delay_s * 2 ** (attempt - 1))
        return await self._mesh.ask(request, role=role)

    async def take(self, request: m.Request[ReplyT], role: str | None = None) -> ReplyT:
        """Return the reply of a role in a round.

        Raises:
            StepError: the step failed for good.
            RequestError: another failure, after which the trajectory can resume at this step.
        """
        try:
            return await self.ask(request, role)
        except RequestError as error:
            if (outcome := outcome_of(error)) is None:
                raise
            raise StepError(outcome, error) from error
