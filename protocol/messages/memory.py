"""The requests that write and read the records that memory keeps."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from protocol.limits import (
    MAX_ATTEMPTS,
    MAX_NOTE_CHARS,
    MAX_PAGE,
    MAX_ROUNDS,
    MAX_SHARDS,
)
from protocol.messages import values as v
from protocol.messages.link import Failure
from protocol.messages.loop import DrawPicture, Ending, Outcome, Plan
from protocol.messages.records import AnyRecord, SkillTried, TrajectoryRecord


class MemoryRequest(v.Request[v.ReplyT], frozen=True, kw_only=True):
    """Base of requests to memory, which may be several shards: processes that each have their own log."""

    role: ClassVar[str] = "memory"
    shard: v.ShardNumber | None = None
    """Shard that must answer from its own log alone; by default memory as a whole answers."""


class Appended(v.Reply, frozen=True, kw_only=True):
    """The record is on disk."""

    sequence: v.Count
    """Position of the record in its shard's log, or of the record that had kept the same step before."""
    is_new: bool
    is_first: bool = False
    """Whether it is the first record of its trajectory, so that there is no state to read."""


class AppendRecord(MemoryRequest[Appended], frozen=True, kw_only=True):
    """Asks memory to append a record; a step that is in the log already stays as it was (idempotent)."""

    record: AnyRecord

    @property
    def trajectory(self) -> str | None:
        """The trajectory that the record is a step of."""
        return self.record.trajectory if isinstance(self.record, TrajectoryRecord) else None


class AppendRecords(MemoryRequest[Appended], frozen=True, kw_only=True):
    """Asks memory to append records of one trajectory in one commit, all or nothing.

    The reply has the position of the last.
    """

    records: Annotated[tuple[AnyRecord, ...], Meta(min_length=1, max_length=16)]

    @property
    def trajectory(self) -> str | None:
        """The trajectory that the records are steps of."""
        return next((record.trajectory for record in self.records if isinstance(record, TrajectoryRecord)), None)


class TrajectoryState(v.Reply, frozen=True, kw_only=True):
    """Everything that memory knows of one trajectory, in order."""

    task: DrawPicture | None = None
    prepared: v.Prompt | None = None
    """Prompt of the `before_plan` hook; None if there was no such hook."""
    plan: Plan | None = None
    requirements: v.RequirementList | None = None
    attempts: v.Attempts = ()
    """All attempts, with the verdicts that count: those of the `after_verdicts` hook if there was one."""
    reviews: Annotated[tuple[v.Review, ...], Meta(max_length=MAX_ATTEMPTS)] = ()
    notes: Annotated[tuple[v.Note, ...], Meta(max_length=MAX_ROUNDS)] = ()
    experiences: Annotated[tuple[v.Experience, ...], Meta(max_length=MAX_ROUNDS)] = ()
    refinements: Annotated[tuple[v.Refinement, ...], Meta(max_length=MAX_ROUNDS)] = ()
    choices: Annotated[tuple[v.PairChoice, ...], Meta(max_length=MAX_ROUNDS)] = ()
    """The latest comparisons of pictures."""
    ending: Ending | None = None
    """None while the trajectory has not ended, or once it was reopened."""
    reopenings: v.Count = 0
    """How often the trajectory was reopened; `task` then has the rounds of the last time."""
    failure: Failure | None = None
    """Failure that stopped the trajectory; None once it was resumed."""
    spent: v.SpentByRole = {}
    """Costs by role."""
    spent_by_round: Annotated[tuple[v.Spent, ...], Meta(max_length=MAX_ROUNDS)] = ()
    """Costs of all chat models up to the last verdict of each round, from the first round on."""
    hooks: v.Hooks = {}
    """Hooks that took part, by setting."""
    grants: v.ImageGrants = ()
    """Images that the run allotted to the trajectory, in the order of its records."""
    began_at: v.UnixTime | None = None
    last_at: v.UnixTime | None = None

    @property
    def request_prompt(self) -> str:
        """The prompt that planner, decomposer and refiner see: prepared by a hook, or the user's own."""
        return self.prepared or (self.task.prompt if self.task else "")

    def refinement_of(self, round_: int) -> v.Refinement | None:
        """Return what the refiner decided for a round, or None if it was not asked yet."""
        return next((item for item in self.refinements if item.round == round_), None)

    def prompt_of(self, round_: int) -> str | None:
        """Return the prompt of a round's first candidate, or None if it is not written yet."""
        if round_ == 1:
            return self.plan.prompt if self.plan else None
        refinement = self.refinement_of(round_)
        return None if refinement is None else refinement.prompt

    def choice_between(self, first: v.Attempt, second: v.Attempt) -> v.PairChoice | None:
        """Return the comparison of two attempts, or None if they were not compared in this order."""
        pair = (first.round, first.candidate, second.round, second.candidate)
        known = ((item.round, item.candidate, item.other_round, item.other_candidate) for item in self.choices)
        return next((item for item, places in zip(self.choices, known, strict=True) if places == pair), None)


class ReadTrajectory(MemoryRequest[TrajectoryState], frozen=True, kw_only=True):
    """Asks memory for a trajectory; the state of an unknown one is empty."""

    trajectory: v.TrajectoryId


class BestAttempt(v.Reply, frozen=True, kw_only=True):
    """The attempt that would be the picture if the trajectory ended now."""

    attempt: v.Attempt | None
    """The best attempt; None while nothing has been drawn."""
    decided_by: v.Text


class FindBestAttempt(MemoryRequest[BestAttempt], frozen=True, kw_only=True):
    """Asks memory for the best attempt of a trajectory so far."""

    trajectory: v.TrajectoryId


TrajectoryStatus = Literal["running", "ended", "failed"]
"""An interrupted trajectory that was not resumed counts as running."""


class TrajectorySummary(v.Value, frozen=True, kw_only=True):
    """One trajectory in a list."""

    trajectory: v.TrajectoryId
    run: v.Name
    line: v.Count
    sample: v.Count
    prompt: v.Excerpt
    """First 200 characters of the user's prompt."""
    status: TrajectoryStatus
    outcome: Outcome | None = None
    failure: v.Name = ""
    """Code of the failure."""
    images: v.Count = 0
    """Images drawn; like the counts below, set once the trajectory has ended."""
    rounds: v.Count = 0
    met: v.Count = 0
    """Requirements that the picture meets, out of `requirements`."""
    requirements: v.Count = 0
    began_at: v.UnixTime
    last_at: v.UnixTime
    """Time of the last change of the status."""


class Trajectories(v.Reply, frozen=True, kw_only=True):
    """A page of trajectories: shard by shard, within each in the order in which they began, or the latest first."""

    trajectories: Annotated[tuple[TrajectorySummary, ...], Meta(max_length=MAX_PAGE)]
    next: v.Count | None = None
    """Cursor for `after`, or for `before`, to get the next page; unset on the last page."""


class ListTrajectories(MemoryRequest[Trajectories], frozen=True, kw_only=True):
    """Asks memory for a page of trajectories: all, or those of a run, with a status, or with an id prefix."""

    of_run: v.Name | None = None
    status: TrajectoryStatus | None = None
    prefix: Annotated[str, Meta(pattern=r"^[0-9a-f]{0,32}\Z")] = ""
    after: v.Count = 0
    limit: v.PageSize = 100
    """Maximum length of the page; any page may be shorter."""


class SearchTrajectories(MemoryRequest[Trajectories], frozen=True, kw_only=True):
    """Asks memory for a page of trajectories whose prompts contain all of some words, the latest first."""

    words: Annotated[str, Meta(min_length=1, max_length=MAX_NOTE_CHARS)]
    """Words in any order; the last one may be the beginning of a word."""
    before: v.Count | None = None
    limit: v.PageSize = 100
    """Maximum length of the page; any page may be shorter."""


class RunSummary(v.Value, frozen=True, kw_only=True):
    """One run in a list."""

    run: v.Name
    what: v.Excerpt
    total: v.Count | None
    running: v.Count
    ended: v.Count
    failed: v.Count
    all_met: v.Count
    """Ended trajectories whose picture meets every requirement."""
    images: v.Count
    """Images of ended trajectories."""
    began_at: v.UnixTime
    last_at: v.UnixTime


class Runs(v.Reply, frozen=True, kw_only=True):
    """A page of runs: shard by shard, the latest first; a run in several shards is listed once, with the first."""

    runs: Annotated[tuple[RunSummary, ...], Meta(max_length=MAX_PAGE)]
    next: v.Count | None = None
    """Cursor for `before` to get the next page; unset on the last page."""


class ListRuns(MemoryRequest[Runs], frozen=True, kw_only=True):
    """Asks memory for a page of runs."""

    before: v.Count | None = None
    limit: v.PageSize = 100
    """Maximum length of the page; any page may be shorter."""
    named: Annotated[tuple[v.RunName, ...], Meta(max_length=MAX_PAGE)] | None = None
    """Names of the runs to list; all by default."""


class RecalledExperience(v.Value, frozen=True, kw_only=True):
    """A lesson of an earlier trajectory, and its effect."""

    trajectory: v.TrajectoryId
    prompt: v.Prompt
    """The user's prompt of that trajectory."""
    round: v.Round
    text: v.LessonText
    met_before: v.Count
    """Requirements met in the round of the lesson, out of `requirements`; `met_after` in the next round."""
    met_after: v.Count
    requirements: v.Count
    likeness: v.Likeness = 0.0
    """Similarity of that prompt to the given one, as in `Recollection.likeness`."""


class Recollection(v.Reply, frozen=True, kw_only=True):
    """Lessons for a prompt, that of the most similar prompt first."""

    experiences: Annotated[tuple[RecalledExperience, ...], Meta(max_length=MAX_PAGE)]
    trajectories: v.Count
    """Trajectories with similar prompts and lessons that ended with all requirements met: the evidence."""
    gained: v.Count
    """How many of them met more requirements in a round after a lesson than in the round before."""
    likeness: v.Likeness = 0.0
    """Similarity of the most similar prompt (BM25); 0 without one."""


class RecallExperiences(MemoryRequest[Recollection], frozen=True, kw_only=True):
    """Asks memory for lessons of similar prompts whose trajectories ended with all requirements met."""

    prompt: v.Prompt
    limit: Annotated[int, Meta(ge=1, le=20)] = 3


class LoggedRecord(v.Value, frozen=True, kw_only=True):
    """A record with its position in the log."""

    sequence: v.Count
    at: v.UnixTime
    """Time at which it was appended."""
    record: AnyRecord
    shard: v.ShardNumber = 0
    """Shard of memory that has it in its log."""


class LoggedRecords(v.Reply, frozen=True, kw_only=True):
    """Records in the order of the log."""

    records: Annotated[tuple[LoggedRecord, ...], Meta(max_length=MAX_PAGE)]
    last: v.Count
    """Position of the newest record in the log."""


class ReadLog(MemoryRequest[LoggedRecords], frozen=True, kw_only=True):
    """Asks memory for the records after a position; repeated from the last record of the reply, it is a stream.

    Positions belong to one shard's log, by default that of shard 0.
    """

    since: v.Count = 0
    limit: v.PageSize = 100
    wait_s: Annotated[float, Meta(ge=0.0, le=300.0)] = 0.0
    """Maximum time to wait for a record if there is none yet."""


class MemoryCounts(v.Reply, frozen=True, kw_only=True):
    """How much memory holds."""

    records: v.Count
    archived: v.Count
    """Records that are in archives."""
    runs: v.Count
    running: v.Count
    """Running trajectories; the same applies to `ended` and `failed`."""
    ended: v.Count
    failed: v.Count
    recallable: v.Count
    """Trajectories whose experiences can be recalled."""
    log_bytes: v.Count
    index_bytes: v.Count
    shards: Annotated[int, Meta(ge=1, le=MAX_SHARDS)] = 1
    """Number of shards, including those of earlier layouts."""


class CountRecords(MemoryRequest[MemoryCounts], frozen=True, kw_only=True):
    """Asks memory how much it holds."""


class SkillUse(v.Value, frozen=True, kw_only=True):
    """How often planners chose one version of a skill."""

    skill: v.Name
    """Id of the skill; empty: no skill."""
    digest: v.SkillDigest
    chosen: v.Count
    """Trajectories for which the planner chose it."""
    fixed: v.Count = 0
    """Trajectories whose settings named it."""
    last_at: v.UnixTime


class SkillTrial(v.Value, frozen=True, kw_only=True):
    """A trial that memory has, and when it was recorded."""

    at: v.UnixTime
    trial: SkillTried


class SkillUses(v.Reply, frozen=True, kw_only=True):
    """The skills that were chosen, and their trials."""

    uses: Annotated[tuple[SkillUse, ...], Meta(max_length=MAX_PAGE)]
    """Up to 1,000 versions, those chosen last first."""
    trials: Annotated[tuple[SkillTrial, ...], Meta(max_length=MAX_PAGE)]
    """The latest 1,000 trials, oldest first."""


class CountSkills(MemoryRequest[SkillUses], frozen=True, kw_only=True):
    """Asks memory how often each version of each skill was chosen, and what trials found."""
