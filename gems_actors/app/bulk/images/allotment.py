"""Lets the tasks of a running bulk wait for their images, and gives these out wave by wave, as `waves` decides.

A trajectory draws what it is granted and ends with the outcome `budget_elsewhere` if it could use more; when a wave
grants it another image, it is asked for again, and its conductor records the grant before it continues. So a task that
waits holds neither a place in the mesh nor one of the bulk's tasks in flight: only this process knows that it waits.

Nothing deadlocks: the tasks of the first open pool wait for one another alone, and none of them for a task of a later
pool. The images of the next pool's first rounds, and those of the other waves of a large pool, keep the generators
busy while a wave waits for its last image.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Final

import trio
from msgspec import structs

from gems_actors.app.bulk.finished.ledger import IdTable, TaskRef, number_of
from gems_actors.app.bulk.images.budget import ImageBudget
from gems_actors.app.bulk.images.gains import Sums, standings_of
from gems_actors.app.bulk.images.places import Ask, FreePlace, Slot, UnlimitedImages
from gems_actors.app.bulk.images.plan import Plan, read_plan, write_plan
from gems_actors.app.bulk.images.waves import TASKS_OF_POOL, TASKS_OF_WAVE, Member, Waves, spare_images
from gems_actors.app.bulk.running.servers import LeftUndoneError
from gems_actors.errors import UsageError
from protocol.messages import DrawPicture, ImageGrant, Picture

ELSEWHERE: Final = "budget_elsewhere"
"""Outcome of a trajectory that lacks nothing but images."""
_OPEN_POOLS: Final = 2
"""Pools whose tasks are drawn at once: one in its waves, and one in its first rounds."""


@dataclass(slots=True, eq=False)
class _Pool:
    """A stretch of the tasks, among which images are spread."""

    start: int
    """Position of its first task; `end` is that of the first task after it."""
    end: int
    places: dict[int, Place] = field(default_factory=dict)
    """By the position of the task in the run."""
    passive: int = 0
    """Images of its tasks that were complete before this plan; the same applies to `passive_tasks`."""
    passive_tasks: int = 0
    is_full: bool = False
    total: int = 0
    """Tasks of the run, as far as they were known when the pool was full."""
    waves: Waves | None = None
    """None until all tasks have drawn their first round."""
    drawing: Counter[int] = field(default_factory=Counter)
    """Tasks that draw what they were granted, by wave; 0 is the first round."""
    unkept: int = 0
    """Tasks whose outcome is not in the folder yet."""

    @property
    def images(self) -> int:
        return self.passive + sum(place.member.images for place in self.places.values())

    @property
    def tasks(self) -> int:
        return self.passive_tasks + len(self.places)

    @property
    def sums(self) -> Sums:
        """The table of gains when the pool is closed."""
        return {} if self.waves is None else self.waves.sums

    def is_drawing(self, last: float) -> bool:
        """Return whether a task of a wave up to the one with the number `last` draws."""
        return any(tasks and wave <= last for wave, tasks in self.drawing.items())


class Place(FreePlace):
    """The place of a task in its pool."""

    def __init__(self, allotment: ImageAllotment, pool: _Pool, member: Member, slot: Slot, had_images: int) -> None:
        super().__init__(slot)
        self.member, self.had_images, self._is_drawing = member, had_images, True
        self._allotment, self._pool = allotment, pool
        pool.drawing[member.wave] += 1
        pool.unkept += 1
        self._decided = trio.Event()
        self._grant: ImageGrant | None = ImageGrant(images=member.cost, plan=allotment.plan.number)

    async def draw(self, request: DrawPicture, ask: Ask) -> Picture:
        while True:
            grant = self._grant
            picture = await ask(structs.replace(request, budget=structs.replace(request.budget, grant=grant)))
            if grant is None or not self._take(picture):
                return picture
            self._slot.release()
            await self._decided.wait()
            if self._allotment.is_abandoned:
                raise LeftUndoneError
            await self._slot.acquire()
            if self._grant is None:
                return picture

    def decide(self, grant: ImageGrant | None) -> None:
        """Let the task draw what it is granted; without a grant, its picture is final."""
        self._grant, self._is_drawing = grant, grant is not None
        self._pool.drawing[self.member.wave] += self._is_drawing
        self._decided.set()

    def wake(self) -> None:
        """Let a waiting task see that the run ends."""
        self._decided.set()

    def leave(self, *, is_kept: bool) -> None:
        super().leave(is_kept=is_kept)
        self._pool.unkept -= is_kept
        if not is_kept:  # the run ends: decisions without this task would be other ones than the next run's
            self._allotment.abandon()
        if self._is_drawing:  # it failed
            self.member.may_continue, self.member.has_failed = False, True
            self._end_drawing()
        self._allotment.remember()

    def _end_drawing(self) -> None:
        self._decided, self._is_drawing = trio.Event(), False
        if self._allotment.is_abandoned:
            self._decided.set()
        self._pool.drawing[self.member.wave] -= 1
        self._allotment.advance()

    def _take(self, picture: Picture) -> bool:
        """Tell the pool what was drawn, and return whether the task waits for a decision."""
        member, plan = self.member, self._allotment.plan.number
        if not member.rounds:  # the first answer, which may be the work of an earlier process
            before = [grant.images for grant in picture.grants if grant.plan != plan]
            member.began = max(before, default=0) // member.cost
            member.rounds = max(1, member.began)
            member.recorded = {
                grant.wave: grant.expected_gain for grant in picture.grants if grant.plan == plan and grant.wave
            }
        member.take(standings_of(picture), may_continue=picture.ending.outcome == ELSEWHERE)
        is_waiting = member.is_waiting
        if self._is_drawing:
            self._end_drawing()
        return is_waiting


class ImageAllotment(UnlimitedImages):
    """The images of a run with a budget of images."""

    def __init__(
        self,
        budget: ImageBudget,
        folder: Path,
        cost: int,
        *,
        tasks_of_pool: int = TASKS_OF_POOL,
        tasks_of_wave: int = TASKS_OF_WAVE,
    ) -> None:
        """Continue the plan of a folder, or begin another one if the budget has changed.

        Args:
            budget: images of the run.
            folder: where the plan is remembered.
            cost: images of a round of a task without a number of its own.
            tasks_of_pool: tasks among which images are spread at once; the same for every process of a plan.
            tasks_of_wave: tasks that get an image at once; the same applies.

        Raises:
            OutputError: the plan cannot be read.
        """
        self.budget, self._folder, self._cost = budget, folder, cost
        known = read_plan(folder)
        self._is_continued = known.number > 0 and (known.images, known.mean) == (budget.images, budget.mean)
        self.plan = known
        if not self._is_continued:
            self.plan = Plan(number=known.number + 1, images=budget.images, mean=budget.mean, sums=known.sums)
        self.is_abandoned = self._is_stopped = False
        self._has_read_all = False
        self._position = 0
        self._used, self._sums = self.plan.used, dict[str, tuple[int, int]](self.plan.sums)
        self._pools: deque[_Pool] = deque()
        """Pools that are not closed, in order."""
        self._closed: deque[_Pool] = deque()
        """Closed pools, some of whose outcomes are not in the folder yet."""
        self._tasks_of_pool, self._tasks_of_wave = tasks_of_pool, tasks_of_wave
        self._next_end = self.plan.closed + tasks_of_pool
        self._rows = IdTable("IB")
        """Images of each picture that was in the folder before this process, and whether it may get more of them."""
        self._earlier_tasks = self._earlier_images = 0
        """Tasks with such a picture, and their images."""
        self._had_images = 0
        """Images of the picture of the task that joins next, if it has one."""
        self._has_closed = trio.Event()

    def begin(self, tasks: int | None) -> None:
        if tasks is None and self.budget.images is not None:
            raise UsageError(
                "--run-images: expected an input whose tasks can be counted, got one that is read only once"
            )
        given, new = self.budget.total(tasks or 1), (tasks or 1) - self._earlier_tasks
        what = f"a round for each of {tasks or 1} tasks"
        if (least := self._cost * (tasks or 1)) <= given and not self._is_continued and new > 0:
            least = self._earlier_images + self._cost * new
            what = f"the {self._earlier_images} that are drawn, and a round for each of {new} tasks"
        if least > given:
            raise UsageError(f"--run-images, --mean-images: expected at least {least} images, {what}, got {given}")
        write_plan(self._folder, self.plan)

    # -------------------------------------------------------------------------------------------- joining, in order

    def note_row(self, ref: TaskRef, sample: int, images: int, outcome: str) -> None:
        number = number_of(ref, sample)
        self._earlier_images += images
        if (found := self._rows.find(number)) is None:
            self._earlier_tasks += 1
            self._rows.add(number, images, outcome == ELSEWHERE)
        else:
            (kept, is_elsewhere), at = found
            self._earlier_images -= kept[at]
            kept[at], is_elsewhere[at] = images, outcome == ELSEWHERE

    def wants(self, ref: TaskRef, sample: int) -> bool:
        if self._position >= self.plan.closed:
            found = self._rows.find(number_of(ref, sample))
            if self._is_continued or found is None or found[0][1][found[1]]:
                self._had_images = 0 if found is None else found[0][0][found[1]]
                return True
            pool = self._pool_to_join()
            pool.passive += found[0][0][found[1]]
            pool.passive_tasks += 1
        self._position += 1
        return False

    async def wait_for_room(self) -> None:
        while not self.is_abandoned and len(self._pools) >= _OPEN_POOLS and self._pools[-1].is_full:
            await self._has_closed.wait()

    def join(self, cost: int, slot: Slot, total: int | None) -> Place:
        pool = self._pool_to_join()
        place = Place(self, pool, Member(self._position, cost), slot, self._had_images)
        self._had_images = 0
        pool.places[self._position] = place
        self._position += 1
        if self._position >= pool.end:
            self._fill(pool, total)
        return place

    def end(self, total: int | None, *, has_read_all: bool) -> None:
        self._has_read_all = has_read_all
        if self._pools and not self._pools[-1].is_full:
            self._fill(self._pools[-1], total)

    def _pool_to_join(self) -> _Pool:
        if not self._pools or self._pools[-1].is_full:
            self._pools.append(_Pool(self._next_end - self._tasks_of_pool, self._next_end))
            self._next_end += self._tasks_of_pool
        return self._pools[-1]

    def _fill(self, pool: _Pool, total: int | None) -> None:
        pool.is_full, pool.total = True, max(self._position, total or 0)
        self.advance()

    # ------------------------------------------------------------------------------------------------ decisions

    def end_at(self, nursery: trio.Nursery, is_spent: trio.Event, *ends: trio.Event) -> None:
        async def call_at(event: trio.Event, function: Callable[[], None]) -> None:
            await event.wait()
            function()

        nursery.start_soon(call_at, is_spent, self.stop)
        for end in ends:
            nursery.start_soon(call_at, end, self.abandon)

    def stop(self) -> None:
        """Grant no more images: every task ends with the picture that it has."""
        self._is_stopped = True
        self.advance()

    def abandon(self) -> None:
        """Leave the tasks that wait to the next run."""
        self.is_abandoned = True
        for pool in self._pools:
            for place in pool.places.values():
                place.wake()
        self._has_closed.set()

    def advance(self) -> None:
        """Give out the next waves of the first pool if they can be decided, and close pools that are through."""
        while not self.is_abandoned and self._pools and self._can_decide(self._pools[0]):
            pool = self._pools[0]
            if not self._grant_wave(pool):
                self._close(pool)

    def _can_decide(self, pool: _Pool) -> bool:
        """Return whether everything is known by which the next wave of a pool is decided, or its end."""
        last = inf if self._is_stopped else pool.waves.known if pool.waves is not None else 0
        return pool.is_full and not pool.is_drawing(last)

    def _grant_wave(self, pool: _Pool) -> bool:
        """Grant the images of a pool's next wave, and return whether there may be further ones."""
        if pool.waves is None:
            left = self.budget.total(pool.total) - self._used - pool.images
            spare = spare_images(left, pool.tasks, pool.total - pool.start, self._cost)
            members = [place.member for place in pool.places.values()]
            pool.waves = Waves(members, self._sums, spare, self._cost, tasks_of_wave=self._tasks_of_wave)
        if self._is_stopped or (decided := pool.waves.decide()) is None:
            return False
        wave, chosen = decided
        for member, gain in chosen:
            if member.may_continue and member.rounds > len(member.standings):  # otherwise an earlier process drew it
                images = member.cost * member.rounds
                grant = ImageGrant(images=images, plan=self.plan.number, wave=wave, expected_gain=gain)
                pool.places[member.position].decide(grant)
        return True

    def _close(self, pool: _Pool) -> None:
        self._used += pool.images
        self._sums = dict(pool.sums)
        self._closed.append(self._pools.popleft())
        for place in pool.places.values():
            place.decide(None)
        has_closed, self._has_closed = self._has_closed, trio.Event()
        has_closed.set()
        self.remember()

    def remember(self) -> None:
        """Write the plan once all outcomes of the next closed pool are in the folder."""
        while self._closed and not self._closed[0].unkept and not self._is_stopped:
            pool = self._closed.popleft()
            if pool.end <= self._position or self._has_read_all:
                closed, used = min(pool.end, self._position), self.plan.used + pool.images
                self.plan = structs.replace(self.plan, closed=closed, used=used, sums=dict(pool.sums))
                write_plan(self._folder, self.plan)

    def figures(self, total: int | None) -> tuple[int, int | None]:
        spent = self._used + sum(pool.images for pool in self._pools)
        is_known = self.budget.images is not None or total is not None
        return spent, self.budget.total(total or 0) if is_known else None
