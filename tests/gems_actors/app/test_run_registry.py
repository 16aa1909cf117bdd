"""What goes on is found by its lock, and what a killed command left is not."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from gems_actors.app.run_registry import Entry, listed, living

ENTRY = Entry(address="ipc:///tmp/router.ipc", run="bulk-1", what="prompts.txt", total=3, folder="/tmp/out")


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime folder of the test's own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "gems-actors/runs"


def test_what_goes_on_is_listed_the_oldest_first_and_gone_when_it_ends(runtime: Path) -> None:
    later = Entry(address="ipc:///tmp/other.ipc", what="x" * 1000)
    with listed(later), listed(Entry(address="a", began_at=1.0)):
        assert [entry.address for entry in living()] == ["a", later.address]
        assert living()[1].what == "x" * 200
        assert {path.stat().st_mode & 0o777 for path in (runtime, *runtime.iterdir())} == {0o700, 0o600}
    assert living() == []
    assert list(runtime.iterdir()) == []


def test_what_a_killed_command_left_is_no_entry_and_is_removed(runtime: Path) -> None:
    code = (
        "import os, signal; from gems_actors.app.run_registry import Entry, listed\n"
        "with listed(Entry(address='a')):\n    print('listed', flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert [entry.address for entry in living()] == ["a"]
        process.kill()
    assert len(list(runtime.iterdir())) == 1
    assert living() == []
    assert list(runtime.iterdir()) == []


def test_where_nothing_can_be_listed_the_work_goes_on(runtime: Path) -> None:
    runtime.parent.write_text("no folder")
    with listed(ENTRY):
        assert living() == []


def test_where_the_disk_is_full_the_work_goes_on(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.write", write)
    with listed(ENTRY):
        assert list(runtime.iterdir()) == []


def test_what_another_version_wrote_is_passed_over(runtime: Path) -> None:
    with listed(ENTRY):
        (path,) = runtime.iterdir()
        content = path.read_bytes()
        path.write_bytes(b'{"nonsense": 1}')
        assert living() == []
        path.write_bytes(content)
        assert living() == [ENTRY]
    assert list(runtime.iterdir()) == []
