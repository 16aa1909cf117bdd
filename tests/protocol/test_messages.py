"""Requests, replies and groups of types are consistent."""

from typing import get_args

import pytest

from protocol import messages
from protocol.codec import BODIES
from protocol.envelope import ROLE_NAME
from protocol.messages import (
    EVENTS,
    LINK_BODIES,
    RECORDS,
    REPLIES,
    REQUESTS,
    Body,
    Event,
    MemoryRequest,
    Record,
    Reply,
    Request,
    TrajectoryRecord,
)


@pytest.mark.parametrize("request_type", REQUESTS)
def test_every_request_names_its_role_and_its_reply(request_type: type[Request[Reply]]) -> None:
    assert ROLE_NAME.fullmatch(request_type.role)
    (base,) = request_type.__orig_bases__  # type: ignore[attr-defined]
    (reply,) = get_args(base)
    assert reply in REPLIES


@pytest.mark.parametrize("reply_type", REPLIES)
def test_every_reply_answers_a_request(reply_type: type[Reply]) -> None:
    answered = {get_args(kind.__orig_bases__[0])[0] for kind in REQUESTS}  # type: ignore[attr-defined]
    assert reply_type in answered


def test_every_type_is_listed_once_in_its_group() -> None:
    groups = {Request: REQUESTS, Reply: REPLIES, Event: EVENTS, Record: RECORDS, Body: LINK_BODIES}
    listed = [kind for group in groups.values() for kind in group]
    defined = [kind for kind in vars(messages).values() if isinstance(kind, type) and issubclass(kind, Body)]
    bases = {*groups, MemoryRequest, TrajectoryRecord}
    assert sorted(map(str, listed)) == sorted(str(kind) for kind in defined if kind not in bases)
    for base, group in groups.items():
        assert all(issubclass(kind, base) for kind in group)
    assert sorted(BODIES) == sorted(kind.__name__ for kind in listed)


def test_every_type_has_a_docstring() -> None:
    assert all(kind.__doc__ for kind in BODIES.values())
