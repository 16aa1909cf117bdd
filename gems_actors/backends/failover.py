"""Failover over several servers of one model: admission by their limits, retry with backoff, and typed failures.

The first server gets every request while it is reachable; the others, in order, while those before them are not. This
module knows neither the requests nor the protocol.

A failure counts against the request, which is given up after a few, or against the server, which is waited for:

- an unusable answer, or a status such as 408, counts against the request, whatever else happens at the server;
- a failure of the server (5xx, a cut connection) counts against the request while the server answers others;
- a timeout while the server answered others may only mean that it has few slots: more of these are allowed;
- a server that cannot be reached, or says that it is busy, is waited for.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import inf
from typing import Final, Generic, Protocol, TypeVar

import structlog
import trio

from gems_actors.backends.concurrency_limit import AdaptiveLimit
from gems_actors.call_context import being_served, current_deadline, waiting_in_queue
from gems_actors.errors import BackendError, OverloadedError, RefusedError

AnswerT = TypeVar("AnswerT")

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and after which waits, a request is retried."""

    first_backoff_s: float = 0.5
    """Upper bound of the wait before the first retry. It doubles with each retry, and the wait is uniform from 0 to it,
    the "full jitter" of aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter."""
    max_backoff_s: float = 20.0
    """Upper bound of any wait."""
    max_faults: int = 4
    """Maximum failures of one request at working servers; after that the request itself is suspected."""
    max_probes: int = 8
    """Maximum failures of one request that may be the servers': while they answered nobody, or were slow for all."""
    first_contact_s: float = 3.0
    """Seconds to wait for servers of which none has ever answered: the address is probably wrong."""

    def backoff_s(self, retries: int) -> float:
        """Return a random wait before the next retry, after `retries` of them."""
        return random.uniform(0.0, min(self.first_backoff_s * 2**retries, self.max_backoff_s))


DEFAULT_RETRY: Final = RetryPolicy()


class BusyError(OverloadedError):
    """A server has too many requests; `wait_s` is the pause that it asked for, None if it named none."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message, 1.0 if wait_s is None else wait_s)
        self.wait_s = wait_s


class RefusedOrBusyError(BusyError):
    """A server refused a request and was busy when it was sent without an option; it may have refused only that."""

    def __init__(self, refusal: RefusedError, busy: BusyError) -> None:
        super().__init__(str(busy), busy.wait_s)
        self.refusal = refusal


class UnreachableError(BackendError):
    """The server could not be connected to."""

    is_outage = True


class LateError(BackendError):
    """The server did not answer in time."""


class GatewayTimeoutError(BackendError):
    """A gateway did not wait for the server any longer."""


class RequestFaultError(BackendError):
    """A working server failed this request: its answer is unusable, or its status blames the request.

    The pool sends the request again a few times; after that nobody else is to do so.
    """

    is_retryable = False

    def __init__(self, message: str, *, is_timeout: bool = False) -> None:
        super().__init__(message)
        self.is_timeout = is_timeout
        """Whether the server or its gateway says that the request took too long."""


class Server(Protocol):
    """A server with its own concurrency limit."""

    @property
    def name(self) -> str:
        """Name and address, for people."""

    @property
    def limit(self) -> AdaptiveLimit:
        """Its concurrency limit and circuit breaker."""


ServerT = TypeVar("ServerT", bound=Server)


@dataclass(slots=True)
class _Tries(Generic[ServerT]):
    """What became of the tries of one request."""

    retries: int = 0
    faults: int = 0
    """Failures that are the request's own."""
    probes: int = 0
    """Failures that may be the server's."""
    failed: set[ServerT] = field(default_factory=set)
    """Servers that failed the request, which are used only after all others."""

    def count(self, error: BusyError | BackendError, server: ServerT, began: float) -> None:
        """Count a failure of a request that was sent at the time `began`."""
        if isinstance(error, BusyError):
            self.faults += isinstance(error, RefusedOrBusyError)
            return
        self.failed.add(server)
        limit = server.limit
        if isinstance(error, UnreachableError):
            return
        if _is_timeout(error) and limit.in_flight and limit.answered_at > began:
            self.probes += 1
        elif isinstance(error, RequestFaultError) or limit.is_closed:
            self.faults += 1
        else:
            self.probes += 1

    def are_spent(self, policy: RetryPolicy) -> bool:
        """Return whether the request is to be given up."""
        return self.faults >= policy.max_faults or self.probes >= policy.max_probes


class _Waiter(Generic[ServerT]):
    """A queued request."""

    def __init__(self, failed: Collection[ServerT]) -> None:
        self.failed = failed
        """Servers that already failed this request, which are used only after all others."""
        self.woken = trio.Event()
        """Set when a server is assigned or the time to wait may have changed."""
        self.server: ServerT | None = None


class FailoverPool(Generic[ServerT]):
    """Servers of one model in order of preference; safe to call from many tasks at once."""

    def __init__(self, servers: Sequence[ServerT], retry: RetryPolicy = DEFAULT_RETRY) -> None:
        self.servers = tuple(servers)
        self.retries = self.timeouts = 0
        self._retry = retry
        self._calls = 0
        """Requests that have no answer yet."""
        self._failing_since: float | None = None
        """Time of the first failure since the last answer; None while no request waits."""
        self._interactive: deque[_Waiter[ServerT]] = deque()
        self._bulk: deque[_Waiter[ServerT]] = deque()
        self._seen = self._availability()

    @property
    def queued(self) -> int:
        """Requests that wait for a server."""
        return len(self._interactive) + len(self._bulk)

    def figures(self) -> dict[str, float]:
        """Return the state of the limits, summed over all servers, for `gems status`."""
        limits = [server.limit for server in self.servers]
        now = trio.current_time()
        return {
            "asking": sum(limit.in_flight for limit in limits),
            "waiting": self.queued,
            "window": sum(int(limit.window) for limit in limits if not limit.is_unavailable(now)),
            "latency_s": max(limit.latency_s for limit in limits),
            "tried_again": self.retries,
            "late": self.timeouts,
            "servers_down": sum(not limit.is_closed for limit in limits),
            "failing_s": 0.0 if self._failing_since is None else now - self._failing_since,
        }

    def note(self) -> str:
        """Return which servers are down or paused, and why; empty while all are up."""
        now = trio.current_time()
        return "; ".join(_describe(server.limit, now) for server in self.servers if server.limit.is_unavailable(now))

    async def call(self, exchange: Callable[[ServerT], Awaitable[AnswerT]], *, interactive: bool = False) -> AnswerT:
        """Return the first answer of any server, retrying within the caller's deadline; `exchange` sends once.

        Raises:
            RefusedError: a server refused the request, which is not retried.
            OverloadedError, BackendError: no server answered before the retries or the deadline ran out; carries the
                last failure.
        """
        self._calls += 1
        try:
            return await self._call(exchange, interactive)
        finally:
            self._calls -= 1
            if not self._calls:
                self._failing_since = None

    async def _call(self, exchange: Callable[[ServerT], Awaitable[AnswerT]], interactive: bool) -> AnswerT:
        called_at, tries = trio.current_time(), _Tries[ServerT]()
        while True:
            server = await self._acquire(_Waiter[ServerT](tries.failed), called_at, interactive)
            began = trio.current_time()
            try:
                return await self._call_once(server, exchange)
            except (BusyError, BackendError) as error:
                tries.count(error, server, began)
                now, wait_s = trio.current_time(), self._retry.backoff_s(tries.retries)
                self.timeouts += _is_timeout(error)
                if not isinstance(error, BusyError) and any(
                    other not in tries.failed and not other.limit.is_unavailable(now) for other in self.servers
                ):
                    wait_s = 0.0
                is_late = now + wait_s >= current_deadline()
                if is_late or tries.are_spent(self._retry):
                    if isinstance(error, RefusedOrBusyError):
                        raise error.refusal from None
                    is_of_request = isinstance(error, RequestFaultError) or server.limit.is_closed
                    error.is_outage |= is_late or not is_of_request
                    raise
                if isinstance(error, UnreachableError) and self._is_first_contact_over(called_at):
                    raise
                _log.debug("request_retried", server=server.name, wait_s=round(wait_s, 3), reason=str(error))
            tries.retries += 1
            self.retries += 1
            await trio.sleep(wait_s)

    async def _call_once(self, server: ServerT, exchange: Callable[[ServerT], Awaitable[AnswerT]]) -> AnswerT:
        began, limit = trio.current_time(), server.limit
        try:
            with being_served():
                answer = await exchange(server)
        except BusyError as error:
            self._note_failure()
            limit.reject(trio.current_time(), str(error), error.wait_s)
            raise
        except RequestFaultError as error:
            now = trio.current_time()
            limit.disregard(now, str(error), waited_s=now - began if error.is_timeout else None)
            raise
        except BackendError as error:
            now, is_timeout = trio.current_time(), _is_timeout(error)
            limit.fail(now, str(error), waited_s=now - began if is_timeout else None)
            if not (is_timeout and limit.is_closed):  # one timeout may only mean that the server is slow
                self._note_failure()
            raise
        except RefusedError:
            self._failing_since = None
            limit.refuse(trio.current_time())
            raise
        except BaseException:  # cancelled: neither a success nor a failure of the server
            limit.cancel()
            raise
        else:
            self._failing_since = None
            limit.succeed(trio.current_time(), trio.current_time() - began)
            return answer
        finally:
            self._update()

    def _note_failure(self) -> None:
        if self._failing_since is None:
            self._failing_since = trio.current_time()

    def _update(self) -> None:
        """Admit queued requests where there is room, and wake them all when a server's availability has changed."""
        self._admit()
        seen = self._availability()
        if seen == self._seen:
            return
        for server, (was_closed, _) in zip(self.servers, self._seen, strict=True):
            if server.limit.is_closed != was_closed:
                event = "server_given_up" if was_closed else "server_back"
                _log.warning(event, server=server.name, reason=server.limit.last_failure)
        self._seen = seen
        for waiter in (*self._interactive, *self._bulk):
            waiter.woken.set()

    def _availability(self) -> list[tuple[bool, float]]:
        return [(server.limit.is_closed, server.limit.resumes_at()) for server in self.servers]

    # ----------------------------------------------------------------------------------------- admission

    async def _acquire(self, waiter: _Waiter[ServerT], called_at: float, interactive: bool) -> ServerT:
        """Wait until a server has room, and count the request as in flight there."""
        queue = self._interactive if interactive else self._bulk
        queue.append(waiter)
        self._admit()
        try:
            while waiter.server is None:
                self._raise_if_hopeless(called_at)
                waiter.woken = trio.Event()
                is_down = all(server.limit.is_unavailable(trio.current_time()) for server in self.servers)
                with (
                    nullcontext() if is_down else waiting_in_queue(),
                    trio.move_on_at(self._next_change_at(called_at)),
                ):
                    await waiter.woken.wait()
                self._admit()
            return waiter.server
        except BaseException:  # cancelled or hopeless: its place or its slot is given back
            if waiter.server is None:
                queue.remove(waiter)
            else:
                waiter.server.limit.cancel()
                self._admit()
            raise

    def _next_change_at(self, called_at: float) -> float:
        """Return the next time at which a queued request may proceed or fail without any other event."""
        times = [server.limit.resumes_at() for server in self.servers]
        if not self._has_any_answered():
            times.append(called_at + self._retry.first_contact_s)
        now = trio.current_time()
        return min((time for time in times if time > now), default=inf)

    def _admit(self) -> None:
        """Assign servers with room to queued requests, interactive ones first and each queue in order."""
        while queue := self._interactive or self._bulk:
            if (server := self._available_server(queue[0].failed)) is None:
                return
            server.limit.start()
            waiter = queue.popleft()
            waiter.server = server
            waiter.woken.set()

    def _available_server(self, failed: Collection[ServerT]) -> ServerT | None:
        now = trio.current_time()
        for server in sorted(self.servers, key=failed.__contains__):
            if server.limit.can_start(now):
                return server
            if not server.limit.is_unavailable(now):
                return None  # it is only full, or pauses for a moment
        return None

    def _raise_if_hopeless(self, called_at: float) -> None:
        """Raise the last failure if no server can take the request before its deadline or within first contact."""
        now = trio.current_time()
        if not all(now < server.limit.resumes_at() for server in self.servers):
            return
        resumes_at = min(server.limit.resumes_at() for server in self.servers)
        if self._is_first_contact_over(called_at) or resumes_at >= current_deadline():
            first = self.servers[0].limit
            error = BusyError(first.pause_reason) if first.is_closed else BackendError(first.last_failure)
            error.is_outage = True
            raise error

    def _is_first_contact_over(self, called_at: float) -> bool:
        return not self._has_any_answered() and trio.current_time() >= called_at + self._retry.first_contact_s

    def _has_any_answered(self) -> bool:
        return any(server.limit.has_answered for server in self.servers)


def _is_timeout(error: BusyError | BackendError) -> bool:
    return isinstance(error, LateError | GatewayTimeoutError) or (
        isinstance(error, RequestFaultError) and error.is_timeout
    )


def _describe(limit: AdaptiveLimit, now: float) -> str:
    """Return why a server takes no requests."""
    if not limit.is_closed:
        return f"breaker {limit.breaker_state(now)}: {limit.last_failure}"
    return f"paused for {limit.resumes_at() - now:.0f} s: {limit.pause_reason}"
