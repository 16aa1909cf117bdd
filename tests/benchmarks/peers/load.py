"""The load that each system gets, and the clients' conversation with the benchmark.

The client prints `ready`, then answers each line of its input, which names a measurement: `alone` is one request after
another, a number is how many requests are in flight at once. The answer is a line of JSON: the seconds of each request
alone, or requests a second, after the word `result`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator

BODY = {"type": "PlanPrompt", "prompt": "x" * 150, "skill": None}
"""What other systems send, as the mesh's own request: 200 bytes of msgpack with its envelope."""
RESULT = "result "
"""How the line with a result begins; libraries may print lines of their own."""
REQUESTS = 20_000
ALONE = 400


def measurements() -> Iterator[int]:
    """Yield what to measure: 0 for one request after another, or the number of requests in flight."""
    print("ready", flush=True)
    for line in sys.stdin:
        yield 0 if line.strip() == "alone" else int(line)


def tell(result: float | list[float]) -> None:
    """Tell the result of a measurement."""
    print(f"{RESULT}{json.dumps(result)}", flush=True)


def requests_for(window: int) -> int:
    """Return how many requests to send: eight times what is in flight, so that filling the window counts for little."""
    return max(REQUESTS, 8 * window)


async def measure_asyncio(ask: Callable[[], Awaitable[object]]) -> None:
    """Serve a client whose requests are coroutines under asyncio."""
    import asyncio

    loop = asyncio.get_running_loop()
    steps = iter(measurements())
    while (window := await loop.run_in_executor(None, next, steps, None)) is not None:
        if not window:
            alone = []
            for _ in range(ALONE):
                began = time.perf_counter()
                await ask()
                alone.append(time.perf_counter() - began)
            tell(alone)
            continue
        left = iter(range(requests_for(window)))

        async def ask_on(left: Iterator[int] = left) -> None:
            for _ in left:
                await ask()

        began = time.perf_counter()
        await asyncio.gather(*(ask_on() for _ in range(window)))
        tell(requests_for(window) / (time.perf_counter() - began))
