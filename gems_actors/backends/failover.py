"""Asks one of several servers until it answers: waits for its turn, tries again, and turns to the next one meanwhile.

The first server is asked as long as it can be reached; the others, in their order, while those before them cannot. It
does not know what is asked, nor how.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from math import inf
from typing import Final, Generic, Protocol, TypeVar

import structlog
import trio

from gems_actors.backends.concurrency_limit import AdaptiveLimit
from gems_actors.errors import BackendError, OverloadedError, RefusedError

AnswerT = TypeVar("AnswerT")

_BACKOFF_S: Final = (0.5, 20.0)
"""Upper bound of the wait before the second try, and of any; doubled with each. The wait is uniform from 0 to that, the
"full jitter" of aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter."""
_MAX_FAULTS: Final = 4
"""How often one request may be met by a server that is there and fails: it may be the request."""
_FIRST_CONTACT_S: Final = 3.0
"""For how long a server is waited for that has never answered: as a rule its address is wrong."""

_log = structlog.get_logger()


class BusyError(OverloadedError):
    """A server has too much to do; `wait_s` is for how long it wants to be left alone, where it says so."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message, 1.0 if wait_s is None else wait_s)
        self.wait_s = wait_s


class UnreachableError(BackendError):
    """There was no server to answer."""


class LateError(BackendError):
    """The answer did not come in time."""


class Server(Protocol):
    """What can be asked at a pace of its own."""

    @property
    def name(self) -> str:
        """Where it is, for people."""
        ...

    @property
    def pace(self) -> AdaptiveLimit:
        """What it may be asked now."""
        ...


ServerT = TypeVar("ServerT", bound=Server)


class _Waiter(Generic[ServerT]):
    """A request that waits for its turn."""

    def __init__(self, failed: Collection[ServerT]) -> None:
        self.failed = failed
        """Servers that could not answer it, which are asked again after all others."""
        self.stirred = trio.Event()
        """It has a place, or has to look anew how long it may take."""
        self.server: ServerT | None = None


class FailoverPool(Generic[ServerT]):
    """Servers of the same thing in the order of preference; safe to ask from many tasks at once."""

    def __init__(self, servers: Sequence[ServerT]) -> None:
        self.servers = tuple(servers)
        self.tried_again = self.late = 0
        """Requests that were asked once more; and of all, answers that did not come in time."""
        self._urgent: deque[_Waiter[ServerT]] = deque()
        self._others: deque[_Waiter[ServerT]] = deque()
        self._seen = [(server.pace.is_closed, server.pace.opens_at()) for server in self.servers]

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return len(self._urgent) + len(self._others)

    def figures(self) -> dict[str, float]:
        """Return the state of the pace, summed over all servers, for `gems status`."""
        paces = [server.pace for server in self.servers]
        now = trio.current_time()
        return {
            "asking": sum(pace.in_flight for pace in paces),
            "waiting": self.waiting,
            "window": sum(int(pace.window) for pace in paces if not pace.is_away(now)),
            "latency_s": max(pace.latency_s for pace in paces),
            "tried_again": self.tried_again,
            "late": self.late,
            "servers_down": sum(not pace.is_closed for pace in paces),
        }

    def note(self) -> str:
        """Return which servers cannot be reached, and why; empty while all can."""
        now = trio.current_time()
        paces = [server.pace for server in self.servers if not server.pace.is_closed]
        return "; ".join(f"breaker {pace.breaker(now)}: {pace.last_failure}" for pace in paces)

    async def ask(self, exchange: Callable[[ServerT], Awaitable[AnswerT]], *, interactive: bool = False) -> AnswerT:
        """Return the answer of the first server that gives one, within the caller's deadline.

        Args:
            exchange: asks a server once.
            interactive: goes before those that are not.

        Raises:
            RefusedError: a server said no, and will always.
            OverloadedError, BackendError: no server answered as long as that could be waited for; says what the last
                one did.
        """
        asked_at, faults, tries = trio.current_time(), 0, 0
        failed: set[ServerT] = set()
        while True:
            server = await self._await_turn(_Waiter[ServerT](failed), asked_at, interactive)
            try:
                return await self._ask_once(server, exchange)
            except (BusyError, BackendError) as error:
                now = trio.current_time()
                if not isinstance(error, BusyError | UnreachableError) and server.pace.is_closed:
                    faults += 1
                self.late += isinstance(error, LateError)
                tries += 1
                wait_s = random.uniform(0.0, min(_BACKOFF_S[0] * 2 ** (tries - 1), _BACKOFF_S[1]))
                if not isinstance(error, BusyError):
                    failed.add(server)
                    if any(other not in failed and not other.pace.is_away(now) for other in self.servers):
                        wait_s = 0.0
                if faults >= _MAX_FAULTS or now + wait_s >= trio.current_effective_deadline():
                    raise
                is_nobody_there = isinstance(error, UnreachableError) and not self._were_ever_there()
                if is_nobody_there and now >= asked_at + _FIRST_CONTACT_S:
                    raise
                _log.debug("asked_again", server=server.name, tries=tries, wait_s=round(wait_s, 3), reason=str(error))
            self.tried_again += 1
            await trio.sleep(wait_s)

    async def _ask_once(self, server: ServerT, exchange: Callable[[ServerT], Awaitable[AnswerT]]) -> AnswerT:
        began, pace = trio.current_time(), server.pace
        try:
            answer = await exchange(server)
        except BusyError as error:
            pace.be_turned_away(trio.current_time(), str(error), error.wait_s)
            raise
        except BackendError as error:
            pace.fail(trio.current_time(), str(error), is_late=isinstance(error, LateError))
            raise
        except RefusedError:
            pace.succeed(trio.current_time(), trio.current_time() - began)
            raise
        except BaseException:
            pace.withdraw()
            raise
        else:
            pace.succeed(trio.current_time(), trio.current_time() - began)
            return answer
        finally:
            self._look()

    def _look(self) -> None:
        """Give places that are free now, and let those that wait see anew for how long."""
        self._grant()
        seen = [(server.pace.is_closed, server.pace.opens_at()) for server in self.servers]
        if seen == self._seen:
            return
        for server, (was_closed, _) in zip(self.servers, self._seen, strict=True):
            if server.pace.is_closed != was_closed:
                said = "server_given_up" if was_closed else "server_back"
                _log.warning(said, server=server.name, reason=server.pace.last_failure)
        self._seen = seen
        for waiter in (*self._urgent, *self._others):
            waiter.stirred.set()

    # ----------------------------------------------------------------------------------------- turns

    async def _await_turn(self, waiter: _Waiter[ServerT], asked_at: float, interactive: bool) -> ServerT:
        """Wait until a server may be asked, and have a place there."""
        queue = self._urgent if interactive else self._others
        queue.append(waiter)
        self._grant()
        try:
            while waiter.server is None:
                self._give_up_in_time(asked_at)
                waiter.stirred = trio.Event()
                with trio.move_on_at(self._look_again_at(asked_at)):
                    await waiter.stirred.wait()
                self._grant()
            return waiter.server
        except BaseException:
            if waiter.server is None:
                queue.remove(waiter)
            else:
                waiter.server.pace.withdraw()
                self._grant()
            raise

    def _look_again_at(self, asked_at: float) -> float:
        """Return when time alone may change what one that waits may do."""
        times = [server.pace.opens_at() for server in self.servers]
        if not self._were_ever_there():
            times.append(asked_at + _FIRST_CONTACT_S)
        now = trio.current_time()
        return min((time for time in times if time > now), default=inf)

    def _grant(self) -> None:
        """Give places to those that wait, the urgent first and each in its turn."""
        while queue := self._urgent or self._others:
            if (server := self._free_server(queue[0].failed)) is None:
                return
            server.pace.begin()
            waiter = queue.popleft()
            waiter.server = server
            waiter.stirred.set()

    def _free_server(self, failed: Collection[ServerT]) -> ServerT | None:
        now = trio.current_time()
        for server in sorted(self.servers, key=failed.__contains__):
            if server.pace.may_begin(now):
                return server
            if not server.pace.is_away(now):
                return None  # it is only full, or pauses for a moment
        return None

    def _give_up_in_time(self, asked_at: float) -> None:
        """Raise where all servers are away for longer than may be waited, and say why, better than a deadline could."""
        now = trio.current_time()
        if not all(now < server.pace.opens_at() for server in self.servers):
            return
        never = not self._were_ever_there() and now >= asked_at + _FIRST_CONTACT_S
        if never or min(server.pace.opens_at() for server in self.servers) >= trio.current_effective_deadline():
            first = self.servers[0].pace
            raise (BusyError if first.is_closed else BackendError)(first.last_failure)

    def _were_ever_there(self) -> bool:
        return any(server.pace.has_answered for server in self.servers)
