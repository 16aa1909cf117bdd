"""The loop in a simulation: the real conductor, a memory without a disk, and scripted roles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from actors.conductor import Conductor
from actors.memory_store.replay import assemble_state, step_of
from gems_actors.actor import Actor, answers
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from protocol.messages import (
    AnyRecord,
    Appended,
    AppendRecord,
    AppendRecords,
    DrawPicture,
    LoggedRecord,
    Picture,
    ReadTrajectory,
    TrajectoryRecord,
    TrajectoryState,
)
from tests.actors.scripted import Script, scripted_roles

STEPS = (
    ["attempt 1.1", "attempt 2.1", "begun", "decomposed", "ended", "experience 1", "planned", "refined 2"],
    {"plan": 1, "decompose": 1, "generate": 2, "verify": 2, "compress": 1, "refine": 1},
)
"""Steps of a trajectory whose requirements are met in its second round, and the requests that they take."""
_MEMORY = Path("/dev/shm")


class Log:
    """What a memory has kept, which outlives its process."""

    def __init__(self) -> None:
        self.records: list[LoggedRecord] = []
        self._steps: dict[tuple[str, str], int] = {}

    def append(self, record: AnyRecord) -> Appended:
        """Append a record, once for each step, as memory's store does."""
        assert isinstance(record, TrajectoryRecord)
        step = step_of(record)
        known = None if step is None else self._steps.get((record.trajectory, step))
        if known is not None:
            return Appended(sequence=known, is_new=False, is_first=False)
        sequence = len(self.records) + 1
        self.records.append(LoggedRecord(sequence=sequence, at=0.0, record=record))
        if step is not None:
            self._steps[record.trajectory, step] = sequence
        return Appended(sequence=sequence, is_new=True, is_first=len(self.of(record.trajectory)) == 1)

    def of(self, trajectory: str) -> list[LoggedRecord]:
        """Return the records of a trajectory."""
        return [item for item in self.records if getattr(item.record, "trajectory", None) == trajectory]


class SimulatedMemory(Actor):
    """Answers the requests of the loop to memory."""

    role = "memory"
    default_capacity = 64

    def __init__(self, log: Log, mesh: Mesh) -> None:
        super().__init__(MeshConfig(), mesh)
        self._log = log

    @answers
    async def append(self, request: AppendRecord) -> Appended:
        return self._log.append(request.record)

    @answers
    async def append_all(self, request: AppendRecords) -> Appended:
        return [self._log.append(record) for record in request.records][-1]

    @answers
    async def read(self, request: ReadTrajectory) -> TrajectoryState:
        return assemble_state(self._log.of(request.trajectory))


class Loop:
    """All roles of the loop, and what they did."""

    def __init__(self, folder: str) -> None:
        """Keep the pictures in a folder."""
        self._config = MeshConfig(data_dir=folder)
        self.log, self.script = Log(), Script(met_from_round=2)
        self.kinds: tuple[type[Actor], ...] = (SimulatedMemory, Conductor, Conductor, *scripted_roles(self.script))

    def make(self, kind: type[Actor], mesh: Mesh) -> Actor:
        """Return an actor of one of the roles."""
        return SimulatedMemory(self.log, mesh) if kind is SimulatedMemory else kind(self._config, mesh)

    def complaints(self, tasks: list[DrawPicture], *, is_lossless: bool) -> list[str]:
        """Return what is wrong in the log and, if no actor and no message was lost, in the number of requests."""
        steps, asked = STEPS
        found = []
        for task in tasks:
            names = sorted(step_of(item.record) or type(item.record).__name__ for item in self.log.of(task.trajectory))
            if names != steps:
                found.append(f"trajectory of line {task.line}: expected each step once, got {names}")
        expected = Counter({name: count * len(tasks) for name, count in asked.items()})
        if is_lossless and self.script.asked != expected:
            found.append(f"expected no step to be done twice, got {dict(self.script.asked - expected)} more")
        return found

    def complaints_about(self, task: DrawPicture, picture: Picture) -> list[str]:
        """Return what a picture says that is not in the log."""
        state = assemble_state(self.log.of(task.trajectory))
        is_same = (picture.ending, picture.attempts) == (state.ending, state.attempts)
        return [] if is_same else [f"line {task.line}: the picture that was reported is not the one in the log"]


@contextmanager
def open_loop() -> Iterator[Loop]:
    """Open a loop whose pictures are kept until it is closed, in memory where possible: files are slow to create."""
    with TemporaryDirectory(prefix="gems-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        yield Loop(folder)
