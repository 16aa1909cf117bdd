"""The path of a prompt: the requests and replies of the roles that draw a picture."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from protocol.identity import trajectory_id
from protocol.limits import MAX_PROMPTS, MAX_ROUNDS
from protocol.messages import values as v
from protocol.messages.link import Failure


class Plan(v.Reply, frozen=True, kw_only=True):
    """The planner's answer."""

    prompt: v.Prompt
    skill: v.Name | None = None
    reasoning: v.Text = ""
    spent: v.Spent = v.Spent()
    skill_digest: v.SkillDigest = ""


class PlanPrompt(v.Request[Plan], frozen=True, kw_only=True):
    """Asks the planner to choose a skill, if one fits, and to write the first prompt."""

    role: ClassVar[str] = "planner"
    prompt: v.Prompt
    skill: v.SkillId | None = None
    """Skill to use, or `none` for no skill; by default the planner chooses."""
    references: v.References = ()
    """Pictures that the picture is drawn from; the prompt is then an instruction about them."""


class Requirements(v.Reply, frozen=True, kw_only=True):
    """The decomposer's answer; may be empty."""

    requirements: v.RequirementList
    spent: v.Spent = v.Spent()


class DecomposePrompt(v.Request[Requirements], frozen=True, kw_only=True):
    """Asks the decomposer for the atomic requirements of the user's own prompt."""

    role: ClassVar[str] = "decomposer"
    prompt: v.Prompt
    references: v.References = ()
    """Pictures that the picture is drawn from; what the prompt does not mention is then a requirement as well."""


class Image(v.Reply, frozen=True, kw_only=True):
    """The generator's answer: the picture is in the blob store."""

    image: v.ImageRef
    spent: v.Spent = v.Spent()
    can_be_edited: bool = False
    """Whether the image model also edits pictures by an instruction, so that this one can be edited."""


class GenerateImage(v.Request[Image], frozen=True, kw_only=True):
    """Asks the generator for one picture."""

    role: ClassVar[str] = "generator"
    prompt: v.Prompt
    seed: v.Seed
    width_px: v.SidePx
    height_px: v.SidePx
    steps: v.Steps | None = None
    """Denoising steps; by default the image model's own. The same applies to `guidance` and `negative_prompt`."""
    guidance: v.Guidance | None = None
    negative_prompt: v.NegativePrompt | None = None
    exact: bool = False
    references: v.References = ()
    """Pictures to draw from; a model that cannot refuses the request."""
    strength: v.Strength | None = None
    """Share of the denoising that is applied to the first reference; by default the image model's own."""
    task_seed: v.Seed | None = None
    """Seed of the task, which a model may show in the picture; `seed` is the one to draw with."""


class Verification(v.Reply, frozen=True, kw_only=True):
    """The verifier's answer: one verdict per requirement, in the same order."""

    verdicts: v.Verdicts
    calls_saved: v.Count = 0
    is_blind: bool = False
    """Whether the verifier's model gave the same answer about a red and a blue picture, so that no verdict counts."""
    spent: v.Spent = v.Spent()


class VerifyImage(v.Request[Verification], frozen=True, kw_only=True):
    """Asks the verifier for a verdict on each requirement."""

    role: ClassVar[str] = "verifier"
    image: v.ImageRef
    requirements: v.RequirementList
    references: v.References = ()
    """Pictures that the task gave, which are shown for requirements that compare."""


class Comparison(v.Reply, frozen=True, kw_only=True):
    """The verifier's answer: which picture meets the request better."""

    preferred: v.Preference
    """The picture that was better in both orders, or `tie`."""
    reason: v.Reason = ""
    spent: v.Spent = v.Spent()


class CompareImages(v.Request[Comparison], frozen=True, kw_only=True):
    """Asks the verifier which of two pictures meets the request better; its model sees them in both orders."""

    role: ClassVar[str] = "verifier"
    first: v.ImageRef
    second: v.ImageRef
    prompt: v.Prompt
    """The prompt that the pictures must meet."""
    requirements: v.RequirementList
    references: v.References = ()
    """Pictures that the task gave, which both were drawn from."""


class Lesson(v.Reply, frozen=True, kw_only=True):
    """The compressor's answer."""

    text: v.LessonText
    spent: v.Spent = v.Spent()


class CompressAttempt(v.Request[Lesson], frozen=True, kw_only=True):
    """Asks the compressor for the lesson of one round; it reads this round and earlier ones from memory."""

    role: ClassVar[str] = "compressor"
    trajectory: v.TrajectoryId
    round: v.Round


class Refined(v.Reply, frozen=True, kw_only=True):
    """The refiner's answer."""

    prompt: v.Prompt
    """Prompt of the first candidate, or instruction of the edit; with `resample` and `stop` it is not used."""
    reasoning: v.Text = ""
    spent: v.Spent = v.Spent()
    action: v.RefineAction = "rewrite"
    others: v.OtherPrompts = ()
    """Prompts of the other candidates."""
    lesson: v.NoteText = ""
    """Lesson of the last round, if it was asked for."""


class RefinePrompt(v.Request[Refined], frozen=True, kw_only=True):
    """Asks the refiner what to draw in the round after `round`; it reads the trajectory's state from memory."""

    role: ClassVar[str] = "refiner"
    trajectory: v.TrajectoryId
    round: v.Round
    memory: v.MemoryMode
    note: v.NoteText = ""
    """Text of the `before_refinement` hook that the refiner is shown; empty: none."""
    prompts: Annotated[int, Meta(ge=1, le=MAX_PROMPTS)] = 1
    """Number of prompts to write, which differ in structure."""
    with_lesson: bool = False
    """Whether the reply must have the lesson of the round."""
    actions: v.ActionChoice = "any"
    """What the reply may decide."""
    can_edit: bool = False
    """Whether the reply may also decide to edit the picture of the best attempt up to this round."""


class PreparedPrompt(v.Reply, frozen=True, kw_only=True):
    """Reply to `BeforePlan`: the prompt that planner, decomposer and refiner see in place of the user's own."""

    prompt: v.Prompt
    version: v.Version = ""
    """Version that the role declares; like that of the two other hooks, part of a picture's key in bulk."""
    spent: v.Spent = v.Spent()


class BeforePlan(v.Request[PreparedPrompt], frozen=True, kw_only=True):
    """Asks the role named by the setting `loop.before_plan` to prepare the prompt, before anything else is done."""

    role: ClassVar[str] = "hook"
    """Placeholder: the conductor addresses the three requests of hooks to the configured roles."""
    trajectory: v.TrajectoryId
    prompt: v.Prompt
    """The user's own prompt."""
    seed: v.Seed
    settings: v.DrawSettings
    references: v.References = ()
    """Pictures that the task gave."""


class ReviewedVerdicts(v.Reply, frozen=True, kw_only=True):
    """Reply to `AfterVerdicts`: one verdict for each requirement, in their order."""

    verdicts: v.Verdicts
    version: v.Version = ""
    spent: v.Spent = v.Spent()


class AfterVerdicts(v.Request[ReviewedVerdicts], frozen=True, kw_only=True):
    """Asks the role named by the setting `loop.after_verdicts` for the verdicts that count for one attempt."""

    role: ClassVar[str] = "hook"
    trajectory: v.TrajectoryId
    round: v.Round
    candidate: v.Candidate
    prompt: v.Prompt
    """The prompt that was drawn."""
    image: v.ImageRef
    requirements: v.RequirementList
    verdicts: v.Verdicts
    """The verifier's verdicts, in the order of the requirements."""
    references: v.References = ()
    """Pictures that the task gave."""


class RefinementNote(v.Reply, frozen=True, kw_only=True):
    """Reply to `BeforeRefinement`: a note that the refiner is shown; empty: none."""

    note: v.NoteText = ""
    version: v.Version = ""
    spent: v.Spent = v.Spent()


class BeforeRefinement(v.Request[RefinementNote], frozen=True, kw_only=True):
    """Asks the role named by the setting `loop.before_refinement` for a note before the next prompt is written.

    It gets what the refiner gets; what happened so far can be read from memory.
    """

    role: ClassVar[str] = "hook"
    trajectory: v.TrajectoryId
    round: v.Round
    memory: v.MemoryMode


Outcome = Literal[
    "all_met",
    "checkable_met",
    "rounds_spent",
    "nothing_to_check",
    "wound_down",
    "budget_spent",
    "budget_elsewhere",
    "refused",
    "failed_later",
    "refiner_stopped",
]
"""Why a trajectory ended: everything met, everything met except words that were not understood, no round left, no
requirement that can be checked (one image is drawn), stopped gracefully, no budget for another round, the run's images
are spent on other trajectories, a step after the first attempt was refused or failed, or the refiner expected nothing
of another round."""


class Ending(v.Value, frozen=True, kw_only=True):
    """How a trajectory ended, and which attempt is its picture."""

    outcome: Outcome
    best_round: v.Round
    best_candidate: v.Candidate
    decided_by: v.Text
    """Reason why that attempt is the best, which also mentions ties."""
    failure: Failure | None = None
    """The failure that ended a trajectory whose outcome is `refused` or `failed_later`."""


class Picture(v.Reply, frozen=True, kw_only=True):
    """The outcome of one trajectory."""

    trajectory: v.TrajectoryId
    prompt: v.Prompt
    skill: v.Name | None
    requirements: v.RequirementList
    attempts: v.Attempts
    ending: Ending
    settings: v.DrawSettings
    spent: v.SpentByRole = {}
    """Costs by role."""
    hooks: v.Hooks = {}
    """Hooks that took part, by setting: `before_plan`, `after_verdicts`, `before_refinement`."""
    actions: Annotated[tuple[v.RefineAction, ...], Meta(max_length=MAX_ROUNDS)] = ()
    """What the refiner decided after each round."""
    grants: v.ImageGrants = ()
    """Images that the run allotted to the trajectory, in order; empty for a run without such a budget."""

    @property
    def best(self) -> v.Attempt:
        """The attempt that is the picture."""
        chosen = (self.ending.best_round, self.ending.best_candidate)
        return next(attempt for attempt in self.attempts if (attempt.round, attempt.candidate) == chosen)

    @property
    def final_prompt(self) -> str:
        """The prompt of the best attempt; of an edit, the prompt before all edits, then a line `Edit: …` for each."""
        by_place = {(attempt.round, attempt.candidate): attempt for attempt in self.attempts}
        attempt, instructions = self.best, list[str]()
        while (at := attempt.edited) is not None and (at.round, at.candidate) in by_place:  # a damaged log has gaps
            instructions.insert(0, f"\nEdit: {attempt.prompt}")
            attempt = by_place[at.round, at.candidate]
        return attempt.prompt + "".join(instructions)

    @property
    def is_judged_blind(self) -> bool:
        """Whether a verifier that sees no pictures gave any of the verdicts."""
        return any(attempt.is_judged_blind for attempt in self.attempts)

    @property
    def not_understood(self) -> tuple[str, ...]:
        """Words of the prompt that were not understood, and so not checked, in the order of the requirements."""
        return tuple(item.not_understood for item in self.requirements if item.not_understood)

    @property
    def all_met(self) -> bool:
        """Whether the best attempt has requirements and meets them all; words that were not understood are not met."""
        return bool(self.best.verdicts) and all(verdict.answer == "met" for verdict in self.best.verdicts)


class Budget(v.Value, frozen=True, kw_only=True):
    """What one trajectory may spend; no round begins that would exceed it."""

    max_calls: v.Count | None = None
    """Maximum calls of chat models; unlimited by default. The same applies to `max_tokens`."""
    max_tokens: v.Count | None = None
    grant: v.ImageGrant | None = None
    """Images that the run allots to the trajectory; by default all of its rounds. A trajectory that ended with the
    outcome `budget_elsewhere` continues when it is asked for with more images."""


class DrawPicture(v.Request[Picture], frozen=True, kw_only=True):
    """Asks the conductor to take one prompt through the whole loop. A prompt with U+0000 in it is refused.

    Run, line, sample and version, or task in place of line, name one trajectory. Asked for again it resumes, or is
    answered from memory; with another prompt, seed, reference or setting it is refused.
    """

    role: ClassVar[str] = "conductor"
    run: v.RunName
    line: v.Count = 0
    sample: v.Count = 0
    prompt: v.Prompt
    seed: v.Seed
    references: v.References = ()
    """Pictures in the blob store that the picture is drawn from; the prompt says what becomes of them."""
    settings: v.DrawSettings = v.DrawSettings()
    version: v.Version = ""
    """Distinguishes trajectories of the same line and sample, for instance by different models."""
    budget: Budget = Budget()
    """Limits; not part of the picture's identity, so they may differ when a trajectory is resumed."""
    task: v.TaskId = ""
    """Id of the prompt in its run. With it, `line` only says where the prompt is and may differ when it is resumed."""

    @property
    def trajectory(self) -> str:
        """The id under which memory knows this prompt and sample of the run."""
        return trajectory_id(self.run, self.line, self.sample, self.version, self.task)
