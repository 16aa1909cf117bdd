"""Running commands are found by their locks, and the files of killed ones are removed."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from gems_actors.app.run_registry import RegistryEntry, live_entries, registered

ENTRY = RegistryEntry(address="ipc:///tmp/router.ipc", run="bulk-1", what="prompts.txt", total=3, folder="/tmp/out")


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The registry in a runtime folder of this test."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "gems-actors/runs"


def test_entries_are_listed_oldest_first_and_removed_when_they_end(runtime: Path) -> None:
    later = RegistryEntry(address="ipc:///tmp/other.ipc", what="x" * 1000)
    with registered(later), registered(RegistryEntry(address="a", began_at=1.0)):
        assert [entry.address for entry in live_entries()] == ["a", later.address]
        assert live_entries()[1].what == "x" * 200
        assert {path.stat().st_mode & 0o777 for path in (runtime, *runtime.iterdir())} == {0o700, 0o600}
    assert live_entries() == []
    assert list(runtime.iterdir()) == []


@pytest.mark.slow
def test_the_entry_of_a_killed_command_is_removed(runtime: Path) -> None:
    code = (
        "import os, signal; from gems_actors.app.run_registry import RegistryEntry, registered\n"
        "with registered(RegistryEntry(address='a')):\n    print('listed', flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert [entry.address for entry in live_entries()] == ["a"]
        process.kill()
    assert len(list(runtime.iterdir())) == 1
    assert live_entries() == []
    assert list(runtime.iterdir()) == []


def test_a_command_runs_without_a_registry(runtime: Path) -> None:
    runtime.parent.write_text("no folder")
    with registered(ENTRY):
        assert live_entries() == []


def test_a_command_runs_when_the_disk_is_full(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.write", write)
    with registered(ENTRY):
        assert list(runtime.iterdir()) == []


def test_an_entry_of_another_version_is_ignored(runtime: Path) -> None:
    with registered(ENTRY):
        (path,) = runtime.iterdir()
        content = path.read_bytes()
        path.write_bytes(b'{"nonsense": 1}')
        assert live_entries() == []
        path.write_bytes(content)
        assert live_entries() == [ENTRY]
    assert list(runtime.iterdir()) == []
