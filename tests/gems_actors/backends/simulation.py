"""A simulated server that is nothing but a capacity and a latency."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from gems_actors.backends.concurrency_limit import AdaptiveLimit


@dataclass
class Simulation:
    """A server that holds `capacity` requests, and a client that always has more to send."""

    capacity: int
    latency_s: float = 0.2
    queues: bool = False
    """Whether the server queues requests beyond its capacity instead of rejecting them."""
    retry_after_s: float | None = None
    limit: AdaptiveLimit = field(default_factory=AdaptiveLimit)
    answered: int = 0
    rejected: int = 0
    peak: int = 0
    now: float = 0.0
    held: list[tuple[float, float]] = field(default_factory=list)
    """End and start of each request at the server."""
    free_at: list[float] = field(default_factory=list)
    """Times at which places for queued requests become free."""

    def run(self, seconds: float) -> float:
        """Return the answers per second."""
        end, before = self.now + seconds, self.answered
        held, free_at = self.held, self.free_at
        while self.now < end:
            while self.limit.can_start(self.now):
                self.limit.start()
                self.peak = max(self.peak, self.limit.in_flight)
                if not self.queues and len(held) >= self.capacity:
                    self.rejected += 1
                    self.limit.reject(self.now + 0.002, "429", self.retry_after_s)
                    continue
                begins = self.now
                if self.queues and len(free_at) >= self.capacity:
                    begins = max(begins, heapq.heappop(free_at))
                heapq.heappush(free_at, begins + self.latency_s)
                heapq.heappush(held, (begins + self.latency_s, self.now))
            resumes_at = self.limit.resumes_at()
            self.now = min(held[0][0] if held else end, resumes_at if resumes_at > self.now else end, end)
            while held and held[0][0] <= self.now:
                _, began = heapq.heappop(held)
                self.answered += 1
                self.limit.succeed(self.now, self.now - began)
        return (self.answered - before) / seconds


def answered(limit: AdaptiveLimit, now: float, latency_s: float, in_flight: int = 1) -> float:
    """Answer the first of some requests in flight, cancel the others, and return by how much the window changed."""
    before = limit.window
    for _ in range(in_flight):
        limit.start()
    limit.succeed(now, latency_s)
    for _ in range(in_flight - 1):
        limit.cancel()
    return limit.window - before
