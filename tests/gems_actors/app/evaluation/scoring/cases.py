"""Judged pictures for the tests of scorers."""

from __future__ import annotations

from gems_actors.app.evaluation.scoring.scorer import Judged


def judged(id_: str, *scores: float) -> Judged:
    """Return one judged picture of a prompt."""
    return Judged(id=id_, digest="x", judge="j", asked="?", scores=scores)
