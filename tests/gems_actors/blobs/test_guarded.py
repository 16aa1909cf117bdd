"""Pictures over tcp with keys: who may store them, who may look, and that strangers may do neither."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import trio

from gems_actors.blobs.mesh import MeshBlobs
from gems_actors.blobs.server import serve_blobs
from gems_actors.config import NO_KEYS, SecurityConfig
from gems_actors.errors import BlobError, ConfigError, ForbiddenError
from gems_actors.security.keys import add_key, make_mesh_keys
from gems_actors.security.permissions import BUILT_IN_PERMISSIONS, Principal
from gems_actors.tasks import open_background
from protocol.blobs import BlobKind, blob_address
from tests.gems_actors.blobs.pictures import DATA, free_router, put
from tests.gems_actors.meshes import play


def test_generators_store_pictures_and_whoever_judges_or_wants_them_looks(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    make_mesh_keys(keys)
    add_key(keys, "generator", ["generator"])
    add_key(keys, "planner", ["planner"])
    router = free_router()
    listening = SecurityConfig(key=str(keys / "router.key"), allowed=str(keys / "allowed.toml"))

    def store_of(name: str) -> MeshBlobs:
        security = SecurityConfig(key=str(keys / f"{name}.key"), router_key=str(keys / "router.pub"))
        return MeshBlobs(router, tmp_path / f"cache-of-{name}", 10**6, security)

    async def scene() -> None:
        async with open_background() as nursery:
            await nursery.start(serve_blobs, [blob_address(router)], tmp_path / "blobs", listening)
            generator, client, planner = store_of("generator"), store_of("client"), store_of("planner")
            async with generator.open(), client.open(), planner.open():
                ref = await put(generator)
                assert await client.get(ref) == DATA
                with pytest.raises(BlobError, match=r"key of client allows \(client\), got HAS of a picture"):
                    await put(client)
                with pytest.raises(BlobError, match=r"key of planner allows \(planner\), got GET of a picture"):
                    await planner.get(ref)
            stranger = MeshBlobs(router, tmp_path / "cache-of-nobody", 10**6)
            async with stranger.open():
                with trio.move_on_after(0.5) as patience:
                    await stranger.get(ref)
                assert patience.cancelled_caught

    play(scene)


def test_pictures_are_not_served_to_other_hosts_without_keys(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected security\.key and security\.allowed"):
        play(partial(serve_blobs, ["tcp://0.0.0.0:28060"], tmp_path, NO_KEYS))


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (BlobKind.PUT, {"generator", "agent", "admin"}),
        (BlobKind.HAS, {"generator", "agent", "admin"}),
        (BlobKind.GET, {*BUILT_IN_PERMISSIONS.grants} - {"memory", "decomposer", "planner"}),
        (BlobKind.ARE_YOU_AT_IT, {*BUILT_IN_PERMISSIONS.grants} - {"memory", "decomposer", "planner"}),
    ],
)
def test_each_grant_may_do_this_with_pictures_and_nothing_else(kind: BlobKind, wanted: set[str]) -> None:
    allowed = set()
    for grant in BUILT_IN_PERMISSIONS.grants:
        try:
            Principal("somebody", frozenset({grant})).check_picture(kind)
        except ForbiddenError:
            continue
        allowed.add(grant)
    assert allowed == wanted
