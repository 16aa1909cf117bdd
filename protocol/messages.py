"""Every body that travels: requests and their replies, events, the records of memory, and the link's own talk.

Bodies are frozen and typed; on the wire each is a msgpack map whose `type` names its class. A field may be added with a
default at any time (older readers skip it); to change what a field means, add another type. A request names the role
that answers it and, through its base, the reply it is answered with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from msgspec import Meta, Struct

from protocol.identity import trajectory_id
from protocol.limits import (
    MAX_CANDIDATES,
    MAX_GUIDANCE,
    MAX_PROMPT_CHARS,
    MAX_REQUIREMENTS,
    MAX_REVISION,
    MAX_ROUNDS,
    MAX_SHARDS,
    MAX_SIDE_PX,
    MAX_STEPS,
    MAX_TEXT_CHARS,
)

# --------------------------------------------------------------------------------------------------- values

Prompt = Annotated[str, Meta(min_length=1, max_length=MAX_PROMPT_CHARS)]
Text = Annotated[str, Meta(max_length=MAX_TEXT_CHARS)]
TrajectoryId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
Seed = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
Round = Annotated[int, Meta(ge=1, le=MAX_ROUNDS)]
Candidate = Annotated[int, Meta(ge=1, le=MAX_CANDIDATES)]
SidePx = Annotated[int, Meta(ge=16, le=MAX_SIDE_PX)]
Steps = Annotated[int, Meta(ge=1, le=MAX_STEPS)]
Guidance = Annotated[float, Meta(ge=0.0, le=MAX_GUIDANCE)]
SkillId = Annotated[str, Meta(min_length=1, max_length=64)]
Score = Annotated[float, Meta(ge=0.0, le=1.0)]
Count = Annotated[int, Meta(ge=0)]
RequestId = Annotated[bytes, Meta(min_length=16, max_length=16)]
RunName = Annotated[str, Meta(min_length=1, max_length=200)]
UnixTime = float
"""Seconds since 1970-01-01 00:00 UTC, by memory's clock."""
PageSize = Annotated[int, Meta(ge=1, le=1000)]
ShardNumber = Annotated[int, Meta(ge=0, le=MAX_SHARDS - 1)]

RequirementKind = Literal["object", "count", "attribute", "position", "action", "text", "style", "other"]
Answer = Literal["met", "unmet", "unsure"]
RunPhase = Literal["running", "paused", "cancelled"]
Control = Literal["pause", "resume", "cancel"]
MemoryMode = Literal["none", "prompts", "images", "thoughts", "full"]
"""What memory shows the refiner: the last attempt alone, all prompts and verdicts, these and the images, these and the
refiner's raw reasoning, or the images and the compressed experiences. Source: arXiv 2603.28088, Figure 4 right."""


class Value(Struct, frozen=True, kw_only=True):
    """Base of what is part of a message and is never one itself."""


class ImageRef(Value, frozen=True, kw_only=True):
    """A picture in the blob store."""

    digest: Digest
    media_type: str
    bytes: Count
    width_px: SidePx
    height_px: SidePx


class Requirement(Value, frozen=True, kw_only=True):
    """One atomic yes/no question about the picture."""

    id: Annotated[str, Meta(min_length=1, max_length=32)]
    question: Annotated[str, Meta(min_length=1, max_length=2_000)]
    kind: RequirementKind
    depends_on: str | None = None
    """The requirement without which this one cannot be met, or none."""


class Verdict(Value, frozen=True, kw_only=True):
    """The answer to one requirement for one attempt."""

    requirement: str
    answer: Answer
    score: Score | None = None
    """The model's own probability that it is met, where it gives one."""
    reason: Text = ""


class Spent(Value, frozen=True, kw_only=True):
    """What a step cost the role that took it."""

    seconds: Annotated[float, Meta(ge=0.0)] = 0.0
    """Of the role's own time, without the wait in a queue."""
    calls: Count = 0
    """Of a model, those that had to be repeated among them."""
    prompt_tokens: Count = 0
    cached_tokens: Count = 0
    """Those of the prompt's tokens that the server had in its cache."""
    completion_tokens: Count = 0
    cost: Annotated[float, Meta(ge=0.0)] = 0.0
    """By the prices in the role's settings, in their currency."""

    @property
    def tokens(self) -> int:
        """All of them, the cached too."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            seconds=self.seconds + other.seconds,
            calls=self.calls + other.calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cost=self.cost + other.cost,
        )


def add_costs(spent: dict[str, Spent], more: Mapping[str, Spent]) -> None:
    """Add what was spent, by role, to what is counted already; a role that cost nothing is not named."""
    for role, cost in more.items():
        if cost != Spent():
            spent[role] = spent[role] + cost if role in spent else cost


def chat_cost(spent: Mapping[str, Spent]) -> Spent:
    """Return what all roles but the generator spent, which is what chat models cost."""
    return sum((cost for role, cost in spent.items() if role != "generator"), Spent())


class Attempt(Value, frozen=True, kw_only=True):
    """One image drawn in a round, with its verdicts: a fact anchor."""

    round: Round
    candidate: Candidate
    prompt: Prompt
    image: ImageRef
    seed: Seed
    verdicts: tuple[Verdict, ...]
    verify_calls_saved: Count = 0
    """Questions that needed no call because their parent was unmet."""
    drawing: Spent = Spent()
    verifying: Spent = Spent()


class Refinement(Value, frozen=True, kw_only=True):
    """The prompt of a round after the first, and why it reads so."""

    round: Round
    prompt: Prompt
    reasoning: Text = ""


class Experience(Value, frozen=True, kw_only=True):
    """The compressed lesson of one round."""

    round: Round
    text: Annotated[str, Meta(min_length=1, max_length=2_000)]


class DrawSettings(Value, frozen=True, kw_only=True):
    """How one prompt is to be drawn."""

    max_rounds: Round = 5
    stop_when_all_met: bool = True
    candidates: Candidate = 1
    """Images drawn in each round, at most 64."""
    memory: MemoryMode = "full"
    width_px: SidePx = 768
    height_px: SidePx = 768
    steps: Steps | None = None
    """Of denoising; none: as the image model does by itself. Likewise `guidance` and `negative_prompt`."""
    guidance: Guidance | None = None
    negative_prompt: Annotated[str, Meta(max_length=MAX_PROMPT_CHARS)] | None = None
    exact: bool = False
    """Each image is drawn alone, so that not even rounding depends on what else is drawn."""
    skill: SkillId | None = None
    """The one that the planner writes by, or `none`; none given: the planner chooses."""


# --------------------------------------------------------------------------------------------------- bases

ReplyT = TypeVar("ReplyT", bound="Reply")


class Body(Struct, frozen=True, kw_only=True, tag_field="type", tag=True):
    """Base of everything that may stand behind a header."""


class Reply(Body, frozen=True, kw_only=True):
    """Base of what answers a request."""


class Request(Body, Generic[ReplyT], frozen=True, kw_only=True):
    """Base of what one role asks another, answered with a `ReplyT` or a failure."""

    role: ClassVar[str]


class Event(Body, frozen=True, kw_only=True):
    """Base of what only informs: nobody waits for it and nothing depends on its arrival."""


# --------------------------------------------------------------------------------------------------- the link


class Held(Value, frozen=True, kw_only=True):
    """A request that an actor has in hand."""

    id: RequestId
    attempt: Annotated[int, Meta(ge=0, le=0xFFFF)]


class RunState(Value, frozen=True, kw_only=True):
    """A run, or one trajectory of it, was paused, cancelled, or let go on; of two such the higher revision stands."""

    run: Annotated[bytes, Meta(min_length=8, max_length=8)]
    """As in headers."""
    trajectory: Annotated[bytes, Meta(min_length=16, max_length=16)]
    """As in headers; zeros for the whole run."""
    state: RunPhase
    by: Annotated[str, Meta(max_length=200)] = ""
    """Who wanted it, in words."""
    revision: Annotated[int, Meta(ge=0, le=MAX_REVISION)]


class Hello(Body, frozen=True, kw_only=True):
    """A process presents itself to the router; sent again to every new router."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    """Unique in the mesh, for instance `verifier-3f2a`."""
    accepts: tuple[str, ...] = ()
    """Types of the requests it answers; empty for a client."""
    capacity: Count = 0
    """How many requests it takes at once; 0 while it gets ready."""
    host: str = ""
    pid: Count = 0
    version: str = ""
    holding: tuple[Held, ...] = ()
    marks: tuple[RunState, ...] = ()
    """All that it knows of, so that a new router does not let go on what was paused."""


class Welcome(Body, frozen=True, kw_only=True):
    """The router knows the process now."""

    epoch: str
    """Of this router's life; another one means that everything it knew is forgotten."""
    heartbeat_s: Annotated[float, Meta(gt=0.0, le=86_400.0)]
    marks: tuple[RunState, ...] = ()
    """All that the router knows of: to be kept and told in every `Hello`."""


class Heartbeat(Body, frozen=True, kw_only=True):
    """A sign of life from an actor's loop, with what it holds and waits for, so that both sides can compare."""

    holding: tuple[Held, ...] = ()
    awaiting: tuple[RequestId, ...] = ()
    figures: dict[str, float] = {}
    """What the actor reports of itself, for `gems status`."""
    note: Annotated[str, Meta(max_length=1_000)] = ""
    """What it does while it takes no requests, such as loading weights; else what is wrong, such as a server gone."""


class Pulse(Body, frozen=True, kw_only=True):
    """The router's answer to a heartbeat; also sent unasked where a mark is new."""

    epoch: str
    unknown: tuple[RequestId, ...] = ()
    """Requests the process waits for and the router never had or has forgotten: to be sent again."""
    marks: tuple[RunState, ...] = ()
    """All that are new since the router last told the process of marks: to be kept and told in every `Hello`."""


class HelloAgain(Body, frozen=True, kw_only=True):
    """The router does not know the process that just spoke."""

    epoch: str


class Capacity(Body, frozen=True, kw_only=True):
    """An actor changes how many requests it takes at once; 0 while it drains."""

    capacity: Count


class Goodbye(Body, frozen=True, kw_only=True):
    """An actor leaves; what it still holds goes to others."""


class Subscribe(Body, frozen=True, kw_only=True):
    """A client wants the events of the run that the header names."""


class Cancel(Body, frozen=True, kw_only=True):
    """The asker no longer wants the answer or, gently, wants it soon: finish the step in hand and answer with that."""

    gently: bool = False
    reason: Annotated[str, Meta(max_length=1_000)] = ""
    """Why, where it was not the asker who wanted it, but somebody cancelled the run or the trajectory."""


class Failure(Body, frozen=True, kw_only=True):
    """What answers a request that could not be answered."""

    code: str
    """Of the error class; those that exist are listed in README.md."""
    message: Text
    retryable: bool = False
    retry_after_s: Annotated[float, Meta(ge=0.0, le=86_400.0)] | None = None


# ------------------------------------------------------------------------------------------------ the mesh about itself


class ActorStatus(Value, frozen=True, kw_only=True):
    """One actor as the router sees it."""

    name: str
    role: str
    host: str
    pid: Count
    version: str
    capacity: Count
    busy: Count
    handled: Count
    silent_s: float
    oldest_s: float
    """For how long it has held the request that it has held longest; 0 where it holds none."""
    figures: dict[str, float] = {}
    note: str = ""
    """What it does while it takes no requests, such as loading weights; else what is wrong, such as a server gone."""


class RoleStatus(Value, frozen=True, kw_only=True):
    """One role as the router sees it."""

    role: str
    queued: Count
    oldest_s: float
    """Age of the request that has waited longest."""
    actors: tuple[ActorStatus, ...]
    paused: Count = 0
    """Requests, beside those queued, that wait until their run or trajectory goes on."""


class MeshStatus(Reply, frozen=True, kw_only=True):
    """The whole mesh as the router sees it, from its own table."""

    epoch: str
    uptime_s: float
    roles: tuple[RoleStatus, ...]
    clients: Count
    requeued: Count
    """Requests handed out again because the actor that held them was lost."""
    marks: tuple[RunState, ...] = ()


class ReadStatus(Request[MeshStatus], frozen=True, kw_only=True):
    """Asks the router for its table."""

    role: ClassVar[str] = "router"


class Noted(Reply, frozen=True, kw_only=True):
    """The answer where there is nothing to say but that it was done."""


class ReportLoss(Request[Noted], frozen=True, kw_only=True):
    """The supervisor saw an actor's process end: what it held goes to others at once."""

    role: ClassVar[str] = "router"
    name: str


class Controlled(Reply, frozen=True, kw_only=True):
    """What a run or a trajectory has under way in the mesh, and how it stood with it before."""

    before: RunPhase
    waiting: Count
    """Requests that waited for an actor."""
    in_hand: Count
    """Requests that actors had in hand: they end where it is paused, and are called off where it is cancelled."""


class ControlRun(Request[Controlled], frozen=True, kw_only=True):
    """Asks the router to pause, resume or cancel a run or one trajectory of it; what it resumes may be cancelled."""

    role: ClassVar[str] = "router"
    run: RunName
    trajectory: TrajectoryId | None = None
    """None: the whole run; to resume it is to resume all of its trajectories."""
    action: Control
    by: Annotated[str, Meta(max_length=200)] = ""
    """Who wants it, in words."""


class Scaled(Reply, frozen=True, kw_only=True):
    """How many actors of the role there were, and how many there will be."""

    before: Count
    after: Count


class ScaleRole(Request[Scaled], frozen=True, kw_only=True):
    """Asks the supervisor for another number of actors of one role."""

    role: ClassVar[str] = "supervisor"
    scaled_role: str
    count: Annotated[int, Meta(ge=0, le=4096)]


class StopMesh(Request[Noted], frozen=True, kw_only=True):
    """Asks the supervisor to drain and end the mesh."""

    role: ClassVar[str] = "supervisor"


# ------------------------------------------------------------------------------------------------- the path of a prompt


class Plan(Reply, frozen=True, kw_only=True):
    """The planner's answer."""

    prompt: Prompt
    skill: str | None = None
    reasoning: Text = ""
    spent: Spent = Spent()


class PlanPrompt(Request[Plan], frozen=True, kw_only=True):
    """Asks for a skill, or none, and for the first prompt."""

    role: ClassVar[str] = "planner"
    prompt: Prompt
    skill: SkillId | None = None
    """The one to write by, or `none`; none given: the planner chooses."""


class Requirements(Reply, frozen=True, kw_only=True):
    """The decomposer's answer; may be empty."""

    requirements: Annotated[tuple[Requirement, ...], Meta(max_length=MAX_REQUIREMENTS)]
    spent: Spent = Spent()


class DecomposePrompt(Request[Requirements], frozen=True, kw_only=True):
    """Asks for the atomic requirements of the user's own prompt."""

    role: ClassVar[str] = "decomposer"
    prompt: Prompt


class Image(Reply, frozen=True, kw_only=True):
    """The generator's answer: the picture is in the blob store."""

    image: ImageRef
    spent: Spent = Spent()


class GenerateImage(Request[Image], frozen=True, kw_only=True):
    """Asks for one picture."""

    role: ClassVar[str] = "generator"
    prompt: Prompt
    seed: Seed
    width_px: SidePx
    height_px: SidePx
    steps: Steps | None = None
    """None: as the image model does by itself; likewise `guidance` and `negative_prompt`."""
    guidance: Guidance | None = None
    negative_prompt: Annotated[str, Meta(max_length=MAX_PROMPT_CHARS)] | None = None
    exact: bool = False


class Verification(Reply, frozen=True, kw_only=True):
    """The verifier's answer: a verdict for each requirement, in their order."""

    verdicts: tuple[Verdict, ...]
    calls_saved: Count = 0
    spent: Spent = Spent()


class VerifyImage(Request[Verification], frozen=True, kw_only=True):
    """Asks for a verdict on each requirement."""

    role: ClassVar[str] = "verifier"
    image: ImageRef
    requirements: tuple[Requirement, ...]


class Lesson(Reply, frozen=True, kw_only=True):
    """The compressor's answer."""

    text: Annotated[str, Meta(min_length=1, max_length=2_000)]
    spent: Spent = Spent()


class CompressAttempt(Request[Lesson], frozen=True, kw_only=True):
    """Asks for the lesson of one round; the compressor reads the round and what came before from memory."""

    role: ClassVar[str] = "compressor"
    trajectory: TrajectoryId
    round: Round


class Refined(Reply, frozen=True, kw_only=True):
    """The refiner's answer."""

    prompt: Prompt
    reasoning: Text = ""
    spent: Spent = Spent()


class RefinePrompt(Request[Refined], frozen=True, kw_only=True):
    """Asks for the prompt of the round after `round`; the refiner reads what happened from memory."""

    role: ClassVar[str] = "refiner"
    trajectory: TrajectoryId
    round: Round
    memory: MemoryMode


Outcome = Literal["all_met", "rounds_spent", "nothing_to_check", "wound_down", "budget_spent"]
"""Why a trajectory ended: everything met, no round left, no requirement found (one image is drawn and no verdict is
possible), asked to finish early, or no budget for another round."""


class Ending(Value, frozen=True, kw_only=True):
    """How a trajectory ended, and which attempt is its picture."""

    outcome: Outcome
    best_round: Round
    best_candidate: Candidate
    decided_by: str
    """What made that attempt the best, in words; says so where attempts were tied."""


class Picture(Reply, frozen=True, kw_only=True):
    """The outcome of one trajectory."""

    trajectory: TrajectoryId
    prompt: Prompt
    skill: str | None
    requirements: tuple[Requirement, ...]
    attempts: tuple[Attempt, ...]
    ending: Ending
    settings: DrawSettings
    spent: dict[str, Spent] = {}
    """By role."""

    @property
    def best(self) -> Attempt:
        """The attempt that is the picture."""
        chosen = (self.ending.best_round, self.ending.best_candidate)
        return next(attempt for attempt in self.attempts if (attempt.round, attempt.candidate) == chosen)

    @property
    def all_met(self) -> bool:
        """Whether the best attempt has requirements and meets them all."""
        return bool(self.best.verdicts) and all(verdict.answer == "met" for verdict in self.best.verdicts)


class Budget(Value, frozen=True, kw_only=True):
    """What one trajectory may spend on chat models; a round for which it would not suffice is not begun."""

    max_calls: Count | None = None
    """None: no limit; likewise `max_tokens`."""
    max_tokens: Count | None = None


class DrawPicture(Request[Picture], frozen=True, kw_only=True):
    """Asks for one prompt to be taken through the whole loop."""

    role: ClassVar[str] = "conductor"
    run: RunName
    line: Count = 0
    sample: Count = 0
    prompt: Prompt
    seed: Seed
    settings: DrawSettings = DrawSettings()
    version: Annotated[str, Meta(max_length=64)] = ""
    """Tells it from others of the same line and sample, such as one that was drawn by another model."""
    budget: Budget = Budget()
    """Not part of what the picture is: taken up again, a trajectory may have another."""

    @property
    def trajectory(self) -> str:
        """The id under which memory knows this prompt and sample of the run."""
        return trajectory_id(self.run, self.line, self.sample, self.version)


# --------------------------------------------------------------------------------------------------- memory


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


# --------------------------------------------------------------------------------------------------- events


class ActorJoined(Event, frozen=True, kw_only=True):
    """An actor is ready for requests."""

    name: str
    role: str


class ActorLeft(Event, frozen=True, kw_only=True):
    """An actor is gone."""

    name: str
    role: str
    reason: str


class StepTaken(Event, frozen=True, kw_only=True):
    """A trajectory took a step; carries the very record that memory keeps."""

    record: AnyRecord


class ImageDrawn(Event, frozen=True, kw_only=True):
    """An image is there and not judged yet."""

    round: Round
    candidate: Candidate
    image: ImageRef


LINK_BODIES: tuple[type[Body], ...] = (
    Hello, Welcome, Heartbeat, Pulse, HelloAgain, Capacity, Goodbye, Subscribe, Cancel, Failure,
)  # fmt: skip
REQUESTS: tuple[type[Request[Any]], ...] = (
    ReadStatus, ReportLoss, ControlRun, ScaleRole, StopMesh, PlanPrompt, DecomposePrompt, GenerateImage, VerifyImage,
    CompressAttempt, RefinePrompt, DrawPicture, AppendRecord, AppendRecords, ReadTrajectory, FindBestAttempt,
    ListTrajectories, ListRuns, RecallExperiences, ReadLog, CountRecords,
)  # fmt: skip
REPLIES: tuple[type[Reply], ...] = (
    MeshStatus, Noted, Controlled, Scaled, Plan, Requirements, Image, Verification, Lesson, Refined, Picture, Appended,
    TrajectoryState, BestAttempt, Trajectories, Runs, Recollection, LoggedRecords, MemoryCounts,
)  # fmt: skip
EVENTS: tuple[type[Event], ...] = (ActorJoined, ActorLeft, StepTaken, ImageDrawn)
RECORDS: tuple[type[Record], ...] = (
    RunBegun, RecordsLost, TrajectoryBegun, PromptPlanned, PromptDecomposed, AttemptVerified, ExperienceKept,
    PromptRefined, TrajectoryEnded, TrajectoryFailed,
)  # fmt: skip
