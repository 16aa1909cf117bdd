"""The past rounds of a trajectory, as compressor and refiner see them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from actors.ranking import choose_best
from gems_actors.errors import LogError, RefusedError
from protocol.messages import Answer, Attempt, AttemptPlace, Refined, Refinement, RefinePrompt, TrajectoryState


@dataclass(frozen=True, slots=True)
class OtherCandidate:
    """Another attempt of a round than its best one."""

    prompt: str
    missed: tuple[str, ...]
    """Questions that are not met."""


@dataclass(frozen=True, slots=True)
class PastRound:
    """One round: its best attempt with its verdicts, the reasoning before it and the lesson after it.

    The attempt's prompt describes a picture; where the attempt is an edit, it is the instruction for that edit.
    """

    attempt: Attempt
    met: tuple[str, ...]
    """Questions of the requirements that are met."""
    unmet: tuple[str, ...]
    """Questions of the requirements that are unmet."""
    unsure: tuple[str, ...]
    """Questions of the requirements that the verifier is unsure of."""
    findings: tuple[str, ...]
    """Questions that are not met, each with its verdict and the verifier's reason."""
    reasoning: str
    """Reasoning behind the round's prompt, of the planner in the first round, else of the refiner; may be empty."""
    experience: str | None
    """Lesson of the round; None if there is none yet."""
    others: tuple[OtherCandidate, ...] = ()
    """The other candidates, in their order."""


def look_back(state: TrajectoryState, last: int) -> tuple[PastRound, ...]:
    """Return the rounds up to `last`, in order.

    Raises:
        LogError: memory has no attempt of that round.
    """
    rounds = sorted({attempt.round for attempt in state.attempts if attempt.round <= last})
    if last not in rounds:
        raise LogError(f"expected an attempt of round {last} in memory, got those of rounds {rounds}")
    return tuple(_look_at(state, round_) for round_ in rounds)


def _look_at(state: TrajectoryState, round_: int) -> PastRound:
    candidates = [attempt for attempt in state.attempts if attempt.round == round_]
    attempt, _ = choose_best(candidates)
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
        others=tuple(
            OtherCandidate(
                other.prompt,
                tuple(questions[verdict.requirement] for verdict in other.verdicts if verdict.answer != "met"),
            )
            for other in candidates
            if other is not attempt
        ),
    )


def refinement_of(refined: Refined, request: RefinePrompt, last: Attempt, best: Attempt) -> Refinement:
    """Return the next round as the refiner decided.

    Args:
        refined: what the refiner decided.
        request: what it was asked.
        last: best attempt of the last round, which `resample` draws again: also what it was an edit of.
        best: best attempt so far, whose picture `edit` edits.

    Raises:
        RefusedError: the image model cannot do what was decided, or the lesson that was asked for is missing.
    """
    if request.actions == "rewrite" and refined.action != "rewrite":
        raise RefusedError(f"refiner: expected the action rewrite, as draw.actions says, got {refined.action}")
    if refined.action == "edit" and not request.can_edit:
        raise RefusedError("refiner: expected the action rewrite, resample or stop, got edit, but nothing can edit")
    if request.with_lesson and not refined.lesson:
        raise RefusedError(
            "refiner: expected a lesson, got none; a refiner of your own needs draw.lesson_by = compressor"
        )
    is_new = refined.action in ("rewrite", "edit")
    edited = {"edit": AttemptPlace(round=best.round, candidate=best.candidate), "resample": last.edited}
    return Refinement(
        round=request.round + 1,
        prompt=refined.prompt if is_new else last.prompt,
        reasoning=refined.reasoning,
        action=refined.action,
        others=refined.others[: request.prompts - 1] if is_new else (),
        edited=edited.get(refined.action),
    )
