"""Draws pictures again that the store has lost, from what their records say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import structlog

from gems_actors.blobs import BlobStore
from gems_actors.errors import BlobError
from gems_actors.tasks import gather
from protocol.messages import Attempt, Image, ImageRef

Draw = Callable[[str, int, tuple[ImageRef, ...]], Awaitable[Image]]
"""Draws a prompt with a seed and references, in the settings of the trajectory, and stores the picture."""

_log = structlog.get_logger()


async def redraw_lost(blobs: BlobStore, attempts: Iterable[Attempt], draw: Draw) -> None:
    """Draw the pictures of attempts again that are missing or damaged, each from its own prompt, seed and
    references.

    A record names its picture by digest, and its verdicts are about that picture alone, so another one is no
    replacement. Storing the same bytes again mends the store. Edits are drawn in order, after what they edit.

    Raises:
        BlobError: the image model drew another picture this time, or the store cannot be used now.
    """

    async def redraw_if_lost(attempt: Attempt) -> None:
        try:
            await blobs.get(attempt.image)
        except BlobError as error:
            if error.is_outage:
                raise
            reason = str(error)
        else:
            return
        drawn = (await draw(attempt.prompt, attempt.seed, attempt.references)).image
        if drawn.digest != attempt.image.digest:
            raise BlobError(
                f"the picture of round {attempt.round}, candidate {attempt.candidate} is lost ({reason}), and the "
                f"image model drew another one from the same prompt and seed: expected {attempt.image.digest}, got "
                f"{drawn.digest}; restore the store from a backup, or draw the task in a new folder"
            )
        _log.warning("picture_redrawn", digest=drawn.digest, round=attempt.round, reason=reason)

    by_turn: dict[int, list[Attempt]] = {}
    for attempt in attempts:
        by_turn.setdefault(0 if attempt.edited is None else attempt.round, []).append(attempt)
    for turn in sorted(by_turn):
        await gather(*(partial(redraw_if_lost, attempt) for attempt in by_turn[turn]))
