"""What follows when a process of the mesh ends unasked: pure, time is an argument.

Intensity and period are Erlang/OTP's: more than `max_restarts` ends of one role within `period_s`, and the supervisor
gives up instead of hiding a fault behind restarts for ever.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass

from gems_actors.config import SupervisorConfig
from gems_actors.os_process import FINAL_EXITS, describe_exit


@dataclass(frozen=True)
class RestartAfter:
    """Start another one after a pause."""

    delay_s: float


@dataclass(frozen=True)
class GiveUp:
    """Start no more; the mesh cannot go on."""

    reason: str
    is_final_exit: bool
    """The process said itself that it must not be started again."""


class RestartRule:
    """Remembers the unasked ends of all roles and decides what follows on each."""

    def __init__(self, settings: SupervisorConfig) -> None:
        self._settings = settings
        self._ends: defaultdict[str, deque[float]] = defaultdict(deque)
        self._failed_starts: defaultdict[str, int] = defaultdict(int)
        # The limit counts ends within a period, so pauses that fill the period would let a process that ends at once
        # be started again for ever.
        self._longest_pause_s = min(settings.max_backoff_s, settings.period_s / (settings.max_restarts + 1))

    def decide(self, role: str, seat: str, code: int, *, lived_s: float, now_s: float) -> RestartAfter | GiveUp:
        """Decide what follows on the unasked end of one process.

        Args:
            role: whose ends are counted together.
            seat: the place that the process held; its pauses double until one holds it for `period_s`.
            code: exit code, or the signal's number below zero.
            lived_s: how long the process lived.
            now_s: of any clock that only goes forward.
        """
        settings = self._settings
        if code in FINAL_EXITS:
            return GiveUp(f"{role}: ended with {describe_exit(code)}, which no restart mends", is_final_exit=True)
        ends = self._ends[role]
        ends.append(now_s)
        while ends[0] <= now_s - settings.period_s:
            ends.popleft()
        if len(ends) > settings.max_restarts:
            often = "once" if len(ends) == 1 else f"{len(ends)} times"
            return GiveUp(
                f"{role}: ended {often} within {settings.period_s:g} s, expected at most"
                f" {settings.max_restarts}; the last time with {describe_exit(code)}",
                is_final_exit=False,
            )
        if lived_s >= settings.period_s:
            self._failed_starts[seat] = 0
        doublings = min(self._failed_starts[seat], 64)
        self._failed_starts[seat] += 1
        return RestartAfter(min(settings.backoff_s * 2.0**doublings, self._longest_pause_s))
