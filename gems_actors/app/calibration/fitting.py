"""Fits a probability to scores, and finds the thresholds that follow. Pure; needs the extra `calibrate`.

Source: Platt, Probabilistic Outputs for Support Vector Machines, 1999 (here on the logit of the score); Zadrozny and
Elkan, Transforming Classifier Scores into Accurate Multiclass Probability Estimates, 2002 (isotonic); Naeini et al.,
Obtaining Well Calibrated Probabilities Using Bayesian Binning, 2015 (expected calibration error).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Method = Literal["platt", "isotonic"]
Calibration = Callable[[float], float]
"""Returns the calibrated probability of a score; never falls where the score rises."""

MIN_CASES, MIN_OF_EACH = 30, 5
"""Cases, and cases of each answer, that a fit needs."""
MET_AT, UNMET_AT = 0.6, 0.4
"""Probability from which a requirement counts as met, and below which as unmet: the defaults of `[verify]`."""
_BINS: Final = 10
_EDGE: Final = 1e-4
"""Distance of scores from 0 and 1, where the logit ends."""
_STEPS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From which scores a requirement is met or unmet."""

    met_from: float
    unmet_below: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How good probabilities are, on cases that had no part in the fit."""

    auroc: float | None
    """Area under the ROC curve: how well met and unmet are told apart; None without cases of both."""
    ece: float | None
    """Expected calibration error, in ten bins of equal width; None without cases."""


def can_fit(answers: Sequence[bool]) -> bool:
    """Return whether there are enough cases for a fit."""
    return len(answers) >= MIN_CASES and min(sum(answers), len(answers) - sum(answers)) >= MIN_OF_EACH


def fit(scores: Sequence[float], answers: Sequence[bool], method: Method) -> Calibration | None:
    """Return the fitted probability; None if higher scores do not mean a higher one, so that they tell nothing."""
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression
        from sklearn.metrics import roc_auc_score

        if roc_auc_score(list(answers), list(scores)) <= 0.5:  # it fits a rise even where chance makes one
            return None
        model = IsotonicRegression(y_min=0.0, y_max=1.0, increasing=True, out_of_bounds="clip")
        model.fit(list(scores), [float(answer) for answer in answers])
        lowest, highest = model.predict([0.0, 1.0])
        return None if lowest >= highest else lambda score: float(model.predict([score])[0])
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(C=1e4)
    regression.fit([[_logit(score)] for score in scores], list(answers))
    slope, offset = float(regression.coef_[0][0]), float(regression.intercept_[0])
    return None if slope <= 0 else lambda score: 1 / (1 + math.exp(-(slope * _logit(score) + offset)))


def thresholds_of(calibration: Calibration) -> Thresholds:
    """Return the scores at which the probability reaches `MET_AT` and `UNMET_AT`, in steps of 0.0001.

    Where it never does, only a score of 1 counts as met, or none as unmet.
    """
    return Thresholds(
        met_from=_first_from(calibration, MET_AT) / _STEPS, unmet_below=_first_from(calibration, UNMET_AT) / _STEPS
    )


def measure(probabilities: Sequence[float], answers: Sequence[bool]) -> Quality:
    """Return how good some probabilities are."""
    if not answers:
        return Quality(auroc=None, ece=None)
    auroc = None
    if len(set(answers)) == 2:
        from sklearn.metrics import roc_auc_score

        auroc = float(roc_auc_score(list(answers), list(probabilities)))
    return Quality(auroc=auroc, ece=calibration_error(probabilities, answers))


def calibration_error(probabilities: Sequence[float], answers: Sequence[bool]) -> float:
    """Return the mean distance, over bins weighted by their cases, of mean probability and share of right answers."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for probability, answer in zip(probabilities, answers, strict=True):
        bins.setdefault(min(_BINS - 1, int(probability * _BINS)), []).append((probability, answer))
    gaps = (abs(sum(probability - answer for probability, answer in found)) for found in bins.values())
    return sum(gaps) / len(answers)


def _logit(score: float) -> float:
    score = min(1 - _EDGE, max(_EDGE, score))
    return math.log(score / (1 - score))


def _first_from(calibration: Calibration, wanted: float) -> int:
    """Return the first step whose probability is as wanted, by bisection; the last one if there is none."""
    low, high = 0, _STEPS
    while low < high:
        middle = (low + high) // 2
        if calibration(middle / _STEPS) >= wanted:
            high = middle
        else:
            low = middle + 1
    return low
