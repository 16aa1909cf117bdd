"""Runs one seed: the bulk, again and again as a user would, while its faults happen; then the checks."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import trio

from tests.chaos import invariants
from tests.chaos.faults import fault_of
from tests.chaos.model_servers import ModelServers
from tests.chaos.schedule import BY_NAME, MAX_TASKS, Event, Schedule, Shape, schedule_of
from tests.chaos.world import POLL_S, Sizes, World, keep_for_a_look, open_world
from tests.gems_actors.cli.commands import COMMAND

LIMIT_S: Final = 300.0
"""Time after which a command that still runs counts as hanging; the last fault is over within a fraction of it."""
_END_S: Final = 20.0
"""Time for processes to end after their command."""
_MAX_RUNS: Final = 16
_THINGS: Final = ("red cats", "glass owls", "pigs", "metal toys")
TASKS: Final = tuple(f"{n % 7 + 2} {_THINGS[n % 4]} left of a stone dog" for n in range(MAX_TASKS))


class Outcome(msgspec.Struct, kw_only=True):
    """What a seed met and what was broken."""

    seed: int
    seconds: float = 0.0
    codes: list[int] = []
    ends: list[str] = []
    """The last line that the command wrote each time."""
    tried: dict[str, int] = {}
    """Faults by kind that the schedule had and the host could do."""
    hit: dict[str, int] = {}
    """Faults by kind that hit something: a process that ran, a disk, a picture that existed."""
    peak_mib: float = 0.0
    peak_descriptors: int = 0
    failures_on_the_way: int = 0
    """Records of trajectories that failed and were resumed by a later command."""
    problems: list[str] = []
    kept: str = ""


class Run:
    """One run of a schedule."""

    def __init__(self, world: World, schedule: Schedule, servers: ModelServers) -> None:
        self.world, self.schedule, self.servers = world, schedule, servers
        self.codes: list[int] = []
        self.ends: list[str] = []
        self.problems: list[str] = []
        self.tried, self.hit = Counter[str](), Counter[str]()
        self.sizes = Sizes()
        self._began = trio.Event()
        self._records: invariants.Records = {}

    async def go(self) -> None:
        """Run the command until everything is drawn, while the faults happen."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.sizes.watch, self.world)
            for event in self.schedule.events:
                nursery.start_soon(self._happen, event)
            for _ in range(_MAX_RUNS):
                if await self._run_command() == 0 or self.problems:
                    break
                await self._await_disk()
            else:
                self.problems.append(f"not done after {_MAX_RUNS} runs")
            nursery.cancel_scope.cancel()

    async def _run_command(self) -> int:
        with self.world.running() as process:
            self._began.set()
            with trio.move_on_after(LIMIT_S):
                while process.poll() is None:
                    await trio.sleep(POLL_S)
            if process.poll() is None:
                self.problems.append(f"the command hangs: {self.world.family()}")
                return -1
        self.codes.append(process.returncode)
        self.ends.append(self.world.last_line())
        if left := await self.world.await_end(_END_S):
            self.problems.append(f"processes are left after exit code {process.returncode}: {left}")
        if process.returncode not in invariants.allowed_codes(self.world.met):
            self.problems.append(f"exit code {process.returncode} after {sorted(self.world.met)}")
        await trio.to_thread.run_sync(self._look)
        return int(process.returncode)

    def _look(self) -> None:
        """Compare the log with that of the last look, and look for tasks that failed."""
        now = invariants.read_records(self.world)
        self.problems += invariants.lost_records(self._records, now)
        self.problems += invariants.failed_tasks(self.world)
        self._records = now

    async def _await_disk(self) -> None:
        """Wait until the disk is mended, as a user does that reads the last line of the command."""
        while any("disk" in kind or "read-only" in kind for kind in self.world.active):
            await trio.sleep(POLL_S)

    async def _happen(self, event: Event) -> None:
        await self._await_moment(event)
        if "disk" in BY_NAME[event.kind].needs and not self.world.has_disks:
            return  # the disk of the host is not ours to fill
        fault = fault_of(self.world, event, self.servers)
        self.tried[event.kind] += 1
        self.world.met.add(event.kind)
        self.world.active.append(event.kind)
        has_hit = False
        try:
            has_hit = await fault.start()
            self.hit[event.kind] += has_hit
            if has_hit:
                await trio.sleep(event.lasting_s)
        finally:
            self.world.active.remove(event.kind)
            if has_hit:
                with trio.CancelScope(shield=True):
                    await fault.undo()

    async def _await_moment(self, event: Event) -> None:
        await self._began.wait()
        tasks = self.schedule.shape.tasks
        rows = {"start": 0, "drawing": max(1, int(event.share * tasks)), "end": tasks}[event.moment]
        while rows and self.world.rows() < rows:
            await trio.sleep(POLL_S)
        await trio.sleep(event.delay_s)

    # ----------------------------------------------------------------------------------------- afterwards

    def check(self, expected: Mapping[str, bytes]) -> None:
        """Check the folder, the same command once more, and what is left."""
        world = self.world
        self.problems += invariants.wrong_dataset(world, expected)
        self.problems += invariants.wrong_log(world)
        before = invariants.read_records(world)
        again = subprocess.run(world.command(), cwd=world.folder, env=world.environment(), capture_output=True,
                               text=True, timeout=LIMIT_S, check=False)  # fmt: skip
        if again.returncode != 0:
            self.problems.append(f"the same command again: exit code {again.returncode}: {again.stderr[-500:]}")
        if invariants.read_records(world) != before:
            self.problems.append("the same command again: something was drawn or recorded")
        self.problems += [f"afterwards: {line}" for line in invariants.wrong_dataset(world, expected)]
        checked = subprocess.run(
            [*COMMAND, "memory", "check", "--data", "disk/out"], cwd=world.folder, env=world.environment(),
            capture_output=True, text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
        if checked.returncode != 0:
            self.problems.append(f"gems memory check: {checked.returncode}: {checked.stdout} {checked.stderr}")
        self.problems += invariants.leftovers(world)
        self.problems += invariants.growth(self.sizes)
        for log in (world.log, world.data / "mesh.log"):
            text = log.read_text(errors="replace") if log.exists() else ""
            self.problems += invariants.accidents(text, self.tried)


def run_seed(
    seed: int, reference: Mapping[str, Mapping[str, bytes]], *, mounts: bool, keep: Path | None = None
) -> Outcome:
    """Run a seed and return its outcome; with `mounts`, this process must have a mount namespace of its own."""
    began, schedule, servers = time.monotonic(), schedule_of(seed), ModelServers()
    shape = schedule.shape
    with TemporaryDirectory(prefix="chaos-") as name, servers.open() as urls:
        tasks = "\n".join(TASKS[: shape.tasks])
        settings = urls if shape.models == "servers" else ()
        with open_world(Path(name), shape, tasks, settings, mounts=mounts) as world:
            run = Run(world, schedule, servers)
            try:
                trio.run(run.go)
                if not run.problems:
                    run.check(invariants.first_of(reference[shape.models], shape.tasks))
            finally:
                world.kill_all()
            records = invariants.read_records(world)
            kept = ""
            if run.problems and keep is not None:
                kept = str(keep / f"seed-{seed}")
                keep_for_a_look(world, Path(kept))
    return Outcome(
        seed=seed,
        seconds=round(time.monotonic() - began, 1),
        codes=run.codes,
        ends=run.ends,
        tried=dict(run.tried),
        hit=dict(run.hit),
        peak_mib=round(max(run.sizes.mib.values(), default=0.0)),
        peak_descriptors=max(run.sizes.descriptors.values(), default=0),
        failures_on_the_way=sum(b'"TrajectoryFailed"' in record for record in records.values()),
        problems=run.problems,
        kept=kept,
    )


def draw_reference(folder: Path) -> dict[str, dict[str, bytes]]:
    """Return the datasets of undisturbed runs, by their models."""
    found = {}
    for models in ("storyboard", "servers"):
        shape = Shape(MAX_TASKS, 32, "storyboard", "folder", 1, 1, 1, 6.0, has_small_disk=False)
        place, servers = folder / models, ModelServers()
        place.mkdir()
        with (
            servers.open() as urls,
            open_world(place, shape, "\n".join(TASKS), urls if models == "servers" else (), mounts=False) as world,
            world.running() as process,
        ):
            if process.wait(LIMIT_S) != 0:
                raise RuntimeError(f"the undisturbed run failed: {world.log.read_text()[-2000:]}")
            found[models] = invariants.dataset_of(world.out)
    return found
