"""Draws benchmarks, lays the pictures out for their official scorers, and scores some: `run` and its options."""

from gems_actors.app.evaluation.runner import EvaluationOptions as EvaluationOptions
from gems_actors.app.evaluation.runner import EvaluationResult as EvaluationResult
from gems_actors.app.evaluation.runner import EvaluationView as EvaluationView
from gems_actors.app.evaluation.runner import run as run
