"""Makes the state of a trajectory fit a frame: what decides nothing is shortened where a state is too large. Pure.

Every record fits a frame, and a trajectory has many. Verifier and refiner write short reasons, so this happens only to
records of other programs; without it, a few such records would make a trajectory that nobody can read or resume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from msgspec import structs

from actors.ranking import choose_best
from protocol.codec import encode_body
from protocol.limits import MAX_FRAME_BYTES
from protocol.messages import Attempt, Review, TrajectoryState

_JudgedT = TypeVar("_JudgedT", Attempt, Review)

_ROOM_BYTES: Final = MAX_FRAME_BYTES - 64 * 1024
"""Size that a state may have; the rest is left for header and bundle."""
_BYTES_PER_CHARACTER: Final = 4
"""Maximum bytes of a character in UTF-8."""
_SHORT: Final = 200
"""Characters that are left of a shortened text."""


def fit_frame(state: TrajectoryState, room_bytes: int = _ROOM_BYTES) -> TrajectoryState:
    """Return a state that fits a frame: with shorter reasons and reasoning or, if need be, with shorter old prompts.

    The prompts of the latest refinement are whole, so that the trajectory goes on with them; those of the best attempt
    and the latest round are shortened last.
    """
    if _BYTES_PER_CHARACTER * sum(map(len, _long_texts(state))) < room_bytes // 2:
        return state
    for shorten in _SHORTENINGS:
        if len(encode_body(state)) <= room_bytes:
            return state
        state = shorten(state)
    return state


def _long_texts(state: TrajectoryState) -> Iterator[str]:
    judged_ones: list[Attempt | Review] = [*state.attempts, *state.reviews]
    for judged in judged_ones:
        yield from (verdict.reason for verdict in judged.verdicts)
    if state.plan is not None:
        yield state.plan.reasoning
    yield from (attempt.prompt for attempt in state.attempts)
    for refinement in state.refinements:
        yield from (refinement.prompt, refinement.reasoning, *refinement.others)
    yield from (note.text for note in state.notes)
    yield from (requirement.question + requirement.not_understood for requirement in state.requirements or ())


def _without_reasons_of_reviews(state: TrajectoryState) -> TrajectoryState:
    """The attempts have the verdicts that count, and so these reasons."""
    return structs.replace(state, reviews=tuple(_with_reasons(review, 0) for review in state.reviews))


def _with_short_reasons(state: TrajectoryState) -> TrajectoryState:
    return structs.replace(state, attempts=tuple(_with_reasons(attempt, _SHORT) for attempt in state.attempts))


def _with_short_reasoning(state: TrajectoryState) -> TrajectoryState:
    plan = state.plan and structs.replace(state.plan, reasoning=state.plan.reasoning[:_SHORT])
    refinements = tuple(structs.replace(item, reasoning=item.reasoning[:_SHORT]) for item in state.refinements)
    return structs.replace(state, plan=plan, refinements=refinements)


def _without_others_of_earlier_rounds(state: TrajectoryState) -> TrajectoryState:
    last = state.refinements[-1:]
    earlier = (structs.replace(item, others=()) for item in state.refinements[:-1])
    return structs.replace(state, refinements=(*earlier, *last))


def _with_short_prompts_of_earlier_rounds(state: TrajectoryState) -> TrajectoryState:
    latest = max((attempt.round for attempt in state.attempts), default=0)
    best = choose_best(state.attempts)[0] if state.attempts else None
    attempts = tuple(
        attempt if attempt.round == latest or attempt is best else _with_short_prompt(attempt)
        for attempt in state.attempts
    )
    earlier = (structs.replace(item, prompt=_ends_of(item.prompt)) for item in state.refinements[:-1])
    return structs.replace(state, attempts=attempts, refinements=(*earlier, *state.refinements[-1:]))


def _with_short_prompts(state: TrajectoryState) -> TrajectoryState:
    """With dozens of candidates the latest round alone may be too large; its refinement has the prompts, too."""
    return structs.replace(state, attempts=tuple(map(_with_short_prompt, state.attempts)))


def _with_short_prompt(attempt: Attempt) -> Attempt:
    return structs.replace(attempt, prompt=_ends_of(attempt.prompt))


def _ends_of(prompt: str) -> str:
    """Return beginning and end of a prompt: the refiner changes the end, so that different prompts stay different."""
    return prompt if len(prompt) <= 2 * _SHORT else f"{prompt[:_SHORT]} ... {prompt[-_SHORT:]}"


_SHORTENINGS: Final[tuple[Callable[[TrajectoryState], TrajectoryState], ...]] = (
    _without_reasons_of_reviews,
    _with_short_reasons,
    _with_short_reasoning,
    _without_others_of_earlier_rounds,
    _with_short_prompts_of_earlier_rounds,
    _with_short_prompts,
)


def _with_reasons(judged: _JudgedT, length: int) -> _JudgedT:
    verdicts = tuple(structs.replace(verdict, reason=verdict.reason[:length]) for verdict in judged.verdicts)
    return structs.replace(judged, verdicts=verdicts)
