"""Draws one task of a bulk: asks the mesh for its picture, and keeps that, or its failure, in the folder."""

from __future__ import annotations

from functools import partial

import msgspec

from gems_actors.app.bulk.images.places import FreePlace
from gems_actors.app.bulk.reading.references import KeptReferences
from gems_actors.app.bulk.recipe import check_hooks
from gems_actors.app.bulk.reopening import find_standing, reopen
from gems_actors.app.bulk.rows import DrawnTask, Reopened, Row
from gems_actors.app.bulk.running.keeping import PictureKeeper
from gems_actors.app.bulk.running.limits import Cost
from gems_actors.app.bulk.running.opening import OpenBulk
from gems_actors.app.bulk.running.servers import LeftUndoneError
from gems_actors.app.bulk.running.watching import RunWatch
from gems_actors.app.bulk.tasks import BadTask, Task
from gems_actors.app.bulk.totals import add_failure
from gems_actors.app.options import budget_of
from gems_actors.app.picture_files import PictureError
from gems_actors.app.references.pictures import BadReferenceError
from gems_actors.app.session import Connection
from gems_actors.errors import BackendError, BlobError, CancelledRequestError, RequestError
from protocol.costs import add_costs, chat_cost
from protocol.envelope import Lane
from protocol.messages import DrawPicture, Picture


class TaskDrawer:
    """Draws the tasks of a bulk, any number of them at once."""

    def __init__(self, bulk: OpenBulk, watch: RunWatch, connection: Connection) -> None:
        self._bulk, self._watch = bulk, watch
        self._mesh, self._blobs = connection.mesh, connection.blobs
        self._references = KeptReferences(bulk.feed.sources)
        self._keeper = PictureKeeper(bulk.folder, self._blobs.get_from_thread, lambda: bulk.progressing.in_flight)
        self._budget = budget_of(bulk.config)

    async def draw(self, task: Task, sample: int, key: str, place: FreePlace) -> None:
        """Draw a sample of a task and keep its picture; a failure goes to failed.jsonl."""
        cost: Cost | None = None
        bulk = self._bulk
        bulk.unfinished += 1
        request = bulk.recipe.request_of(bulk.run, task, sample, key, self._budget)
        row: Row | None = None
        is_left = True  # to the next run, which draws it
        bulk.progressing.begin(request)
        try:
            references = await bulk.servers.stop_at_bad_disk(partial(self._references.keep, task, self._blobs))
            request = msgspec.structs.replace(request, references=references)
            if place.had_images:
                reopened = await find_standing(self._mesh, request)
            else:
                reopened = await reopen(self._mesh, request, bulk.part.continuation)
            draw = partial(self._draw_and_keep, request, task, key, reopened, place)
            try:
                found = await draw()
            except BlobError as error:  # asked for again, a finished trajectory has its lost pictures drawn again
                bulk.view.say(f"drawing a lost picture again: {error}")
                await self._references.keep(task, self._blobs, again=True)
                found = await draw()
            is_left = False
            if found is not None:
                drawn, row = found
                cost = Cost(row.images, chat_cost(drawn.spent).calls)
                bulk.feed.take_drawn(task, sample)
                bulk.tally.add(row)
                add_costs(bulk.tally.spent, drawn.spent)
                bulk.token_budget.check(bulk.tally.chats.tokens)
        except RequestError as error:
            self._watch.take_state(self._mesh.run_state(bulk.run))
            is_ending = bulk.token_budget.is_spent.is_set() or self._watch.is_cancelled.is_set()
            is_left = isinstance(error, CancelledRequestError) and is_ending
            self._references.note_failure(task, error)
            if not is_left:
                self._fail(task, sample, error.code, str(error))
        except LeftUndoneError:
            pass
        except (PictureError, BadReferenceError) as error:
            is_left = False
            class_ = BackendError.code if isinstance(error, PictureError) else "input"
            self._fail(task, sample, class_, str(error))
        finally:
            bulk.unfinished -= not is_left
            bulk.progressing.end(request, row)
            bulk.options.allowance.settle(cost)
            place.leave(is_kept=not is_left)

    async def _draw_and_keep(
        self, request: DrawPicture, task: Task, key: str, reopened: Reopened, place: FreePlace
    ) -> tuple[DrawnTask, Row] | None:
        """Draw a task and write its picture into the dataset; None if it is there already and got no more images."""
        bulk = self._bulk

        async def ask(request: DrawPicture) -> Picture:
            stop = bulk.token_budget.stop_gracefully
            return await bulk.servers.keep_asking(
                partial(self._mesh.ask, request, lane=Lane.BULK, stop_gracefully=stop)
            )

        picture = await place.draw(request, ask)
        if place.had_images == len(picture.attempts):
            return None
        if place.had_images:
            bulk.feed.note_continued()
            bulk.continued += 1
        models, skill_digest = bulk.recipe.models, bulk.recipe.skills.get(picture.skill or "", "")
        check_hooks(picture, models)
        drawn = DrawnTask(task, request.sample, key, picture, models, request.seed, skill_digest, reopened)
        return drawn, await bulk.servers.stop_at_bad_disk(partial(self._keeper.keep, drawn))

    def fail_record(self, record: BadTask) -> None:
        """Note that a record cannot be drawn."""
        self._fail(record, 0, "input", f"{record.where}: {record.reason}")

    def _fail(self, task: Task | BadTask, sample: int, class_: str, reason: str) -> None:
        self._bulk.folder.keep_failure(task, sample, class_, reason)
        add_failure(self._bulk.tally.failures, class_, reason)
