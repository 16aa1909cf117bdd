"""The rows of the index as they are held in memory: runs, trajectories, and where records are in the log files."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeVar

from actors.memory_store.run_tally import Result, RunTally
from protocol import messages as m

SummaryT = TypeVar("SummaryT", m.TrajectorySummary, m.RunSummary)

_LOCATION: Final = struct.Struct("<QIQI")
_JUDGING: Final = (m.AttemptVerified, m.VerdictsReviewed)


class RecordLocation(NamedTuple):
    """Where a record is in the files of a log."""

    sequence: int
    file: int
    offset: int
    size: int


@dataclass(slots=True)
class IndexedRun:
    """A run with the number of its trajectories in each status."""

    number: int
    name: str
    began_at: float
    last_at: float
    begun: int | None = None
    """Sequence of its `RunBegun` record; None if there is none."""
    what: str = ""
    total: int | None = None
    running: int = 0
    ended: int = 0
    failed: int = 0
    all_met: int = 0
    images: int = 0
    tally: RunTally = field(default_factory=RunTally)
    is_changed: bool = False
    """Whether it differs from its row in the database."""


@dataclass(slots=True)
class IndexedTrajectory:
    """A trajectory with everything needed to index its next record."""

    id: str
    number: int = 0
    """Number of its row; 0 while the log has no record of it."""
    run: int | None = None
    line: int = 0
    sample: int = 0
    prompt: str = ""
    status: m.TrajectoryStatus = "running"
    outcome: str | None = None
    failure: str = ""
    images: int = 0
    rounds: int = 0
    met: int = 0
    requirements: int = 0
    began_at: float = 0.0
    last_at: float = 0.0
    locations: list[RecordLocation] = field(default_factory=list)
    steps: dict[str, int] = field(default_factory=dict)
    """Sequence of each step that can happen only once, by the name of the step."""
    judged: dict[tuple[int, int], tuple[tuple[str, ...], int]] = field(default_factory=dict)
    """Ids of the requirements met, and the number of all, of each attempt, by round and candidate; in tuples, because
    sets would keep the garbage collector at work."""
    kinds: dict[str, str] = field(default_factory=dict)
    """Kinds of its requirements by id."""
    result: Result | None = None
    """What it adds to the tally of its run; None before it ended."""
    begun: m.TrajectoryBegun | None = None
    prepared: str | None = None
    """Prompt of the `before_plan` hook; None if no such hook was asked."""
    recallable_endings: int = 0
    """How often it ended with lessons and every requirement met: more than once only if it was reopened after that."""
    skill: str | None = None
    """Skill that the planner chose, empty for none; None before it has chosen."""
    skill_digest: str = ""
    is_skill_fixed: bool = False
    """Whether the task's settings named the skill."""
    run_name: str | None = None
    words: str = ""
    """Content words of the task's prompt until it ended; empty if they are not known."""
    is_changed: bool = False
    """Whether it differs from its row in the database."""

    def note(self, record: m.AnyRecord) -> None:
        """Remember what is needed from a record when the trajectory ends."""
        if isinstance(record, _JUDGING):
            judged = record.attempt if isinstance(record, m.AttemptVerified) else record.review
            met_ids = tuple([verdict.requirement for verdict in judged.verdicts if verdict.answer == "met"])
            self.judged[judged.round, judged.candidate] = met_ids, len(judged.verdicts)
        elif isinstance(record, m.PromptDecomposed):
            self.kinds = {requirement.id: requirement.kind for requirement in record.requirements}
        elif isinstance(record, m.PromptPlanned):
            self.skill, self.skill_digest = record.skill or "", record.skill_digest
        elif isinstance(record, m.PromptPrepared):
            self.prepared = record.prompt
        elif isinstance(record, m.TrajectoryBegun):
            self.begun = record
            self.is_skill_fixed = record.task.settings.skill is not None
        elif isinstance(record, m.TrajectoryEnded) and is_recallable(record.ending) and self.begun is not None:
            self.recallable_endings += any(step.startswith("experience") for step in self.steps)

    def result_of(self, ending: m.Ending) -> Result:
        """Return what the trajectory adds to the tally of its run when it ends so."""
        met_by_round: dict[int, int] = {}
        for (round_, _), (ids, _) in self.judged.items():
            met_by_round[round_] = max(len(ids), met_by_round.get(round_, 0))
        met_ids, _ = self.judged.get((ending.best_round, ending.best_candidate), ((), 0))
        return Result.of(met_by_round, self.kinds, frozenset(met_ids))


def is_recallable(ending: m.Ending) -> bool:
    """Return whether the lessons of a trajectory that ended so led to a picture that meets all that was checked."""
    return ending.outcome in ("all_met", "checkable_met")


RUN_FIELDS: Final = tuple(item.name for item in fields(IndexedRun) if item.name not in ("tally", "is_changed"))
TRAJECTORY_FIELDS: Final = (
    "number", "id", "run", "line", "sample", "prompt", "status", "outcome", "failure", "images", "rounds", "met",
    "requirements", "began_at", "last_at", "skill", "skill_digest", "is_skill_fixed",
)  # fmt: skip
_run_fields: Callable[[IndexedRun], tuple[Any, ...]] = attrgetter(*RUN_FIELDS)
_trajectory_fields: Callable[[IndexedTrajectory], tuple[Any, ...]] = attrgetter(*TRAJECTORY_FIELDS)
PUT_RUN: Final = f"""
INSERT OR REPLACE INTO runs ({", ".join(RUN_FIELDS)}, tally) VALUES ({", ".join("?" * (len(RUN_FIELDS) + 1))})
"""
PUT_TRAJECTORY: Final = f"""
INSERT OR REPLACE INTO trajectories ({", ".join(TRAJECTORY_FIELDS)}, places)
    VALUES ({", ".join("?" * (len(TRAJECTORY_FIELDS) + 1))})
"""


def run_row(run: IndexedRun) -> tuple[Any, ...]:
    """Return the row of a run, whose last column is its tally."""
    return *_run_fields(run), run.tally.pack()


def trajectory_row(found: IndexedTrajectory) -> tuple[Any, ...]:
    """Return the row of a trajectory, whose last column packs the locations of its records."""
    return *_trajectory_fields(found), b"".join(_LOCATION.pack(*location) for location in found.locations)


def pack_location(location: RecordLocation) -> bytes:
    """Return a location as the bytes of a database column."""
    return _LOCATION.pack(*location)


def unpack_locations(packed: bytes) -> list[RecordLocation]:
    """Return the locations in the bytes of a database column."""
    return [RecordLocation(*found) for found in _LOCATION.iter_unpack(packed)]


def page_of(kind: type[SummaryT], rows: list[tuple[Any, ...]], limit: int) -> tuple[tuple[SummaryT, ...], int | None]:
    """Return up to `limit` rows, which begin with a cursor, as summaries, and the cursor of the next page if any."""
    names = kind.__struct_fields__
    found = tuple(kind(**dict(zip(names, row[1:], strict=True))) for row in rows[:limit])
    return found, rows[limit - 1][0] if len(rows) > limit else None
