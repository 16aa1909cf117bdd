"""Messages between actor and engine survive being cut anywhere."""

from __future__ import annotations

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gems_actors.backends.diffusion.engine_messages import (
    ANCILLARY_BYTES,
    Command,
    Draw,
    Finished,
    Inbox,
    Withdraw,
    decode_command,
    decode_report,
    frame,
)

COMMANDS: list[Command] = [
    Draw(1, "a fox" * 1000, 7, 64, 64, steps=8),
    Withdraw(1),
    Draw(2, "ü", 0, 96, 64, is_alone=True),
]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=50))
@pytest.mark.slow
def test_messages_are_reassembled_from_any_pieces(sizes: list[int]) -> None:
    data = b"".join(map(frame, COMMANDS))
    inbox, start = Inbox(), 0
    found: list[Command] = []
    for size in [*sizes, len(data)]:
        inbox.put(data[start : start + size])
        found += map(decode_command, inbox.bodies())
        start += size
    assert found == COMMANDS


def test_descriptors_arrive_in_order_with_their_messages() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for number in range(3):
            reading, writing = os.pipe()
            os.write(writing, str(number).encode())
            os.close(writing)
            socket.send_fds(theirs, [frame(Finished(number, 64, 64, {}, 1.0))], [reading])
            os.close(reading)
        theirs.close()
        inbox, found = Inbox(), []
        while True:
            data, ancillary, _, _ = ours.recvmsg(10, ANCILLARY_BYTES)
            if not data:
                break
            inbox.put(data, ancillary)
            for body in inbox.bodies():
                report = decode_report(body)
                assert isinstance(report, Finished)
                descriptor = inbox.descriptors.popleft()
                found.append((report.id, os.read(descriptor, 10)))
                os.close(descriptor)
    assert found == [(0, b"0"), (1, b"1"), (2, b"2")]
