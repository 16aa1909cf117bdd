"""Another user of the same host: what meshes and commands create tells nothing to anybody else.

The tests create files as root with the usual umask of 022, and look at them as `nobody`.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import rmtree

import pytest

from tests.gems_actors.cli.commands import COMMAND, environment, run_gems, running_mesh
from tests.processes import started

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")]

NOBODY = 65_534
SECRET = "verysecretfox"


@dataclass(frozen=True)
class Seen:
    """What a user can read, connect to, and see in `ps` and `/proc`."""

    read: list[str]
    connected: list[str]
    processes: str


def look(folder: Path) -> Seen:
    read, connected, processes = [], [], ""
    for parent, _, files in os.walk(folder):
        for name in files:
            path = f"{parent}/{name}"
            with suppress(OSError), Path(path).open("rb"):
                read.append(path)
            with suppress(OSError), socket.socket(socket.AF_UNIX) as peer:
                peer.connect(path)
                connected.append(path)
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ", "comm"):
            with suppress(OSError):
                processes += (process / name).read_text(errors="replace")
    return Seen(read, connected, processes)


def look_as_nobody(folder: Path) -> Seen:
    """Look in a fork, because another user may not be able to run this interpreter."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.write(writer, json.dumps(asdict(look(folder))).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        seen = Seen(**json.loads(file.read()))
    os.waitpid(pid, 0)
    return seen


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter and list."""
    path = Path(tempfile.mkdtemp(prefix="gems-open-", dir="/tmp"))
    path.chmod(0o755)
    before = os.umask(0o022)
    yield path
    os.umask(before)
    rmtree(path)


def test_another_user_reads_no_file_opens_no_socket_and_sees_no_prompt_in_ps(folder: Path) -> None:
    (folder / "tasks.txt").write_text(f"a {SECRET}\n")
    (folder / "tasks.txt").chmod(0o600)
    settings = ("--set", f"data_dir={folder}/data", "--set", f"chat.record={folder}/chat.jsonl")
    router = ("--router", f"ipc://{folder}/gems-actors/router.ipc", "--set", f"data_dir={folder}/data")
    with running_mesh(folder, *settings) as mesh:
        commands = [
            ("draw", f"a {SECRET}", "-o", "fox.png", *router),
            ("draw", f"a {SECRET}", "-o", "own/mesh.png", "--set", f"chat.record={folder}/own.jsonl"),
            ("bulk", "tasks.txt", "--out", "out", "--limit", "1"),
            ("memory", "export", "-o", "export.jsonl", "--data", "data"),
            ("keys", "new", "keys"),
        ]
        for words in commands:
            done = run_gems(folder, *words)
            assert done.returncode == 0, done.stderr
        assert run_gems(folder, "scale", "planner=0").returncode == 0
        with started([*COMMAND, "draw", f"a {SECRET}", "--negative", SECRET, *router], cwd=folder,
                     env=environment(folder, GEMS_TEST=SECRET), stderr=subprocess.PIPE) as waiting:  # fmt: skip
            assert waiting.stderr is not None
            assert "seed" in waiting.stderr.readline()
            found = look_as_nobody(folder)
            assert "gems draw" in found.processes
            waiting.kill()
            waiting.communicate()
        mesh.terminate()
        mesh.communicate()
    assert (folder / "fox.png").exists()
    assert (folder / "chat.jsonl").exists()
    assert found.read == []
    assert found.connected == []
    assert SECRET not in found.processes


def test_the_group_reads_and_writes_what_is_shared_with_it_and_others_nothing(folder: Path) -> None:
    (folder / "tasks.txt").write_text("a red fox\n")
    shared = ("--set", "access=group")
    assert run_gems(folder, "draw", "a fox", "-o", "new/fox.png", *shared).returncode == 0
    drawn = run_gems(folder, "bulk", "tasks.txt", "--out", "out", *shared)
    assert drawn.returncode == 0, drawn.stderr
    assert run_gems(folder, "bulk", "report", "out").returncode == 0
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [*folder.glob("new/**/*"), *folder.glob("out/**/*")]}
    assert modes[folder / "out/report.html"] == 0o660
    assert modes[folder / "out/.mesh/memory"] == 0o770
    private = {"lock", ".log", ".db", "-wal", "-shm"}
    for path, mode in modes.items():
        assert not mode & 0o007, path
        assert mode & 0o060 == 0o060 or any(path.name.endswith(ending) for ending in private), path
