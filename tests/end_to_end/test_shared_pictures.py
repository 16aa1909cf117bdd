"""A draw whose roles share no disk: one host stores a picture, another verifies it, and a third fetches it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.gems_actors.blobs.pictures import BUCKET, files_below, free_router, open_s3
from tests.gems_actors.cli.commands import COMMAND, environment, run_gems
from tests.processes import started

pytestmark = pytest.mark.slow


@contextmanager
def open_two_hosts(tmp_path: Path, router: str, *settings: str) -> Iterator[None]:
    """Run a mesh in `one` without a verifier, and a verifier in `two`, each with its own data folder."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    address = ("--set", f"router.address={router}", "--set", "roles.verifier.count=0")
    with started(
        [*COMMAND, "up", *address, *_flags(settings)],
        cwd=one,
        env=environment(one),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as mesh:
        assert mesh.stdout is not None
        assert mesh.stdout.readline().startswith("mesh ready at ")
        with started(
            [*COMMAND, "role", "verifier", "--router", router, *_flags(settings)],
            cwd=two,
            env=environment(two),
            stderr=subprocess.DEVNULL,
        ):
            yield


def draw_from(folder: Path, router: str, *settings: str) -> bytes:
    """Draw from a host that plays no role and return the picture."""
    folder.mkdir()
    rounds = ("--rounds", "3", "--set", "draw.stop_when_all_met=false", "--seed", "7", "-o", "picture.png")
    done = run_gems(folder, "draw", "two red cats left of a stone dog", "--router", router, *rounds, *_flags(settings))
    assert (done.returncode, done.stderr.count("Error")) == (0, 0), done.stderr
    return (folder / "picture.png").read_bytes()


def test_hosts_without_shared_storage_draw_through_the_mesh(tmp_path: Path) -> None:
    router = free_router()
    with open_two_hosts(tmp_path, router, "blobs=mesh:"):
        picture = draw_from(tmp_path / "three", router, "blobs=mesh:")
    kept = {Path(name).name for name in files_below(tmp_path / "one/state/gems-actors/blobs/sha256")}
    assert picture.startswith(b"\x89PNG")
    assert len(kept) == 3
    assert {*files_below(tmp_path / "two/state/gems-actors/blob-cache")} == kept
    assert {*files_below(tmp_path / "three/state/gems-actors/blob-cache")} < kept
    for folder in ("two", "three"):
        assert not (tmp_path / folder / "state/gems-actors/blobs").exists()


def test_hosts_without_shared_storage_draw_through_a_bucket(tmp_path: Path) -> None:
    router = free_router()
    with open_s3() as endpoint:
        settings = (f"blobs=s3://{BUCKET}/lab", f"s3.endpoint={endpoint}")
        with open_two_hosts(tmp_path, router, *settings):
            assert draw_from(tmp_path / "three", router, *settings).startswith(b"\x89PNG")
        shown = run_gems(tmp_path / "one", "memory", "check", "--images", *_flags(settings))
        assert (shown.returncode, "whole" in shown.stdout) == (0, True), shown.stdout
        refused = run_gems(tmp_path / "one", "memory", "gc", *_flags(settings))
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert "expected a folder, got s3://" in refused.stderr
    for folder in ("one", "two", "three"):
        assert not (tmp_path / folder / "state/gems-actors/blobs").exists()


def _flags(settings: tuple[str, ...]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]
