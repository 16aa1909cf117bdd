"""The specification matches the code."""

import re

import pytest

from gems_actors.errors import RequestError
from protocol.codec import decode_message, encode_message
from protocol.envelope import Header, Kind
from protocol.messages import Body
from tests.protocol.reference import README, VECTORS, with_parts

TEXT = README.read_text(encoding="utf-8")
FRAMES = [bytes.fromhex(hexes) for hexes in re.findall(r"```text\n\{.*\}\n([0-9a-f\n]+)```", TEXT)]


def test_the_generated_parts_of_the_specification_are_up_to_date() -> None:
    assert with_parts(TEXT) == TEXT, "update it with: python -m tests.protocol.reference"


def test_every_kind_of_message_has_a_vector() -> None:
    assert {header.kind for _, header, _ in VECTORS} == set(Kind)
    assert len(FRAMES) == len(VECTORS)


@pytest.mark.parametrize(("frame", "vector"), list(zip(FRAMES, VECTORS, strict=True)))
def test_vectors_are_encoded_and_decoded_exactly(frame: bytes, vector: tuple[str, Header, Body]) -> None:
    _, header, body = vector
    assert encode_message(header, body) == frame
    assert decode_message(frame) == (header, body)


def test_the_specification_explains_every_kind() -> None:
    for kind in Kind:
        assert f"| {kind} | `{kind.name}` |" in TEXT


def test_the_specification_explains_every_failure_code() -> None:
    explained = dict(re.findall(r"^\| `([a-z_]+)` \| (yes|no) \|", TEXT, re.MULTILINE))
    kinds = [RequestError]
    for kind in kinds:
        kinds += kind.__subclasses__()  # a failure such as `unsupported` is one of its base, too
    codes = {error.code: "yes" if error.is_retryable else "no" for error in kinds[1:] if "code" in vars(error)}
    assert explained == codes
