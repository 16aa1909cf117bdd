"""Which runs and trajectories are paused or cancelled, as the router, its actors and its clients each keep it. Pure.

Every process of a mesh keeps all run states, so that a router that was killed learns them again. Each change has a
higher revision than every state its author knew (last writer wins): states may arrive from anywhere, in any order and
more than once, and all processes converge on the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gems_actors.errors import CancelledRequestError, OverloadedError
from protocol.envelope import Header
from protocol.limits import MAX_REVISION
from protocol.messages import Control, RunPhase, RunState

WHOLE_RUN = bytes(16)
"""The trajectory of a state that applies to the whole run."""
Key = tuple[bytes, bytes]
"""The run and the trajectory of a state."""
MAX_RUN_STATES = 1000
"""States kept; beyond, the oldest are forgotten, first those that are not paused. All of them fit a frame: at most 900
bytes each, of 4 MiB."""
_MAX_TOLD_REVISION = MAX_REVISION // 2
"""Highest revision that a router takes from a process: it can always set a higher one. No mesh counts that far."""
_RETRY_AFTER_S = 10.0
"""Delay after which a client may ask again to pause when the table is full."""
_PHASES: dict[Control, RunPhase] = {"pause": "paused", "resume": "running", "cancel": "cancelled"}
_ORDER: tuple[RunPhase, ...] = ("running", "paused", "cancelled")
"""Of two states with one revision, set at two routers at once, the later in this order wins."""


class RunStates:
    """All known run states, up to `MAX_RUN_STATES`."""

    def __init__(self) -> None:
        self._revision = 0
        """Highest revision of any state so far."""
        self._states: dict[Key, RunState] = {}

    def __bool__(self) -> bool:
        return bool(self._states)

    def all(self) -> tuple[RunState, ...]:
        """Return all states, including those of runs that were resumed."""
        return tuple(self._states.values())

    def is_paused(self, key: Key) -> bool:
        """Return whether a run or trajectory is paused by its own state."""
        return key in self._states and self._states[key].state == "paused"

    def merge(self, states: Iterable[RunState]) -> list[RunState]:
        """Merge states that another process knows, and return those that were new and are kept."""
        news = self._take(states)
        self._forget()
        return [state for state in news if self._states.get((state.run, state.trajectory)) is state]

    def merge_told(self, states: Iterable[RunState]) -> list[RunState]:
        """Merge the states of a process's hello as `merge` does, without revisions that nothing could supersede."""
        return self.merge(state for state in states if state.revision <= _MAX_TOLD_REVISION)

    def change(
        self,
        run: bytes,
        trajectory: bytes,
        action: Control,
        by: str,
        is_live: Callable[[bytes], bool] = lambda run: True,
    ) -> list[RunState]:
        """Set the state of a run, or of one trajectory of it, and return what changed.

        Resuming a run resumes all of its trajectories; a cancelled run cannot be paused. `is_live` returns whether a
        run has requests; if the table is full, a paused run without any makes room.

        Raises:
            OverloadedError: the table is full of paused runs that are live.
        """
        phase = _PHASES[action]
        if phase == "paused" and self.phase_of(run, trajectory) == "cancelled":
            return []
        keys = [(run, trajectory)]
        if phase == "paused" and keys[0] not in self._states:
            self._make_room(is_live)
        if phase == "running":
            keys = [key for key in self._states if key[0] == run and trajectory in (key[1], WHOLE_RUN)]
        revision = min(1 + self._revision, MAX_REVISION)
        changed = self._take(
            RunState(run=key[0], trajectory=key[1], state=phase, by=by, revision=revision)
            for key in keys
            if self._phase_at(key) != phase
        )
        self._forget()
        return changed

    def phase_of(self, run: bytes, trajectory: bytes = WHOLE_RUN) -> RunPhase:
        """Return the phase of a run or a trajectory; that of a run applies to all of its trajectories."""
        state = self.blocking_state(run, trajectory)
        return "running" if state is None else state.state

    def blocking_state(self, run: bytes, trajectory: bytes = WHOLE_RUN) -> RunState | None:
        """Return the state that pauses or cancels a run or a trajectory, or None while it runs."""
        found = (self._states.get((run, WHOLE_RUN)), self._states.get((run, trajectory)))
        blocking = [state for state in found if state is not None and state.state != "running"]
        return max(blocking, key=lambda state: _ORDER.index(state.state), default=None)

    def _take(self, states: Iterable[RunState]) -> list[RunState]:
        news = []
        for state in states:
            key = (state.run, state.trajectory)
            known = self._states.get(key)
            if known is None or _rank(known) < _rank(state):
                self._states[key] = state
                self._revision = max(self._revision, state.revision)
                news.append(state)
        return news

    def _phase_at(self, key: Key) -> RunPhase:
        state = self._states.get(key)
        return "running" if state is None else state.state

    def _forget(self) -> None:
        if (excess := len(self._states) - MAX_RUN_STATES) > 0:
            by_age = sorted(self._states.values(), key=lambda state: (state.state == "paused", _rank(state)))
            for state in by_age[:excess]:
                del self._states[state.run, state.trajectory]

    def _make_room(self, is_live: Callable[[bytes], bool]) -> None:
        """Make room for a paused state, without forgetting one that pauses requests."""
        if len(self._states) < MAX_RUN_STATES or any(state.state != "paused" for state in self._states.values()):
            return
        for state in sorted(self._states.values(), key=_rank):
            if not is_live(state.run):
                del self._states[state.run, state.trajectory]
                return
        text = f"{MAX_RUN_STATES} runs and trajectories are paused, the maximum; resume or cancel one first"
        raise OverloadedError(text, _RETRY_AFTER_S)


def concerns(state: RunState, header: Header) -> bool:
    """Return whether a state applies to a request."""
    return state.run == header.run and state.trajectory in (header.trajectory, WHOLE_RUN)


def cancellation_of(state: RunState) -> CancelledRequestError:
    """Return the failure that answers requests of a cancelled run or trajectory."""
    what = "run" if state.trajectory == WHOLE_RUN else f"trajectory {state.trajectory.hex()}"
    return CancelledRequestError(f"the {what} was cancelled by {state.by or 'somebody'}")


def _rank(state: RunState) -> tuple[int, int, str]:
    return state.revision, _ORDER.index(state.state), state.by
