"""Draws pictures for HTTP clients: within the bounds of the gateway, and resumable by the name of their run."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import structlog
import trio

from gems_actors.app import draw_progress, picture_files
from gems_actors.app.picture_files import PictureFormat
from gems_actors.app.references.drawing import keep_references
from gems_actors.app.references.pictures import Reference
from gems_actors.blobs import BlobStore
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.errors import BlobError, DeadlineError
from gems_actors.gateway.admission import Admission
from gems_actors.gateway.allowances import Allowances
from gems_actors.gateway.tokens import Caller
from gems_actors.tasks import gather, open_background
from protocol.envelope import Lane
from protocol.messages import AppendRecord, Attempt, DrawPicture, ImageRef, Picture, RunBegun

OnRound = Callable[[Attempt], Awaitable[None]]

_log = structlog.get_logger()


class Draws:
    """The pictures in flight; cancelling a call withdraws its pictures from the mesh."""

    def __init__(self, config: MeshConfig, mesh: Mesh, blobs: BlobStore, allowances: Allowances) -> None:
        self._mesh, self._blobs, self._allowances = mesh, blobs, allowances
        self._model = config.image.drawn_by
        self._timeout_s = config.gateway.timeout_s
        self.admission = Admission(config.gateway.max_draws)

    async def draw(
        self,
        caller: Caller,
        tasks: tuple[DrawPicture, ...],
        on_round: OnRound | None = None,
        references: list[Reference] | None = None,
    ) -> tuple[Picture, ...]:
        """Return the pictures of one run; those that were drawn before are answered from memory.

        Args:
            caller: who asks for them.
            tasks: the requests to the mesh.
            on_round: gets the best attempt of each round of the first picture, in their order.
            references: pictures that they are drawn from; the list is emptied once they are in the store, because they
                may be large.

        Raises:
            ApiError: the caller has no images left today.
            BlobError: a reference cannot be stored.
            OverloadedError: too many pictures are in flight, here or in the mesh.
            DeadlineError: the time limit of a request has passed.
            RequestError: a picture cannot be drawn; the others are withdrawn.
        """
        pictures: tuple[Picture, ...] = ()
        with self.held(caller, tasks) as drawn:
            await self.keep(references or ())
            if references:
                references.clear()
            begun = RunBegun(run=tasks[0].run, what=tasks[0].prompt, total=len(tasks))
            await self._mesh.ask(AppendRecord(record=begun), lane=Lane.INTERACTIVE)
            if on_round is None:
                pictures = await gather(*(partial(self._ask, task) for task in tasks))
            else:
                pictures = (await self._follow(tasks[0], on_round),)
            drawn.extend(len(picture.attempts) for picture in pictures)
        return pictures

    async def keep(self, references: Iterable[Reference]) -> None:
        """Put pictures to draw from into the store.

        Raises:
            BlobError: one of them cannot be stored.
        """
        await keep_references(self._blobs, references)

    @contextmanager
    def held(self, caller: Caller, tasks: tuple[DrawPicture, ...]) -> Iterator[list[int]]:
        """Hold the places of pictures that the block draws; it appends how many images each of them took.

        Raises:
            ApiError: the caller has no images left today.
            OverloadedError: too many pictures are in flight.
            DeadlineError: the time limit of a request has passed.
        """
        began, is_drawn = trio.current_time(), False
        self.admission.admit(len(tasks), began)
        try:
            with trio.move_on_after(self._timeout_s) as limit, self._counted(caller, tasks) as drawn:
                yield drawn
                is_drawn = bool(drawn)
            if limit.cancelled_caught:
                raise DeadlineError(f"not answered within {self._timeout_s:g} s")
        finally:
            self.admission.end(len(tasks), trio.current_time() - began, is_drawn=is_drawn)

    async def draw_one(self, caller: Caller, task: DrawPicture) -> Picture:
        """Return a picture of a job, which waits behind those of other requests and is retried under overload.

        Raises:
            ApiError: the caller has no images left today.
            RequestError: it cannot be drawn.
        """
        with self._counted(caller, (task,)) as drawn:
            picture = await self._mesh.ask(task, lane=Lane.BULK)
            drawn.append(len(picture.attempts))
        return picture

    async def read(
        self, picture: Picture, task: DrawPicture, picture_format: PictureFormat, compression: int | None
    ) -> bytes:
        """Return a picture's file, with the texts that a file of `gems draw` has; a lost picture is drawn again.

        Raises:
            RequestError: the picture is lost for good, or cannot be decoded.
        """
        try:
            data = await self._blobs.get(picture.best.image)
        except BlobError as error:
            _log.warning("picture_redrawn", digest=picture.best.image.digest, reason=str(error))
            picture = await self._ask(task)  # finished, so only what is lost is drawn
            data = await self._blobs.get(picture.best.image)
        texts = picture_files.texts_of(picture, seed=task.seed, model=self._model)
        return await encoded(data, picture.best.image.media_type, picture_format, compression, texts)

    async def read_image(self, image: ImageRef, picture_format: PictureFormat, compression: int | None) -> bytes:
        """Return the file of an image, without texts.

        Raises:
            BlobError: it is lost, or cannot be decoded.
        """
        return await encoded(await self._blobs.get(image), image.media_type, picture_format, compression, {})

    async def read_thumbnail(self, image: ImageRef, side_px: int) -> bytes:
        """Return a small WebP file of an image.

        Raises:
            BlobError: it is lost, or cannot be decoded.
        """
        data = await self._blobs.get(image)
        try:
            return await trio.to_thread.run_sync(picture_files.thumbnail_of, data, side_px)
        except picture_files.PictureError as error:
            raise BlobError(str(error)) from error

    def story_of(self, picture: Picture, task: DrawPicture) -> dict[str, Any]:
        """Return what an answer tells about a picture in addition to its bytes."""
        best = picture.best
        return {
            "run": task.run,
            "trajectory": picture.trajectory,
            "model": self._model,
            "seed": task.seed,
            "skill": picture.skill,
            "rounds": picture_files.rounds_of(picture),
            "images": len(picture.attempts),
            "met": draw_progress.count_met(best),
            "requirements": len(best.verdicts),
            "unmet": draw_progress.unmet_questions(picture.requirements, best),
            "all_met": picture.all_met,
            "outcome": picture.ending.outcome,
            "decided_by": picture.ending.decided_by,
            "digest": best.image.digest,
        }

    @contextmanager
    def _counted(self, caller: Caller, tasks: tuple[DrawPicture, ...]) -> Iterator[list[int]]:
        """Take the most images that tasks may cost, and give back what the yielded list does not hold at the end.

        A request that is withdrawn or fails costs an image of each task, because nobody counts for it.
        """
        most = sum(task.settings.max_rounds * task.settings.candidates for task in tasks)
        self._allowances.take_images(caller, most, time.time())
        drawn: list[int] = []
        try:
            yield drawn
        finally:
            cost = sum(drawn) if drawn else len(tasks)
            self._allowances.give_back(caller, most - cost, time.time())

    async def _ask(self, task: DrawPicture) -> Picture:
        return await self._mesh.ask(task, lane=Lane.INTERACTIVE, retries_overload=False)

    async def _follow(self, task: DrawPicture, on_round: OnRound) -> Picture:
        """Return a picture, and report each round once all of its candidates are judged."""
        candidates, lock, shown = task.settings.candidates, trio.Lock(), 0
        is_over = False

        async def show(attempts: Iterable[Attempt]) -> None:
            nonlocal shown
            rounds: dict[int, list[Attempt]] = {}
            for attempt in attempts:
                rounds.setdefault(attempt.round, []).append(attempt)
            while (done := rounds.get(shown + 1)) is not None and (is_over or len(done) >= candidates):
                shown += 1
                leading = draw_progress.leading_attempt(done)
                if leading is not None:
                    await on_round(leading)

        async with self._mesh.events(task.run) as events, open_background() as nursery:

            async def show_events() -> None:
                progress = draw_progress.progress_of(task)
                async for event in events:
                    progress = draw_progress.advance(progress, event)
                    async with lock:  # whatever is being shown is shown to its end
                        if not is_over:
                            await show(progress.attempts)

            nursery.start_soon(show_events)
            picture = await self._ask(task)
            async with lock:
                is_over = True
                await show(picture.attempts)  # what no event told: some may be lost, and memory answers without any
        return picture


async def encoded(
    data: bytes, media_type: str, picture_format: PictureFormat, compression: int | None, texts: dict[str, str]
) -> bytes:
    """Return a picture's file in the format that a client wants.

    Raises:
        BlobError: the bytes are not a picture.
    """
    encode = partial(picture_files.picture_of, data, media_type, picture_format, texts, quality=compression)
    try:
        return await trio.to_thread.run_sync(encode)
    except picture_files.PictureError as error:
        raise BlobError(str(error)) from error
