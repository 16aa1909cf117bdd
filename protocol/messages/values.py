"""Bases of all messages, and the values that stand inside messages."""

from __future__ import annotations

from typing import Annotated, ClassVar, Generic, Literal, TypeVar

from msgspec import Meta, Struct

from protocol import limits

Prompt = Annotated[str, Meta(min_length=1, max_length=limits.MAX_PROMPT_CHARS)]
"""A prompt that is drawn."""
NegativePrompt = Annotated[str, Meta(max_length=limits.MAX_PROMPT_CHARS)]
Text = Annotated[str, Meta(max_length=limits.MAX_TEXT_CHARS)]
"""Any other text, such as reasoning or a failure's message."""
NoteText = Annotated[str, Meta(max_length=limits.MAX_NOTE_CHARS)]
"""The note of a hook."""
Reason = Annotated[str, Meta(max_length=limits.MAX_REASON_CHARS)]
"""Why a requirement is met or not."""
Remark = Annotated[str, Meta(max_length=limits.MAX_REMARK_CHARS)]
"""What an actor says of itself, and the reason of a cancellation."""
LessonText = Annotated[str, Meta(min_length=1, max_length=limits.MAX_NOTE_CHARS)]
"""The lesson of a round."""
Name = Annotated[str, Meta(max_length=limits.MAX_NAME_CHARS)]
"""A name of a process, host, role, skill, person or version, the code of a failure, or a media type."""
Excerpt = Annotated[str, Meta(max_length=limits.MAX_EXCERPT_CHARS)]
"""The part of a prompt or description that lists show."""
TrajectoryId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
"""Address of a picture in the blob store."""
Seed = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
Round = Annotated[int, Meta(ge=1, le=limits.MAX_ROUNDS)]
Candidate = Annotated[int, Meta(ge=1, le=limits.MAX_CANDIDATES)]
SidePx = Annotated[int, Meta(ge=16, le=limits.MAX_SIDE_PX)]
Steps = Annotated[int, Meta(ge=1, le=limits.MAX_STEPS)]
Guidance = Annotated[float, Meta(ge=0.0, le=limits.MAX_GUIDANCE)]
Strength = Annotated[float, Meta(gt=0.0, le=1.0)]
"""Share of the denoising that is applied to a picture that is drawn over."""
SkillId = Annotated[str, Meta(min_length=1, max_length=64)]
SkillDigest = Annotated[str, Meta(pattern=r"^([0-9a-f]{16})?\Z")]
"""Digest of what a planner reads of a skill; empty: no skill, or a record of an earlier version."""
Score = Annotated[float, Meta(ge=0.0, le=1.0)]
Change = Annotated[float, Meta(ge=-1.0, le=1.0)]
"""Difference of two shares."""
Count = Annotated[int, Meta(ge=0, le=limits.MAX_COUNT)]
"""Any count, position, size in bytes or number of tokens."""
Seconds = Annotated[float, Meta(ge=0.0, le=limits.MAX_SECONDS)]
"""Any duration."""
Cost = Annotated[float, Meta(ge=0.0, le=limits.MAX_COST)]
"""Any price, in the currency of the settings."""
RequestId = Annotated[bytes, Meta(min_length=16, max_length=16)]
"""Id of a request, as in headers."""
TaskId = Annotated[str, Meta(pattern=r"^([0-9a-f]{16})?\Z")]
"""Id of a prompt in its run; empty: none."""
Version = Annotated[str, Meta(max_length=64)]
RunName = Annotated[str, Meta(min_length=1, max_length=limits.MAX_NAME_CHARS)]
UnixTime = Annotated[float, Meta(ge=-limits.MAX_UNIX_TIME, le=limits.MAX_UNIX_TIME)]
"""Seconds since 1970-01-01 00:00 UTC, by memory's clock."""
Figure = Annotated[float, Meta(ge=-limits.MAX_FIGURE, le=limits.MAX_FIGURE)]
"""A figure that an actor reports."""
Figures = Annotated[dict[Name, Figure], Meta(max_length=limits.MAX_FIGURES)]
"""All of them, by name."""
Likeness = Annotated[float, Meta(ge=0.0, le=limits.MAX_FIGURE)]
"""Similarity of two prompts (BM25)."""
PageSize = Annotated[int, Meta(ge=1, le=limits.MAX_PAGE)]
ShardNumber = Annotated[int, Meta(ge=0, le=limits.MAX_SHARDS - 1)]

RunId = Annotated[bytes, Meta(min_length=8, max_length=8)]
"""Id of a run, as in headers."""
RequestIds = Annotated[tuple[RequestId, ...], Meta(max_length=limits.MAX_ITEMS)]
"""Ids of requests in flight."""

RequirementKind = Literal["object", "count", "attribute", "position", "action", "text", "style", "other"]
Answer = Literal["met", "unmet", "unsure"]
RunPhase = Literal["running", "paused", "cancelled"]
Control = Literal["pause", "resume", "cancel"]
MemoryMode = Literal["none", "prompts", "images", "thoughts", "full"]
"""What memory shows the refiner: the last attempt alone, all prompts and verdicts, these and the images, these and the
refiner's raw reasoning, or the images and the compressed experiences. Source: arXiv 2603.28088, Figure 4 right."""
RefineAction = Literal["rewrite", "resample", "stop", "edit"]
"""What the refiner decides after a round: another prompt, the same prompt with other seeds, the end, or an edit of the
best picture so far if the image model draws from pictures."""
OtherPrompts = Annotated[tuple[Prompt, ...], Meta(max_length=limits.MAX_PROMPTS - 1)]
"""Prompts of the candidates after the first, in their order."""
ActionChoice = Literal["any", "rewrite"]
"""What the refiner may decide: any action, or always to rewrite."""
ChoiceRule = Literal["verdicts", "pairwise"]
"""What decides between attempts: their verdicts alone, or for close ones a comparison of the pictures."""
LessonAuthor = Literal["compressor", "refiner"]
"""Who writes the lesson of a round: the compressor in its own call, or the refiner together with the next prompt."""
Preference = Literal["first", "second", "tie"]
"""Which of two pictures is better."""


class Value(Struct, frozen=True, kw_only=True):
    """Base of records that stand inside messages and are never messages themselves."""


class ImageRef(Value, frozen=True, kw_only=True):
    """A picture in the blob store."""

    digest: Digest
    media_type: Name
    bytes: Count
    width_px: SidePx
    height_px: SidePx


References = Annotated[tuple[ImageRef, ...], Meta(max_length=limits.MAX_REFERENCES)]
"""Pictures that a picture is drawn from."""

ClaimType = Literal["exists", "count", "attribute", "relation", "text"]


class Claim(Value, frozen=True, kw_only=True):
    """What a requirement says of the picture, in a form that code can decide from a list of what is there."""

    type: ClaimType
    subject: Name = ""
    """The thing that it is about; empty for a text anywhere in the picture."""
    object: Name = ""
    """The other thing of a relation; empty otherwise."""
    value: Annotated[str, Meta(max_length=limits.MAX_CLAIM_CHARS)] = ""
    """Number of a count, word of an attribute or a relation, or the text; empty for existence."""
    negated: bool = False
    """Whether the requirement is met if this is not so."""


class Requirement(Value, frozen=True, kw_only=True):
    """One atomic yes/no question about the picture."""

    id: Annotated[str, Meta(min_length=1, max_length=32)]
    question: Annotated[str, Meta(min_length=1, max_length=limits.MAX_NOTE_CHARS)]
    kind: RequirementKind
    depends_on: Name | None = None
    """Id of the requirement without which this one cannot be met."""
    not_understood: Annotated[str, Meta(max_length=2_000)] = ""
    """Words of the prompt that the decomposer did not understand, so that nobody checks them: the verdict is `unsure`.
    Empty for every requirement that is checked."""
    claim: Claim | None = None
    """The question in a form that code can decide; nil where there is none, so that only a model can answer it."""
    compares: bool = False
    """Whether it compares the picture with the references of the task, so that the verifier looks at those as well."""


class Verdict(Value, frozen=True, kw_only=True):
    """The answer to one requirement for one attempt."""

    requirement: Name
    answer: Answer
    score: Score | None = None
    """Probability that the requirement is met, if the model gives one."""
    reason: Reason = ""


RequirementList = Annotated[tuple[Requirement, ...], Meta(max_length=limits.MAX_REQUIREMENTS)]
Verdicts = Annotated[tuple[Verdict, ...], Meta(max_length=limits.MAX_REQUIREMENTS)]


class Spent(Value, frozen=True, kw_only=True):
    """Cost of one step."""

    seconds: Seconds = 0.0
    """Time that the role worked, without the time in its queue."""
    calls: Count = 0
    """Calls of a model, including repeated ones."""
    prompt_tokens: Count = 0
    cached_tokens: Count = 0
    """Prompt tokens that the server had in its cache."""
    completion_tokens: Count = 0
    cost: Cost = 0.0
    """Price, by the prices in the role's settings and in their currency."""

    @property
    def tokens(self) -> int:
        """All tokens, including cached ones."""
        return self.prompt_tokens + self.completion_tokens


SpentByRole = Annotated[dict[Name, Spent], Meta(max_length=limits.MAX_ITEMS)]
"""Costs by role."""


class AttemptPlace(Value, frozen=True, kw_only=True):
    """Which attempt of a trajectory it is."""

    round: Round
    candidate: Candidate


class Attempt(Value, frozen=True, kw_only=True):
    """One image drawn in a round, with its verdicts: a fact anchor."""

    round: Round
    candidate: Candidate
    prompt: Prompt
    image: ImageRef
    seed: Seed
    verdicts: Verdicts
    verify_calls_saved: Count = 0
    """Questions that were not asked because the requirement they depend on was unmet."""
    is_judged_blind: bool = False
    """Whether the verifier's model gave the same answer about a red and a blue picture."""
    references: References = ()
    """Pictures that it was drawn from: those of the task, or the picture that was edited."""
    edited: AttemptPlace | None = None
    """Attempt whose picture was edited; `prompt` is then the instruction, and `references` has that picture alone."""
    can_be_edited: bool = False
    """Whether the image model that drew it also edits pictures by an instruction."""
    drawing: Spent = Spent()
    verifying: Spent = Spent()

    @property
    def shown_prompt(self) -> str:
        """The prompt as people read it; of an edit, after the round of the picture that it edits."""
        return self.prompt if self.edited is None else f"Edit of round {self.edited.round}: {self.prompt}"


Attempts = Annotated[tuple[Attempt, ...], Meta(max_length=limits.MAX_ATTEMPTS)]


class Refinement(Value, frozen=True, kw_only=True):
    """What the refiner decided for a round after the first, and its reasoning; after `stop`, the round is not drawn."""

    round: Round
    prompt: Prompt
    """Prompt of the first candidate: new after `rewrite`, an instruction after `edit`, else the last as it was."""
    reasoning: Text = ""
    action: RefineAction = "rewrite"
    others: OtherPrompts = ()
    """Prompts of the other candidates; candidates in excess of the prompts share them in turn."""
    edited: AttemptPlace | None = None
    """Attempt whose picture is edited by the prompts; nil where they are drawn afresh. A `resample` repeats it."""

    def prompt_of(self, candidate: int) -> str:
        """Return the prompt of a candidate, counted from 1."""
        prompts = (self.prompt, *self.others)
        return prompts[(candidate - 1) % len(prompts)]


class PairChoice(Value, frozen=True, kw_only=True):
    """What the verifier's model found when it compared the pictures of two attempts."""

    round: Round
    """Round of the first attempt, the better one by its verdicts; `candidate` is its candidate."""
    candidate: Candidate
    other_round: Round
    other_candidate: Candidate
    preferred: Preference
    """The better picture, in both orders in which they were shown; `tie` if that depends on the order."""
    reason: Reason = ""


class Experience(Value, frozen=True, kw_only=True):
    """The compressed lesson of one round."""

    round: Round
    text: LessonText


class Hook(Value, frozen=True, kw_only=True):
    """A role that the conductor asks at one place of the loop because the settings say so."""

    role: Annotated[str, Meta(min_length=1, max_length=64)]
    version: Version = ""
    """Version that the role declares; changed by its author when its answers change."""


Hooks = Annotated[dict[Name, Hook], Meta(max_length=limits.MAX_HOOKS)]
"""Hooks by setting."""


class Review(Value, frozen=True, kw_only=True):
    """The verdicts on one attempt after the `after_verdicts` hook, which count in place of the verifier's."""

    round: Round
    candidate: Candidate
    verdicts: Verdicts


class Note(Value, frozen=True, kw_only=True):
    """The note of the `before_refinement` hook after one round, which is shown to the refiner."""

    round: Round
    text: NoteText = ""


class ImageGrant(Value, frozen=True, kw_only=True):
    """Images that a run allots to one of its trajectories, and the decision by which it got the last of them."""

    images: Annotated[int, Meta(ge=1, le=limits.MAX_ATTEMPTS)]
    """Maximum images of the trajectory; no round begins that would exceed it."""
    plan: Count = 0
    """Number of the run's plan, of which a run has another one each time that its budget changes."""
    wave: Count = 0
    """Number of the decision in its plan; 0 for the first round of a trajectory."""
    expected_gain: Annotated[float, Meta(ge=0.0, le=limits.MAX_REQUIREMENTS)] = 0.0
    """Requirements that the images were expected to meet in addition."""


ImageGrants = Annotated[tuple[ImageGrant, ...], Meta(max_length=limits.MAX_ATTEMPTS)]


class DrawSettings(Value, frozen=True, kw_only=True):
    """How one prompt is drawn."""

    max_rounds: Round = 5
    """Maximum rounds of the loop."""
    stop_when_all_met: bool = True
    """Whether the loop ends as soon as every requirement is met."""
    candidates: Candidate = 1
    """Images drawn in each round, up to 64. From the second round on the refiner writes a prompt for each, up to 8."""
    memory: MemoryMode = "full"
    """What memory shows the refiner: nothing but the last attempt, all prompts, these and the images, these and its own
    reasoning, or the images and the compressed experiences."""
    width_px: SidePx = 768
    """Width of the images in pixels."""
    height_px: SidePx = 768
    """Height of the images in pixels."""
    steps: Steps | None = None
    """Denoising steps of an image; unset: the image model's default."""
    guidance: Guidance | None = None
    """Guidance scale of the image model; unset: the image model's default."""
    negative_prompt: NegativePrompt | None = None
    """Description of what the images must not show; unset: none."""
    strength: Strength | None = None
    """Share of the denoising that image to image applies to the given picture: near 0 keeps it, 1 replaces it; unset:
    the image model's default. Models that edit by instruction ignore it."""
    exact: bool = False
    """Whether each image is drawn alone, so that not even rounding depends on other images of a batch."""
    skill: SkillId | None = None
    """Skill that the planner follows, or `none` for no skill; unset: the planner chooses."""
    actions: ActionChoice = "any"
    """What the refiner may decide after a round: `any` action (another prompt, the same one again, or to stop), or only
    to `rewrite` the prompt."""
    choose: ChoiceRule = "verdicts"
    """What decides between attempts: `verdicts`, or `pairwise`, by which the verifier's model compares the pictures of
    the two best ones if they are close, in both orders (two more calls)."""
    lesson_by: LessonAuthor = "compressor"
    """Who writes the lesson of a round where `memory` is `full`: `compressor`, in its own call, or `refiner`, in the
    call that writes the next prompt."""


ReplyT = TypeVar("ReplyT", bound="Reply")


class Body(Struct, frozen=True, kw_only=True, tag_field="type", tag=True):
    """Base of everything that may follow a header."""


class Reply(Body, frozen=True, kw_only=True):
    """Base of replies."""


class Request(Body, Generic[ReplyT], frozen=True, kw_only=True):
    """Base of requests, which are answered with a `ReplyT` or a failure."""

    role: ClassVar[str]


class Event(Body, frozen=True, kw_only=True):
    """Base of events: nobody waits for an event, and nothing depends on its arrival."""
