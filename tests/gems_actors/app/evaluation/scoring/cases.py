"""What a judge found, made by hand."""

from __future__ import annotations

from gems_actors.app.evaluation.scoring.scorer import Judged


def judged(id_: str, *scores: float) -> Judged:
    """Return what a judge found of one picture of a prompt."""
    return Judged(id=id_, digest="x", judge="j", asked="?", scores=scores)
