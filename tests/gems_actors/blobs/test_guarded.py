"""Pictures over tcp with keys: some roles may store or read them, strangers may do neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from gems_actors.blobs.mesh import MeshBlobs
from gems_actors.blobs.server import serve_blobs
from gems_actors.config import NO_KEYS, SecurityConfig
from gems_actors.errors import BlobError, ConfigError, ForbiddenError
from gems_actors.security.keys import add_key, make_mesh_keys
from gems_actors.security.permissions import BUILT_IN_PERMISSIONS, Principal
from gems_actors.tasks import open_background
from protocol.blobs import BlobKind, blob_address
from tests.gems_actors.blobs.pictures import DATA, free_router, put, ref_of


@pytest.mark.slow
async def test_a_key_may_do_with_pictures_what_its_roles_need(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    make_mesh_keys(keys)
    add_key(keys, "generator", ["generator"])
    add_key(keys, "decomposer", ["decomposer"])
    router = free_router()
    listening = SecurityConfig(key=str(keys / "router.key"), allowed=str(keys / "allowed.toml"))

    def store_of(name: str) -> MeshBlobs:
        security = SecurityConfig(key=str(keys / f"{name}.key"), router_key=str(keys / "router.pub"))
        return MeshBlobs(router, tmp_path / f"cache-of-{name}", 10**6, security)

    async with open_background() as nursery:
        await nursery.start(serve_blobs, [blob_address(router)], tmp_path / "blobs", listening)
        generator, client, decomposer = store_of("generator"), store_of("client"), store_of("decomposer")
        async with generator.open(), client.open(), decomposer.open():
            ref = await put(generator)
            assert await client.get(ref) == DATA
            assert await put(client, b"to draw from") == ref_of(b"to draw from")
            with pytest.raises(
                BlobError, match=r"key that allows HAS of a picture, got that of decomposer \(decomposer\)"
            ):
                await put(decomposer)
            with pytest.raises(
                BlobError, match=r"key that allows GET of a picture, got that of decomposer \(decomposer\)"
            ):
                await decomposer.get(ref)
        stranger = MeshBlobs(router, tmp_path / "cache-of-nobody", 10**6, timeout_s=0.5)
        async with stranger.open():
            with pytest.raises(BlobError, match="expected a blob server, got no answer"):
                await stranger.get(ref)


async def test_a_blob_server_for_other_hosts_needs_keys(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected security\.key and security\.allowed"):
        await serve_blobs(["tcp://0.0.0.0:28060"], tmp_path, NO_KEYS)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (BlobKind.PUT, {"generator", "client", "agent", "admin"}),
        (BlobKind.HAS, {"generator", "client", "agent", "admin"}),
        (BlobKind.GET, {*BUILT_IN_PERMISSIONS.grants} - {"memory", "decomposer"}),
        (BlobKind.ARE_YOU_AT_IT, {*BUILT_IN_PERMISSIONS.grants} - {"memory", "decomposer"}),
    ],
)
def test_each_grant_allows_these_requests_and_no_others(kind: BlobKind, expected: set[str]) -> None:
    allowed = set()
    for grant in BUILT_IN_PERMISSIONS.grants:
        try:
            Principal("somebody", frozenset({grant})).check_picture(kind)
        except ForbiddenError:
            continue
        allowed.add(grant)
    assert allowed == expected
