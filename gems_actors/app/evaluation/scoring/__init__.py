"""Scorers that need a chat model and nothing else, one module a benchmark: what a judge is asked, and what comes of it.

All of it is pure: `judging` asks. The formulas are those of the official scorers, each named by its `Source`; the words
in which a judge is asked are our own, except for GenEval2, where the official ones are the question itself.
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
"""By the name under which their scores are kept: that of the benchmark, and of its edition where it has several."""


def scorer_name_of(benchmark: str, prompt: Prompt) -> str | None:
    """Return the name of a benchmark's scorer, chosen by one of the prompts; None: it has none here."""
    edition = prompt.record.get("edition") if benchmark == "wise" else None
    name = f"{benchmark}-verified" if edition == "verified" else benchmark
    return name if name in SCORERS else None
