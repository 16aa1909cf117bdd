"""What the doctor finds."""

from __future__ import annotations

import json
from pathlib import Path

from gems_actors.cli.doctor import file_system_of
from tests.gems_actors.cli.commands import run_gems


def test_the_file_system_is_that_of_the_deepest_mount() -> None:
    mounts = ["/dev/a / ext4 rw 0 0", "host:/x /home nfs4 rw 0 0", "/dev/b /home/my\\040disk xfs rw 0 0"]
    assert file_system_of(Path("/var/lib"), mounts) == "ext4"
    assert file_system_of(Path("/home/me"), mounts) == "nfs4"
    assert file_system_of(Path("/home/my disk/data"), mounts) == "xfs"
    assert file_system_of(Path("/homestead"), mounts) == "ext4"


def test_a_sound_installation_has_no_failure(tmp_path: Path) -> None:
    done = run_gems(tmp_path, "doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert (done.returncode, done.stderr) == (0, "")
    assert {finding["state"] for finding in findings.values()} <= {"ok", "warn"}
    assert {"Python", "SQLite", "ZeroMQ", "configuration", "data folder", "data disk", "mesh"} <= findings.keys()


def test_what_is_wrong_is_said_with_what_to_do(tmp_path: Path) -> None:
    done = run_gems(tmp_path, "doctor", "--set", "data_dir=/dev/null/data")
    assert done.returncode == 1
    line = next(line for line in done.stdout.splitlines() if line.startswith("fail  data folder"))
    assert line.endswith("choose another with --set data_dir=FOLDER")
    assert done.stderr.count("\n") == 1
