"""The progress of one draw: a pure state, advanced by the run's events and described in plain lines.

It depends on neither terminal nor clock. Events may be lost; the picture that answers the request completes the state.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from msgspec import structs

from gems_actors.terminal_text import printable
from protocol import messages as m

Change = Literal["kept", "added", "removed"]
_CONTEXT_WORDS = 3


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a draw according to its events."""

    prompt: str
    """Prompt of the user."""
    max_rounds: int
    candidates: int
    skill: str | None = None
    prompts: Mapping[int, str] = field(default_factory=dict)
    """Prompts by round."""
    requirements: tuple[m.Requirement, ...] | None = None
    """None until the prompt is decomposed."""
    edited: Mapping[int, m.AttemptPlace] = field(default_factory=dict)
    """What is edited in each round whose prompt is an instruction."""
    drawn: frozenset[tuple[int, int]] = frozenset()
    """Round and candidate of each image, verified or not."""
    attempts: tuple[m.Attempt, ...] = ()
    lessons: frozenset[int] = frozenset()
    """Rounds whose experience is stored."""
    ending: m.Ending | None = None
    references: tuple[m.ImageRef, ...] = ()
    """Pictures of the user that it is drawn from."""

    @property
    def round(self) -> int:
        """The current round; 0 until the first prompt is written."""
        return max(self.prompts, default=0)


def progress_of(request: m.DrawPicture) -> Progress:
    """Return the progress of a draw before its first event."""
    settings = request.settings
    return Progress(request.prompt, settings.max_rounds, settings.candidates, references=request.references)


def advance(progress: Progress, event: m.Event) -> Progress:
    """Return the progress after an event; other events change nothing."""
    match event:
        case m.ImageDrawn():
            return replace(progress, drawn=progress.drawn | {(event.round, event.candidate)})
        case m.StepTaken(record=m.PromptPlanned() as record):
            return replace(progress, skill=record.skill, prompts={**progress.prompts, 1: record.prompt})
        case m.StepTaken(record=m.PromptDecomposed() as record):
            return replace(progress, requirements=record.requirements)
        case m.StepTaken(record=m.AttemptVerified() as record):
            key = (record.attempt.round, record.attempt.candidate)
            others = tuple(known for known in progress.attempts if (known.round, known.candidate) != key)
            return replace(progress, drawn=progress.drawn | {key}, attempts=(*others, record.attempt))
        case m.StepTaken(record=m.VerdictsReviewed(review=review)):
            attempts = tuple(
                structs.replace(known, verdicts=review.verdicts)
                if (known.round, known.candidate) == (review.round, review.candidate)
                else known
                for known in progress.attempts
            )
            return replace(progress, attempts=attempts)
        case m.StepTaken(record=m.ExperienceKept() as record):
            return replace(progress, lessons=progress.lessons | {record.experience.round})
        case m.StepTaken(record=m.PromptRefined(refinement=refinement)) if refinement.action != "stop":
            edited = {} if refinement.edited is None else {refinement.round: refinement.edited}
            prompts = {**progress.prompts, refinement.round: refinement.prompt}
            return replace(progress, prompts=prompts, edited={**progress.edited, **edited})
        case m.StepTaken(record=m.TrajectoryEnded() as record):
            return replace(progress, ending=record.ending)
    return progress


def finish(progress: Progress, picture: m.Picture) -> Progress:
    """Return the progress of a finished draw, also if events were lost."""
    return replace(
        progress,
        skill=picture.skill,
        prompts={**progress.prompts, **{attempt.round: attempt.prompt for attempt in picture.attempts}},
        edited={attempt.round: attempt.edited for attempt in picture.attempts if attempt.edited is not None},
        requirements=picture.requirements,
        drawn=frozenset((attempt.round, attempt.candidate) for attempt in picture.attempts),
        attempts=picture.attempts,
        ending=picture.ending,
    )


def step_of(progress: Progress) -> str:
    """Return the name of the current step."""
    if progress.ending is not None:
        return "done"
    if not progress.prompts:
        return "planning"
    if progress.requirements is None:
        return "decomposing"
    round_ = progress.round
    judged = sum(attempt.round == round_ for attempt in progress.attempts)
    if judged >= progress.candidates:
        ending = "refining" if round_ in progress.lessons else "reflecting"
        return "choosing" if round_ >= progress.max_rounds else ending
    drawn = sum(key[0] == round_ for key in progress.drawn)
    return "verifying" if drawn > judged else "drawing"


def leading_attempt(attempts: Sequence[m.Attempt]) -> m.Attempt | None:
    """Return the attempt that meets most requirements, the earliest of several."""
    return max(attempts, key=lambda attempt: (count_met(attempt), -attempt.round, -attempt.candidate), default=None)


def count_met(attempt: m.Attempt) -> int:
    """Return the number of requirements that an attempt meets."""
    return sum(verdict.answer == "met" for verdict in attempt.verdicts)


def answers_of_round(progress: Progress, round_: int) -> dict[str, m.Answer]:
    """Return the verdicts on the best image of a round by requirement id; empty before the first verdict."""
    leading = leading_attempt([attempt for attempt in progress.attempts if attempt.round == round_])
    return {verdict.requirement: verdict.answer for verdict in leading.verdicts} if leading else {}


def compare_words(before: str, after: str) -> list[tuple[Change, str]]:
    """Return the changes from one prompt to another, as runs of words; long unchanged runs are abbreviated."""
    old, new = before.split(), after.split()
    parts: list[tuple[Change, str]] = []
    for tag, old_from, old_to, new_from, new_to in difflib.SequenceMatcher(None, old, new, False).get_opcodes():
        if tag == "equal":
            is_last = new_to == len(new)
            parts.append(("kept", _ends_of(old[old_from:old_to], is_first=not parts, is_last=is_last)))
            continue
        if old_to > old_from:
            parts.append(("removed", " ".join(old[old_from:old_to])))
        if new_to > new_from:
            parts.append(("added", " ".join(new[new_from:new_to])))
    return parts


def lines_of(progress: Progress, event: m.Event) -> list[str]:
    """Return plain lines that describe an event; `progress` is the state after it."""
    match event:
        case m.StepTaken(record=m.PromptPlanned() as record):
            return [f"skill: {record.skill or 'none'}", f"round 1 prompt: {printable(record.prompt)}"]
        case m.StepTaken(record=m.PromptDecomposed() as record):
            words = [item.not_understood for item in record.requirements if item.not_understood]
            unchecked = unchecked_line(words, len(record.requirements))
            return [f"requirements: {len(record.requirements)}", *filter(None, [unchecked])]
        case m.StepTaken(record=m.AttemptVerified() as record):
            return [_line_of_attempt(progress, record.attempt)]
        case m.StepTaken(record=m.PromptPrepared() as record):
            return [f"prepared prompt: {printable(record.prompt)}"]
        case m.StepTaken(record=m.VerdictsReviewed(review=review)):
            key = (review.round, review.candidate)
            reviewed = [item for item in progress.attempts if (item.round, item.candidate) == key]
            return [_line_of_attempt(progress, item) for item in reviewed]
        case m.StepTaken(record=m.RefinementNoted(note=note)) if note.text:
            return [f"round {note.round} note: {printable(note.text)}"]
        case m.StepTaken(record=m.PromptRefined(refinement=refinement)):
            return refinement_lines(refinement)
        case m.StepTaken(record=m.AttemptsCompared(choice=choice)):
            return [comparison_line(choice)]
    return []


def refinement_lines(refinement: m.Refinement) -> list[str]:
    """Return what the refiner decided for a round, as lines."""
    name = f"round {refinement.round}"
    if refinement.action != "rewrite":
        return [f"{name}: {action_text(refinement)}"]
    if not refinement.others:
        return [f"{name} prompt: {printable(refinement.prompt)}"]
    prompts = enumerate((refinement.prompt, *refinement.others), 1)
    return [f"{name} prompt of candidate {number}: {printable(prompt)}" for number, prompt in prompts]


def edit_text(edited: m.AttemptPlace, instruction: str) -> str:
    """Return what is edited, and by which instruction."""
    candidate = f", candidate {edited.candidate}" if edited.candidate > 1 else ""
    return f"edit of round {edited.round}{candidate}: {printable(instruction)}"


def action_text(refinement: m.Refinement) -> str:
    """Return what an action means after which no picture is drawn from a new prompt alone."""
    if refinement.action == "edit" and refinement.edited is not None:
        return edit_text(refinement.edited, " | ".join((refinement.prompt, *refinement.others)))
    if refinement.action == "resample":
        return "the same prompt, drawn with another seed"
    why = printable(refinement.reasoning)
    return "not drawn, because the refiner stopped" + (f": {why}" if why else "")


def comparison_line(choice: m.PairChoice) -> str:
    """Return which of two pictures the verifier's model prefers, as a line."""
    first = f"round {choice.round} candidate {choice.candidate}"
    second = f"round {choice.other_round} candidate {choice.other_candidate}"
    better = {"first": first, "second": second, "tie": "neither"}[choice.preferred]
    return f"compared {first} with {second}: {better} is better"


def references_line(references: Sequence[m.ImageRef]) -> str:
    """Return what a picture is drawn from, as a line; empty without references."""
    sizes = ", ".join(f"{image.width_px}x{image.height_px}" for image in references)
    return f"drawn from {len(references)} picture{'s' * (len(references) > 1)}: {sizes} px" if references else ""


def unchecked_line(words: Sequence[str], total: int) -> str:
    """Return how many of `total` requirements were not understood, and their words; empty if all were understood."""
    quoted = ", ".join(f"'{printable(text)}'" for text in words)
    return f"{len(words)} of {total} could not be checked: {quoted}" if words else ""


def unmet_questions(requirements: Sequence[m.Requirement], attempt: m.Attempt) -> list[str]:
    """Return the questions of checked requirements that are not met; `(unsure)` marks what the verdict is unsure of."""
    questions = {requirement.id: requirement.question for requirement in requirements}
    unchecked = {requirement.id for requirement in requirements if requirement.not_understood}
    return [
        printable(questions.get(verdict.requirement, verdict.requirement))
        + (" (unsure)" if verdict.answer == "unsure" else "")
        for verdict in attempt.verdicts
        if verdict.answer != "met" and not (verdict.answer == "unsure" and verdict.requirement in unchecked)
    ]


def _line_of_attempt(progress: Progress, attempt: m.Attempt) -> str:
    name = f"round {attempt.round}" + (f", candidate {attempt.candidate}" if progress.candidates > 1 else "")
    if not attempt.verdicts:
        return f"{name}: drawn, nothing to check"
    line = f"{name}: {count_met(attempt)} of {len(attempt.verdicts)} met"
    unmet = unmet_questions(progress.requirements or (), attempt)
    return f"{line}, unmet: {'; '.join(unmet)}" if unmet else line


def _ends_of(words: list[str], *, is_first: bool, is_last: bool) -> str:
    if len(words) <= 2 * _CONTEXT_WORDS + 1:
        return " ".join(words)
    head = [] if is_first else words[:_CONTEXT_WORDS]
    tail = [] if is_last else words[-_CONTEXT_WORDS:]
    return " ".join([*head, "…", *tail])
