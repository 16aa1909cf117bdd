"""What memory knows of the rounds of a trajectory, picked out for those who look back on them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from actors.ranking import choose_best
from gems_actors.errors import LogError
from protocol.messages import Answer, Attempt, TrajectoryState


@dataclass(frozen=True, slots=True)
class PastRound:
    """One round: its best attempt, what its verdicts were, what was thought before and learnt after it."""

    attempt: Attempt
    met: tuple[str, ...]
    """Questions that were answered so; likewise `unmet` and `unsure`."""
    unmet: tuple[str, ...]
    unsure: tuple[str, ...]
    findings: tuple[str, ...]
    """The questions that are not met, each with the verdict and what the verifier said of it."""
    reasoning: str
    """Of whoever wrote the round's prompt, the planner in the first round; empty where none was given."""
    experience: str | None
    """The lesson of the round; None while there is none."""


def look_back(state: TrajectoryState, last: int) -> tuple[PastRound, ...]:
    """Return the rounds up to `last`, in their order.

    Raises:
        LogError: memory knows no attempt of that round.
    """
    rounds = sorted({attempt.round for attempt in state.attempts if attempt.round <= last})
    if last not in rounds:
        raise LogError(f"expected an attempt of round {last} in memory, got those of rounds {rounds}")
    return tuple(_look_at(state, round_) for round_ in rounds)


def _look_at(state: TrajectoryState, round_: int) -> PastRound:
    attempt, _ = choose_best([attempt for attempt in state.attempts if attempt.round == round_])
    thoughts = {1: state.plan.reasoning} if state.plan else {}
    thoughts |= {refined.round: refined.reasoning for refined in state.refinements}
    questions = {requirement.id: requirement.question for requirement in state.requirements or ()}

    def answered(answer: Answer) -> tuple[str, ...]:
        return tuple(questions[verdict.requirement] for verdict in attempt.verdicts if verdict.answer == answer)

    return PastRound(
        attempt=attempt,
        met=answered("met"),
        unmet=answered("unmet"),
        unsure=answered("unsure"),
        findings=tuple(
            f"{verdict.answer}: {questions[verdict.requirement]}" + (f" ({verdict.reason})" if verdict.reason else "")
            for verdict in attempt.verdicts
            if verdict.answer != "met"
        ),
        reasoning=thoughts.get(round_, ""),
        experience=next((kept.text for kept in state.experiences if kept.round == round_), None),
    )
