"""Bundles carry messages unchanged and in order, and whatever else looks like one is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.bundles import BUNDLE_START, MAX_BUNDLE_BYTES, bundled, unbundled
from protocol.envelope import HEADER_BYTES, Header, Kind, pack_header, unpack_header
from protocol.errors import FrameError, UnknownKindError

FRAME = pack_header(Header(Kind.REQUEST, role="verifier"))
FRAMES = st.lists(st.integers(0, MAX_BUNDLE_BYTES + 1000).map(lambda size: FRAME + bytes(size)), max_size=8)


def messages_in(frames: list[bytes]) -> list[bytes]:
    return [found for frame in frames for found in (unbundled(frame) if frame.startswith(BUNDLE_START) else [frame])]


@given(frames=FRAMES)
def test_messages_return_from_bundles_in_order_and_bundles_are_bounded(frames: list[bytes]) -> None:
    sent = list(bundled(frames))
    assert messages_in(sent) == frames
    assert all(len(frame) <= MAX_BUNDLE_BYTES for frame in sent if frame.startswith(BUNDLE_START))


def test_many_small_messages_need_few_frames_and_one_alone_stays_as_it_is() -> None:
    assert len(list(bundled([FRAME] * 1000))) == 2
    assert list(bundled([FRAME])) == [FRAME]


def test_a_bundle_looks_like_the_specification() -> None:
    (bundle,) = bundled([FRAME, FRAME + b"body"])
    assert bundle == b"GA\x01\x0e" + struct.pack(">III", 2, HEADER_BYTES, HEADER_BYTES + 4) + FRAME + FRAME + b"body"


def test_a_bundle_is_no_message() -> None:
    (bundle,) = bundled([FRAME, FRAME])
    with pytest.raises(UnknownKindError):
        unpack_header(bundle)


@given(rest=st.binary(max_size=400), count=st.integers(0, 2**32 - 1) | st.integers(0, 4))
def test_what_only_begins_like_a_bundle_is_refused(rest: bytes, count: int) -> None:
    for frame in (BUNDLE_START + rest, BUNDLE_START + struct.pack(">I", count) + rest):
        try:
            found = unbundled(frame)
        except FrameError:
            continue
        assert len(b"".join(found)) == len(frame) - 8 - 4 * len(found)


@pytest.mark.parametrize("lengths", [(HEADER_BYTES - 1, HEADER_BYTES + 1), (HEADER_BYTES, HEADER_BYTES + 1), ()])
def test_lengths_must_be_those_of_messages_and_add_up(lengths: tuple[int, ...]) -> None:
    head = BUNDLE_START + struct.pack(f">I{len(lengths)}I", len(lengths), *lengths)
    with pytest.raises(FrameError):
        unbundled(head + FRAME + FRAME)


def test_a_bundle_beyond_its_limit_is_refused() -> None:
    count = MAX_BUNDLE_BYTES // HEADER_BYTES
    head = BUNDLE_START + struct.pack(f">I{count}I", count, *[HEADER_BYTES] * count)
    with pytest.raises(FrameError, match="at most"):
        unbundled(head + FRAME * count)
