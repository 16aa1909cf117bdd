"""How learning divides its prompts: some give evidence, the others judge proposals, each of them only one. Pure.

Every proposal has a fresh slice of the held-out prompts. No slice is used twice, so that many proposals cannot fit
themselves to the prompts that judge them, and the confidence of each trial stays what it says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, Literal

import msgspec

from gems_actors import __version__
from gems_actors.errors import UsageError

TRAIN_SHARE: Final = 0.4
"""Share of the prompts that give evidence."""
MIN_SLICE: Final = 12
"""Smallest number of prompts that judge a proposal."""
MAX_PROPOSALS: Final = 16

Record = Mapping[str, Any]
"""A prompt with its drawing fields."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a call of `gems skills learn` set out to do; the content of plan.json, which later calls go on with."""

    source: str
    """Run or file that the prompts are from."""
    source_kind: Literal["run", "prompts"]
    skill: str | None
    """Skill to change; None: a new one is wanted."""
    parent: str
    """`ID@DIGEST` of that skill, or `none`."""
    seed: int
    samples: int
    confidence: float
    settings: dict[str, Any]
    """Options of the pictures."""
    calls_before_last_round: int | None = None
    """Calls of chat models after which no picture of the evidence or of a trial begins another round; None: any."""
    train: tuple[dict[str, Any], ...] = ()
    """Prompts that give evidence."""
    slices: tuple[tuple[dict[str, Any], ...], ...] = ()
    """Prompts that judge the first, the second, ... proposal."""
    version: str = __version__


def split(
    records: Sequence[Record],
    *,
    seed: int,
    proposals: int,
    max_train: int | None,
    max_slice: int | None,
    what: str,
) -> tuple[list[Record], list[list[Record]]]:
    """Return the prompts that give evidence, and the slices that judge proposals; equal prompts stay together.

    A prompt is assigned by a hash of its text and the seed, wherever it stands in the input.

    Args:
        records: the prompts.
        seed: another one gives another split.
        proposals: number of slices; fewer if there are too few prompts for them.
        max_train: maximum number of prompts that give evidence.
        max_slice: maximum number of prompts of a slice.
        what: option that names where the prompts are from.

    Raises:
        UsageError: there are too few prompts.
    """
    unique = {str(record["prompt"]): record for record in reversed(records)}
    ordered = sorted(unique, key=lambda prompt: _hash(prompt, seed, "order"))
    train = [prompt for prompt in ordered if _hash(prompt, seed, "split") < TRAIN_SHARE]
    held_out = [prompt for prompt in ordered if _hash(prompt, seed, "split") >= TRAIN_SHARE]
    if len(held_out) < MIN_SLICE or not train:
        least = round(2 * MIN_SLICE / (1 - TRAIN_SHARE))
        raise UsageError(f"{what}: expected at least {least} different prompts, got {len(unique)}")
    count = max(1, min(proposals, len(held_out) // MIN_SLICE))
    slices = [held_out[place::count][:max_slice] for place in range(count)]
    if any(len(part) < MIN_SLICE for part in slices):
        raise UsageError(
            f"--images: expected enough for a trial on {MIN_SLICE} prompts, got enough for {len(slices[0])}"
        )
    return [unique[prompt] for prompt in train[:max_train]], [[unique[prompt] for prompt in part] for part in slices]


def _hash(prompt: str, seed: int, purpose: str) -> float:
    digest = blake2b(f"{purpose}\0{seed}\0{prompt}".encode("utf-8", "backslashreplace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
