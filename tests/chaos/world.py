"""A folder with a bulk in it: its disks, its clock, its command, and the processes that belong to it."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import trio

from tests.chaos.schedule import ROLES, Shape
from tests.gems_actors.cli.commands import COMMAND, environment
from tests.processes import descendants

POLL_S: Final = 0.02
MARK: Final = "CHAOS_FOLDER"
"""Variable by which every process of a run is found, also after its parent has ended."""
DISK_MIB, PICTURES_MIB, MAX_INODES = 96, 64, 6_000
ROUNDS: Final = 3
_FIND_S: Final = 4.0
"""How long a fault waits for a process that is about to be started."""


class World:
    """The folder of one run; made by `open_world`."""

    def __init__(self, folder: Path, shape: Shape, settings: tuple[str, ...], *, has_disks: bool) -> None:
        self.folder, self.shape, self.has_disks = folder, shape, has_disks
        self.out, self.pictures, self.temporary = folder / "disk/out", folder / "pictures", folder / "tmp"
        self.process: subprocess.Popen[bytes] | None = None
        self.clock = folder / "clock"
        """File with the seconds by which the clock of the processes is off."""
        self._clock_library = shutil.which("cc") and compile_clock(folder)
        self.active: list[str] = []
        """Kinds of the faults that last."""
        self.met: set[str] = set()
        """Kinds of the faults that the present process of the command has met."""
        self.damaged: set[str] = set()
        """Digests of the pictures that vanished or flipped."""
        self._settings = settings

    @property
    def has_clock(self) -> bool:
        """Whether the clock can be stepped: a C compiler was found."""
        return self._clock_library is not None

    def step_clock(self, offset_s: int) -> None:
        """Set by how many seconds the clock of all processes is off."""
        with self.clock.open("r+b") as file:
            file.write(struct.pack("l", offset_s))

    @property
    def data(self) -> Path:
        """Folder of memory."""
        return self.out / ".mesh"

    @property
    def blobs(self) -> Path:
        """Folder of the pictures."""
        return self.pictures / "blobs" if self.shape.store == "own disk" else self.data / "blobs"

    @property
    def log(self) -> Path:
        """What the command prints."""
        return self.folder / "command.log"

    def last_line(self) -> str:
        """Return the last line that the command has written."""
        lines = self.log.read_text(errors="replace").splitlines()
        return lines[-1] if lines else ""

    def environment(self) -> dict[str, str]:
        """Return the environment of the command."""
        more = {MARK: str(self.folder), "TMPDIR": str(self.temporary), "NO_PROXY": "127.0.0.1"}
        if self.has_clock:
            more |= {"LD_PRELOAD": str(self._clock_library), "CHAOS_CLOCK": str(self.clock)}
        return environment(self.folder, **more)

    def command(self) -> list[str]:
        """Return the command that a user repeats."""
        words = [*COMMAND, "bulk", "tasks.txt", "--out", "disk/out", "--rounds", f"{ROUNDS}"]
        words += ["--concurrency", f"{self.shape.concurrency}"]
        settings = ["draw.width_px=128", "draw.height_px=128", *self.shape.settings(), *self._settings]
        if self.shape.store == "own disk":
            settings.append(f'blobs="file://{self.blobs}"')
        return [*words, *(word for setting in settings for word in ("--set", setting))]

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Start the command; at the end of the block it is killed if it still runs."""
        self.met = set(self.active)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.process = process
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def rows(self) -> int:
        """Return how many rows the dataset has now."""
        with suppress(OSError):
            return (self.out / "dataset/metadata.jsonl").read_bytes().count(b"\n")
        return 0

    def processes(self, target: str) -> list[int]:
        """Return the running processes of a role or a server, the command, or everything that belongs to it."""
        if self.process is None or self.process.poll() is not None:
            return []
        if target == "command":
            return [self.process.pid]
        family = descendants(self.process.pid)
        if target == "everything":
            return [self.process.pid, *family]
        name = f"gems-{target}"[:15]
        return sorted(pid for pid, called in family.items() if called.startswith(name))

    async def find(self, target: str, choice: float) -> int | None:
        """Return one process of a role, waiting for one that is about to be started; None if there is none."""
        with trio.move_on_after(_FIND_S):
            while True:
                if found := self.processes(target):
                    return found[min(int(choice * len(found)), len(found) - 1)]
                await trio.sleep(POLL_S)
        return None

    def family(self) -> dict[int, str]:
        """Return all live processes of this run with their names, found by their environment."""
        mark, found = f"{MARK}={self.folder}\0".encode(), {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (entry / "environ").read_bytes() + b"\0":
                    found[int(entry.name)] = (entry / "comm").read_text().strip()
        return found

    async def await_end(self, within_s: float) -> dict[int, str]:
        """Wait until no process of this run is left, and return those that are left in the end."""
        with trio.move_on_after(within_s):
            while self.family():
                await trio.sleep(POLL_S)
        return self.family()

    def kill_all(self) -> None:
        """Kill what is left of the run."""
        for pid in self.family():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Sizes:
    """The largest processes that were seen, by name."""

    def __init__(self) -> None:
        self.mib: dict[str, float] = {}
        self.descriptors: dict[str, int] = {}

    async def watch(self, world: World) -> None:
        """Look at all processes from time to time until cancelled."""
        page = os.sysconf("SC_PAGE_SIZE")
        while True:
            for name in (*ROLES, "router", "zygote", "blobs", "command"):
                for pid in world.processes(name):
                    with suppress(OSError):  # it has ended
                        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page / 2**20
                        self.mib[name] = max(self.mib.get(name, 0.0), resident)
                        count = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
                        self.descriptors[name] = max(self.descriptors.get(name, 0), count)
            await trio.sleep(0.5)


@contextmanager
def open_world(folder: Path, shape: Shape, tasks: str, settings: tuple[str, ...], *, mounts: bool) -> Iterator[World]:
    """Prepare a folder for a run; its disks are unmounted at the end. Mounts need a namespace for this process."""
    world = World(folder, shape, settings, has_disks=mounts)
    with ExitStack() as stack:
        for name in ("disk", "pictures", "tmp", "state"):
            (folder / name).mkdir()
        if mounts:
            mount(stack, folder / "disk", f"size={DISK_MIB}m,nr_inodes={MAX_INODES}" if shape.has_small_disk else "")
            mount(stack, world.pictures, f"size={PICTURES_MIB}m")
        (folder / "tasks.txt").write_text(tasks)
        world.clock.write_bytes(bytes(struct.calcsize("l")))
        yield world


def compile_clock(folder: Path) -> Path:
    """Return the library that steps the clock."""
    library = folder / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, Path(__file__).with_name("clock.c")], check=True)
    return library


def mount(stack: ExitStack, folder: Path, options: str) -> None:
    """Mount a disk in memory until the stack ends; without options, leave the folder on the disk that it is on."""
    if options:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
        stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=False)


def keep_for_a_look(world: World, target: Path) -> None:
    """Copy a folder before its disks are unmounted."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(world.folder, target, ignore=shutil.ignore_patterns("*.ipc", "*.sock", "ballast*"), symlinks=True,
                    ignore_dangling_symlinks=True)  # fmt: skip


def python_environment() -> Mapping[str, str]:
    """Return the environment of a process of this tool."""
    return {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", str(Path(__file__).parents[2]))}
