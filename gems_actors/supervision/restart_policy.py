"""Decides what follows when a process of the mesh ends unexpectedly. Pure: time is an argument.

Restarts back off exponentially. Intensity and period are those of Erlang/OTP: after more than `max_restarts` ends of
one role within `period_s` the supervisor gives up, instead of hiding a fault behind restarts for ever.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass

from gems_actors.config import SupervisorConfig
from gems_actors.os_process import FINAL_EXITS, describe_exit


@dataclass(frozen=True)
class RestartAfter:
    """Restart the process after a back-off."""

    delay_s: float


@dataclass(frozen=True)
class GiveUp:
    """Do not restart the process; the mesh cannot go on."""

    reason: str
    is_final_exit: bool
    """Whether the exit code itself said that a restart is pointless."""


class RestartPolicy:
    """Remembers the unexpected ends of all roles, and decides what follows each."""

    def __init__(self, settings: SupervisorConfig) -> None:
        self._settings = settings
        self._ends: defaultdict[str, deque[float]] = defaultdict(deque)
        self._failed_starts: defaultdict[str, int] = defaultdict(int)
        # The limit counts ends within a period: with longer back-offs than this a process that always ends at once
        # would stay below the limit and be restarted for ever.
        self._max_backoff_s = min(settings.max_backoff_s, settings.period_s / (settings.max_restarts + 1))

    def decide(self, role: str, seat: str, code: int, *, lived_s: float, now_s: float) -> RestartAfter | GiveUp:
        """Decide what follows the unexpected end of one process.

        The ends of a role are counted together; the back-off of a seat doubles until a process holds it for `period_s`.
        `code` is an exit code, or minus the number of the signal that killed the process.
        """
        settings = self._settings
        if code in FINAL_EXITS:
            return GiveUp(
                f"{role}: ended with {describe_exit(code)}; a restart would end the same way", is_final_exit=True
            )
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
        return RestartAfter(min(settings.backoff_s * 2.0**doublings, self._max_backoff_s))
