"""Key files: made once, read strictly, and never shown."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import zmq

from gems_actors.config import NO_KEYS, SecurityConfig
from gems_actors.errors import ConfigError
from gems_actors.security.keys import (
    add_key,
    keys_to_connect,
    keys_to_listen,
    make_mesh_keys,
    read_key_pair,
    read_public_key,
)
from gems_actors.security.permissions import Principal
from gems_actors.security.zap import read_allow_list

SECRETS = ("router.key", "agent.key", "client.key", "admin.key")
ADDRESS = "tcp://mesh:5555"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_mesh_keys(tmp_path / "keys")
    return tmp_path / "keys"


def test_the_keys_of_a_new_mesh_are_private_and_on_its_allow_list(folder: Path) -> None:
    assert {file.name for file in folder.iterdir()} == {*SECRETS, "router.pub", "allowed.toml"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in SECRETS} == {0o600}
    allowed = read_allow_list(folder / "allowed.toml")
    assert {(principal.name, *principal.may) for principal in allowed.values()} == {
        ("router", "agent"), ("agent", "agent"), ("client", "client"), ("admin", "admin"),
    }  # fmt: skip
    assert read_key_pair(folder / "client.key").public.decode() in allowed
    assert read_key_pair(folder / "router.key").public == read_public_key(folder / "router.pub")


def test_keys_are_never_overwritten(folder: Path) -> None:
    before = {file: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(FileExistsError):
        make_mesh_keys(folder)
    with pytest.raises(FileExistsError):
        add_key(folder, "client", ["admin"])
    assert {file: file.read_bytes() for file in folder.iterdir()} == before


def test_a_new_key_is_appended_to_an_allow_list_that_was_edited_by_hand(folder: Path) -> None:
    allowed = folder / "allowed.toml"
    allowed.write_text(f"\ufeff{allowed.read_text()}# by hand")  # as editors on Windows write it
    key = add_key(folder, "gpu-box", ["verifier", "generator"])
    assert "# by hand\n" in (folder / "allowed.toml").read_text()
    principal = read_allow_list(folder / "allowed.toml")[read_key_pair(key).public.decode()]
    assert principal == Principal("gpu-box", frozenset({"verifier", "generator"}))


def test_a_key_pair_does_not_show_its_secret(folder: Path) -> None:
    pair = read_key_pair(folder / "client.key")
    assert pair.secret.decode() not in repr(pair)
    assert zmq.curve_public(pair.secret) == pair.public


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_key_that_others_can_read_is_refused(folder: Path, mode: int) -> None:
    (folder / "client.key").chmod(mode)
    with pytest.raises(ConfigError, match=rf"client\.key: .* nobody else can read, got mode 0{mode:o}; chmod 600"):
        read_key_pair(folder / "client.key")


def test_an_allow_list_that_others_can_write_is_refused(folder: Path) -> None:
    (folder / "allowed.toml").chmod(0o620)
    with pytest.raises(ConfigError, match="only its owner can write, got mode 0620"):
        read_allow_list(folder / "allowed.toml")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# a comment\n",
        "k" * 39,
        "k" * 41,
        f"{'k' * 40}\n{'k' * 40}\n",
        '"' + "k" * 39,
        "#" * 40,
        "\0" * 40,
        "é" * 20,
    ],
    ids=["empty", "comment", "short", "long", "two", "quote", "too large a number", "zeros", "no ascii"],
)
def test_an_invalid_key_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "client.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        read_key_pair(path)
    assert (
        str(caught.value) == f"{path}: expected one line with a secret key of 40 characters in Z85, got something else"
    )


def test_the_error_names_a_missing_key_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.key: expected a readable secret key, got: No such file"):
        read_key_pair(tmp_path / "none.key")


def test_connections_use_both_keys_and_only_over_tcp(folder: Path) -> None:
    both = SecurityConfig(key=str(folder / "client.key"), router_key=str(folder / "router.pub"))
    keys = keys_to_connect(both, ADDRESS)
    assert keys is not None
    assert keys.own == read_key_pair(folder / "client.key")
    assert keys.router == read_public_key(folder / "router.pub")
    assert keys_to_connect(both, "ipc:///run/router.ipc") is None
    assert keys_to_connect(NO_KEYS, ADDRESS) is None


def test_one_setting_without_its_counterpart_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"^security\.router_key: expected the router's public key"):
        keys_to_connect(SecurityConfig(key=str(folder / "client.key")), ADDRESS)
    with pytest.raises(ConfigError, match=r"^security\.key: expected this host's secret key"):
        keys_to_connect(SecurityConfig(router_key=str(folder / "router.pub")), ADDRESS)
    with pytest.raises(ConfigError, match=r"^security\.allowed: expected the router's allow-list"):
        keys_to_listen(SecurityConfig(key=str(folder / "router.key")))
    with pytest.raises(ConfigError, match=r"^security\.key: expected the router's secret key"):
        keys_to_listen(SecurityConfig(allowed=str(folder / "allowed.toml")))
    assert keys_to_listen(NO_KEYS) is None
