"""What actors began and routers passed on in a simulation, and which of it breaks an invariant."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import trio

from protocol.envelope import Kind, unpack_header
from tests.simulation.network import Link, Network, Process


class BrokenInvariantError(AssertionError):
    """Something happened that must not happen; the text says what."""


@dataclass(slots=True)
class Begun:
    """One beginning of a request by an actor."""

    actor: Process
    attempt: int
    began_at: float
    ended: str = ""
    """How it ended; empty while it runs."""


class Ledger:
    """Checks each beginning and each answer when it happens, and counts."""

    def __init__(self, network: Network, patience_s: float, reports_s: float) -> None:
        self._network = network
        self._patience_s = patience_s
        """A process that stood still for longer does not count as heard."""
        self._reports_s = reports_s
        """Time that a new router gives actors to report what they hold, before it hands out repeated requests."""
        self.router_starts: list[float] = []
        self._begun: dict[bytes, list[Begun]] = {}
        self._clients: dict[bytes, Process] = {}
        self._handed_out: dict[tuple[str, bytes], tuple[int, str]] = {}
        self._running: Counter[str] = Counter()
        self.broken: list[str] = []
        self.begun_twice = 0
        """Requests that were begun again, for good reason or not."""
        self.withdrawn: set[bytes] = set()
        """Requests whose client gave up."""
        network.on_forwarded = self._note_message

    def begin(self, actor: Process, id_: bytes, attempt: int, capacity: int) -> Begun:
        """Note that an actor begins a request."""
        begun = Begun(actor, attempt, trio.current_time())
        earlier = self._begun.setdefault(id_, [])
        if earlier:
            self.begun_twice += 1
        for other in earlier:
            if self._was_heard(actor, begun.began_at) and (fault := self._fault_of(id_, other)) is not None:
                self.broken.append(
                    f"{id_.hex()[:6]} is begun by {actor.name}, attempt {attempt}, although {other.actor.name}, "
                    f"attempt {other.attempt}, {fault}"
                )
        earlier.append(begun)
        self._running[actor.name] += 1
        if self._running[actor.name] > capacity:
            self.broken.append(f"{actor.name} works on {self._running[actor.name]} requests, more than {capacity}")
        return begun

    def end(self, begun: Begun, how: str) -> None:
        """Note that a beginning ended."""
        begun.ended = how
        self._running[begun.actor.name] -= 1

    def _fault_of(self, id_: bytes, begun: Begun) -> str | None:
        """Return why nobody else may begin a request that was begun before, or None if somebody may."""
        actor, client = begun.actor, self._clients.get(id_)
        if actor.is_dead or id_ in self._network.lost_answers or id_ in self.withdrawn:
            return None
        for process in (actor, client):
            if process is not None and not self._was_heard(process, begun.began_at):
                return None
        return f"{begun.ended or 'works on it'} and was heard all the time"

    def _was_heard(self, process: Process, since: float) -> bool:
        """Return whether nothing of a process was lost since a time, and it did not stand still for long.

        Nor may it have stood still, or continued within the last second, when a new router, to which it was unknown,
        ended its wait for reports.
        """
        if any(time_s > since - self._patience_s for time_s in process.lost_at):
            return False
        reported_by = [start + self._reports_s for start in self.router_starts]
        return all(
            end - begin < self._patience_s and not any(begin < time_s < end + 1.0 for time_s in reported_by)
            for begin, end in process.stalled
            if end > since - self._patience_s
        )

    def _note_message(self, link: Link, frame: bytes, is_up: bool) -> None:
        header = unpack_header(frame)
        if header.kind is Kind.REQUEST and is_up:
            self._clients[header.id] = link.process
        if link.router is None:
            return
        place = (link.router.name, header.id)
        if is_up:
            if (
                header.kind in (Kind.REPLY, Kind.FAILURE)
                and self._handed_out.get(place, (0, ""))[1] == link.process.name
            ):
                del self._handed_out[place]  # its holder is done with it, so it fences no longer
        elif header.kind is Kind.REQUEST:
            self._handed_out[place] = (header.attempt, link.process.name)
        elif header.kind is Kind.REPLY and place in self._handed_out:
            attempt, holder = self._handed_out[place]
            answered_by = {
                begun.actor.name for begun in self._begun.get(header.id, ()) if begun.attempt == header.attempt
            }
            if header.attempt < attempt and holder not in answered_by:
                self.broken.append(
                    f"{link.router.name} passes on the answer of attempt {header.attempt} to {header.id.hex()[:6]}, "
                    f"which attempt {attempt} of {holder} fences"
                )
