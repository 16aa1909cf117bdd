"""What is known of one draw so far: a pure state, advanced by the run's events, and told in plain lines.

Knows no terminal and no clock. Events may be lost; the picture that answers the request makes up for that.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from protocol.messages import (
    Answer,
    Attempt,
    AttemptVerified,
    Ending,
    Event,
    ExperienceKept,
    ImageDrawn,
    Picture,
    PromptDecomposed,
    PromptPlanned,
    PromptRefined,
    Requirement,
    StepTaken,
    TrajectoryEnded,
)

Change = Literal["kept", "added", "removed"]
_CONTEXT_WORDS = 3


@dataclass(frozen=True, slots=True)
class Progress:
    """One draw as far as its events have told."""

    prompt: str
    """The user's own words."""
    max_rounds: int
    candidates: int
    skill: str | None = None
    prompts: Mapping[int, str] = field(default_factory=dict)
    """The prompt of each round that has one."""
    requirements: tuple[Requirement, ...] | None = None
    """None until the prompt is decomposed."""
    drawn: frozenset[tuple[int, int]] = frozenset()
    """Round and candidate of each picture that is there, judged or not."""
    attempts: tuple[Attempt, ...] = ()
    lessons: frozenset[int] = frozenset()
    """Rounds whose experience is kept."""
    ending: Ending | None = None

    @property
    def round(self) -> int:
        """The round in hand, 0 while the first prompt is not written."""
        return max(self.prompts, default=0)

    @property
    def rounds_finished(self) -> int:
        """How many rounds have all their verdicts."""
        return sum(
            sum(attempt.round == round_ for attempt in self.attempts) >= self.candidates for round_ in self.prompts
        )


def advance(progress: Progress, event: Event) -> Progress:
    """Return what is known after an event; one that says nothing about this draw changes nothing."""
    match event:
        case ImageDrawn():
            return replace(progress, drawn=progress.drawn | {(event.round, event.candidate)})
        case StepTaken(record=PromptPlanned() as record):
            return replace(progress, skill=record.skill, prompts={**progress.prompts, 1: record.prompt})
        case StepTaken(record=PromptDecomposed() as record):
            return replace(progress, requirements=record.requirements)
        case StepTaken(record=AttemptVerified() as record):
            place = (record.attempt.round, record.attempt.candidate)
            others = tuple(known for known in progress.attempts if (known.round, known.candidate) != place)
            return replace(progress, drawn=progress.drawn | {place}, attempts=(*others, record.attempt))
        case StepTaken(record=ExperienceKept() as record):
            return replace(progress, lessons=progress.lessons | {record.experience.round})
        case StepTaken(record=PromptRefined() as record):
            refinement = record.refinement
            return replace(progress, prompts={**progress.prompts, refinement.round: refinement.prompt})
        case StepTaken(record=TrajectoryEnded() as record):
            return replace(progress, ending=record.ending)
    return progress


def finish(progress: Progress, picture: Picture) -> Progress:
    """Return what is known once the picture is there, whatever events were lost."""
    prompts = {attempt.round: attempt.prompt for attempt in picture.attempts}
    return replace(
        progress,
        skill=picture.skill,
        prompts={**progress.prompts, **prompts},
        requirements=picture.requirements,
        drawn=frozenset((attempt.round, attempt.candidate) for attempt in picture.attempts),
        attempts=picture.attempts,
        ending=picture.ending,
    )


def step_of(progress: Progress) -> str:
    """Say what is being done now."""
    if progress.ending is not None:
        return "done"
    if not progress.prompts:
        return "planning"
    if progress.requirements is None:
        return "decomposing"
    round_ = progress.round
    judged = sum(attempt.round == round_ for attempt in progress.attempts)
    if judged >= progress.candidates:
        if round_ >= progress.max_rounds:
            return "choosing"
        return "refining" if round_ in progress.lessons else "reflecting"
    drawn = sum(place[0] == round_ for place in progress.drawn)
    return "verifying" if drawn > judged else "drawing"


def leading_attempt(attempts: Sequence[Attempt]) -> Attempt | None:
    """Return the attempt that meets most requirements, the earlier one where two meet as many."""
    return max(attempts, key=lambda attempt: (count_met(attempt), -attempt.round, -attempt.candidate), default=None)


def count_met(attempt: Attempt) -> int:
    """Return how many requirements an attempt meets."""
    return sum(verdict.answer == "met" for verdict in attempt.verdicts)


def answers_of_round(progress: Progress, round_: int) -> dict[str, Answer]:
    """Return the verdicts on the best picture of a round by requirement id; empty while there are none."""
    leading = leading_attempt([attempt for attempt in progress.attempts if attempt.round == round_])
    return {verdict.requirement: verdict.answer for verdict in leading.verdicts} if leading else {}


def compare_words(before: str, after: str) -> list[tuple[Change, str]]:
    """Return how one prompt became another, in runs of words; of long runs that were kept only the ends are told."""
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


def lines_of(progress: Progress, event: Event) -> list[str]:
    """Tell in plain lines what an event brought; `progress` is what is known after it."""
    match event:
        case StepTaken(record=PromptPlanned() as record):
            return [f"skill: {record.skill or 'none'}", f"round 1 prompt: {printable(record.prompt)}"]
        case StepTaken(record=PromptDecomposed() as record):
            return [f"requirements: {len(record.requirements)}"]
        case StepTaken(record=AttemptVerified() as record):
            return [_line_of_attempt(progress, record.attempt)]
        case StepTaken(record=PromptRefined() as record):
            return [f"round {record.refinement.round} prompt: {printable(record.refinement.prompt)}"]
    return []


def printable(text: str) -> str:
    """Return a text as one line that cannot steer a terminal: white space is one space, other controls U+FFFD."""
    words = " ".join(text.split())
    return words if words.isprintable() else "".join(c if c.isprintable() or c == "\u200d" else "\ufffd" for c in words)


def unmet_questions(requirements: Sequence[Requirement], attempt: Attempt) -> list[str]:
    """Return the questions that an attempt does not answer as wanted; those the verifier is unsure of say so."""
    questions = {requirement.id: requirement.question for requirement in requirements}
    return [
        printable(questions.get(verdict.requirement, verdict.requirement))
        + (" (unsure)" if verdict.answer == "unsure" else "")
        for verdict in attempt.verdicts
        if verdict.answer != "met"
    ]


def _line_of_attempt(progress: Progress, attempt: Attempt) -> str:
    where = f"round {attempt.round}" + (f", candidate {attempt.candidate}" if progress.candidates > 1 else "")
    if not attempt.verdicts:
        return f"{where}: drawn, nothing to check"
    line = f"{where}: {count_met(attempt)} of {len(attempt.verdicts)} met"
    unmet = unmet_questions(progress.requirements or (), attempt)
    return f"{line}, unmet: {'; '.join(unmet)}" if unmet else line


def _ends_of(words: list[str], *, is_first: bool, is_last: bool) -> str:
    if len(words) <= 2 * _CONTEXT_WORDS + 1:
        return " ".join(words)
    head = [] if is_first else words[:_CONTEXT_WORDS]
    tail = [] if is_last else words[-_CONTEXT_WORDS:]
    return " ".join([*head, "…", *tail])
