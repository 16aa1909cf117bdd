"""Recall on against off at equal image budget: the same prompts and seeds, on storyboards, in a memory that has learnt.

A first run fills memory with one half of the prompts; then the other half is drawn twice from copies of that memory,
with recall and without. What it shows is that lessons reach the prompts and change pictures. How much they help a real
model it does not show: here it is rules that write lessons, heed them and lose requirements.
"""

from __future__ import annotations

import logging
import math
import random
import shutil
import tempfile
from pathlib import Path

import structlog
import trio

from gems_actors.config import MemoryConfig, MeshConfig
from gems_actors.roles import BUILT_IN_ROLES
from gems_actors.supervision.child_main import load_actor
from gems_actors.testing import open_test_mesh
from protocol.messages import DrawPicture, DrawSettings, Picture
from tests.benchmarks.bench_loop import write_prompts

_PROMPTS, _AT_ONCE = 240, 32
_BUDGETS = (1, 2, 3)


async def draw_all(data: Path, run: str, prompts: list[str], *, rounds: int, recall: bool) -> list[Picture]:
    """Return the pictures of prompts, each drawn in `rounds` rounds unless every requirement was met before."""
    config = MeshConfig(data_dir=str(data), memory=MemoryConfig(recall=recall))
    settings = DrawSettings(max_rounds=rounds)
    pictures: dict[int, Picture] = {}
    limiter = trio.CapacityLimiter(_AT_ONCE)
    async with open_test_mesh(*(load_actor(role, config) for role in BUILT_IN_ROLES), config=config) as mesh:

        async def draw(line: int, prompt: str) -> None:
            async with limiter:
                request = DrawPicture(run=run, line=line, prompt=prompt, seed=line, settings=settings)
                pictures[line] = await mesh.ask(request)

        async with trio.open_nursery() as nursery:
            for line, prompt in enumerate(prompts):
                nursery.start_soon(draw, line, prompt)
    return [pictures[line] for line in range(len(prompts))]


def met_rates(pictures: list[Picture], budget: int) -> list[float]:
    """Return, of each picture, the share of requirements that the best of its first images meets."""
    rates = []
    for picture in pictures:
        met = [
            sum(verdict.answer == "met" for verdict in attempt.verdicts) / len(attempt.verdicts)
            for attempt in picture.attempts[:budget]
        ]
        rates.append(max(met))
    return rates


def interval(pairs: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Return the mean of second minus first, and the 95 % interval of it by a bootstrap over the pairs."""
    chance = random.Random(0)
    gains = [after - before for before, after in pairs]
    means = sorted(math.fsum(chance.choices(gains, k=len(gains))) / len(gains) for _ in range(2000))
    return math.fsum(gains) / len(gains), means[50], means[1949]


def main() -> None:
    """Print the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    prompts = write_prompts(_PROMPTS)
    random.Random(3).shuffle(prompts)
    learnt, asked = prompts[: _PROMPTS // 2], prompts[_PROMPTS // 2 :]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trio.run(lambda: draw_all(folder / "learnt", "learn", learnt, rounds=5, recall=False))
        for kind in ("off", "on"):
            shutil.copytree(folder / "learnt", folder / kind)
        off = trio.run(lambda: draw_all(folder / "off", "ask", asked, rounds=max(_BUDGETS), recall=False))
        on = trio.run(lambda: draw_all(folder / "on", "ask", asked, rounds=max(_BUDGETS), recall=True))
    print(f"{len(asked)} prompts after {len(learnt)} others; requirements met in the best of the first images")
    for budget in _BUDGETS:
        before, after = met_rates(off, budget), met_rates(on, budget)
        mean, low, high = interval(list(zip(before, after, strict=True)))
        print(
            f"{budget} image{'s' if budget > 1 else ' '}  off {100 * math.fsum(before) / len(before):.1f} %, "
            f"on {100 * math.fsum(after) / len(after):.1f} %, gain {100 * mean:+.1f} points "
            f"(95 % interval {100 * low:+.1f} to {100 * high:+.1f})"
        )


if __name__ == "__main__":
    main()
