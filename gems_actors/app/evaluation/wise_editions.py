"""Tells which edition of WISE some records belong to, by what they contain. Pure.

The edition of 2025 (legacy) and WISE Verified of 2026 have the same fields and partly the same prompts, but number
their categories differently, except for culture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Literal

Edition = Literal["legacy", "verified"]

PARTS: Final = ("cultural_common_sense", "natural_science", "spatio-temporal_reasoning")
"""Files of the legacy edition; those of the verified edition have `_verified` after these names."""

_NUMBERS: Final = {
    "time": (range(401, 568), range(401, 521)),
    "space": (range(568, 701), range(521, 641)),
    "biology": (range(701, 801), range(641, 761)),
    "physical knowledge": (range(801, 901), range(761, 881)),
    "chemistry": (range(901, 1001), range(881, 1001)),
}
"""Numbers of the prompts of a category in the legacy and in the verified edition."""

_DIGESTS: Final = """
    1:ab934f/3464bf 2:cfbace/ddee3d 3:2d2c61/96553b 6:e7a0b7/6aa370 11:87c25e/e8036b 12:aefa23/f3b213
    21:87db5e/255fc0 23:dd703a/e709a1 25:f6d32f/a3cdfe 28:78b24e/0823d4 40:e00d6e/ce1c0c 76:f19903/96b5f9
    110:4c08b7/5819b7 128:0c6f58/32fe2b 179:dcc117/59a07c 201:3c2fa5/411752 285:aacc18/4ab5a3 335:132af6/6785b8
    388:29d7e8/e6e956 401:f4e2db/00842f 402:5ae787/62ebdf 403:9b1e10/62f2a8 404:d50f7d/1ca640 460:fd472b/4d5b14
    500:d45d10/5c848c 701:219066/f2a9be 702:4bb80b/27987d 703:152ccb/266c9b 750:0bfbd4/af9028 801:347161/d8cec6
    802:ed0a85/68f7dd 850:a73925/6b89b8 901:4defdf/598811 902:a11e74/52fc04 903:0aa9fb/4c49ff 950:987f4b/f4dbc4
    1000:706cb9/f6b387
"""
"""Digests of some prompts that differ, by number: of the legacy edition and of the verified one."""


def edition_of(records: Sequence[Mapping[str, Any]], file: Path) -> Edition:
    """Return the edition of a file's records; where they fit both, that of the names of file and folder."""
    legacy = verified = 0
    digests = dict(item.split(":") for item in _DIGESTS.split())
    for record in records:
        number = str(record["prompt_id"])
        ranges = _NUMBERS.get(str(record.get("Category", "")).casefold())
        if ranges is not None and number.isdecimal():
            in_legacy, in_verified = (int(number) in range_ for range_ in ranges)
            legacy += in_legacy and not in_verified
            verified += in_verified and not in_legacy
        digest = prompt_digest(str(record["Prompt"]))
        legacy += digests.get(number, "/").partition("/")[0] == digest
        verified += digests.get(number, "/").partition("/")[2] == digest
    if legacy == verified:
        return "verified" if "verified" in file.stem or "verified" in file.absolute().parent.name else "legacy"
    return "verified" if verified > legacy else "legacy"


def prompt_digest(text: str) -> str:
    """Return the digest of a prompt, whatever its white space."""
    return blake2b(" ".join(text.split()).encode(errors="replace"), digest_size=3).hexdigest()
