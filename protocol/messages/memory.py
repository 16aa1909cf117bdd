"""The records that memory keeps, and the requests that write and read them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from protocol.limits import MAX_SHARDS
from protocol.messages.link import Failure
from protocol.messages.loop import DrawPicture, Ending, Outcome, Plan
from protocol.messages.values import (
    Attempt,
    Body,
    Count,
    Experience,
    PageSize,
    Prompt,
    Refinement,
    Reply,
    ReplyT,
    Request,
    Requirement,
    Round,
    RunName,
    ShardNumber,
    Spent,
    Text,
    TrajectoryId,
    UnixTime,
    Value,
)


class Record(Body, frozen=True, kw_only=True):
    """Base of what memory keeps, never changed and never removed."""


class RunBegun(Record, frozen=True, kw_only=True):
    """A job of the user's began; kept once a run, by whoever asks for its pictures."""

    run: RunName
    what: Text = ""
    """In words: the prompt of a draw, the file of a bulk."""
    total: Count | None = None
    """Trajectories it will have, where that is known."""


class RecordsLost(Record, frozen=True, kw_only=True):
    """Records that were damaged on disk and could not be kept when the log was repaired."""

    first: Count
    """Of their places in the log; likewise `last`, both among those lost."""
    last: Count
    reason: Text


class TrajectoryRecord(Record, frozen=True, kw_only=True):
    """Base of what is one step of one trajectory."""

    trajectory: TrajectoryId

    @property
    def costs(self) -> dict[str, Spent]:
        """What the step cost, by role."""
        return {}


class TrajectoryBegun(TrajectoryRecord, frozen=True, kw_only=True):
    """A conductor took up a prompt."""

    task: DrawPicture


class PromptPlanned(TrajectoryRecord, frozen=True, kw_only=True):
    """The first prompt is there."""

    prompt: Prompt
    skill: str | None = None
    reasoning: Text = ""
    spent: Spent = Spent()

    @property
    def costs(self) -> dict[str, Spent]:
        """What the step cost, by role."""
        return {"planner": self.spent}


class PromptDecomposed(TrajectoryRecord, frozen=True, kw_only=True):
    """The requirements are there."""

    requirements: tuple[Requirement, ...]
    spent: Spent = Spent()

    @property
    def costs(self) -> dict[str, Spent]:
        """What the step cost, by role."""
        return {"decomposer": self.spent}


class AttemptVerified(TrajectoryRecord, frozen=True, kw_only=True):
    """An image was drawn and judged."""

    attempt: Attempt

    @property
    def costs(self) -> dict[str, Spent]:
        """What the step cost, by role."""
        return {"generator": self.attempt.drawing, "verifier": self.attempt.verifying}


class ExperienceKept(TrajectoryRecord, frozen=True, kw_only=True):
    """The lesson of a round."""

    experience: Experience
    spent: Spent = Spent()

    @property
    def costs(self) -> dict[str, Spent]:
        """What the step cost, by role."""
        return {"compressor": self.spent}


class PromptRefined(TrajectoryRecord, frozen=True, kw_only=True):
    """The prompt of the next round."""

    refinement: Refinement
    spent: Spent = Spent()

    @property
    def costs(self) -> dict[str, Spent]:
        """What the step cost, by role."""
        return {"refiner": self.spent}


class TrajectoryEnded(TrajectoryRecord, frozen=True, kw_only=True):
    """The picture is chosen."""

    ending: Ending


class TrajectoryFailed(TrajectoryRecord, frozen=True, kw_only=True):
    """The trajectory could not go on; taken up again, it continues where it stopped."""

    failure: Failure


AnyRecord = (
    RunBegun
    | RecordsLost
    | TrajectoryBegun
    | PromptPlanned
    | PromptDecomposed
    | AttemptVerified
    | ExperienceKept
    | PromptRefined
    | TrajectoryEnded
    | TrajectoryFailed
)


class MemoryRequest(Request[ReplyT], frozen=True, kw_only=True):
    """Base of what is asked of memory, which may be several processes, each with a log of its own."""

    role: ClassVar[str] = "memory"
    shard: ShardNumber | None = None
    """The one that shall answer from its own log alone; none: memory as a whole."""


class Appended(Reply, frozen=True, kw_only=True):
    """The record is on disk."""

    sequence: Count
    """Its place in its shard's log; of the earlier one where the same step was there already."""
    is_new: bool
    is_first: bool = False
    """Nothing else is known of its trajectory, so that there is no state to ask for."""


class AppendRecord(MemoryRequest[Appended], frozen=True, kw_only=True):
    """Asks memory to keep a record; a step that is there already is kept as it was."""

    record: AnyRecord

    @property
    def trajectory(self) -> str | None:
        """The trajectory of which it is a step."""
        return self.record.trajectory if isinstance(self.record, TrajectoryRecord) else None


class AppendRecords(MemoryRequest[Appended], frozen=True, kw_only=True):
    """Asks memory to keep several records of one trajectory in one commit: all of them or none, in their order.

    Answered with the place of the last.
    """

    records: Annotated[tuple[AnyRecord, ...], Meta(min_length=1, max_length=16)]

    @property
    def trajectory(self) -> str | None:
        """The trajectory of which they are steps."""
        return next((record.trajectory for record in self.records if isinstance(record, TrajectoryRecord)), None)


class TrajectoryState(Reply, frozen=True, kw_only=True):
    """All that memory knows of one trajectory, in the order in which it happened."""

    task: DrawPicture | None = None
    plan: Plan | None = None
    requirements: tuple[Requirement, ...] | None = None
    attempts: tuple[Attempt, ...] = ()
    experiences: tuple[Experience, ...] = ()
    refinements: tuple[Refinement, ...] = ()
    ending: Ending | None = None
    failure: Failure | None = None
    """Why it stopped; none where it has gone on since."""
    spent: dict[str, Spent] = {}
    """By role."""
    began_at: UnixTime | None = None
    last_at: UnixTime | None = None

    def prompt_of(self, round_: int) -> str | None:
        """The prompt of one round, or none while it is not written."""
        if round_ == 1:
            return self.plan.prompt if self.plan else None
        return next((item.prompt for item in self.refinements if item.round == round_), None)


class ReadTrajectory(MemoryRequest[TrajectoryState], frozen=True, kw_only=True):
    """Asks memory for a trajectory; one that it has never heard of has an empty state."""

    trajectory: TrajectoryId


class BestAttempt(Reply, frozen=True, kw_only=True):
    """The attempt that would be the picture if the trajectory ended now."""

    attempt: Attempt | None
    """None while nothing has been drawn."""
    decided_by: str


class FindBestAttempt(MemoryRequest[BestAttempt], frozen=True, kw_only=True):
    """Asks memory for the best attempt of a trajectory so far."""

    trajectory: TrajectoryId


TrajectoryStatus = Literal["running", "ended", "failed"]
"""Running is also what was interrupted and has not been taken up again."""


class TrajectorySummary(Value, frozen=True, kw_only=True):
    """One trajectory in a list."""

    trajectory: TrajectoryId
    run: str
    line: Count
    sample: Count
    prompt: str
    """How the user's own prompt begins: at most 200 characters."""
    status: TrajectoryStatus
    outcome: Outcome | None = None
    failure: str = ""
    """The code of what it failed with."""
    images: Count = 0
    """Like those below, counted once it has ended."""
    rounds: Count = 0
    met: Count = 0
    """Requirements that the chosen picture meets, of `requirements`."""
    requirements: Count = 0
    began_at: UnixTime
    last_at: UnixTime
    """When its status last changed."""


class Trajectories(Reply, frozen=True, kw_only=True):
    """Some trajectories: shard by shard, in each in the order in which they began."""

    trajectories: tuple[TrajectorySummary, ...]
    next: Count | None = None
    """What `after` has to be for those that follow; none where these are the last."""


class ListTrajectories(MemoryRequest[Trajectories], frozen=True, kw_only=True):
    """Asks memory for trajectories: all, or those of a run, of a status, or whose ids begin in some way."""

    of_run: str | None = None
    status: TrajectoryStatus | None = None
    prefix: Annotated[str, Meta(pattern=r"^[0-9a-f]{0,32}\Z")] = ""
    after: Count = 0
    limit: PageSize = 100
    """At most so many; fewer may come before the last page."""


class RunSummary(Value, frozen=True, kw_only=True):
    """One run in a list."""

    run: str
    what: str
    total: Count | None
    running: Count
    ended: Count
    failed: Count
    all_met: Count
    """Of those that ended."""
    images: Count
    """Of those that ended."""
    began_at: UnixTime
    last_at: UnixTime


class Runs(Reply, frozen=True, kw_only=True):
    """Some runs: shard by shard, in each the latest first; one of several is with the first of them, counted whole."""

    runs: tuple[RunSummary, ...]
    next: Count | None = None
    """What `before` has to be for those that follow; none where these are the last."""


class ListRuns(MemoryRequest[Runs], frozen=True, kw_only=True):
    """Asks memory for the runs it knows."""

    before: Count | None = None
    limit: PageSize = 100
    """At most so many; fewer may come before the last page."""
    named: Annotated[tuple[RunName, ...], Meta(max_length=1000)] | None = None
    """Only these; none given: all."""


class RecalledExperience(Value, frozen=True, kw_only=True):
    """A lesson of an earlier trajectory, and what came of it."""

    trajectory: TrajectoryId
    prompt: Prompt
    """The user's own, there."""
    round: Round
    text: str
    met_before: Count
    """Requirements met in the round of the lesson, of `requirements`; `met_after` in the round that followed it."""
    met_after: Count
    requirements: Count
    likeness: Annotated[float, Meta(ge=0.0)] = 0.0
    """How much the prompt there is like this one, in the unit of `Recollection.likeness`."""


class Recollection(Reply, frozen=True, kw_only=True):
    """Lessons for a prompt, the one of the most similar prompt first."""

    experiences: tuple[RecalledExperience, ...]
    trajectories: Count
    """Ended well, with prompts like this one and lessons: the evidence."""
    gained: Count
    """Of those: where a round that followed a lesson met more than the round before."""
    likeness: Annotated[float, Meta(ge=0.0)] = 0.0
    """How much the most similar prompt is like this one (BM25); 0 where there is none."""


class RecallExperiences(MemoryRequest[Recollection], frozen=True, kw_only=True):
    """Asks memory what was learnt where prompts like this one were drawn until all was met."""

    prompt: Prompt
    limit: Annotated[int, Meta(ge=1, le=20)] = 3


class LoggedRecord(Value, frozen=True, kw_only=True):
    """A record where it stands in the log."""

    sequence: Count
    at: UnixTime
    """When it was kept."""
    record: AnyRecord
    shard: ShardNumber = 0
    """Of memory, in whose log it stands."""


class LoggedRecords(Reply, frozen=True, kw_only=True):
    """Records in the order in which they were kept."""

    records: tuple[LoggedRecord, ...]
    last: Count
    """Place of the newest record of all; behind it there is nothing yet."""


class ReadLog(MemoryRequest[LoggedRecords], frozen=True, kw_only=True):
    """Asks memory for the records behind a place; asked again from the last one of the answer, it is a stream.

    A place is one of a shard's own log; without a shard it is that of shard 0.
    """

    since: Count = 0
    limit: PageSize = 100
    wait_s: Annotated[float, Meta(ge=0.0, le=300.0)] = 0.0
    """Where there are none: answer when one comes, or after so long with none."""


class MemoryCounts(Reply, frozen=True, kw_only=True):
    """How much memory holds."""

    records: Count
    archived: Count
    """Of these, in archives."""
    runs: Count
    running: Count
    """Trajectories; likewise `ended` and `failed`."""
    ended: Count
    failed: Count
    recallable: Count
    """Trajectories whose experiences can be recalled."""
    log_bytes: Count
    index_bytes: Count
    shards: Annotated[int, Meta(ge=1, le=MAX_SHARDS)] = 1
    """Processes that memory is, or was once: their numbers begin with 0."""


class CountRecords(MemoryRequest[MemoryCounts], frozen=True, kw_only=True):
    """Asks memory how much it holds."""
