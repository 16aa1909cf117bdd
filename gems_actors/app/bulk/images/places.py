"""The places of tasks in a run: what a task holds while it is drawn, here in a run without a budget of images."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from gems_actors.app.bulk.finished.ledger import TaskRef
from gems_actors.app.bulk.images.plan import Plan
from protocol.messages import DrawPicture, Picture

Ask = Callable[[DrawPicture], Awaitable[Picture]]


class Slot:
    """One of the tasks in flight; a task that waits for its pool gives it back meanwhile."""

    def __init__(self, limiter: trio.CapacityLimiter) -> None:
        self._limiter, self._borrower = limiter, object()
        self._is_held = False

    async def acquire(self) -> None:
        """Wait for a free slot."""
        await self._limiter.acquire_on_behalf_of(self._borrower)
        self._is_held = True

    def release(self) -> None:
        """Give the slot back, if it is held."""
        if self._is_held:
            self._is_held = False
            self._limiter.release_on_behalf_of(self._borrower)


class FreePlace:
    """The place of a task that draws all of its rounds at once; `draw`, then `leave`."""

    had_images = 0
    """Images of the picture that the folder had of the task before this process, if the task may get more of them."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot

    async def draw(self, request: DrawPicture, ask: Ask) -> Picture:
        """Return the picture of the task once it gets no more images; the slot must be held, and is held afterwards.

        Raises:
            LeftUndoneError: the run ends while the task waits; the next run goes on.
        """
        return await ask(request)

    def leave(self, *, is_kept: bool) -> None:
        """Take no further part: the outcome of the task is in the folder, or is left to the next run."""
        self._slot.release()


class UnlimitedImages:
    """The images of a run whose tasks have each their own rounds, and no budget in common."""

    plan = Plan()

    def begin(self, tasks: int | None) -> None:
        """Remember the plan, so that the next process with the same budget continues it.

        Args:
            tasks: tasks of the run; None if that is unknown.

        Raises:
            UsageError: there is less than one round for each of them.
            OutputError: the plan cannot be written.
        """

    def note_row(self, ref: TaskRef, sample: int, images: int, outcome: str) -> None:
        """Take note of a picture that was in the folder before this process."""

    def wants(self, ref: TaskRef, sample: int) -> bool:
        """Return whether a task that has a picture takes part; called once for each such task, in order."""
        return False

    async def wait_for_room(self) -> None:
        """Wait until the next task may join."""

    def join(self, cost: int, slot: Slot, total: int | None) -> FreePlace:
        """Return the place of the next task.

        Args:
            cost: images of one of its rounds.
            slot: of the tasks in flight, which the task holds.
            total: tasks of the run, as far as known; by default as many as joined.
        """
        return FreePlace(slot)

    def end(self, total: int | None, *, has_read_all: bool) -> None:
        """Note that no further task joins.

        Args:
            total: tasks of the run, as far as known; by default as many as joined.
            has_read_all: whether every task of the run has joined.
        """

    def end_at(self, nursery: trio.Nursery, is_spent: trio.Event, *ends: trio.Event) -> None:
        """Watch for the end of the run, in tasks of a nursery.

        Args:
            nursery: where to watch.
            is_spent: after which no more images are granted, and every task ends with the picture that it has.
            ends: after which tasks that wait are left to the next run.
        """

    def figures(self, total: int | None) -> tuple[int, int | None] | None:
        """Return the images drawn or granted so far, and how many the run has; None in a run without a budget.

        The second number is None while the number of tasks, `total`, is unknown and the budget depends on it.
        """
        return None
