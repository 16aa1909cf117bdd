"""Rules by which a verdict follows from others: votes, and requirements that depend on unmet ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import structs

from protocol.limits import MAX_REASON_CHARS
from protocol.messages import Requirement, Verdict


def count_votes(verdict: Verdict, votes: Sequence[Verdict]) -> Verdict:
    """Return a verdict with the answer that more than half of it and the votes give, or as it is if there is none."""
    if not votes:
        return verdict
    for answer in ("met", "unmet"):
        same = [vote for vote in (verdict, *votes) if vote.answer == answer]
        if 2 * len(same) > len(votes) + 1:
            reason = f"{len(same)} of {len(votes) + 1} votes: {same[0].reason}"[:MAX_REASON_CHARS]
            return structs.replace(verdict, answer=same[0].answer, reason=reason)
    return verdict


def needs_unmet(item: Requirement, items: Sequence[Requirement], verdicts: Mapping[str, Verdict]) -> bool:
    """Return whether a requirement depends, directly or not, on one that is unmet."""
    by_id = {other.id: other for other in items}
    ancestor = item
    for _ in items:
        verdict = verdicts.get(ancestor.depends_on or "")
        if verdict is not None and verdict.answer == "unmet":
            return True
        if (parent := by_id.get(ancestor.depends_on or "")) is None:
            return False
        ancestor = parent
    return False
