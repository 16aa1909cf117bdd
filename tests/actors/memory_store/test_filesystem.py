"""Network file systems are refused, local ones accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.memory_store.filesystem import check_local, kind_of_mount
from gems_actors.errors import ConfigError

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /home rw shared:5 - nfs4 server:/export/home rw,vers=4.2
31 30 0:27 / /home/local rw shared:6 - xfs /dev/nvme0n1 rw
32 22 0:28 / /data rw master:3 shared:7 - ext4 /dev/vdb rw
33 32 0:29 / /data rw - lustre mds@tcp:/scratch rw
34 22 0:30 / /with\\040space rw - fuse.sshfs host:/ rw
35 22 0:31 / /homes rw - tmpfs tmpfs rw
not a line of the table
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/srv/gems", "ext4"),
        ("/home", "nfs4"),
        ("/home/ada/gems", "nfs4"),
        ("/home/local/gems", "xfs"),
        ("/homes/ada", "tmpfs"),
        ("/data/gems", "lustre"),
        ("/with space/gems", "fuse.sshfs"),
    ],
)
def test_the_innermost_and_latest_mount_of_a_path_counts(path: str, kind: str) -> None:
    assert kind_of_mount(path, MOUNTS) == kind


def mount_table(folder: Path, kind: str) -> Path:
    """Write a mount table in which everything is on one kind of file system."""
    path = folder / "mountinfo"
    path.write_text(f"22 1 254:0 / / rw - {kind} /dev/vda rw\n" if kind else "")
    return path


def test_a_local_folder_is_accepted(tmp_path: Path) -> None:
    check_local(tmp_path)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "lustre", "fuse.sshfs"])
def test_a_folder_on_a_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"{tmp_path}: expected a folder on a local disk for memory, got .* {kind}"):
        check_local(tmp_path, mount_table(tmp_path, kind))


@pytest.mark.parametrize("kind", ["ext4", "xfs", "overlay", "fuse.fuse-overlayfs", "fuseblk", ""])
def test_other_file_systems_are_accepted(tmp_path: Path, kind: str) -> None:
    check_local(tmp_path, mount_table(tmp_path, kind))


def test_a_system_without_a_mount_table_is_accepted(tmp_path: Path) -> None:
    check_local(tmp_path, tmp_path / "missing")
