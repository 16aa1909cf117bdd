"""Makes the state and the result of a trajectory fit a frame: what decides nothing is shortened. Pure.

Every record fits a frame, and a trajectory has many. Verifier and refiner write short reasons, so this happens only to
records of other programs and to dozens of rounds with the longest prompts; without it, there would be trajectories
that nobody can read or resume, and finished ones whose client gets no picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from msgspec import structs

from actors.ranking import choose_best
from protocol.codec import encode_body
from protocol.limits import MAX_FRAME_BYTES
from protocol.messages import Attempt, Picture, Review, TrajectoryState

_JudgedT = TypeVar("_JudgedT", Attempt, Review)
_FittedT = TypeVar("_FittedT", TrajectoryState, Picture)

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
    return _shortened(state, _SHORTENINGS, room_bytes) if _may_be_large(_long_texts(state), room_bytes) else state


def fit_picture(picture: Picture, room_bytes: int = _ROOM_BYTES) -> Picture:
    """Return a result that fits a frame: with shorter reasons or, if need be, shorter prompts of other attempts."""
    texts = _texts_of(picture.attempts)
    return _shortened(picture, _SHORTENINGS_OF_PICTURE, room_bytes) if _may_be_large(texts, room_bytes) else picture


def _may_be_large(texts: Iterable[str], room_bytes: int) -> bool:
    return _BYTES_PER_CHARACTER * sum(map(len, texts)) >= room_bytes // 2


def _shortened(whole: _FittedT, shortenings: tuple[Callable[[_FittedT], _FittedT], ...], room_bytes: int) -> _FittedT:
    for shorten in shortenings:
        if len(encode_body(whole)) <= room_bytes:
            return whole
        whole = shorten(whole)
    return whole


def _texts_of(attempts: Iterable[Attempt]) -> Iterator[str]:
    for attempt in attempts:
        yield attempt.prompt
        yield from (verdict.reason for verdict in attempt.verdicts)


def _long_texts(state: TrajectoryState) -> Iterator[str]:
    yield from _texts_of(state.attempts)
    for review in state.reviews:
        yield from (verdict.reason for verdict in review.verdicts)
    if state.plan is not None:
        yield state.plan.reasoning
    for refinement in state.refinements:
        yield from (refinement.prompt, refinement.reasoning, *refinement.others)
    yield from (note.text for note in state.notes)
    yield from (requirement.question + requirement.not_understood for requirement in state.requirements or ())


def _without_reasons_of_reviews(state: TrajectoryState) -> TrajectoryState:
    """The attempts have the verdicts that count, and so these reasons."""
    return structs.replace(state, reviews=tuple(_with_reasons(review, 0) for review in state.reviews))


def _with_short_reasons(whole: _FittedT) -> _FittedT:
    return structs.replace(whole, attempts=tuple(_with_reasons(attempt, _SHORT) for attempt in whole.attempts))


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


def _with_short_prompts_of_other_attempts(picture: Picture) -> Picture:
    attempts = (attempt if attempt is picture.best else _with_short_prompt(attempt) for attempt in picture.attempts)
    return structs.replace(picture, attempts=tuple(attempts))


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
_SHORTENINGS_OF_PICTURE: Final[tuple[Callable[[Picture], Picture], ...]] = (
    _with_short_reasons,
    _with_short_prompts_of_other_attempts,
)


def _with_reasons(judged: _JudgedT, length: int) -> _JudgedT:
    verdicts = tuple(structs.replace(verdict, reason=verdict.reason[:length]) for verdict in judged.verdicts)
    return structs.replace(judged, verdicts=verdicts)
