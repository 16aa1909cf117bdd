"""The whole loop on storyboards: a draw's time, each process's memory, and bulk against one process."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import structlog
import trio

from gems_actors.config import MeshConfig
from gems_actors.roles import BUILT_IN_ROLES
from gems_actors.supervision.child_main import load_actor
from gems_actors.testing import open_test_mesh
from protocol.messages import DrawPicture
from tests.gems_actors.cli.commands import summary_in
from tests.processes import descendants, environment, memory_kib

_GEMS = (sys.executable, "-P", "-m", "gems_actors.cli")
_THINGS = ("croissants", "elephants", "violins", "umbrellas", "turtles", "clocks", "guitars", "rabbits")
_LOOKS = ("red", "stone", "striped", "glass", "green", "spotted", "wooden", "blue")
_NUMBERS = ("two", "three", "four", "five", "six", "seven")
_PLACES = ("to the left of", "above", "behind", "in front of", "under")


def write_prompts(count: int) -> list[str]:
    """Return prompts of four to ten requirements, always the same."""
    return [
        f"{_NUMBERS[n % 6]} {_LOOKS[n % 8]} {_THINGS[n // 3 % 8]} {_PLACES[n % 5]} "
        f"{_NUMBERS[n // 5 % 6]} {_LOOKS[(n + 3) % 8]} {_THINGS[(n // 3 + 3) % 8]}"
        for n in range(count)
    ]


def time_draws(folder: Path, count: int = 5) -> float:
    """Return the median seconds of one `gems draw`, from the command to the prompt of the shell."""
    seconds = []
    for seed in range(count):
        began = time.perf_counter()
        command = (*_GEMS, "draw", "seven sparkling croissants left of a flamingo", "--seed", str(seed))
        subprocess.run((*command, "-o", str(folder / "x.png")), check=True, capture_output=True, env=environment())
        seconds.append(time.perf_counter() - began)
    return median(seconds)


def time_python(count: int = 5) -> float:
    """Return the median seconds in which Python starts and imports the libraries that every process needs."""
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        subprocess.run((sys.executable, "-c", "import trio, zmq, msgspec, structlog, PIL.Image"), check=True)
        seconds.append(time.perf_counter() - began)
    return median(seconds)


def weigh_processes(folder: Path) -> list[tuple[str, int, int]]:
    """Return name, resident and proportional KiB of every process of a mesh in the middle of a draw."""
    command = (*_GEMS, "draw", "two red cats", "--rounds", "30", "--set", "draw.stop_when_all_met=false")
    process = subprocess.Popen(
        (*command, "-o", str(folder / "y.png")), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    assert process.stderr is not None
    for line in process.stderr:
        if b"round 5" in line:
            break
    sizes = [(name, *memory_kib(pid)) for pid, name in descendants(process.pid).items()]
    process.terminate()
    process.communicate()
    return sorted(sizes)


def time_bulk(folder: Path, prompts: list[str]) -> float:
    """Return the tasks a second that a mesh of nine processes finishes."""
    source = folder / "prompts.txt"
    source.write_text("\n".join(prompts))
    command = (*_GEMS, "bulk", str(source), "--out", str(folder / "out"), "--json")
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment())
    return len(prompts) / float(summary_in(done.stdout)["seconds"])


def time_one_process(folder: Path, prompts: list[str]) -> float:
    """Return the tasks a second of the same roles as tasks of one process, as many at once."""

    async def main() -> float:
        config = MeshConfig(data_dir=str(folder / "one"))
        async with open_test_mesh(*(load_actor(role, config) for role in BUILT_IN_ROLES), config=config) as mesh:
            limiter = trio.CapacityLimiter(32)

            async def draw(line: int, prompt: str) -> None:
                async with limiter:
                    await mesh.ask(DrawPicture(run="bench", line=line, prompt=prompt, seed=line))

            began = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for line, prompt in enumerate(prompts):
                    nursery.start_soon(draw, line, prompt)
            return len(prompts) / (time.perf_counter() - began)

    return trio.run(main)


def main() -> None:
    """Print the tables."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python_s, draw_s = time_python(), time_draws(folder)
        print(f"one draw {draw_s:.2f} s, {draw_s / python_s:.1f} times a bare start with the same libraries")
        for called, resident_kib, proportional_kib in weigh_processes(folder):
            print(
                f"{called:<16} resident {resident_kib / 1024:5.1f} MiB, proportional {proportional_kib / 1024:5.1f} MiB"
            )
        prompts = write_prompts(120)
        one, mesh = time_one_process(folder, prompts), time_bulk(folder, prompts)
        print(
            f"bulk {mesh:.1f} tasks/s on {os.cpu_count()} cores, {mesh / one:.2f} times one process ({one:.1f} tasks/s)"
        )


if __name__ == "__main__":
    main()
