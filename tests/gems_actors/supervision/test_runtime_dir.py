"""What a mesh claims on its host, and releases."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from gems_actors.config import MeshConfig, RouterConfig, SecurityConfig
from gems_actors.errors import AddressInUseError, ConfigError
from gems_actors.security.keys import make_mesh_keys
from gems_actors.supervision.runtime_dir import check_platform, claim_runtime_dir, open_private_folder
from gems_actors.supervision.supervisor import open_agent, open_supervisor


def _config_at(folder: Path) -> MeshConfig:
    return MeshConfig(router=RouterConfig(runtime_dir=str(folder)))


def test_a_temporary_folder_is_private_and_removed_at_the_end() -> None:
    with open_private_folder(MeshConfig()) as config:
        folder = config.runtime_path
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert config.data_path.parent == folder
        (folder / "router.ipc").touch()
    assert not folder.exists()


def test_a_configured_data_folder_is_kept(tmp_path: Path) -> None:
    with open_private_folder(MeshConfig(data_dir=str(tmp_path))) as config:
        assert config.data_path == tmp_path
    assert tmp_path.exists()


def test_a_claimed_directory_is_private_and_names_its_holder(tmp_path: Path) -> None:
    with claim_runtime_dir(_config_at(tmp_path / "run")):
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
        assert (tmp_path / "run" / "mesh.lock").read_text() == f"{os.getpid()}\n"


def test_a_directory_can_be_claimed_by_one_mesh_at_a_time(tmp_path: Path) -> None:
    config = _config_at(tmp_path)
    with claim_runtime_dir(config), pytest.raises(AddressInUseError, match=f"held by process {os.getpid()}$"):
        claim_runtime_dir(config).__enter__()
    with claim_runtime_dir(config):
        pass


def test_unusable_keys_are_reported_before_the_router_starts(tmp_path: Path) -> None:
    make_mesh_keys(tmp_path / "keys")
    (tmp_path / "keys" / "allowed.toml").write_text("[unknown]")
    config = MeshConfig(
        router=RouterConfig(runtime_dir=str(tmp_path), address="tcp://127.0.0.1:5555"),
        security=SecurityConfig(
            key=str(tmp_path / "keys" / "router.key"), allowed=str(tmp_path / "keys" / "allowed.toml")
        ),
    )
    with pytest.raises(ConfigError, match=r"allowed\.toml: expected tables"):
        claim_runtime_dir(config).__enter__()


@pytest.mark.parametrize("platform", ["darwin", "freebsd14"])
async def test_a_mesh_is_refused_on_other_systems_than_linux(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_platform()
    monkeypatch.setattr(sys, "platform", platform)
    refused = f"^expected Linux to run processes of a mesh, got {platform}; use a container or a VM$"
    with pytest.raises(ConfigError, match=refused):
        async with open_supervisor(MeshConfig()):
            pass
    with pytest.raises(ConfigError, match=refused):
        async with open_agent(MeshConfig(), "tcp://127.0.0.1:9", "host"):
            pass
