"""The address file of a router is read as people and programs may have written it, and nothing else is waited for."""

from __future__ import annotations

from pathlib import Path

import pytest

from gems_actors.app.slurm.rendezvous import address_of, read_rendezvous
from gems_actors.errors import ConfigError
from tests.gems_actors.test_files import KINDS, make


def test_the_line_begins_with_the_address(tmp_path: Path) -> None:
    path = tmp_path / "router.address"
    assert read_rendezvous(path) == ""
    path.write_bytes(b"\xef\xbb\xbftcp://node01:27960 job 17\r\n")
    assert address_of(read_rendezvous(path)) == "tcp://node01:27960"


@pytest.mark.parametrize(("kind", "reason"), [item for item in KINDS.items() if item[0] != "missing"])
def test_what_is_not_a_file_is_refused_at_once(tmp_path: Path, kind: str, reason: str) -> None:
    path = make(tmp_path, kind)
    with pytest.raises(ConfigError) as caught:
        read_rendezvous(path)
    assert str(caught.value) == f"{path}: expected a file with the address of a router, got: {reason}"


@pytest.mark.parametrize(
    ("content", "got"), [(b"\xff\xfe", "bytes that are not UTF-8"), (b"node01:27960", "'node01:27960'")]
)
def test_another_content_is_refused(tmp_path: Path, content: bytes, got: str) -> None:
    path = tmp_path / "router.address"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"expected .*, got:? {got}"):
        read_rendezvous(path)
