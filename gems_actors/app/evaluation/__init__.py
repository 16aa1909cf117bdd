"""Draws benchmarks, lays the pictures out for their official scorers, and scores some: `run` with `EvaluationOptions`.

Names are loaded when they are first used: reading a benchmark's file needs no mesh. Nothing here prints.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gems_actors.app.evaluation.runner import EvaluationOptions as EvaluationOptions
    from gems_actors.app.evaluation.runner import EvaluationResult as EvaluationResult
    from gems_actors.app.evaluation.runner import EvaluationView as EvaluationView
    from gems_actors.app.evaluation.runner import run as run

_NAMES: Final = ("EvaluationOptions", "EvaluationResult", "EvaluationView", "run")


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.runner"), name)
