"""The faults: each begins, and some are undone after a while."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from tests.chaos.model_servers import ModelServers
from tests.chaos.schedule import SERVED, Event
from tests.chaos.world import POLL_S, World
from tests.faults.test_signals import handles_signals

_SLICE_S, _PERIOD_S = 0.005, 0.1
"""A starved process runs for a twentieth of the time, as under a CPU limit."""
_ROOM_BYTES: Final = 64 << 10
"""Memory that a limited process may still take."""
_LEFT_BYTES: Final = 256 << 10
"""Room that a full disk still has."""


class Fault:
    """One fault of a run."""

    def __init__(self, world: World, event: Event, servers: ModelServers) -> None:
        self.world, self.event, self.servers = world, event, servers

    async def start(self) -> bool:
        """Begin, and return whether there was something to hit."""
        raise NotImplementedError

    async def undo(self) -> None:
        """End what lasts; called after a fault that hit, whatever has happened since."""


class Kill(Fault):
    """SIGKILL for a process, or for all at once."""

    async def start(self) -> bool:
        if self.event.target == "everything":
            return sum(_send(pid, signal.SIGKILL) for pid in self.world.processes("everything")) > 0
        pid = await self.world.find(self.event.target, self.event.choice)
        return pid is not None and _send(pid, signal.SIGKILL)


class Terminate(Fault):
    """SIGTERM for a role, as from a confused administrator; it drains and is replaced."""

    async def start(self) -> bool:
        pid = await self.world.find(self.event.target, self.event.choice)
        return pid is not None and _send(pid, signal.SIGTERM)


class Stop(Fault):
    """SIGSTOP, and SIGCONT at the end."""

    pid: int

    async def start(self) -> bool:
        pid = await self.world.find(self.event.target, self.event.choice)
        self.pid = pid or 0
        return pid is not None and _send(pid, signal.SIGSTOP)

    async def undo(self) -> None:
        _send(self.pid, signal.SIGCONT)


class Starve(Stop):
    """A twentieth of a CPU."""

    async def start(self) -> bool:
        if not await super().start():
            return False
        with trio.move_on_after(self.event.lasting_s):
            while _send(self.pid, signal.SIGCONT):
                await trio.sleep(_SLICE_S)
                _send(self.pid, signal.SIGSTOP)
                await trio.sleep(_PERIOD_S - _SLICE_S)
        return True


class Limit(Fault):
    """A limit of the system, just above what the process uses."""

    number: int
    pid: int
    before: tuple[int, int]

    def used(self, pid: int) -> int:
        """Return the limit that leaves next to nothing."""
        raise NotImplementedError

    async def start(self) -> bool:
        pid = await self.world.find(self.event.target, self.event.choice)
        if pid is None:
            return False
        self.pid = pid
        with suppress(OSError):
            used = self.used(pid)
            self.before = resource.prlimit(pid, self.number)
            resource.prlimit(pid, self.number, (used, self.before[1]))
            return True
        return False

    async def undo(self) -> None:
        with suppress(OSError):  # the process has ended
            resource.prlimit(self.pid, self.number, self.before)


class LimitMemory(Limit):
    """Memory: what needs more of it than is free in the process fails."""

    number = resource.RLIMIT_AS

    def used(self, pid: int) -> int:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + _ROOM_BYTES


class LimitDescriptors(Limit):
    """Descriptors: nothing can be opened."""

    number = resource.RLIMIT_NOFILE

    def used(self, pid: int) -> int:
        open_now = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
        return min(set(range(len(open_now) + 1)) - open_now)  # the lowest free one, which the next to be opened gets


class Signal(Fault):
    """A signal to stop for the command, once or twice."""

    async def start(self) -> bool:
        pid = await self.world.find("command", 0.0)
        while pid is not None and not handles_signals(pid):
            await trio.sleep(POLL_S)
            pid = next(iter(self.world.processes("command")), None)
        if pid is None:
            return False
        number = signal.Signals[f"SIG{self.event.target}"]
        has_hit = _send(pid, number)
        if self.event.kind.endswith("twice"):
            await trio.sleep(self.event.choice)
            _send(pid, number)
        return has_hit


class FillDisk(Fault):
    """A file that leaves next to no room."""

    async def start(self) -> bool:
        disk = os.statvfs(self.world.folder / "disk")
        size = disk.f_bavail * disk.f_frsize - _LEFT_BYTES
        with suppress(OSError), self._ballast.open("xb") as file:
            os.posix_fallocate(file.fileno(), 0, max(size, 1))
            return True
        return False

    @property
    def _ballast(self) -> Path:
        return self.world.folder / "disk" / "ballast"

    async def undo(self) -> None:
        self._ballast.unlink(missing_ok=True)


class UseUpInodes(Fault):
    """Empty files, until there can be no more."""

    async def start(self) -> bool:
        self._folder.mkdir(exist_ok=True)
        with suppress(OSError):
            for number in range(100_000):
                (self._folder / f"{number}").touch()
        return True

    @property
    def _folder(self) -> Path:
        return self.world.folder / "disk" / "ballast.d"

    async def undo(self) -> None:
        with suppress(OSError):
            for entry in os.scandir(self._folder):
                os.unlink(entry.path)  # noqa: PTH108 - thousands
            self._folder.rmdir()


class RemountReadOnly(Fault):
    """The disk of the pictures, which its writers leave for a moment now and then."""

    async def start(self) -> bool:
        with trio.move_on_after(2.0):
            while self._remount("ro"):
                await trio.sleep(POLL_S)
            return True
        return False

    async def undo(self) -> None:
        self._remount("rw")

    def _remount(self, mode: str) -> int:
        command = ["mount", "-o", f"remount,{mode}", str(self.world.pictures)]
        return subprocess.run(command, check=False, capture_output=True).returncode


class StepClock(Fault):
    """Another time of day."""

    async def start(self) -> bool:
        if self.world.has_clock:
            self.world.step_clock(int(self.event.target))
        return self.world.has_clock

    async def undo(self) -> None:
        self.world.step_clock(0)


class BadDay(Fault):
    """A server in a bad mood."""

    async def start(self) -> bool:
        self.servers.by_name[self.event.target].mood = self.event.kind
        return True

    async def undo(self) -> None:
        self.servers.by_name[self.event.target].mood = ""


class DamagePictures(Fault):
    """Some of the pictures that the store has now."""

    def damage(self, path: Path) -> None:
        """Damage one file."""
        raise NotImplementedError

    async def start(self) -> bool:
        chance = random.Random(self.event.choice)
        stored = sorted(self.world.blobs.glob("sha256/*/*/*"))
        chosen = chance.sample(stored, min(int(self.event.target), len(stored)))
        for path in chosen:
            with suppress(OSError):  # it is gone by now, or its disk is read-only
                self.damage(path)
                self.world.damaged.add(path.name)
        return bool(self.world.damaged.intersection(path.name for path in chosen))


class Vanish(DamagePictures):
    """They are gone."""

    def damage(self, path: Path) -> None:
        path.unlink()


class Flip(DamagePictures):
    """One bit of each is another one."""

    def damage(self, path: Path) -> None:
        with path.open("r+b") as file:
            data = file.read()
            file.seek(len(data) // 2)
            file.write(bytes((data[len(data) // 2] ^ 1,)))


def _send(pid: int, number: signal.Signals) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


_FAULTS: Final[dict[str, Callable[[World, Event, ModelServers], Fault]]] = {
    "kill a role": Kill,
    "kill a router": Kill,
    "kill the parent of all roles": Kill,
    "kill the picture server": Kill,
    "kill the command": Kill,
    "kill everything at once": Kill,
    "stop a role": Stop,
    "stop another process": Stop,
    "starve a process of CPU": Starve,
    "limit the memory of a role": LimitMemory,
    "use up the descriptors of a role": LimitDescriptors,
    "signal the command": Signal,
    "signal the command twice": Signal,
    "terminate a role": Terminate,
    "fill the disk": FillDisk,
    "use up the inodes of the disk": UseUpInodes,
    "remount the pictures read-only": RemountReadOnly,
    "step the clock": StepClock,
    "pictures vanish": Vanish,
    "pictures flip": Flip,
}


def fault_of(world: World, event: Event, servers: ModelServers) -> Fault:
    """Return the fault of an event."""
    make = BadDay if event.target in SERVED else _FAULTS[event.kind]
    return make(world, event, servers)
