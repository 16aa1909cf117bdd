"""Disks on which memory cannot work: full, read-only, in use by another mesh, or a network file system.

The disks are real, in a mount namespace. A draw reports each in one line, and what was stored before is kept.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import environment

GEMS = (sys.executable, "-P", "-m", "gems_actors.cli")
CAN_MOUNT = subprocess.run(("unshare", "-rm", "true"), check=False, capture_output=True).returncode == 0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CAN_MOUNT, reason="this host does not allow mounts in a user namespace"),
]

FILL = """
import sys
from pathlib import Path
from actors.memory_store.store import open_memory_store
from actors.memory_store.maintenance import check_log
from gems_actors.errors import LogError
from protocol.identity import trajectory_id
from protocol.messages import PromptPlanned

folder, reserve = Path(sys.argv[1]), int(sys.argv[2])

def planned(number):
    return PromptPlanned(trajectory=trajectory_id("run", number, 0), prompt="x" * 30_000)

(folder / "ballast").write_bytes(bytes(8 << 20))
with open_memory_store(folder / "memory") as store:
    store.live.min_free_bytes = reserve
    number = 0
    try:
        while True:
            store.append([planned(number + n) for n in range(20)])
            number += 20
    except LogError as error:
        print(error)
    assert store.last == number
    (folder / "ballast").unlink()
    assert store.append([planned(number)]) == [(number + 1, True)]
found = check_log(folder / "memory")
print(found.records == number + 1, found.problems, found.notes)
"""


def on_disk(options: str, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a tmpfs mounted at a folder."""
    mount = 'mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@"'
    return subprocess.run(
        ("unshare", "-rm", "sh", "-c", mount, "sh", options, str(folder), *command),
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=120,
    )


def draw(folder: Path, data: Path) -> tuple[str, ...]:
    return (*GEMS, "draw", "a red fox", "--set", f"data_dir={data}", "-o", str(folder / "fox.png"))


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("reserve", "words"),
    [
        (32 << 20, r"expected at least 32 MiB free on its disk, got \d+\.\d; nothing was written"),
        (0, r"expected to append \d+ bytes: No space left on device; make room on its disk"),
    ],
    ids=["nearly full", "full in the middle of a commit"],
)
def test_a_full_disk_fails_the_commit_and_keeps_the_log_intact(disk: Path, reserve: int, words: str) -> None:
    size = "size=56m" if reserve else "size=24m"
    done = on_disk(size, disk, sys.executable, "-P", "-c", FILL, str(disk), str(reserve))
    assert done.returncode == 0, done.stderr
    refused, checked = done.stdout.splitlines()
    assert re.fullmatch(rf"{disk}/memory/log: {words}", refused)
    assert checked == "True [] []"


def test_a_draw_on_a_full_disk_reports_it(tmp_path: Path, disk: Path) -> None:
    done = on_disk("size=20m", disk, *draw(tmp_path, disk / "data"))
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"gems: {disk}/data/memory/log: expected at least 32 MiB free on its disk, got ")


def test_a_draw_on_a_read_only_disk_reports_it(tmp_path: Path, disk: Path) -> None:
    done = on_disk("ro", disk, *draw(tmp_path, disk / "data"))
    assert done.returncode == 78
    assert "Read-only file system" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="this kernel has no FUSE to serve a file system with")
def test_a_draw_on_a_network_file_system_reports_it(tmp_path: Path, disk: Path) -> None:
    foreign = (sys.executable, "-m", "tests.faults.foreign_mount", str(disk), "fuse.sshfs")
    done = subprocess.run(
        ("unshare", "-rm", *foreign, *draw(tmp_path, disk / "data")),
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=120,
    )
    assert done.returncode == 78, done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"gems: memory: {disk}/data/memory: expected a folder on a local disk for memory, got one on fuse.sshfs; "
        "set data_dir"
    )


def bulk(folder: Path, out: Path, tasks: int = 60) -> tuple[str, ...]:
    file = folder / "tasks.txt"
    file.write_text("".join(f"a red fox number {number}\n" for number in range(tasks)))
    return (*GEMS, "bulk", str(file), "--out", str(out))


def in_steps(script: str, folder: Path, *command: str) -> tuple[str, ...]:
    """Return a command of bash for a script in which `disk` and `gems` are the folder and the command."""
    return ("bash", "-c", f'disk=$1; shift; gems() {{ "${{drawing[@]}}"; }}; drawing=("$@"); {script}', "sh",
            str(folder), *command)  # fmt: skip


def test_a_bulk_whose_disk_has_no_inodes_left_says_so(tmp_path: Path, disk: Path) -> None:
    done = on_disk("nr_inodes=100", disk, *bulk(tmp_path, disk / "out"))
    assert done.returncode == 75
    last = done.stderr.splitlines()[-1]
    assert re.match(r"gems: /\S+: expected .* its disk has room but no inodes left: .* \(see `df -i`\)", last)
    assert "internal error" not in done.stderr


@pytest.mark.parametrize("command", ["draw", "bulk", "keys", "up"])
def test_a_command_on_a_disk_without_inodes_says_so(tmp_path: Path, disk: Path, command: str) -> None:
    words = {
        "draw": draw(disk / "new", tmp_path / "data"),
        "bulk": bulk(tmp_path, disk / "out"),
        "keys": (*GEMS, "keys", "new", str(disk / "a/b")),
        "up": (*GEMS, "up", "--set", f"data_dir={tmp_path}", "--set", f"router.runtime_dir={disk}/a/b"),
    }[command]
    done = on_disk("nr_inodes=2", disk, *words)
    assert done.returncode == (78 if command == "up" else 2)
    assert done.stderr.count("\n") == 1
    assert "no inodes left" in done.stderr


def test_a_bulk_whose_memory_has_no_room_stops_and_the_same_command_continues(tmp_path: Path, disk: Path) -> None:
    script = (
        "head -c 3M /dev/zero > $disk/ballast; gems; echo first $?; rm $disk/ballast; mount -o remount,size=200m $disk;"
        " gems; echo second $?; cat $disk/out/failed.jsonl"
    )
    done = on_disk("size=37m", disk, *in_steps(script, disk, *bulk(tmp_path, disk / "out")))
    assert done.stdout.splitlines() == ["first 75", "second 0"], done.stderr
    assert re.search(
        r"gems: \S+/log: expected at least 32 MiB free on its disk, got .* left; the same command", done.stderr
    )


def test_a_bulk_whose_dataset_has_no_room_stops_and_the_same_command_continues(tmp_path: Path, disk: Path) -> None:
    """Memory and store are on another disk; what fills is the one of the dataset, at some picture or row."""
    elsewhere = ("--set", f'blobs="file://{tmp_path}/blobs"')
    script = (
        f"mkdir -p $disk/out {tmp_path}/mesh; ln -s {tmp_path}/mesh $disk/out/.mesh; gems; echo first $?;"
        " mount -o remount,size=200m $disk; gems; echo second $?; cat $disk/out/failed.jsonl"
    )
    done = on_disk("size=600k", disk, *in_steps(script, disk, *bulk(tmp_path, disk / "out"), *elsewhere))
    assert done.stdout.splitlines() == ["first 75", "second 0"], done.stderr
    assert re.search(r"^gems: .*No space left on device|^gems: .*the disk is full", done.stderr, re.MULTILINE)


def test_a_bulk_whose_pictures_are_on_a_disk_that_becomes_read_only_stops(tmp_path: Path, disk: Path) -> None:
    words = (*bulk(tmp_path, tmp_path / "out"), "--set", f'blobs="file://{disk}/blobs"')
    watch = "until ls $disk/blobs/sha256/*/*/* && mount -o remount,ro $disk; do sleep 0.05; done"
    script = f"({watch}) >/dev/null 2>&1 & gems; echo $?"
    done = on_disk("size=200m", disk, *in_steps(script, disk, *words))
    assert done.stdout == "75\n", done.stderr
    assert re.search(
        r"^gems: /\S+: expected .*Read-only file system; mount its disk writable", done.stderr, re.MULTILINE
    )
    assert not (tmp_path / "out/failed.jsonl").read_bytes()


def test_a_bulk_whose_folder_is_removed_while_it_runs_stops_and_says_so(tmp_path: Path, disk: Path) -> None:
    script = (
        "(until ls $disk/out/dataset/images/*/*; do sleep 0.05; done; rm -rf $disk/out) >/dev/null 2>&1 & gems; echo $?"
    )
    done = on_disk("size=200m", disk, *in_steps(script, disk, *bulk(tmp_path, disk / "out")))
    assert done.stdout in ("1\n", "75\n"), done.stderr
    assert re.search(r"^gems: /\S+: expected .* removed", done.stderr, re.MULTILINE)
    assert "internal error" not in done.stderr


def test_a_second_mesh_on_the_same_memory_names_the_process_that_holds_it(tmp_path: Path) -> None:
    first = subprocess.Popen(
        (*GEMS, "up", "--set", f"data_dir={tmp_path}/data", "--set", f"router.runtime_dir={tmp_path}/run"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(),
    )
    try:
        assert first.stdout is not None
        assert "mesh ready" in first.stdout.readline()
        second = subprocess.run(
            draw(tmp_path, tmp_path / "data"), check=False, capture_output=True, text=True, env=environment()
        )
        assert second.returncode == 78
        assert re.fullmatch(
            rf"gems: memory: {tmp_path}/data/memory: expected a log that no process writes, "
            r"got one held by process \d+",
            second.stderr.splitlines()[-1],
        )
    finally:
        first.terminate()
        first.communicate()
