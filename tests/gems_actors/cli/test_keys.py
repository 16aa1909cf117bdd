"""`gems keys`, and the errors about missing or unreadable keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from gems_actors.security.zap import read_allow_list
from tests.gems_actors.cli.commands import run_gems

USAGE, BAD_CONFIG = 2, 78


def test_new_keys_are_listed_and_never_overwritten(tmp_path: Path) -> None:
    done = run_gems(tmp_path, "keys", "new", "keys")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [
        f"keys/{name}" for name in ("router.key", "agent.key", "client.key", "admin.key", "router.pub", "allowed.toml")
    ]
    again = run_gems(tmp_path, "keys", "new", "keys")
    assert (again.returncode, again.stdout) == (USAGE, "")
    assert again.stderr == "gems: DIR: expected a folder without keys, got one that has keys/router.key\n"


def test_keys_need_a_folder(tmp_path: Path) -> None:
    (tmp_path / "keys").touch()
    done = run_gems(tmp_path, "keys", "new", "keys")
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert done.stderr == "gems: DIR: keys: expected a folder to write to, got: Not a directory\n"


def test_a_key_is_added_with_its_grants(tmp_path: Path) -> None:
    run_gems(tmp_path, "keys", "new", "keys")
    done = run_gems(tmp_path, "keys", "add", "keys", "gpu-box", "--may", "verifier, generator")
    assert (done.returncode, done.stdout, done.stderr) == (0, "keys/gpu-box.key\n", "")
    grants = {key.name: key.may for key in read_allow_list(tmp_path / "keys" / "allowed.toml").values()}
    assert grants["gpu-box"] == {"verifier", "generator"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("keys", "client", "--may", "admin"), "NAME: expected an unused name, got that of keys/client.key"),
        (("keys", "../x", "--may", "admin"), "NAME: expected a name of up to 64 lower-case letters, digits, - and _"),
        (("keys", "x", "--may", "root"), "--may: expected some of client, conductor, planner, "),
        (
            ("none", "x", "--may", "admin"),
            "DIR: none: expected a folder with an allowed.toml, as created by `gems keys new`",
        ),
    ],
)
def test_a_key_that_cannot_be_added_is_refused_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    run_gems(tmp_path, "keys", "new", "keys")
    done = run_gems(tmp_path, "keys", "add", *arguments)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert done.stderr.startswith(f"gems: {message}")
    assert done.stderr.count("\n") == 1


def test_a_mesh_for_other_hosts_without_keys_does_not_start(tmp_path: Path) -> None:
    done = run_gems(tmp_path, "up", "--set", "router.address=tcp://0.0.0.0:27961")
    assert (done.returncode, done.stdout) == (BAD_CONFIG, "")
    assert done.stderr == (
        "gems: tcp://0.0.0.0:27961: expected security.key and security.allowed for an address that other hosts reach,"
        " got none; gems keys new makes them, router.insecure = true goes without\n"
    )


def test_a_key_that_cannot_be_read_is_bad_configuration(tmp_path: Path) -> None:
    done = run_gems(
        tmp_path,
        *("status", "--router", "tcp://127.0.0.1:27961"),
        more={"GEMS__SECURITY__KEY": "none.key", "GEMS__SECURITY__ROUTER_KEY": "router.pub"},
    )
    assert (done.returncode, done.stdout) == (BAD_CONFIG, "")
    assert done.stderr == f"gems: {tmp_path}/none.key: expected a readable secret key, got: No such file or directory\n"
