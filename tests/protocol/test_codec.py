"""Messages round-trip; anything else is refused with a protocol error and never with another one."""

import contextlib
import math
from typing import Any, ClassVar, cast

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import defstruct

from protocol.codec import (
    BODIES,
    Codec,
    decode_body,
    decode_message,
    decode_record,
    encode_body,
    encode_message,
    frame_of,
    peek_type,
)
from protocol.envelope import HEADER_BYTES, Header, Kind
from protocol.errors import BodyError, ProtocolError, TooLargeError, UnknownKindError, VersionError
from protocol.limits import MAX_FRAME_BYTES, MAX_PROMPT_CHARS
from protocol.messages import (
    Appended,
    AppendRecord,
    Body,
    Capacity,
    Goodbye,
    Heartbeat,
    Held,
    Image,
    Lesson,
    MemoryRequest,
    PromptPlanned,
    Record,
    Reply,
    Request,
)
from tests.protocol.strategies import as_map, bodies, headers

GOODBYE = Header(Kind.GOODBYE)


def refused(message: dict[str, Any] | bytes) -> str:
    with pytest.raises(BodyError) as caught:
        decode_body(message if isinstance(message, bytes) else msgpack.packb(message))
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------ round trips


@given(headers(), bodies())
@pytest.mark.slow
def test_every_message_round_trips(header: Header, body: Body) -> None:
    assert decode_message(encode_message(header, body)) == (header, body)


@given(bodies())
@pytest.mark.slow
def test_the_type_of_every_encoded_body_can_be_peeked(body: Body) -> None:
    assert peek_type(encode_body(body)) == type(body).__name__


@pytest.mark.parametrize("pairs", [1, 15, 16, 65_536])
def test_a_type_can_be_peeked_in_maps_of_all_sizes(pairs: int) -> None:
    body = {"type": "Plan", **{str(number): number for number in range(pairs - 1)}}
    assert peek_type(msgpack.packb(body)) == "Plan"


@given(st.one_of(st.binary(max_size=40), st.binary(max_size=40).map(lambda tail: b"\x82\xa4type" + tail)))
@example(b"")
@example(b"\x80")
@example(b"\x81\xa4type")
@example(b"\x81\xa4type\xa4Pla")
@example(b"\x81\xa4type\xa0")
@example(b"\xde\x00")
@example(msgpack.packb({"prompt": "a dog", "type": "PlanPrompt"}))
@example(msgpack.packb(["type", "Plan"]))
def test_peeking_refuses_a_body_that_does_not_start_with_its_type(data: bytes) -> None:
    try:
        name = peek_type(data)
    except BodyError:
        return
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        read = msgpack.unpackb(data, object_pairs_hook=lambda pairs: pairs)
        assert read[0] == ("type", name) or not name.isascii()


@pytest.mark.slow
@given(bodies())
def test_the_msgpack_package_decodes_what_we_encode(body: Body) -> None:
    read = msgpack.unpackb(encode_body(body))
    assert read == msgpack.unpackb(msgpack.packb(as_map(body)))
    assert read["type"] == type(body).__name__


@pytest.mark.slow
@given(bodies())
def test_we_decode_what_the_msgpack_package_encodes(body: Body) -> None:
    assert decode_body(msgpack.packb(as_map(body))) == body


@given(bodies(), st.dictionaries(st.text().map("new_{}".format), st.recursive(st.integers() | st.text(), st.lists)))
@pytest.mark.slow
def test_unknown_fields_are_skipped(body: Body, unknown: dict[str, Any]) -> None:
    assert decode_body(msgpack.packb({**unknown, **as_map(body)}, default=str)) == body


def test_unknown_fields_of_nested_values_are_skipped() -> None:
    holding = [{"id": bytes(16), "attempt": 2, "since": 1.5}]
    beat = decode_body(msgpack.packb({"type": "Heartbeat", "holding": holding}))
    assert beat == Heartbeat(holding=(Held(id=bytes(16), attempt=2),))


def test_fields_with_a_default_may_be_left_out() -> None:
    assert decode_body(msgpack.packb({"type": "Heartbeat"})) == Heartbeat()


def test_the_decoder_accepts_the_type_at_any_position() -> None:
    assert decode_body(msgpack.packb({"capacity": 3, "type": "Capacity"})) == Capacity(capacity=3)


# ------------------------------------------------------------------------------------------------------ refusals


def reads_or_refuses(frame: bytes) -> None:
    reason = ""
    try:
        decode_message(frame)
    except ProtocolError as error:
        reason = str(error)
    assert len(reason) < 2000, "a refusal quotes little of the input"


@given(st.binary())
def test_no_bytes_raise_anything_but_a_protocol_error(data: bytes) -> None:
    reads_or_refuses(data)
    reads_or_refuses(encode_message(GOODBYE, Goodbye())[:HEADER_BYTES] + data)


@given(headers(), bodies(), st.data())
@pytest.mark.slow
def test_no_mutation_of_a_message_raises_anything_but_a_protocol_error(
    header: Header, body: Body, data: st.DataObject
) -> None:
    frame = encode_message(header, body)
    start = data.draw(st.integers(0, len(frame)))
    end = data.draw(st.integers(start, min(len(frame), start + 8)))
    reads_or_refuses(frame[:start] + data.draw(st.binary(max_size=8)) + frame[end:])
    reads_or_refuses(frame[:start])


@given(
    st.recursive(st.none() | st.integers(-9, 9) | st.floats() | st.text() | st.binary(), st.lists), bodies(), st.data()
)
@pytest.mark.slow
def test_no_value_in_place_of_another_raises_anything_but_a_protocol_error(
    value: Any, body: Body, data: st.DataObject
) -> None:
    fields = as_map(body)
    fields[data.draw(st.sampled_from(sorted(fields)))] = value
    reads_or_refuses(encode_message(GOODBYE, Goodbye())[:HEADER_BYTES] + msgpack.packb(fields))


@pytest.mark.parametrize("kind", ["Goodbye", "Goodbie"])
@pytest.mark.parametrize(
    "nested", [b"\x91" * 100_000, b"\x81\xa1x" * 100_000, b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"]
)
def test_impossible_nesting_and_sizes_are_refused(kind: str, nested: bytes) -> None:
    message = b"\x82\xa4type" + msgpack.packb(kind) + b"\xa1x" + nested
    with pytest.raises(ProtocolError):
        decode_body(message)


@given(st.text())
@example("plan_prompt")
@example("Body")
@example("Request")
def test_an_unknown_type_is_refused(name: str) -> None:
    if name not in BODIES:
        with pytest.raises(UnknownKindError, match="expected a known message type"):
            decode_body(msgpack.packb({"type": name, "x": {(1, 2): b""}}))


def test_an_unknown_kind_or_version_is_refused_whatever_follows() -> None:
    frame = bytearray(encode_message(GOODBYE, Goodbye()))
    frame[3] = 99
    with pytest.raises(UnknownKindError, match="kind from 1 to 13, got 99"):
        decode_message(bytes(frame))
    frame[2] = 2
    with pytest.raises(VersionError, match="expected version 1 of the wire, got 2"):
        decode_message(bytes(frame))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc0",
        b"\x90",
        b"\xc1",
        msgpack.packb({}),
        msgpack.packb({"type": None}),
        msgpack.packb({"type": 5}),
        encode_body(Goodbye()) + b"\0",
        encode_body(Goodbye())[:-1],
    ],
)
def test_a_body_that_is_not_a_map_with_a_type_is_refused(body: bytes) -> None:
    assert refused(body).startswith("expected a msgpack map with a `type`, got")


def test_a_body_of_the_wrong_shape_is_refused_with_the_path_of_the_field() -> None:
    assert refused({"type": "Capacity"}) == "Capacity: Object missing required field `capacity`"
    assert refused({"type": "Capacity", "capacity": -1}) == "Capacity: Expected `int` >= 0 - at `$.capacity`"
    assert refused({"type": "Capacity", "capacity": 1.0}).startswith("Capacity: Expected `int`, got `float`")


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, -0.1, 1.1])
def test_a_score_is_a_number_from_0_to_1(score: float) -> None:
    verdict = {"requirement": "r1", "answer": "met", "score": score}
    assert "score" in refused({"type": "Verification", "verdicts": [verdict], "calls": 1, "calls_saved": 0})


@pytest.mark.parametrize("digest", ["sha256:" + "0" * 64 + "\n", "sha256:../" + "0" * 61, "md5:0"])
def test_a_digest_is_safe_to_use_in_a_path(digest: str) -> None:
    image = {"digest": digest, "media_type": "image/png", "bytes": 1, "width_px": 16, "height_px": 16}
    assert "digest" in refused({"type": Image.__name__, "image": image, "seconds": 1.0})


@pytest.mark.parametrize("id_", [b"", bytes(15), bytes(17)])
def test_an_id_that_does_not_fit_a_header_is_refused(id_: bytes) -> None:
    assert "16" in refused({"type": "Heartbeat", "awaiting": [id_]})
    assert "16" in refused({"type": "Heartbeat", "holding": [{"id": id_, "attempt": 0}]})


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0])
def test_an_impossible_time_is_refused(seconds: float) -> None:
    assert "heartbeat_s" in refused({"type": "Welcome", "epoch": "1", "heartbeat_s": seconds})
    failure = {"type": "Failure", "code": "overloaded", "message": "", "retry_after_s": seconds}
    assert "retry_after_s" in refused(failure)


def test_a_prompt_is_not_empty_and_not_too_long() -> None:
    assert decode_body(msgpack.packb({"type": "PlanPrompt", "prompt": "ü" * MAX_PROMPT_CHARS}))
    assert "length <= 32000" in refused({"type": "PlanPrompt", "prompt": "ü" * (MAX_PROMPT_CHARS + 1)})
    assert "length >= 1" in refused({"type": "PlanPrompt", "prompt": ""})


def test_a_lone_surrogate_cannot_be_encoded() -> None:
    with pytest.raises(BodyError, match="expected text in whole characters"):
        encode_message(GOODBYE, Lesson(text="\udc80"))


# ------------------------------------------------------------------------------------------------------ size


def test_a_message_over_the_limit_is_neither_encoded_nor_decoded() -> None:
    room = MAX_FRAME_BYTES - HEADER_BYTES
    frame = frame_of(GOODBYE, bytes(room))
    with pytest.raises(TooLargeError, match=f"at most {MAX_FRAME_BYTES} bytes, got {MAX_FRAME_BYTES + 1}"):
        frame_of(GOODBYE, bytes(room + 1))
    with pytest.raises(TooLargeError):
        encode_message(GOODBYE, Lesson(text="x" * room))
    with pytest.raises(TooLargeError):
        decode_message(frame + b"\0")


# ------------------------------------------------------------------------------------------------------ user's types


class Translation(Reply, frozen=True, kw_only=True):
    text: str


class TranslatePrompt(Request[Translation], frozen=True, kw_only=True):
    role: ClassVar[str] = "translator"
    text: str


def test_a_registered_type_is_decoded() -> None:
    codec, body = Codec(), encode_body(TranslatePrompt(text="ein Fuchs"))
    with pytest.raises(UnknownKindError, match="expected a known message type, got 'TranslatePrompt'"):
        codec.decode(body)
    codec.register(TranslatePrompt, TranslatePrompt, Goodbye)
    assert codec.decode(body) == TranslatePrompt(text="ein Fuchs")
    assert codec.decode(encode_body(Goodbye())) == Goodbye()
    with pytest.raises(BodyError, match="TranslatePrompt: Object missing required field `text`"):
        codec.decode(msgpack.packb({"type": "TranslatePrompt"}))
    assert "TranslatePrompt" not in Codec().types, "each codec has its own types"


def test_a_request_registers_the_reply_that_it_declares() -> None:
    codec = Codec()
    assert codec.register_reply(TranslatePrompt) is Translation
    assert codec.decode(encode_body(Translation(text="a fox"))) == Translation(text="a fox")
    assert codec.register_reply(AppendRecord) is Appended
    with pytest.raises(TypeError, match=r"expected a base like Request\[Plan\]"):
        codec.register_reply(MemoryRequest)


class Odd(Reply, frozen=True, kw_only=True):
    text: list[int] | tuple[int, ...]


def type_named(name: str, base: type[Body]) -> type[Body]:
    return cast(type[Body], defstruct(name, [], bases=(base,), frozen=True, tag=True, tag_field="type"))


def test_a_type_with_a_taken_or_impossible_name_is_refused_and_nothing_is_registered() -> None:
    codec = Codec()
    with pytest.raises(TypeError, match=r"\.Plan: expected a message type with a new name, got .*loop\.Plan"):
        codec.register(TranslatePrompt, type_named("Plan", Reply))
    with pytest.raises(TypeError, match="at most 31 ASCII letters"):
        codec.register(TranslatePrompt, type_named("T" * 32, Reply))
    with pytest.raises(TypeError, match="expected a subclass of Request, Reply or Event"):
        codec.register(TranslatePrompt, type_named("Kept", Record))
    with pytest.raises(TypeError, match=r"Odd: expected fields that msgspec can decode, got: Type unions"):
        codec.register(TranslatePrompt, Odd)
    assert codec.types == BODIES
    codec.register(TranslatePrompt)


# ------------------------------------------------------------------------------------------------------ records


@given(bodies())
@pytest.mark.slow
def test_only_records_are_decoded_as_records(body: Body) -> None:
    if isinstance(body, Record):
        assert decode_record(encode_body(body)) == body
    else:
        with pytest.raises(BodyError, match="expected a record"):
            decode_record(encode_body(body))


def test_a_record_of_a_later_version_is_refused() -> None:
    data = encode_body(PromptPlanned(trajectory="0" * 32, prompt="a fox")).replace(b"PromptPlanned", b"PromptPlanted")
    with pytest.raises(BodyError, match="expected a record"):
        decode_record(data)
