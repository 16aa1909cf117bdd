"""Replays records: the name of each step, and the state of a trajectory that its records add up to. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from msgspec import structs

from actors.ranking import choose_best
from protocol.costs import add_costs, costs_of
from protocol.messages import (
    AnyRecord,
    Attempt,
    AttemptVerified,
    DrawPicture,
    Ending,
    Experience,
    ExperienceKept,
    Failure,
    Hook,
    LoggedRecord,
    Note,
    Plan,
    PromptDecomposed,
    PromptPlanned,
    PromptPrepared,
    PromptRefined,
    RecordsLost,
    Refinement,
    RefinementNoted,
    Requirement,
    Review,
    RunBegun,
    Spent,
    TrajectoryBegun,
    TrajectoryEnded,
    TrajectoryFailed,
    TrajectoryState,
    VerdictsReviewed,
)


def step_of(record: AnyRecord) -> str | None:
    """Return the name of a step that happens once in its trajectory or run, or None for a record that may repeat."""
    return _STEPS[type(record)](record)


_STEPS: Final[dict[type[Any], Callable[[Any], str | None]]] = {
    RunBegun: lambda record: "begun",
    TrajectoryBegun: lambda record: "begun",
    PromptPrepared: lambda record: "prepared",
    PromptPlanned: lambda record: "planned",
    PromptDecomposed: lambda record: "decomposed",
    AttemptVerified: lambda record: f"attempt {record.attempt.round}.{record.attempt.candidate}",
    VerdictsReviewed: lambda record: f"reviewed {record.review.round}.{record.review.candidate}",
    ExperienceKept: lambda record: f"experience {record.experience.round}",
    RefinementNoted: lambda record: f"noted {record.note.round}",
    PromptRefined: lambda record: f"refined {record.refinement.round}",
    TrajectoryEnded: lambda record: "ended",
    TrajectoryFailed: lambda record: None,
    RecordsLost: lambda record: None,
}
"""A table rather than `match`: each record is looked up twice."""


def assemble_state(logged: Sequence[LoggedRecord]) -> TrajectoryState:
    """Return the state of a trajectory from its records; without records, an empty state."""
    task: DrawPicture | None = None
    plan: Plan | None = None
    requirements: tuple[Requirement, ...] | None = None
    attempts: list[Attempt] = []
    experiences: list[Experience] = []
    refinements: list[Refinement] = []
    ending: Ending | None = None
    failure: Failure | None = None
    spent: dict[str, Spent] = {}

    for item in logged:
        failure = None
        add_costs(spent, costs_of(item.record))
        match record := item.record:
            case TrajectoryBegun():
                task = record.task
            case PromptPlanned():
                plan = Plan(prompt=record.prompt, skill=record.skill, reasoning=record.reasoning)
            case PromptDecomposed():
                requirements = record.requirements
            case AttemptVerified():
                attempts.append(record.attempt)
            case ExperienceKept():
                experiences.append(record.experience)
            case PromptRefined():
                refinements.append(record.refinement)
            case TrajectoryEnded():
                ending = record.ending
            case TrajectoryFailed():
                failure = record.failure  # informative only: the trajectory continues after the step before it
    state = TrajectoryState(
        task=task,
        plan=plan,
        requirements=requirements,
        attempts=tuple(sorted(attempts, key=lambda attempt: (attempt.round, attempt.candidate))),
        experiences=tuple(experiences),
        refinements=tuple(refinements),
        ending=ending,
        failure=failure,
        spent=spent,
        began_at=logged[0].at if logged else None,
        last_at=logged[-1].at if logged else None,
    )
    return _with_hooks(state, (item.record for item in logged))


def _with_hooks(state: TrajectoryState, records: Iterable[AnyRecord]) -> TrajectoryState:
    """Return a state with the replies of hooks; the verdicts of a review replace those of the verifier."""
    prepared: str | None = None
    reviews: dict[tuple[int, int], Review] = {}
    notes: list[Note] = []
    hooks: dict[str, Hook] = {}
    for record in records:
        match record:
            case PromptPrepared():
                prepared, hooks["before_plan"] = record.prompt, record.hook
            case VerdictsReviewed(review=review):
                reviews[review.round, review.candidate], hooks["after_verdicts"] = review, record.hook
            case RefinementNoted():
                notes.append(record.note)
                hooks["before_refinement"] = record.hook
    if not hooks:
        return state
    attempts = tuple(
        structs.replace(attempt, verdicts=reviews[place].verdicts)
        if (place := (attempt.round, attempt.candidate)) in reviews
        else attempt
        for attempt in state.attempts
    )
    return structs.replace(
        state, prepared=prepared, attempts=attempts, reviews=tuple(reviews.values()), notes=tuple(notes), hooks=hooks
    )


class LessonOutcome(NamedTuple):
    """An experience with the number of requirements met in its round and in the next one."""

    experience: Experience
    met_before: int
    met_after: int
    requirements: int

    @property
    def gain(self) -> int:
        """Number of requirements met in addition."""
        return self.met_after - self.met_before


def lesson_outcomes(state: TrajectoryState) -> list[LessonOutcome]:
    """Return the experiences that were followed by another round."""
    met = {round_: _most_met(state.attempts, round_) for round_ in {attempt.round for attempt in state.attempts}}
    return [
        LessonOutcome(experience, met[experience.round], met[experience.round + 1], len(state.requirements or ()))
        for experience in state.experiences
        if experience.round in met and experience.round + 1 in met
    ]


def _most_met(attempts: Iterable[Attempt], round_: int) -> int:
    best, _ = choose_best([attempt for attempt in attempts if attempt.round == round_])
    return sum(verdict.answer == "met" for verdict in best.verdicts)
