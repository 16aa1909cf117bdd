"""Scorers that need only a chat model, one module per benchmark: the questions to the judge, and the score. Pure.

The formulas are those of the official scorers, named in `Source`. The prompts to the judge are ours, except for
GenEval2, whose official prompt is the question itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gems_actors.app.evaluation.benchmarks import Prompt
from gems_actors.app.evaluation.scoring.crea import CREA
from gems_actors.app.evaluation.scoring.geneval2 import GENEVAL2
from gems_actors.app.evaluation.scoring.scorer import Scorer
from gems_actors.app.evaluation.scoring.spatialgeneval import SPATIALGENEVAL
from gems_actors.app.evaluation.scoring.wise import WISE_LEGACY, WISE_VERIFIED

SCORERS: Final[Mapping[str, Scorer]] = {
    "geneval2": GENEVAL2,
    "crea": CREA,
    "wise": WISE_LEGACY,
    "wise-verified": WISE_VERIFIED,
    "spatialgeneval": SPATIALGENEVAL,
}
"""Scorers by the name in scores.json: that of the benchmark, with its edition where it has several."""


def scorer_name_of(benchmark: str, prompt: Prompt) -> str | None:
    """Return the name of a benchmark's scorer, chosen by one of its prompts; None if there is no scorer for it here."""
    edition = prompt.record.get("edition") if benchmark == "wise" else None
    name = f"{benchmark}-verified" if edition == "verified" else benchmark
    return name if name in SCORERS else None
