"""What a mesh claims on its host, and releases."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from gems_actors.addresses import can_hold_sockets
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


def test_a_signal_while_a_temporary_folder_is_removed_leaves_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    remove, interruptions = os.rmdir, iter([KeyboardInterrupt])

    def remove_or_be_interrupted(*place: Any, **options: Any) -> None:
        for interruption in interruptions:
            raise interruption
        remove(*place, **options)

    with pytest.raises(KeyboardInterrupt), open_private_folder(MeshConfig()) as config:  # noqa: PT012
        (config.runtime_path / "further").mkdir()
        monkeypatch.setattr(os, "rmdir", remove_or_be_interrupted)
    assert not config.runtime_path.exists()


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


LONG = "scratch-" + "x" * 150


@pytest.mark.parametrize("name", [LONG, f"{LONG}/é 開", "two\nlines"], ids=["long", "long and not ASCII", "two lines"])
def test_sockets_have_a_short_private_folder_where_that_for_temporary_files_cannot_hold_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use_temporary_folder(tmp_path / name, monkeypatch)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with open_private_folder(MeshConfig(blobs="mesh:")) as config, claim_runtime_dir(config):
        folder = config.runtime_path
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert folder.stat().st_uid == os.getuid()
        assert can_hold_sockets(str(folder))
        assert config.data_path.is_relative_to(tmp_path / name), "data stays where temporary files belong"
        data = config.data_path.parent
    assert not folder.exists()
    assert not data.exists()


def test_a_short_runtime_folder_of_the_user_is_preferred_for_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="gems-", dir="/tmp") as short:
        _use_temporary_folder(Path(short) / LONG, monkeypatch)
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        with open_private_folder(MeshConfig()) as config:
            assert config.runtime_path.parent == Path(short)
        monkeypatch.setenv("XDG_RUNTIME_DIR", f"{short}/missing")
        with open_private_folder(MeshConfig()) as config:
            assert config.runtime_path.parent == Path("/tmp")


@pytest.mark.parametrize("name", ["two words", "Ünïcödé 開店", "with,comma"])
def test_other_folders_for_temporary_files_hold_sockets_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="gems-", dir="/tmp") as short:
        _use_temporary_folder(Path(short) / name, monkeypatch)
        with open_private_folder(MeshConfig()) as config, claim_runtime_dir(config):
            assert config.runtime_path.parent == Path(short) / name


def test_no_writable_folder_for_temporary_files_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")  # as the library remembers what it found
    monkeypatch.setenv("TMPDIR", "/proc/nowhere")
    with pytest.raises(
        ConfigError, match=r"^TMPDIR: expected a writable folder for temporary files, got /proc/nowhere: "
    ):
        open_private_folder(MeshConfig()).__enter__()


@pytest.mark.parametrize("folder", [f"/tmp/{LONG}", "relative/folder", "", "/tmp/two\nlines"])
def test_a_runtime_folder_that_cannot_hold_sockets_is_not_used(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    assert MeshConfig().runtime_path == Path(f"/tmp/gems-actors-{os.getuid()}/gems-actors")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert MeshConfig().runtime_path == Path("/run/user/7/gems-actors")


@pytest.mark.parametrize(
    ("length", "blobs", "is_short"), [(96, None, True), (97, None, False), (90, "mesh:", True), (91, "mesh:", False)]
)
def test_a_configured_folder_that_is_too_long_is_named_with_its_setting(
    length: int, blobs: str | None, is_short: bool
) -> None:
    with tempfile.TemporaryDirectory(prefix="gems-", dir="/tmp") as short:
        config = structs.replace(_config_at(Path(f"{short}/".ljust(length, "x"))), blobs=blobs)
        words = (
            r"^router\.runtime_dir: expected a folder in which router\.ipc\S* has a path of at most 107 bytes, got 108"
        )
        with nullcontext() if is_short else pytest.raises(ConfigError, match=words), claim_runtime_dir(config):
            pass


def _use_temporary_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)  # as in a new process
