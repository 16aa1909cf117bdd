"""Damage to bytes, by a seeded generator: what the short forms and the frames do instead of coverage."""

from __future__ import annotations

from random import Random

_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0xC1, 0xDF, 0xDD, 0xDB, 0xC6, 0xCF, 0x22, 0x27, 0x5B, 0x7B, 0x0A, 0x2C)
_TOKENS = (b"1" * 5000, b"[" * 2000, b"{" * 2000, b"-1e999", b"NaN", b"\xed\xa0\x80", b"\\ud800", b"\0", b"\xff" * 8)


def mutate(data: bytes, dice: Random, others: list[bytes]) -> bytes:
    """Return the bytes after up to eight changes; `others` lend parts of theirs."""
    found = bytearray(data)
    for _ in range(dice.randrange(1, 9)):
        at = dice.randrange(len(found) + 1)
        match dice.randrange(8):
            case 0 if at < len(found):
                found[at] ^= 1 << dice.randrange(8)
            case 1 if at < len(found):
                found[at] = dice.choice(_INTERESTING)
            case 2:
                del found[at : at + dice.randrange(1, 20)]
            case 3:
                found[at:at] = dice.randbytes(dice.randrange(1, 12))
            case 4:
                found[at:at] = found[dice.randrange(len(found) + 1) :][: dice.randrange(1, 60)]
            case 5:
                other = dice.choice(others)
                found[at:] = other[dice.randrange(len(other) + 1) :]
            case 6:
                found[at:at] = dice.choice(_TOKENS)
            case 7:
                found[at : at + 4] = dice.choice((0, 1, 2**31 - 1, 2**32 - 1)).to_bytes(
                    4, dice.choice(("big", "little"))
                )
    return bytes(found)
