"""Which runs and trajectories do not go on, as the router, its actors and its clients each keep it. Pure.

Whoever has to do with a mesh keeps all marks, so that a router that was killed learns them again. Each change of a mark
has a higher revision than all that its maker knew of: marks may come from anywhere, in any order and more than once,
and everybody ends with the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from gems_actors.errors import CancelledRequestError
from protocol.envelope import Header
from protocol.limits import MAX_REVISION
from protocol.messages import Control, RunPhase, RunState

WHOLE_RUN = bytes(16)
"""The trajectory of a mark that concerns all of its run."""
MAX_MARKS = 1000
"""Beyond so many the oldest of those that hold nothing back are forgotten."""
_STATES: dict[Control, RunPhase] = {"pause": "paused", "resume": "running", "cancel": "cancelled"}
_ORDER: tuple[RunPhase, ...] = ("running", "paused", "cancelled")
"""Of two marks of one revision, made at two routers at once, the later in this order stands."""


class RunStates:
    """All marks that are known; no more than a user has made by hand."""

    def __init__(self) -> None:
        self._marks: dict[tuple[bytes, bytes], RunState] = {}

    def __bool__(self) -> bool:
        return bool(self._marks)

    def all(self) -> tuple[RunState, ...]:
        """Return all, those too that say that something goes on again."""
        return tuple(self._marks.values())

    def merge(self, marks: Iterable[RunState]) -> list[RunState]:
        """Take marks that somebody else knows, and return those that are news and are kept."""
        news = self._take(marks)
        self._forget()
        return [mark for mark in news if self._marks.get((mark.run, mark.trajectory)) is mark]

    def change(self, run: bytes, trajectory: bytes, action: Control, by: str) -> list[RunState]:
        """Set the state of a run, or one trajectory of it, and return what changed.

        To resume a run is to resume all of it; what was cancelled cannot be paused.
        """
        state = _STATES[action]
        if state == "paused" and self.state_of(run, trajectory) == "cancelled":
            return []
        keys = [(run, trajectory)]
        if state == "running":
            keys = [key for key in self._marks if key[0] == run and trajectory in (key[1], WHOLE_RUN)]
        revision = min(1 + max((mark.revision for mark in self._marks.values()), default=0), MAX_REVISION)
        changed = self._take(
            RunState(run=key[0], trajectory=key[1], state=state, by=by, revision=revision)
            for key in keys
            if self._state_at(key) != state
        )
        self._forget()
        return changed

    def state_of(self, run: bytes, trajectory: bytes = WHOLE_RUN) -> RunPhase:
        """Return how it stands with a run or a trajectory; what a run is, all of its trajectories are."""
        mark = self.mark_of(run, trajectory)
        return "running" if mark is None else mark.state

    def mark_of(self, run: bytes, trajectory: bytes = WHOLE_RUN) -> RunState | None:
        """Return the mark that keeps a run or a trajectory from going on, if there is one."""
        found = (self._marks.get((run, WHOLE_RUN)), self._marks.get((run, trajectory)))
        marks = [mark for mark in found if mark is not None and mark.state != "running"]
        return max(marks, key=lambda mark: _ORDER.index(mark.state), default=None)

    def _take(self, marks: Iterable[RunState]) -> list[RunState]:
        news = []
        for mark in marks:
            key = (mark.run, mark.trajectory)
            known = self._marks.get(key)
            if known is None or _rank(known) < _rank(mark):
                self._marks[key] = mark
                news.append(mark)
        return news

    def _state_at(self, key: tuple[bytes, bytes]) -> RunPhase:
        mark = self._marks.get(key)
        return "running" if mark is None else mark.state

    def _forget(self) -> None:
        if len(self._marks) > MAX_MARKS:
            idle = sorted((mark for mark in self._marks.values() if mark.state != "paused"), key=_rank)
            for mark in idle[: len(self._marks) - MAX_MARKS]:
                del self._marks[mark.run, mark.trajectory]


def concerns(mark: RunState, header: Header) -> bool:
    """Tell whether a request belongs to what is marked."""
    return mark.run == header.run and mark.trajectory in (header.trajectory, WHOLE_RUN)


def cancellation_of(mark: RunState) -> CancelledRequestError:
    """Return the failure that answers what is asked for what was cancelled."""
    what = "run" if mark.trajectory == WHOLE_RUN else f"trajectory {mark.trajectory.hex()}"
    return CancelledRequestError(f"the {what} was cancelled by {mark.by or 'somebody'}")


def _rank(mark: RunState) -> tuple[int, int, str]:
    return mark.revision, _ORDER.index(mark.state), mark.by
