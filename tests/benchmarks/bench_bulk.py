"""Cost of the mesh itself in bulk: thousands of tasks through `gems bulk`, with models that only wait.

The image model accepts 64 pictures at once and takes 10 ms for each in turn, as a device does; the chat model takes
1 ms; every picture is the same file. Each task is planned, decomposed, drawn once and verified with two questions. The
figures are the CPU seconds of all processes, including the command, and the memory of each after 1,000 tasks and at
the end.
With `AT_ONCE=10000` so many trajectories are in flight at once, in one conductor, and the highest memory counts too.
The models' own cost is measured afterwards, by as many processes that do nothing but call them at the same rate.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog
import trio

from gems_actors.backends import ChatReply, ChatRequest, GeneratedImage, ImageModel, ImageRequest
from gems_actors.client import open_client
from gems_actors.config import MeshConfig, load_config
from gems_actors.supervision.child_main import run_role
from gems_actors.supervision.supervisor import open_supervisor
from protocol.messages import ReadStatus
from tests.actors.fakes import png
from tests.gems_actors.cli.commands import summary_in
from tests.processes import environment, memory_kib

TASKS = 20_000
_CALLS_ALONE = 1000
_ANSWERS = {
    "route_skill": '{"skill": null}',
    "decompose": json.dumps(
        {
            "requirements": [
                {"id": id_, "question": f"Is {id_} there?", "kind": "object", "depends_on": None}
                for id_ in ("r1", "r2")
            ]
        }
    ),
    "verify": "yes: it is there",
    "compress": "Say it first.",
    "refine": '{"diagnosis": "lost", "prompt": "both of them"}',
}


class NullChat:
    """Chat model that takes a millisecond and returns a fixed answer for each task."""

    def __init__(self, answers: Mapping[str, str] = _ANSWERS) -> None:
        self._answers = answers

    def figures(self) -> dict[str, float]:
        """Return nothing."""
        return {}

    def note(self) -> str:
        """Return nothing."""
        return ""

    async def chat(self, request: ChatRequest) -> ChatReply:
        """Return the answer of its task."""
        await trio.sleep(0.001)
        return ChatReply(self._answers[request.task])


class NullImages:
    """Image model that takes ten milliseconds for each picture, always the same, and measures its busy time."""

    capacity = 64

    def __init__(self) -> None:
        self._picture = png()
        self._in_flight, self._busy_s, self._since = 0, 0.0, 0.0
        self._began = 0.0
        self._device = trio.Lock()

    def figures(self) -> dict[str, float]:
        """Return the busy seconds and the seconds since the first picture."""
        now = trio.current_time()
        busy_s = self._busy_s + (now - self._since if self._in_flight else 0.0)
        return {"busy_s": busy_s, "wall_s": now - self._began if self._began else 0.0}

    async def generate(self, request: ImageRequest) -> GeneratedImage:
        """Return the picture."""
        now = trio.current_time()
        self._began = self._began or now
        if not self._in_flight:
            self._since = now
        self._in_flight += 1
        async with self._device:
            await trio.sleep(0.01)
        self._in_flight -= 1
        if not self._in_flight:
            self._busy_s += trio.current_time() - self._since
        return GeneratedImage(self._picture, "image/png", 32, 16)


def run_null_role(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Run a role with models that only wait."""
    return run_role_with(NullImages, role, config, address, name)


def run_role_with(
    make_images: Callable[[], ImageModel], role: str, config: MeshConfig, address: str, name: str, **answers: str
) -> int:
    """Run a role with a chat model that only waits, with other answers to some tasks, and the given image model."""
    import actors.generator
    import actors.prompting

    @asynccontextmanager
    async def open_chat(config: MeshConfig, role: str) -> AsyncIterator[NullChat]:
        yield NullChat({**_ANSWERS, **answers})

    @asynccontextmanager
    async def open_images(
        config: MeshConfig, tell: Callable[[str], None] = lambda note: None
    ) -> AsyncIterator[ImageModel]:
        yield make_images()

    setattr(actors.prompting, "open_chat_model", open_chat)  # noqa: B010
    setattr(actors.generator, "open_image_model", open_images)  # noqa: B010
    return run_role(role, config, address, name)


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cost_alone(kind: str, calls_a_task: int, tasks_a_s: float) -> float:
    """Return the CPU seconds per task of a model called at that rate, less those of the timers alone."""
    return trio.run(_pace, kind, calls_a_task, tasks_a_s) - trio.run(_pace, kind, 0, tasks_a_s)


async def _pace(kind: str, calls_a_task: int, tasks_a_s: float) -> float:
    chat, images = NullChat(), NullImages()
    image = ImageRequest("picture", 1, 1024, 1024)

    async def ask() -> None:
        if kind == "image":
            await images.generate(image)
        else:
            await chat.chat(ChatRequest("verify", {}, ()))

    began, used = trio.current_time(), time.process_time()
    async with trio.open_nursery() as nursery:
        for number in range(_CALLS_ALONE):
            await trio.sleep_until(began + number / tasks_a_s)
            for _ in range(calls_a_task):
                nursery.start_soon(ask)
    return (time.process_time() - used) / _CALLS_ALONE


async def measure(folder: Path, tasks: int, at_once: int | None = None) -> None:
    """Print the figures of one bulk."""
    source = folder / "prompts.txt"
    source.write_text("".join(f"picture {number}\n" for number in range(tasks)))
    flags = [f"data_dir={folder}/data", f"router.runtime_dir={folder}/run", "log.level=error"]
    if at_once is not None:
        flags += [f"roles.conductor.capacity={at_once}", f"router.max_queue={3 * at_once}"]
    config = load_config(environment={}, settings=flags)
    async with open_supervisor(config, entry=f"{__name__}:run_null_role") as supervisor:
        await supervisor.ready()
        before = {child.role: cpu_of(child.pid) for child in supervisor.children()}
        options = [word for flag in flags for word in ("--set", flag)]
        command = (
            sys.executable,
            "-P",
            "-m",
            "gems_actors.cli",
            "bulk",
            str(source),
            "--out",
            str(folder / "out"),
            "--json",
            *(() if at_once is None else ("--concurrency", str(at_once))),
        )
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.monotonic()
        output = folder / "output.jsonl"  # larger than a pipe buffer
        with output.open("wb") as stdout:
            process = subprocess.Popen(  # noqa: ASYNC220 -- it is only polled
                (*command, "--router", supervisor.address, *options),
                stdout=stdout, stderr=subprocess.DEVNULL, env=environment(),
            )  # fmt: skip
        sizes: dict[str, list[float]] = {}
        metadata = folder / "out/dataset/metadata.jsonl"

        def weigh() -> None:
            for role, pid in [*((child.role, child.pid) for child in supervisor.children()), ("bulk", process.pid)]:
                sizes.setdefault(role, []).append(memory_kib(pid)[0] / 1024)

        early, peak_mib = False, 0.0
        last: dict[str, list[float]] = {}
        while process.poll() is None:
            await trio.sleep(0.5)
            if at_once is not None:
                pids = [*(child.pid for child in supervisor.children()), process.pid]
                with suppress(OSError, StopIteration):  # one may end just now
                    peak_mib = max(peak_mib, sum(memory_kib(pid)[0] for pid in pids) / 1024)
            done = metadata.stat().st_size // 700 if metadata.exists() else 0
            if done >= 1000 and not early:
                early = True
                weigh()
            elif process.poll() is None:
                with suppress(ProcessLookupError):  # it may end just now
                    last = {"bulk": [memory_kib(process.pid)[0] / 1024]}
        summary = summary_in(output.read_bytes())
        seconds = time.monotonic() - began
        children = supervisor.children()
        spent = {child.role: cpu_of(child.pid) - before[child.role] for child in children}
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent["bulk"] = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
        async with open_client(supervisor.address) as mesh:
            roles = {role.role: role.actors[0].figures for role in (await mesh.ask(ReadStatus())).roles}
        drawing = roles["generator"]
        ends = {child.role: memory_kib(child.pid)[0] / 1024 for child in children} | {"bulk": last["bulk"][0]}
    total = sum(spent.values())
    print(f"{summary['pictures']} tasks, {summary['failures']} failed, {seconds:.0f} s, {tasks / seconds:.0f} a second")
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        models = [("chat", 1), ("chat", 1), ("chat", 2), ("image", 1)]  # of planner, decomposer, verifier, generator
        alone = [pool.submit(cost_alone, kind, calls, tasks / seconds) for kind, calls in models]
        models_s = sum(cost.result() for cost in alone)
    print(
        f"CPU a trajectory: {1000 * total / tasks:.2f} ms in all processes, of which the models alone take "
        f"{1000 * models_s:.2f}: the mesh {1000 * (total / tasks - models_s):.2f} ms"
    )
    print(
        ", ".join(
            f"{role} {1000 * used / tasks:.2f}" for role, used in sorted(spent.items(), key=lambda item: -item[1])
        )
    )
    print(f"the image model was busy for {100 * drawing['busy_s'] / (drawing['wall_s'] or 1):.1f} % of the time")
    if at_once is not None:
        print(f"all processes together, with up to {at_once:,} trajectories at once: at most {peak_mib:.0f} MiB")
    print("resident MiB after 1,000 and in the end: ", end="")
    print(", ".join(f"{role} {size[0]:.0f} {ends.get(role, 0.0):.0f}" for role, size in sizes.items()))


def main() -> None:
    """Print the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        at_once = int(os.environ["AT_ONCE"]) if "AT_ONCE" in os.environ else None
        trio.run(measure, Path(folder), int(os.environ.get("TASKS", TASKS)), at_once)
