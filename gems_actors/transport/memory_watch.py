"""Keeps peers from making libzmq grow: disconnects those for which it holds ever more.

libzmq bounds the size of a part of a message (ZMQ_MAXMSGSIZE) and the number of whole messages (the high-water marks).
Parts of a message that does not end count for neither: they wait in a connection's pipe until the last one arrives,
and a peer that never sends it fills the memory. A peer that does not read what it asked for does the same within the
high-water mark. libzmq does not tell what it holds for a connection. So this watches the memory of the process, and
when that grows, looks for connections that

- take in bytes and deliver no message,
- do not take what waits for them, or
- say nothing at all until the end of an inquiry.

They are shut down, and libzmq frees what they had. An honest peer reconnects within a fraction of a second, and
requests without an answer are repeated.

The same is done when most of the files that the process may open are open: then connections that say nothing during an
inquiry are shut down, new ones at once. With no file left, libzmq aborts at the next connection of this host.
"""

from __future__ import annotations

import ctypes
import os
import resource
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import structlog
import trio

from gems_actors.ops.log_setup import RateLimitedLog
from gems_actors.transport.connections import AcceptedConnections, Connection
from gems_actors.transport.links import Link
from gems_actors.transport.sockets import MAX_EXPLAINED_BYTES

ALLOWANCE_BYTES = 32 * 1024 * 1024
"""Growth of the process beyond which a connection that seems to cause it is shut down."""
_STEP_BYTES = 8 * 1024 * 1024
"""Growth that starts an inquiry."""
_POLL_S = 0.025
"""Shortest time between two looks at the memory of the process."""
_WORK_NS = 5_000_000
"""CPU time of the process between two looks: what grows uses CPU, and a process that has nothing to do is not woken."""
_LOOK_S = 0.01
_LOOK_SHARE = 5
"""An inquiry pauses this many times as long as a look took: with thousands of connections a look takes a while."""
_MIN_HELD_BYTES = 256 * 1024
"""Bytes taken in without a message that make a connection suspect. Parts of no bytes take 32 times their size."""
_MAX_BACKLOG_BYTES = 32 * 1024 * 1024
"""Bytes of whole messages that may wait for us."""
_FLOODS = ((4 * ALLOWANCE_BYTES, 2), (2 * ALLOWANCE_BYTES, 4))
"""Growth, and looks in a row without catching up, after which the busiest connection is shut down."""
_STUCK_S = 0.3
"""Time in which a peer must take something of what waits for it."""
SILENCE_S = 3.0
"""Time without a message after which a connection may be shut down if memory has grown and no better reason is known;
peers of a router send heartbeats more often."""
_WAITING_LOOKS = 2
_NEWCOMER_S = 0.05
"""Time in which a connection of this host that was made while memory grew must send its first message."""
_FREEING_S = 60.0
"""Time after a connection was cut in which what it had is freed: by threads of libzmq, and by us as requests from it
that were read before are dropped. On a busy machine that took half a minute."""
_TRIM_FIRST_S, _TRIM_LAST_S = 0.1, 2.0
"""Time between two returns of freed memory in that time; it doubles from the one to the other."""
_MAX_OPEN_SHARE = 0.8
"""Share of the files that the process may open beyond which silent connections are shut down."""
_COUNT_S, _CROWDED_S = 0.25, 30.0
"""Time between two counts of open files, and after an inquiry that found no silent connection."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TIMER_ABSTIME = 1

_log = structlog.get_logger()


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


@dataclass(slots=True)
class _Record:
    """What is known about a connection since its last message or, without one, since the inquiry noticed it."""

    silent_since: float
    is_newcomer: bool
    """Whether it was made during the inquiry and has sent no message yet."""
    taken_at_first: int | None
    """Bytes that libzmq had taken from it when it was noticed."""
    delivered_bytes: int = 0
    """Bytes of its messages since then."""
    taken_then: int | None = None
    """Bytes that libzmq had taken after its last message; None until the look after it."""
    taken_before: int = 0
    """Bytes that libzmq had taken at the previous look: those of whole messages have been received since."""
    held_bytes: int = 0
    """Bytes that libzmq has taken at least with no message to show for them."""
    waiting_looks: int = 0
    """Looks since its last message at which bytes waited to be taken."""
    unsent: tuple[int, int] = (0, 0)
    unsent_since: float = 0.0

    def note(self, now: float, one: Connection, delivered_bytes: int | None, *, is_drained: bool) -> None:
        """Take in what one look shows."""
        if one.unsent != self.unsent:
            self.unsent, self.unsent_since = one.unsent, now
        self.delivered_bytes += delivered_bytes or 0
        self.is_newcomer &= delivered_bytes is None
        if delivered_bytes is not None or not is_drained:
            self.silent_since, self.taken_then, self.held_bytes, self.waiting_looks = now, None, 0, 0
            return
        self.waiting_looks += one.unread_bytes > 0
        if one.taken_bytes is not None:
            if self.taken_then is None:
                self.taken_then = self.taken_before = one.taken_bytes
            self.held_bytes = self.taken_before - self.taken_then
            self.taken_before = one.taken_bytes

    def is_late(self, now: float) -> bool:
        """Whether it is a newcomer that should have sent its first message."""
        return self.is_newcomer and now - self.silent_since >= _NEWCOMER_S

    def backlog_bytes(self, one: Connection) -> int:
        """Return how much more libzmq has taken than was received."""
        if one.taken_bytes is None or self.taken_at_first is None:
            return 0
        return one.taken_bytes - self.taken_at_first - self.delivered_bytes


class Inquiry:
    """Finds the connections that memory grows for, from looks at all of them. Pure: time is an argument."""

    def __init__(self, max_message_bytes: int) -> None:
        """Begin; a peer may send one message of up to `max_message_bytes` at a time."""
        self._max_message_bytes = max_message_bytes
        self._records: dict[int, _Record] = {}
        self._has_begun = False
        self._behind_looks = 0
        """Looks in a row at which not everything that had arrived could be received."""

    def look(
        self,
        now: float,
        grown_bytes: int,
        connections: Sequence[Connection],
        delivered: Mapping[int, int],
        *,
        is_drained: bool,
        is_crowded: bool = False,
    ) -> list[tuple[Connection, str]]:
        """Return the connections to shut down now, each with the reason.

        `delivered` has the bytes of the messages received since the last look, by descriptor; `is_drained` says that
        everything that had arrived was received: otherwise nobody's silence means anything. With `is_crowded`, new
        connections must speak soon.
        """
        known, self._records = self._records, {}
        for one in connections:
            record = known.get(one.inode)
            if record is None:
                record = _Record(now, self._has_begun, one.taken_bytes, unsent_since=now)
            self._records[one.inode] = record
            record.note(now, one, delivered.get(one.descriptor), is_drained=is_drained)
        self._has_begun = True
        self._behind_looks = 0 if is_drained else self._behind_looks + 1
        is_flooded = any(grown_bytes > grown and self._behind_looks >= looks for grown, looks in _FLOODS)
        most = max((record.held_bytes for record in self._records.values()), default=0)
        found: list[tuple[Connection, str]] = []
        for one in connections:
            record = self._records[one.inode]
            if record.held_bytes > self._max_message_bytes:
                found.append((one, "a message without an end"))
            elif is_crowded and record.is_late(now):
                found.append((one, "no message, while most files are open"))
            elif grown_bytes <= ALLOWANCE_BYTES:
                continue
            elif record.held_bytes >= max(_MIN_HELD_BYTES, most / 2) or (
                one.taken_bytes is None and (record.waiting_looks >= _WAITING_LOOKS or record.is_late(now))
            ):
                found.append((one, "bytes without a message"))
            elif one.has_unsent and now - record.unsent_since >= _STUCK_S:
                found.append((one, "it does not read"))
            elif record.backlog_bytes(one) > _MAX_BACKLOG_BYTES or (is_flooded and one.inode == self._busiest()):
                found.append((one, "more messages than can be handled"))
        return found

    def _busiest(self) -> int:
        """Return the inode of the connection that delivered most."""
        return max(self._records, key=lambda inode: self._records[inode].delivered_bytes)

    def silent(self, now: float, connections: Iterable[Connection], *, is_crowded: bool = False) -> list[Connection]:
        """Return the connections that have said nothing for long enough, and for which libzmq may hold something.

        With `is_crowded`, libzmq need not hold anything for them.
        """
        found: list[Connection] = []
        for one in connections:
            record = self._records.get(one.inode)
            if record is not None and now - record.silent_since >= SILENCE_S:
                may_hold = one.taken_bytes is None or record.held_bytes >= _MIN_HELD_BYTES
                found += [one] if may_hold or is_crowded else []
        return found


class MemoryWatch:
    """Watches the memory of this process for the sockets that listen at some addresses."""

    def __init__(self, addresses: Iterable[str], links: Sequence[Link], max_frame_bytes: int) -> None:
        self._connections = AcceptedConnections(addresses)
        self._links = links
        self._max_message_bytes = max_frame_bytes + MAX_EXPLAINED_BYTES
        self._cuts = RateLimitedLog(_log)
        self._was_cut: set[int] = set()
        self._freeing_until = self._trim_at = self._count_at = 0.0
        self._trim_period_s = _TRIM_FIRST_S
        self._calm_bytes = 0
        """Least memory since the last inquiry."""
        self._has_ended = False
        self._reading = threading.Lock()
        self._offence = trio.Event()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_cuts)
            await self._watch_memory()

    async def _run_cuts(self) -> None:
        """Shut the connections of offenders down as soon as a link notes one."""
        for link in self._links:
            link.on_offence = self._note_offence
        while True:
            await self._offence.wait()
            self._offence = trio.Event()
            self._cut_offenders()
            while time.monotonic() < self._freeing_until and not self._offence.is_set():
                with trio.move_on_after(self._trim_period_s):
                    await self._offence.wait()
                self._give_back()

    def _note_offence(self) -> None:
        self._offence.set()

    async def _watch_memory(self) -> None:
        statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)  # kept: later no descriptor may be left
        try:
            self._calm_bytes = _resident_bytes(statm)
            while True:
                await trio.to_thread.run_sync(self._wait_for_trouble, statm, abandon_on_cancel=True)
                if time.monotonic() >= self._count_at:
                    found = await self._inquire(statm, self._calm_bytes, is_crowded=True) if _is_crowded() else 0
                    self._count_at = time.monotonic() + (_COUNT_S if found or not _is_crowded() else _CROWDED_S)
                self._cut_offenders()
                self._was_cut.clear()
                self._give_back()
                if _resident_bytes(statm) - self._calm_bytes > _STEP_BYTES:
                    await self._inquire(statm, self._calm_bytes)
                    self._calm_bytes = _resident_bytes(statm)
        finally:
            with self._reading:  # the thread may be about to read
                self._has_ended = True
                os.close(statm)
            self._connections.close()

    def _wait_for_trouble(self, statm: int) -> None:
        """Return once something needs a look. In a thread, which costs a third of what waking trio as often does."""
        is_counted = False  # since the process last worked
        while True:
            worked_ns = time.clock_gettime_ns(time.CLOCK_PROCESS_CPUTIME_ID)
            time.sleep(_POLL_S)  # half the cost of waiting for an event, which nothing but the end would set
            if is_counted and time.monotonic() >= self._freeing_until:
                _await_work(worked_ns + _WORK_NS)
                is_counted = False
            with self._reading:
                if self._has_ended:
                    return
                resident = _resident_bytes(statm)
            self._calm_bytes = min(self._calm_bytes, resident)
            now = time.monotonic()
            if resident - self._calm_bytes > _STEP_BYTES:
                return
            if self._trim_at <= now < self._freeing_until:
                return
            if now >= self._count_at:
                if _is_crowded():
                    return
                self._count_at, is_counted = now + _COUNT_S, True

    async def _inquire(self, statm: int, calm: int, *, is_crowded: bool = False) -> int:
        """Look for the cause of the growth since `calm`, until there is none or every honest peer has spoken.

        If too many files are open, always until then. Returns how many connections were shut down at the end.
        """
        inquiry, began_at = Inquiry(self._max_message_bytes), time.monotonic()
        for link in self._links:
            link.origins = {}
        silent: list[Connection] = []
        try:
            while (grown_bytes := _resident_bytes(statm) - calm) > _STEP_BYTES / 2 or is_crowded:
                now = time.monotonic()
                connections = self._connections.look()
                look_s = time.monotonic() - now
                caught_up = [link.receive_batch() for link in self._links]
                delivered = self._take_origins()
                is_drained = all(caught_up)
                offenders = inquiry.look(
                    now, grown_bytes, connections, delivered, is_drained=is_drained, is_crowded=is_crowded
                )
                for one, reason in offenders:
                    self._cut(one, reason, grown_bytes)
                if now - began_at > SILENCE_S + 1.0:
                    silent = inquiry.silent(now, connections, is_crowded=is_crowded)
                    for one in silent:
                        self._cut(one, "nothing heard from it", grown_bytes)
                    break
                await trio.sleep(max(_LOOK_S, _LOOK_SHARE * look_s))
                self._give_back()
                self._cut_offenders()
        finally:
            for link in self._links:
                link.origins = None
            self._was_cut.clear()
        return len(silent)

    def _take_origins(self) -> dict[int, int]:
        taken: dict[int, int] = {}
        for link in self._links:
            taken |= link.origins or {}
            link.origins = {}
        return taken

    def _cut_offenders(self) -> None:
        for link in self._links:
            if link.offenders:
                for one in self._connections.look():
                    if one.descriptor in link.offenders:
                        self._cut(
                            one,
                            "a huge identity, messages of many parts, or requests whose answers it does not read",
                            0,
                        )
                link.drop_offenders()

    def _cut(self, one: Connection, reason: str, grown_bytes: int) -> None:
        if one.inode not in self._was_cut:
            self._was_cut.add(one.inode)
            self._cuts.warning("connection_cut", reason=reason, grown_bytes=grown_bytes)
            self._connections.cut(one)
            now = time.monotonic()
            self._freeing_until, self._trim_at, self._trim_period_s = now + _FREEING_S, now, _TRIM_FIRST_S

    def _give_back(self) -> None:
        """Return what cut connections held to the system: glibc keeps freed memory, and it would count as growth."""
        if self._trim_at <= (now := time.monotonic()) < self._freeing_until:
            self._trim_at = now + self._trim_period_s
            self._trim_period_s = min(2 * self._trim_period_s, _TRIM_LAST_S)
            with suppress(AttributeError):  # another C library
                _c_library().malloc_trim(0)


def _await_work(until_ns: int) -> None:
    """Return when this process has used so much CPU time since it began; at once where the system cannot tell."""
    until = _TimeSpec(*divmod(until_ns, 1_000_000_000))
    with suppress(AttributeError):  # another C library
        _c_library().clock_nanosleep(time.CLOCK_PROCESS_CPUTIME_ID, _TIMER_ABSTIME, ctypes.byref(until), None)


@cache
def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL(None)  # making it takes longer than a look


def _resident_bytes(statm: int) -> int:
    return int(os.pread(statm, 256, 0).split()[1]) * _PAGE_BYTES


def _is_crowded() -> bool:
    """Return whether most of the files that this process may open are open."""
    try:
        count = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as in `AcceptedConnections`
    except OSError:  # there is none left to count them with
        return True
    return count > _MAX_OPEN_SHARE * resource.getrlimit(resource.RLIMIT_NOFILE)[0]
