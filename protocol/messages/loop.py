"""The path of a prompt: the requests and replies of the roles that draw a picture."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from protocol.identity import trajectory_id
from protocol.limits import MAX_NOTE_CHARS, MAX_PROMPT_CHARS, MAX_REQUIREMENTS
from protocol.messages.values import (
    Attempt,
    Candidate,
    Count,
    DrawSettings,
    Guidance,
    Hook,
    ImageRef,
    MemoryMode,
    Prompt,
    Reply,
    Request,
    Requirement,
    Round,
    RunName,
    Seed,
    SidePx,
    SkillId,
    Spent,
    Steps,
    Text,
    TrajectoryId,
    Value,
    Verdict,
    Version,
)


class Plan(Reply, frozen=True, kw_only=True):
    """The planner's answer."""

    prompt: Prompt
    skill: str | None = None
    reasoning: Text = ""
    spent: Spent = Spent()


class PlanPrompt(Request[Plan], frozen=True, kw_only=True):
    """Asks the planner to choose a skill, if one fits, and to write the first prompt."""

    role: ClassVar[str] = "planner"
    prompt: Prompt
    skill: SkillId | None = None
    """Skill to use, or `none` for no skill; by default the planner chooses."""


class Requirements(Reply, frozen=True, kw_only=True):
    """The decomposer's answer; may be empty."""

    requirements: Annotated[tuple[Requirement, ...], Meta(max_length=MAX_REQUIREMENTS)]
    spent: Spent = Spent()


class DecomposePrompt(Request[Requirements], frozen=True, kw_only=True):
    """Asks the decomposer for the atomic requirements of the user's own prompt."""

    role: ClassVar[str] = "decomposer"
    prompt: Prompt


class Image(Reply, frozen=True, kw_only=True):
    """The generator's answer: the picture is in the blob store."""

    image: ImageRef
    spent: Spent = Spent()


class GenerateImage(Request[Image], frozen=True, kw_only=True):
    """Asks the generator for one picture."""

    role: ClassVar[str] = "generator"
    prompt: Prompt
    seed: Seed
    width_px: SidePx
    height_px: SidePx
    steps: Steps | None = None
    """Denoising steps; by default the image model's own. The same applies to `guidance` and `negative_prompt`."""
    guidance: Guidance | None = None
    negative_prompt: Annotated[str, Meta(max_length=MAX_PROMPT_CHARS)] | None = None
    exact: bool = False


class Verification(Reply, frozen=True, kw_only=True):
    """The verifier's answer: one verdict per requirement, in the same order."""

    verdicts: tuple[Verdict, ...]
    calls_saved: Count = 0
    spent: Spent = Spent()


class VerifyImage(Request[Verification], frozen=True, kw_only=True):
    """Asks the verifier for a verdict on each requirement."""

    role: ClassVar[str] = "verifier"
    image: ImageRef
    requirements: tuple[Requirement, ...]


class Lesson(Reply, frozen=True, kw_only=True):
    """The compressor's answer."""

    text: Annotated[str, Meta(min_length=1, max_length=2_000)]
    spent: Spent = Spent()


class CompressAttempt(Request[Lesson], frozen=True, kw_only=True):
    """Asks the compressor for the lesson of one round; it reads this round and earlier ones from memory."""

    role: ClassVar[str] = "compressor"
    trajectory: TrajectoryId
    round: Round


class Refined(Reply, frozen=True, kw_only=True):
    """The refiner's answer."""

    prompt: Prompt
    reasoning: Text = ""
    spent: Spent = Spent()


class RefinePrompt(Request[Refined], frozen=True, kw_only=True):
    """Asks the refiner for the prompt of the round after `round`; it reads the trajectory's state from memory."""

    role: ClassVar[str] = "refiner"
    trajectory: TrajectoryId
    round: Round
    memory: MemoryMode
    note: Annotated[str, Meta(max_length=MAX_NOTE_CHARS)] = ""
    """Text of the `before_refinement` hook that the refiner is shown; empty: none."""


class PreparedPrompt(Reply, frozen=True, kw_only=True):
    """Reply to `BeforePlan`: the prompt that planner, decomposer and refiner see in place of the user's own."""

    prompt: Prompt
    version: Version = ""
    """Version that the role declares; like that of the two other hooks, part of a picture's key in bulk."""
    spent: Spent = Spent()


class BeforePlan(Request[PreparedPrompt], frozen=True, kw_only=True):
    """Asks the role named by the setting `loop.before_plan` to prepare the prompt, before anything else is done."""

    role: ClassVar[str] = "hook"
    """Placeholder: the conductor addresses the three requests of hooks to the configured roles."""
    trajectory: TrajectoryId
    prompt: Prompt
    """The user's own prompt."""
    seed: Seed
    settings: DrawSettings


class ReviewedVerdicts(Reply, frozen=True, kw_only=True):
    """Reply to `AfterVerdicts`: one verdict for each requirement, in their order."""

    verdicts: tuple[Verdict, ...]
    version: Version = ""
    spent: Spent = Spent()


class AfterVerdicts(Request[ReviewedVerdicts], frozen=True, kw_only=True):
    """Asks the role named by the setting `loop.after_verdicts` for the verdicts that count for one attempt."""

    role: ClassVar[str] = "hook"
    trajectory: TrajectoryId
    round: Round
    candidate: Candidate
    prompt: Prompt
    """The prompt that was drawn."""
    image: ImageRef
    requirements: tuple[Requirement, ...]
    verdicts: tuple[Verdict, ...]
    """The verifier's verdicts, in the order of the requirements."""


class RefinementNote(Reply, frozen=True, kw_only=True):
    """Reply to `BeforeRefinement`: a note that the refiner is shown; empty: none."""

    note: Annotated[str, Meta(max_length=MAX_NOTE_CHARS)] = ""
    version: Version = ""
    spent: Spent = Spent()


class BeforeRefinement(Request[RefinementNote], frozen=True, kw_only=True):
    """Asks the role named by the setting `loop.before_refinement` for a note before the next prompt is written.

    It gets what the refiner gets; what happened so far can be read from memory.
    """

    role: ClassVar[str] = "hook"
    trajectory: TrajectoryId
    round: Round
    memory: MemoryMode


Outcome = Literal["all_met", "rounds_spent", "nothing_to_check", "wound_down", "budget_spent"]
"""Why a trajectory ended: everything met, no round left, no requirement found (one image is drawn and no verdict is
possible), stopped gracefully, or no budget for another round."""


class Ending(Value, frozen=True, kw_only=True):
    """How a trajectory ended, and which attempt is its picture."""

    outcome: Outcome
    best_round: Round
    best_candidate: Candidate
    decided_by: str
    """Reason why that attempt is the best, which also mentions ties."""


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
    """Costs by role."""
    hooks: dict[str, Hook] = {}
    """Hooks that took part, by setting: `before_plan`, `after_verdicts`, `before_refinement`."""

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
    """What one trajectory may spend on chat models; no round begins that would exceed it."""

    max_calls: Count | None = None
    """Maximum calls; unlimited by default. The same applies to `max_tokens`."""
    max_tokens: Count | None = None


class DrawPicture(Request[Picture], frozen=True, kw_only=True):
    """Asks the conductor to take one prompt through the whole loop."""

    role: ClassVar[str] = "conductor"
    run: RunName
    line: Count = 0
    sample: Count = 0
    prompt: Prompt
    seed: Seed
    settings: DrawSettings = DrawSettings()
    version: Version = ""
    """Distinguishes trajectories of the same line and sample, for instance by different models."""
    budget: Budget = Budget()
    """Limit on chat models; not part of the picture's identity, so it may differ when a trajectory is resumed."""

    @property
    def trajectory(self) -> str:
        """The id under which memory knows this prompt and sample of the run."""
        return trajectory_id(self.run, self.line, self.sample, self.version)
