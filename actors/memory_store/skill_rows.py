"""The part of the index about skills: how often each version was used, and where the trials are."""

from __future__ import annotations

from typing import Any, Final, Protocol

from actors.memory_store.index_rows import RecordLocation, unpack_locations
from protocol import messages as m
from protocol.limits import MAX_PAGE

PUT_TRIAL: Final = "INSERT OR REPLACE INTO skill_trials VALUES (?, ?)"
_NAMES: Final = ("skill", "digest", "chosen", "fixed", "last_at")
_USES: Final = """
SELECT skill, skill_digest, sum(1 - is_skill_fixed), sum(is_skill_fixed), max(began_at) FROM trajectories
    WHERE skill IS NOT NULL GROUP BY skill, skill_digest ORDER BY max(began_at) DESC LIMIT ?
"""


class Select(Protocol):
    """Runs a query on the index."""

    def __call__(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows."""
        ...


def read_uses(select: Select) -> tuple[m.SkillUse, ...]:
    """Return how often each version of each skill was used, those used last first."""
    return tuple(m.SkillUse(**dict(zip(_NAMES, row, strict=True))) for row in select(_USES, MAX_PAGE))


def read_trial_places(select: Select) -> list[RecordLocation]:
    """Return where the latest trials of skills are, oldest first."""
    rows = select("SELECT place FROM skill_trials ORDER BY sequence DESC LIMIT ?", MAX_PAGE)
    return [unpack_locations(place)[0] for (place,) in reversed(rows)]
