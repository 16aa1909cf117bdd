"""The denoising cache of one request: predicts a velocity from the last two computed ones, while it changes little.

A velocity that the transformer computes tells how fast it changes: by which share of itself per unit of sigma, since
the one computed before. Until that change, at the sigma of a later step, exceeds a threshold, the step needs no
forward: its velocity lies on the line through the last two. As in TeaCache, an estimated change is summed up and
compared with a threshold; as in EasyCache, the estimate comes from outputs of the request at hand, so it needs no
numbers fitted to a model, and it concerns one request alone, whatever else is in its batches.

Source: TeaCache (arXiv 2411.19108), section 3.3, for the accumulated relative change; EasyCache (arXiv 2507.02860)
for the rate measured at run time; TaylorSeer (arXiv 2503.06923) for the line instead of the last value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from torch import Tensor

MIN_STEPS: Final = 20
"""Minimum steps of a picture with a cache: the schedules of fewer are distilled, and every step of them differs."""
_MAX_REUSES: Final = 4
"""Maximum steps in a row without a forward: after these the rate of change is measured again."""


class _Computed(NamedTuple):
    """A velocity computed by the transformer, and the step it was computed for."""

    velocity: Tensor
    step: int


@dataclass(frozen=True, slots=True)
class VelocityCache:
    """The last two computed velocities of a request; a step returns a new one, and never changes it."""

    threshold: float
    """Largest relative change of the velocity at which a step takes it from here."""
    latest: _Computed | None = None
    before: _Computed | None = None
    change: Tensor | None = None
    """Mean change from the one before to the latest, relative to the latest: one number, on the device."""

    def after(self, velocity: Tensor, step: int) -> VelocityCache:
        """Return the cache with the velocity that was computed for a step."""
        change = None
        if self.latest is not None:
            change = (velocity - self.latest.velocity).float().abs().mean() / velocity.float().abs().mean()
        return replace(self, latest=_Computed(velocity, step), before=self.latest, change=change)

    def velocity_at(self, step: int, deltas: Sequence[float]) -> Tensor | None:
        """Return the velocity for a step, or None if the transformer must compute it; the first and last always are.

        Reads a number from the device, so the forward of the latest velocity should be done.

        Args:
            step: the step, one or more after the latest computed one.
            deltas: change of sigma in each step of the picture.
        """
        if self.latest is None or self.before is None or self.change is None or step == len(deltas) - 1:
            return None
        if step - self.latest.step > _MAX_REUSES:
            return None
        share = sum(deltas[self.latest.step : step]) / sum(deltas[self.before.step : self.latest.step])
        if not self.change.item() * share <= self.threshold:  # also if the change is not a number
            return None
        velocity, before = self.latest.velocity.float(), self.before.velocity.float()
        return (velocity + share * (velocity - before)).to(self.latest.velocity.dtype)
