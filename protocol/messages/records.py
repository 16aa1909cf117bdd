"""The records that memory keeps: each is one step of a trajectory, or says something of a run or of a skill."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from protocol.limits import MAX_COUNT
from protocol.messages import values as v
from protocol.messages.link import Failure
from protocol.messages.loop import DrawPicture, Ending


class Record(v.Body, frozen=True, kw_only=True):
    """Base of records in memory's log, which are never changed or removed."""


class RunBegun(Record, frozen=True, kw_only=True):
    """A run began; kept once per run, by the client that asks for its pictures."""

    run: v.RunName
    what: v.Text = ""
    """Description of the run: the prompt of a draw, the file of a bulk."""
    total: v.Count | None = None
    """Number of trajectories in the run, if known."""
    references: v.References = ()
    """Pictures that its tasks will be drawn from, so that they are kept while the tasks wait."""


class RecordsLost(Record, frozen=True, kw_only=True):
    """Records that were damaged on disk and dropped when the log was repaired."""

    first: v.Count
    """Position of the first lost record in the log; `last` is that of the last one."""
    last: v.Count
    reason: v.Text


class SkillTried(Record, frozen=True, kw_only=True):
    """A trial weighed a skill: the same prompts and seeds drawn with it and with what it is compared with."""

    trial: v.TaskId
    """Digest of the trial: one that is recorded again has the same."""
    skill: v.SkillId
    digest: v.SkillDigest
    against: v.Name
    """`none`, or the other version as `ID@DIGEST`."""
    prompts: v.Count
    pictures: v.Count
    """Pictures drawn each way."""
    verdict: Literal["helps", "hurts", "cannot_tell"]
    change: v.Change
    """Change of the share of requirements met; `low` and `high` are its interval."""
    low: v.Change
    high: v.Change
    confidence: v.Score
    """Confidence of the interval."""


class TrajectoryRecord(Record, frozen=True, kw_only=True):
    """Base of records of one step of one trajectory."""

    trajectory: v.TrajectoryId


class TrajectoryBegun(TrajectoryRecord, frozen=True, kw_only=True):
    """A conductor started on a prompt."""

    task: DrawPicture


class PromptPrepared(TrajectoryRecord, frozen=True, kw_only=True):
    """The `before_plan` hook returned the prompt that planner, decomposer and refiner see."""

    prompt: v.Prompt
    hook: v.Hook
    spent: v.Spent = v.Spent()


class PromptPlanned(TrajectoryRecord, frozen=True, kw_only=True):
    """The planner wrote the first prompt."""

    prompt: v.Prompt
    skill: v.Name | None = None
    reasoning: v.Text = ""
    spent: v.Spent = v.Spent()
    skill_digest: v.SkillDigest = ""


class PromptDecomposed(TrajectoryRecord, frozen=True, kw_only=True):
    """The decomposer found the requirements."""

    requirements: v.RequirementList
    spent: v.Spent = v.Spent()


class AttemptVerified(TrajectoryRecord, frozen=True, kw_only=True):
    """An image was drawn and judged."""

    attempt: v.Attempt


class VerdictsReviewed(TrajectoryRecord, frozen=True, kw_only=True):
    """The `after_verdicts` hook returned the verdicts that count for one attempt."""

    review: v.Review
    hook: v.Hook
    spent: v.Spent = v.Spent()


class ExperienceKept(TrajectoryRecord, frozen=True, kw_only=True):
    """The compressor wrote the lesson of a round."""

    experience: v.Experience
    spent: v.Spent = v.Spent()


class RefinementNoted(TrajectoryRecord, frozen=True, kw_only=True):
    """The `before_refinement` hook returned a note for the refiner."""

    note: v.Note
    hook: v.Hook
    spent: v.Spent = v.Spent()


class PromptRefined(TrajectoryRecord, frozen=True, kw_only=True):
    """The refiner decided on the next round, or that there is none."""

    refinement: v.Refinement
    spent: v.Spent = v.Spent()


class AttemptsCompared(TrajectoryRecord, frozen=True, kw_only=True):
    """The verifier's model compared the pictures of two attempts."""

    choice: v.PairChoice
    spent: v.Spent = v.Spent()


class TrajectoryEnded(TrajectoryRecord, frozen=True, kw_only=True):
    """The trajectory ended and its picture is chosen."""

    ending: Ending
    reopening: v.Count = 0
    """How often the trajectory had been reopened."""


class TrajectoryReopened(TrajectoryRecord, frozen=True, kw_only=True):
    """A trajectory that had ended continues when it is asked for again; its attempts can still be the best."""

    reopening: Annotated[int, Meta(ge=1, le=MAX_COUNT)]
    """1 for the first time, then 2, ..."""
    task: DrawPicture
    """The task, of which only the maximum of rounds and the budget may differ from the one that was begun."""


class TrajectoryFailed(TrajectoryRecord, frozen=True, kw_only=True):
    """The trajectory failed; when resumed, it continues where it stopped."""

    failure: Failure


AnyRecord = (
    RunBegun | RecordsLost | TrajectoryBegun | PromptPrepared | PromptPlanned | PromptDecomposed | AttemptVerified
    | VerdictsReviewed | ExperienceKept | RefinementNoted | PromptRefined | AttemptsCompared | TrajectoryEnded
    | TrajectoryReopened | TrajectoryFailed | SkillTried
)  # fmt: skip
