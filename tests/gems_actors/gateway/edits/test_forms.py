"""Bodies of multipart/form-data: what real clients send, and what is refused."""

from __future__ import annotations

from contextlib import suppress

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gems_actors.gateway.api_errors import ApiError
from gems_actors.gateway.edits.forms import FormPart, parse_form

TYPE = "multipart/form-data; boundary=B"
HEAD = b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n'


def sent(fields: dict[str, str], files: list[tuple[str, tuple[str, bytes, str]]]) -> tuple[bytes, str]:
    """Return the body and type of a form as httpx, and so the SDK of OpenAI, sends it."""
    request = httpx.Request("POST", "http://x", data=fields, files=files)
    return request.read(), request.headers["content-type"]


@given(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), st.text(max_size=50)),
    st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=4),
)
@pytest.mark.slow
def test_fields_and_files_arrive_as_they_were_sent(fields: dict[str, str], files: list[bytes]) -> None:
    fields = {name: text for name, text in fields.items() if name.isprintable() and "%" not in name}
    body, type_ = sent(fields, [("image[]", ('é".png', data, "image/png")) for data in files])
    found = parse_form(body, type_)
    assert found[: len(fields)] == [FormPart(name, text.encode(), False) for name, text in fields.items()]
    assert found[len(fields) :] == [FormPart("image[]", data, True) for data in files]


def test_a_file_may_have_anything_in_it_but_the_boundary() -> None:
    data = b"\r\n--b\r\n--\r\n\r\n--Bx--"[:-5] + bytes(range(256))
    body, type_ = sent({}, [("image", ("a", data, "image/png"))])
    assert parse_form(body, type_) == [FormPart("image", data, True)]


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b'form-data; name="a%22b"', 'a"b'),
        (b'form-data; name="a\\"b"', 'a"b'),
        (b'FORM-DATA;NAME="a"', "a"),
        (b"form-data; name=a", "a"),
        (b'form-data; name="a;b%41"', "a;b%41"),
        ('form-data; name="ä"'.encode(), "ä"),
    ],
)
def test_names_are_read_as_browsers_and_curl_write_them(head: bytes, name: str) -> None:
    body = b"--B\r\ncontent-disposition: " + head + b"\r\n\r\n1\r\n--B--"
    assert parse_form(body, TYPE) == [FormPart(name, b"1", False)]


def test_text_after_the_form_and_an_empty_file_of_a_browser_count_for_nothing() -> None:
    empty = b'--B\r\nContent-Disposition: form-data; name="image"; filename=""\r\n\r\n\r\n'
    assert parse_form(empty + HEAD + b"\r\n--B--\r\nepilogue", TYPE) == [FormPart("a", b"", False)]


@pytest.mark.parametrize(
    ("body", "type_", "reason"),
    [
        (HEAD + b"1\r\n--B--", "multipart/form-data", "form with a boundary in its content-type, got none"),
        (
            HEAD + b"1\r\n--B--",
            "multipart/form-data; boundary=" + "B" * 500,
            "form of multipart/form-data, got: Boundary",
        ),
        (b"", TYPE, "form with parts between boundaries, the last one complete, got less"),
        (HEAD + b"1", TYPE, "form with parts between boundaries, the last one complete, got less"),
        (b"--B", TYPE, "form with parts between boundaries, the last one complete, got less"),
        (b"--C--", TYPE, "form of multipart/form-data, got: "),
        (b"--Bx\r\n\r\n\r\n--B--", TYPE, "form of multipart/form-data, got: "),
        (b"--B\r\nno head\r\n--B--", TYPE, "form of multipart/form-data, got: "),
        (
            b"--B\r\nx: " + b"y" * 9000 + b"\r\n\r\n\r\n--B--",
            TYPE,
            "form of multipart/form-data, got: Maximum header size",
        ),
        (
            b'--B\r\ncontent-disposition: form-data; name="\xff"\r\n\r\n1\r\n--B--',
            TYPE,
            "form with names of parts in UTF-8, got other bytes",
        ),
        (b"--B\r\ncontent-disposition: inline\r\n\r\n1\r\n--B--", TYPE, "form with parts with a name, got 'inline'"),
        (
            b"--B\r\ncontent-disposition: form-data\r\n\r\n1\r\n--B--",
            TYPE,
            "form with parts with a name, got 'form-data'",
        ),
        (
            HEAD[:-2] + b"content-transfer-encoding: base64\r\n\r\n1\r\n--B--",
            TYPE,
            "form with parts without content-transfer-encoding, got 'base64'",
        ),
        ((HEAD + b"1\r\n") * 101 + b"--B--", TYPE, "form with up to 100 parts, got more"),
    ],
)
def test_what_is_no_form_is_refused_in_one_line(body: bytes, type_: str, reason: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_form(body, type_)
    assert str(caught.value).startswith(f"body: expected a {reason}")
    assert (caught.value.status, caught.value.code) == (400, "invalid_form")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_form_or_refused(body: bytes) -> None:
    for data in (body, b"--B\r\n" + body, HEAD + body + b"\r\n--B--"):
        with suppress(ApiError):
            assert all(isinstance(part, FormPart) for part in parse_form(data, TYPE))
