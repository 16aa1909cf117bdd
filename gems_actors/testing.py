"""A whole mesh in one process, with the real sockets, router and serving loop; for tests and experiments."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from gems_actors.actor import Actor, serve_actor
from gems_actors.client import Mesh, open_client
from gems_actors.config import MeshConfig
from gems_actors.router.server import serve_router
from gems_actors.supervision.runtime_dir import open_private_folder
from gems_actors.supervision.seats import parts_of
from gems_actors.tasks import open_background
from gems_actors.transport.sockets import require_trio
from protocol.messages import ReadStatus


@asynccontextmanager
async def open_test_mesh(*actor_classes: type[Actor], config: MeshConfig | None = None) -> AsyncIterator[Mesh]:
    """Start a router and one actor per class (for memory, per shard), and yield a client once all have joined."""
    require_trio("open_test_mesh")
    config = config or MeshConfig()
    with open_private_folder(config) as private:
        address = f"ipc://{private.runtime_path}/router.ipc"
        async with open_background() as nursery:
            serve = partial(serve_router, shards=config.memory.shards, roles=config.role_specs)
            await nursery.start(serve, [address], config.router)
            parts = [(kind, part) for kind in actor_classes for part in parts_of(kind.role, config)]
            for kind, part in parts:
                nursery.start_soon(partial(serve_actor, partial(kind, config), address, f"{part}-1", role=part))
            async with open_client(address) as mesh:
                async with mesh.events("mesh") as events:
                    while sum(len(role.actors) for role in (await mesh.ask(ReadStatus())).roles) < len(parts):
                        await events.receive()
                yield mesh
