"""The rule that chooses the best attempt and explains the choice. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Final

from protocol.messages import Attempt, Comparison, PairChoice

_MAX_NAMED: Final = 4


def choose_best(attempts: Sequence[Attempt]) -> tuple[Attempt, str]:
    """Return the best of one or more attempts, and what decided: ties are named.

    Most requirements met; then fewest unmet, because unsure is better than unmet; then the highest mean score, if all
    verdicts of the attempts that are still tied have scores; then the earlier round, then the lower candidate.
    """
    most_met = max(map(_met, attempts))
    by_met = [attempt for attempt in attempts if _met(attempt) == most_met]
    fewest_unmet = min(map(_unmet, by_met))
    by_unmet = [attempt for attempt in by_met if _unmet(attempt) == fewest_unmet]
    by_score = by_unmet
    if all(map(_is_scored, by_unmet)):
        highest = max(map(_mean_score, by_unmet))
        by_score = [attempt for attempt in by_unmet if _mean_score(attempt) == highest]
    best = min(by_score, key=_position)

    total = len(best.verdicts)
    text = f"{most_met} of {total} requirements met" if total else "no requirements to check"
    if len(attempts) == 1:
        return best, f"{text}; the only attempt"
    if len(by_met) == 1:
        return best, f"{text}, more than any other attempt"
    parts = [f"{text}, tied with {_name_others(best, by_met)}" if total else text]
    if len(by_unmet) < len(by_met):
        parts.append(f"fewer unmet{_as_in(best, by_unmet)}")
    if len(by_score) < len(by_unmet):
        parts.append(f"the highest mean score, {_mean_score(best):.2f}{_as_in(best, by_score)}")
    if len(by_score) > 1:
        within_round = any(attempt.round == best.round for attempt in by_score if attempt is not best)
        parts.append("the first drawn is taken" if within_round else "the earlier one is taken")
    return best, "; ".join(parts)


def close_rival(best: Attempt, attempts: Sequence[Attempt], *, is_met: bool) -> Attempt | None:
    """Return the attempt that comes second if verdicts alone can hardly tell it from the best, or None.

    It is close if it meets at most one requirement fewer, or as many if the best leaves nothing to do (`is_met`).
    """
    others = [attempt for attempt in attempts if attempt.image.digest != best.image.digest]
    if not others:
        return None
    second, _ = choose_best(others)
    return second if _met(best) - _met(second) <= (0 if is_met else 1) else None


def choice_of(best: Attempt, rival: Attempt, found: Comparison) -> PairChoice:
    """Return the comparison of two attempts as memory keeps it."""
    return PairChoice(
        round=best.round,
        candidate=best.candidate,
        other_round=rival.round,
        other_candidate=rival.candidate,
        preferred=found.preferred,
        reason=found.reason,
    )


def explain_choice(best: Attempt, rival: Attempt, choice: PairChoice, decided_by: str) -> str:
    """Return what decided after the pictures of the two best attempts were compared."""
    first, second = _name_others(rival, [best]), _name_others(best, [rival])
    match choice.preferred:
        case "first":
            return f"{decided_by}; its picture is also better than that of {second}, in both orders"
        case "second":
            total = len(rival.verdicts)
            text = f"{_met(rival)} of {total} requirements met" if total else "no requirements to check"
            return f"{text}; its picture is better than that of {first}, in both orders"
        case "tie":
            return f"{decided_by}; compared with {second}, neither picture is better in both orders"


def _met(attempt: Attempt) -> int:
    return sum(verdict.answer == "met" for verdict in attempt.verdicts)


def _unmet(attempt: Attempt) -> int:
    return sum(verdict.answer == "unmet" for verdict in attempt.verdicts)


def _is_scored(attempt: Attempt) -> bool:
    return bool(attempt.verdicts) and all(verdict.score is not None for verdict in attempt.verdicts)


def _mean_score(attempt: Attempt) -> float:
    return fmean(verdict.score for verdict in attempt.verdicts if verdict.score is not None)


def _position(attempt: Attempt) -> tuple[int, int]:
    return attempt.round, attempt.candidate


def _as_in(best: Attempt, equals: Sequence[Attempt]) -> str:
    return f", as in {_name_others(best, equals)}" if len(equals) > 1 else ""


def _name_others(best: Attempt, equals: Sequence[Attempt]) -> str:
    """Return the names of all attempts but the best, by round, and by candidate if any round had several."""
    others = sorted(_position(attempt) for attempt in equals if attempt is not best)
    if len(others) > _MAX_NAMED:
        return f"{len(others)} others"
    if any(candidate > 1 for _, candidate in (*others, _position(best))):
        names = [f"round {round_} candidate {candidate}" for round_, candidate in others]
    else:
        names = [str(round_) for round_, _ in others]
        names[0] = f"round{'s' if len(others) > 1 else ''} {names[0]}"
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]
