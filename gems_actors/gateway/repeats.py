"""Requests with an `Idempotency-Key`: the same key and body name the same pictures, which memory has.

The name of the run follows from the caller and the key, and the version of its trajectories from the body, so that a
request that is repeated after a lost answer, or to a gateway that was replaced, resumes or is answered from memory.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

import trio
from msgspec import Struct, json

from gems_actors.app.options import MAX_SEED
from gems_actors.client import Mesh
from gems_actors.gateway.api_errors import ApiError
from protocol.identity import trajectory_id
from protocol.messages import ListTrajectories

MAX_SAMPLES: Final = 10
_KEY: Final = re.compile(r"[ -~]{1,255}")


@dataclass(frozen=True, slots=True)
class RunNaming:
    """What names the pictures of one request."""

    run: str
    seed: int
    """Seed of the first picture, unless the request has one."""
    version: str = ""


@dataclass(slots=True)
class _Claim:
    """A key in use."""

    version: str
    lock: trio.Lock = field(default_factory=trio.Lock)
    users: int = 0


class Repeats:
    """The keys in use, and the check of those that memory knows."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._claims: dict[str, _Claim] = {}

    @asynccontextmanager
    async def named(self, caller: str, key: str | None, body: Struct) -> AsyncIterator[RunNaming]:
        """Yield the naming of a request; one that repeats another in flight waits for its end.

        Raises:
            ApiError: the key is not valid, or was used with another body.
            RequestError: memory cannot be asked.
        """
        if key is None:
            yield RunNaming(f"http-{caller}-{secrets.token_hex(8)}", secrets.randbelow(MAX_SEED + 1))
            return
        naming = name_run(caller, key, body)
        claim = self._claims.setdefault(naming.run, _Claim(naming.version))
        if claim.version != naming.version:
            raise _conflict(key)
        claim.users += 1
        try:
            async with claim.lock:
                await self._check(naming, key)
                yield naming
        finally:
            claim.users -= 1
            if not claim.users:
                del self._claims[naming.run]

    async def _check(self, naming: RunNaming, key: str) -> None:
        known = await self._mesh.ask(ListTrajectories(of_run=naming.run, limit=MAX_SAMPLES))
        ours = {trajectory_id(naming.run, 0, sample, naming.version) for sample in range(MAX_SAMPLES)}
        if not {item.trajectory for item in known.trajectories} <= ours:
            raise _conflict(key)


def name_run(caller: str, key: str, body: Struct) -> RunNaming:
    """Return the naming that follows from a key and a body.

    Raises:
        ApiError: the key is not valid.
    """
    if not _KEY.fullmatch(key):
        raise ApiError(400, "idempotency-key: expected 1 to 255 printable ASCII characters", code="invalid_value")
    digest = blake2b(f"{caller}\0{key}".encode(), digest_size=16).digest()
    version = blake2b(json.encode(body), digest_size=16).hexdigest()
    return RunNaming(f"http-{caller}-key-{digest.hex()}", int.from_bytes(digest[:4], "big"), version)


def _conflict(key: str) -> ApiError:
    return ApiError(409, f"idempotency-key: expected the body that {key!r} was first sent with", code="key_reused")
