"""A run whose trajectories follow a script, with a conductor and memory that outlive the process that asks them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import trio

from gems_actors.app.bulk.images.allotment import ELSEWHERE, ImageAllotment
from gems_actors.app.bulk.images.budget import ImageBudget
from gems_actors.app.bulk.images.places import FreePlace, Slot
from gems_actors.app.bulk.running.servers import LeftUndoneError
from gems_actors.errors import BackendError
from protocol.messages import (
    Attempt,
    DrawPicture,
    Ending,
    ImageGrant,
    ImageRef,
    Outcome,
    Picture,
    Requirement,
    RequirementKind,
    Verdict,
)

KINDS: tuple[RequirementKind, ...] = ("object", "count", "position", "text", "attribute", "action")
MAX_ROUNDS = 5


def picture_of(
    request: DrawPicture, misses: list[int], grants: tuple[ImageGrant, ...] = (), *, has_stopped: bool = False
) -> Picture:
    """Return a picture of one attempt a round, of which each misses so many of the last of its six requirements."""
    requirements = tuple(Requirement(id=f"r{at}", question="?", kind=kind) for at, kind in enumerate(KINDS))
    image = ImageRef(digest=f"sha256:{'0' * 64}", media_type="image/png", bytes=1, width_px=16, height_px=16)
    attempts = []
    for round_, missed in enumerate(misses, 1):
        met = len(KINDS) - missed
        verdicts = tuple(
            Verdict(requirement=item.id, answer="met" if at < met else "unmet") for at, item in enumerate(requirements)
        )
        attempts.append(Attempt(round=round_, candidate=1, prompt="p", image=image, seed=0, verdicts=verdicts))
    best = min(range(len(misses)), key=misses.__getitem__) + 1
    outcome: Outcome = "all_met" if 0 in misses else "rounds_spent" if len(misses) == MAX_ROUNDS else ELSEWHERE
    if has_stopped:
        outcome = "refiner_stopped"
    return Picture(
        trajectory=request.trajectory,
        prompt=request.prompt,
        skill=None,
        requirements=requirements,
        attempts=tuple(attempts),
        ending=Ending(outcome=outcome, best_round=best, best_candidate=1, decided_by=""),
        settings=request.settings,
        grants=grants,
    )


class World:
    """The trajectories of a run, and what its folder has of them."""

    def __init__(self, tasks: int, *, seed: int = 0) -> None:
        self.tasks = tasks
        random = Random(seed)
        self._misses = [[random.randint(0, 6) for _ in range(MAX_ROUNDS)] for _ in range(tasks)]
        self.drawn = [0] * tasks
        """Images of each trajectory in memory."""
        self.grants: list[list[ImageGrant]] = [[] for _ in range(tasks)]
        """Grants of each trajectory in memory."""
        self.kept: dict[int, Picture] = {}
        """Pictures in the folder."""
        self.asked = 0
        self.fails: set[int] = set()
        self.gives_up: set[int] = set()
        """Trajectories whose refiner stops when the second image is due."""
        self.peak_open = 0
        self._open = 0

    @property
    def images(self) -> int:
        return sum(self.drawn)

    async def ask(self, order: Random, request: DrawPicture) -> Picture:
        """Answer as a conductor does: record a grant that goes further, and draw what is granted."""
        at = request.line
        self._open += 1
        self.peak_open = max(self.peak_open, self._open)
        try:
            for _ in range(order.randint(0, 9)):  # others come first
                await trio.lowlevel.checkpoint()
            if at in self.fails:
                raise BackendError("no picture here")
            self.asked += 1
            grant, known = request.budget.grant, self.grants[at]
            before = max((known_grant.images for known_grant in known), default=0)
            if grant is not None and grant.images > before and (self._is_open(at) or self._gives_up(at)):
                known.append(grant)
                await trio.lowlevel.checkpoint()
            limit = max((known_grant.images for known_grant in known), default=MAX_ROUNDS)
            while self._is_open(at) and self.drawn[at] < limit:
                await trio.lowlevel.checkpoint()
                self.drawn[at] += 1
            has_stopped = self._gives_up(at) and limit > 1
            return picture_of(request, self._misses[at][: self.drawn[at]], tuple(known), has_stopped=has_stopped)
        finally:
            self._open -= 1

    def _is_open(self, at: int) -> bool:
        is_complete = self.drawn[at] == MAX_ROUNDS or 0 in self._misses[at][: self.drawn[at]]
        return not is_complete and not self._gives_up(at)

    def _gives_up(self, at: int) -> bool:
        return at in self.gives_up and self.drawn[at] == 1

    def decisions(self) -> list[list[tuple[int, int, float]]]:
        """Return the grants of each trajectory: images, wave and expected gain."""
        return [[(grant.images, grant.wave, grant.expected_gain) for grant in grants] for grants in self.grants]


async def run_process(
    world: World,
    folder: Path,
    budget: ImageBudget,
    *,
    order: int = 0,
    in_flight: int = 7,
    tasks_of_pool: int = 64,
    tasks_of_wave: int = 64,
    stop_after: int | None = None,
    end: Callable[[ImageAllotment], None] | None = None,
) -> ImageAllotment:
    """Draw the run as one process does, until it is complete or was killed after so many answers.

    Args:
        world: the run.
        folder: where the plan is remembered.
        budget: images of the run.
        order: seed of the order in which trajectories answer.
        in_flight: tasks in flight.
        tasks_of_pool: tasks of a pool.
        tasks_of_wave: tasks of a wave.
        stop_after: answers after which the process ends.
        end: how it ends; by default it is killed.
    """
    images = ImageAllotment(budget, folder, 1, tasks_of_pool=tasks_of_pool, tasks_of_wave=tasks_of_wave)
    before = dict(world.kept)
    for at, picture in before.items():
        images.note_row(at, 0, len(picture.attempts), picture.ending.outcome)
    images.begin(world.tasks)
    random, limiter = Random(order), trio.CapacityLimiter(in_flight)
    last = None if stop_after is None else world.asked + stop_after

    async def ask(request: DrawPicture) -> Picture:
        picture = await world.ask(random, request)
        if last is not None and world.asked >= last:
            if end is None:
                nursery.cancel_scope.cancel()
                await trio.lowlevel.checkpoint()
            else:
                end(images)
        return picture

    async def draw(at: int, place: FreePlace) -> None:
        is_kept = False
        try:
            picture = await place.draw(DrawPicture(run="r", line=at, prompt=f"task {at}", seed=0), ask)
            world.kept[at] = picture
            is_kept = True
        except BackendError:
            is_kept = True
        except LeftUndoneError:
            pass
        finally:
            place.leave(is_kept=is_kept)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for at in range(world.tasks):
                if at in before and not images.wants(at, 0):
                    continue
                await images.wait_for_room()
                slot = Slot(limiter)
                await slot.acquire()
                nursery.start_soon(draw, at, images.join(1, slot, world.tasks))
            images.end(None, has_read_all=True)
    return images
