"""Replays records: the name of each step, and the state of a trajectory that its records add up to. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from msgspec import structs

from actors.ranking import choose_best
from protocol import messages as m
from protocol.costs import add_costs, chat_cost, costs_of
from protocol.limits import MAX_ROUNDS


def step_of(record: m.AnyRecord) -> str | None:
    """Return the name of a step that happens once in its trajectory or run, or None for a record that may repeat."""
    return _STEPS[type(record)](record)


def _name_of(choice: m.PairChoice) -> str:
    return f"compared {choice.round}.{choice.candidate} {choice.other_round}.{choice.other_candidate}"


_STEPS: Final[dict[type[Any], Callable[[Any], str | None]]] = {
    m.RunBegun: lambda record: "begun",
    m.TrajectoryBegun: lambda record: "begun",
    m.PromptPrepared: lambda record: "prepared",
    m.PromptPlanned: lambda record: "planned",
    m.PromptDecomposed: lambda record: "decomposed",
    m.AttemptVerified: lambda record: f"attempt {record.attempt.round}.{record.attempt.candidate}",
    m.VerdictsReviewed: lambda record: f"reviewed {record.review.round}.{record.review.candidate}",
    m.ExperienceKept: lambda record: f"experience {record.experience.round}",
    m.RefinementNoted: lambda record: f"noted {record.note.round}",
    m.PromptRefined: lambda record: f"refined {record.refinement.round}",
    m.AttemptsCompared: lambda record: _name_of(record.choice),
    m.TrajectoryEnded: lambda record: f"ended {record.reopening}" if record.reopening else "ended",
    m.TrajectoryReopened: lambda record: f"reopened {record.reopening}",
    m.TrajectoryFailed: lambda record: None,
    m.RecordsLost: lambda record: None,
    m.SkillTried: lambda record: None,
}
"""A table rather than `match`: each record is looked up twice."""


def assemble_state(logged: Sequence[m.LoggedRecord]) -> m.TrajectoryState:
    """Return the state of a trajectory from its records; without records, an empty state."""
    task: m.DrawPicture | None = None
    plan: m.Plan | None = None
    requirements: tuple[m.Requirement, ...] | None = None
    attempts: list[m.Attempt] = []
    experiences: list[m.Experience] = []
    refinements: list[m.Refinement] = []
    ending: m.Ending | None = None
    reopened: m.TrajectoryReopened | None = None
    failure: m.Failure | None = None
    spent: dict[str, m.Spent] = {}
    spent_by_round: dict[int, m.Spent] = {}

    for item in logged:
        failure = None
        add_costs(spent, costs_of(item.record))
        match record := item.record:
            case m.TrajectoryBegun():
                task = record.task
            case m.PromptPlanned():
                plan = _plan_of(record)
            case m.PromptDecomposed():
                requirements = record.requirements
            case m.AttemptVerified():
                attempts.append(record.attempt)
                spent_by_round[record.attempt.round] = chat_cost(spent)
            case m.VerdictsReviewed():
                spent_by_round[record.review.round] = chat_cost(spent)
            case m.ExperienceKept():
                experiences.append(record.experience)
            case m.PromptRefined():
                refinements.append(record.refinement)
            case m.TrajectoryEnded():
                ending = record.ending
            case m.TrajectoryReopened():
                ending, reopened = None, record
            case m.TrajectoryFailed() if ending is None:
                failure = record.failure  # informative only: the trajectory continues after the step before it
    state = m.TrajectoryState(
        task=_as_reopened(task, reopened),
        plan=plan,
        requirements=requirements,
        attempts=tuple(sorted(attempts, key=lambda attempt: (attempt.round, attempt.candidate))),
        experiences=tuple(experiences),
        refinements=tuple(refinements),
        choices=_choices_of(logged),
        ending=ending,
        reopenings=reopened.reopening if reopened is not None else 0,
        failure=failure,
        spent=spent,
        grants=_grants_in(logged),
        spent_by_round=tuple(spent_by_round.get(n, m.Spent()) for n in range(1, max(spent_by_round, default=0) + 1)),
        began_at=logged[0].at if logged else None,
        last_at=logged[-1].at if logged else None,
    )
    return _with_hooks(state, (item.record for item in logged))


def _as_reopened(task: m.DrawPicture | None, reopened: m.TrajectoryReopened | None) -> m.DrawPicture | None:
    """Return the task that was begun, with the rounds that it had when it was reopened last."""
    if task is None or reopened is None:
        return task
    settings = structs.replace(task.settings, max_rounds=reopened.task.settings.max_rounds)
    return structs.replace(task, settings=settings)


def _choices_of(logged: Sequence[m.LoggedRecord]) -> tuple[m.PairChoice, ...]:
    """Return the latest comparisons: each time that a trajectory is reopened there may be one more."""
    found = [item.record.choice for item in logged if isinstance(item.record, m.AttemptsCompared)]
    return tuple(found[-MAX_ROUNDS:])


def _grants_in(logged: Sequence[m.LoggedRecord]) -> tuple[m.ImageGrant, ...]:
    """Return the images that a run allotted to a trajectory, in the order of the records."""
    asked = (item.record.task for item in logged if isinstance(item.record, m.TrajectoryBegun | m.TrajectoryReopened))
    return tuple(task.budget.grant for task in asked if task.budget.grant is not None)


def _plan_of(record: m.PromptPlanned) -> m.Plan:
    return m.Plan(
        prompt=record.prompt, skill=record.skill, reasoning=record.reasoning, skill_digest=record.skill_digest
    )


def _with_hooks(state: m.TrajectoryState, records: Iterable[m.AnyRecord]) -> m.TrajectoryState:
    """Return a state with the replies of hooks; the verdicts of a review replace those of the verifier."""
    prepared: str | None = None
    reviews: dict[tuple[int, int], m.Review] = {}
    notes: list[m.Note] = []
    hooks: dict[str, m.Hook] = {}
    for record in records:
        match record:
            case m.PromptPrepared():
                prepared, hooks["before_plan"] = record.prompt, record.hook
            case m.VerdictsReviewed(review=review):
                reviews[review.round, review.candidate], hooks["after_verdicts"] = review, record.hook
            case m.RefinementNoted():
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

    experience: m.Experience
    met_before: int
    met_after: int
    requirements: int

    @property
    def gain(self) -> int:
        """Number of requirements met in addition."""
        return self.met_after - self.met_before


def lesson_outcomes(state: m.TrajectoryState) -> list[LessonOutcome]:
    """Return the experiences that were followed by another round."""
    met = {round_: _most_met(state.attempts, round_) for round_ in {attempt.round for attempt in state.attempts}}
    return [
        LessonOutcome(experience, met[experience.round], met[experience.round + 1], len(state.requirements or ()))
        for experience in state.experiences
        if experience.round in met and experience.round + 1 in met
    ]


def _most_met(attempts: Iterable[m.Attempt], round_: int) -> int:
    best, _ = choose_best([attempt for attempt in attempts if attempt.round == round_])
    return sum(verdict.answer == "met" for verdict in best.verdicts)
