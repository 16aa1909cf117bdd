"""What pages show of a job while it is drawn: merged, at most four times a second, and the same bytes for all of them.

A page needs no history: each update holds the state of what has changed, and a page that missed one gets everything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import msgspec
import trio

from gems_actors.errors import RequestError
from gems_actors.gateway.answers import Emit
from gems_actors.gateway.jobs.records import Job, JobPicture, summary_of

PERIOD_S: Final = 0.25
_RETRY_S: Final = 1.0
MAX_IN_FULL: Final = 12
"""Pictures whose rounds a page shows; a job may have a thousand."""
_KEPT: Final = 8
"""Updates that a page may be behind before it gets everything again."""


class _Tree(NamedTuple):
    """A trajectory for pages; its rounds are encoded, because most of them never change again."""

    head: dict[str, Any]
    rounds: list[msgspec.Raw]

    @classmethod
    def of(cls, tree: dict[str, Any]) -> _Tree:
        rounds = [msgspec.Raw(msgspec.json.encode(round_)) for round_ in tree["rounds"]]
        return cls({name: value for name, value in tree.items() if name != "rounds"}, rounds)

    def since(self, before: _Tree | None) -> _Tree:
        """Return it with those rounds only that differ from what was known before."""
        known = {bytes(round_) for round_ in before.rounds} if before else set()
        return _Tree(self.head, [round_ for round_ in self.rounds if bytes(round_) not in known])


class JobView:
    """The state of one job for pages; it is read only while any of them is open."""

    def __init__(self, job: Job, read: Callable[[str], Awaitable[dict[str, Any]]]) -> None:
        """Start unread; `read` returns a trajectory as a tree."""
        self._job, self._read = job, read
        self._pictures = {job.task(picture).trajectory: picture for picture in job.pictures[:MAX_IN_FULL]}
        self._trees: dict[str, _Tree] = {}
        self._touched: set[str] = set()
        self._updates: deque[tuple[int, msgspec.Raw]] = deque(maxlen=_KEPT)
        self._whole: tuple[int, msgspec.Raw] | None = None
        self._version = 0
        self._wanted, self._shown = 1, 0
        """Number of the newest change, and of the newest one that is in an update."""
        self._watchers = 0
        self._is_publishing = self._is_closed = False
        self._dirty, self._published = trio.Event(), trio.Event()

    def touch(self, *trajectories: str) -> None:
        """Note that the job has changed, and which of its trajectories."""
        if self._watchers:
            self._wanted += 1
            self._touched.update(self._pictures.keys() & trajectories)
            self._dirty.set()

    def close(self) -> None:
        """End the streams of all pages."""
        self._is_closed = True
        self._published.set()

    @contextmanager
    def watched(self, nursery: trio.Nursery) -> Iterator[JobView]:
        """Keep the view up to date within the block."""
        self._watchers += 1
        if self._watchers == 1:  # what happened before was not noted
            self.touch(*self._pictures)
        if not self._is_publishing:
            self._is_publishing = True
            nursery.start_soon(self._publish_often)
        try:
            yield self
        finally:
            self._watchers -= 1
            self._dirty.set()

    async def follow(self, emit: Emit) -> None:
        """Emit updates until the job is over, or this gateway ends; must run within `watched`."""
        position: int | None = None
        while not self._is_closed:
            if position is None or (self._updates and self._updates[0][0] > position + 1):
                position = self._version
                await emit("view", self._everything())
            for version, update in [item for item in self._updates if item[0] > position]:
                await emit("view", update)
                position = version
            if position == self._version and not self._is_closed:
                if self._job.is_over and self._shown == self._wanted:
                    return
                await self._published.wait()

    async def _publish_often(self) -> None:
        while self._watchers:
            await self._dirty.wait()
            self._dirty = trio.Event()
            is_whole = await self._publish()
            await trio.sleep(PERIOD_S if is_whole else _RETRY_S)
        self._is_publishing = False
        self._trees.clear()
        self._updates.clear()
        self._touched.clear()
        self._whole = None

    async def _publish(self) -> bool:
        """Make an update of what has changed, and return whether all of that could be read."""
        wanted, touched, self._touched = self._wanted, self._touched, set()
        changed: dict[str, _Tree] = {}
        is_whole = True
        for id_ in touched:
            try:
                tree = _Tree.of(await self._read(id_))
                changed[id_] = tree.since(self._trees.get(id_))
                self._trees[id_] = tree
            except RequestError:  # memory is away: nothing else may ever say that there is more
                self._touched.add(id_)
                self._dirty.set()
                is_whole = False
        self._version += 1
        self._shown = wanted if is_whole else self._shown
        self._updates.append((self._version, self._update(touched, changed)))
        self._published.set()
        self._published = trio.Event()
        return is_whole

    def _everything(self) -> msgspec.Raw:
        if self._whole is None or self._whole[0] != self._version:
            self._whole = self._version, self._update(self._pictures, self._trees)
        return self._whole[1]

    def _update(self, changed: Collection[str], trees: Mapping[str, _Tree]) -> msgspec.Raw:
        pictures = {id_: _picture_tree(picture) for id_, picture in self._pictures.items() if id_ in changed}
        job = summary_of(self._job, "") | {"in_full": len(self._pictures)}
        trajectories = {id_: tree.head | {"rounds": tree.rounds} for id_, tree in trees.items()}
        return msgspec.Raw(msgspec.json.encode({"job": job, "pictures": pictures, "trajectories": trajectories}))


def _picture_tree(picture: JobPicture) -> dict[str, Any]:
    return {"prompt": picture.prompt, "status": picture.status, "error": picture.error}
