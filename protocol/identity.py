"""Ids derived from what they identify, so that repeating an operation is idempotent."""

from __future__ import annotations

from hashlib import blake2b, sha256

_AGENT = "agent_"


def run_bytes(run: str) -> bytes:
    """Return the 8 bytes that identify a run in headers, which need a fixed size."""
    return blake2b(run.encode(), digest_size=8).digest()


def agent_role(name: str) -> str:
    """Return the role name of a host's agent, by which it can be addressed."""
    return f"{_AGENT}{blake2b(name.encode(), digest_size=4).hexdigest()}"


def is_agent_role(role: str) -> bool:
    """Return whether a role name is that of an agent."""
    return role.startswith(_AGENT)


def trajectory_id(run: str, line: int, sample: int, version: str = "", task: str = "") -> str:
    """Return the id of one prompt and sample of a run: 32 hexadecimal digits, the same on every machine.

    A version distinguishes pictures of the same prompt and sample that are drawn in different ways. A task's id, 16
    hexadecimal digits, takes the place of the line, so that the trajectory stays the same when the line moves.
    """
    source = f"{run}\0{f'task {task}' if task else line}\0{sample}" + (f"\0{version}" if version else "")
    return blake2b(source.encode(), digest_size=16).hexdigest()


def shard_of(trajectory: bytes, shards: int) -> int:
    """Return the home shard of a trajectory, 0 to `shards` - 1; shard 0 for the id of zeros, which is no trajectory.

    When shards are added, a trajectory either stays or moves to one of the new ones.

    Source: Lamping and Veach, arXiv 1406.2294, Figure 1 (jump consistent hash).
    """
    if not any(trajectory):
        return 0
    key = int.from_bytes(blake2b(trajectory, digest_size=8).digest(), "big")
    shard = following = 0
    while following < shards:
        shard = following
        key = (key * 2862933555777941757 + 1) % 2**64
        following = int((shard + 1) * (2**31 / ((key >> 33) + 1)))
    return shard


def attempt_seed(seed: int, round_: int, candidate: int) -> int:
    """Return the seed of one attempt, 0 to 2**32 - 1; the first attempt uses the trajectory's seed."""
    if (round_, candidate) == (1, 1):
        return seed
    return int.from_bytes(blake2b(f"{seed}\0{round_}\0{candidate}".encode(), digest_size=4).digest(), "big")


def digest_of(data: bytes | memoryview) -> str:
    """Return the content address of bytes: `sha256:` and 64 hexadecimal digits."""
    return f"sha256:{sha256(data).hexdigest()}"
