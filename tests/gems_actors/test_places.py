"""What a mesh has to itself on its host, and gives back."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gems_actors.config import MeshConfig, RouterConfig
from gems_actors.errors import AddressInUseError
from gems_actors.places import claim_places, open_private_folder


def _config_at(folder: Path) -> MeshConfig:
    return MeshConfig(router=RouterConfig(runtime_dir=str(folder)))


def test_a_private_folder_is_ours_alone_and_removed_in_the_end() -> None:
    with open_private_folder(MeshConfig()) as config:
        folder = config.runtime_path
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert config.data_path.parent == folder
        (folder / "router.ipc").touch()
    assert not folder.exists()


def test_a_data_folder_that_is_set_stays_where_it_is(tmp_path: Path) -> None:
    with open_private_folder(MeshConfig(data_dir=str(tmp_path))) as config:
        assert config.data_path == tmp_path
    assert tmp_path.exists()


def test_a_claimed_folder_is_private_and_names_its_holder(tmp_path: Path) -> None:
    with claim_places(_config_at(tmp_path / "run")):
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
        assert (tmp_path / "run" / "mesh.lock").read_text() == f"{os.getpid()}\n"


def test_a_folder_can_be_claimed_again_once_it_is_given_back_and_not_before(tmp_path: Path) -> None:
    config = _config_at(tmp_path)
    with claim_places(config), pytest.raises(AddressInUseError, match=f"held by process {os.getpid()}$"):
        claim_places(config).__enter__()
    with claim_places(config):
        pass
