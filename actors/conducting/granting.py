"""The rules by which a trajectory uses the images that its run grants it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import structs

from protocol.messages import DrawPicture, DrawSettings, ImageGrant, TrajectoryReopened, TrajectoryState


def granted_by(task: DrawPicture) -> tuple[ImageGrant, ...]:
    """Return what a request grants: nothing or one grant."""
    return () if task.budget.grant is None else (task.budget.grant,)


def reopening_for(task: DrawPicture, settings: DrawSettings, state: TrajectoryState) -> TrajectoryReopened | None:
    """Return the record by which a trajectory continues that ended for want of images, and is granted more of them.

    None if it did not end so, or has had as many images before.
    """
    grant, before = task.budget.grant, max((known.images for known in state.grants), default=0)
    if state.ending is None or state.ending.outcome != "budget_elsewhere" or grant is None or grant.images <= before:
        return None
    reopened = structs.replace(task, settings=settings)
    return TrajectoryReopened(trajectory=task.trajectory, reopening=state.reopenings + 1, task=reopened)


def has_images(task: DrawPicture, grants: Iterable[ImageGrant], images: int) -> bool:
    """Return whether a trajectory may have this number of images; what was granted before is obeyed."""
    grant = task.budget.grant
    return grant is None or images <= max(known.images for known in (grant, *grants))
