"""Images from servers that work, fail, hang, or send nonsense."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from gems_actors.backends import GeneratedImage, ImagePart, ImageRequest
from gems_actors.backends.image_server import MAX_REPLY_BYTES
from gems_actors.backends.model_server import error_text, retry_after_of
from gems_actors.backends.openai_images import open_openai_images
from gems_actors.config import ImageConfig, MeshConfig
from gems_actors.errors import BackendError, ConfigError, OverloadedError, RefusedError, RequestError, UnsupportedError
from gems_actors.roles import BUILT_IN_ROLES
from gems_actors.supervision.child_main import load_actor
from gems_actors.testing import open_test_mesh
from protocol.messages import DrawPicture
from tests.actors.fakes import png
from tests.gems_actors.backends.servers import QUICK_RETRY, Answer, ScriptedServer, drawn, open_server

REQUEST = ImageRequest("two red cats", seed=7, width_px=256, height_px=192)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with open_server(ScriptedServer(drawn)) as running:
        yield running


async def generate(
    server: ScriptedServer,
    request: ImageRequest = REQUEST,
    *,
    max_reply_bytes: int = MAX_REPLY_BYTES,
    **settings: Any,
) -> GeneratedImage:
    """Return the picture of one request, with a deadline as every request has."""
    config = ImageConfig(**{"backend": "openai", "url": server.url, **settings})
    async with open_openai_images(config, retry=QUICK_RETRY, max_reply_bytes=max_reply_bytes) as model:
        with trio.fail_after(20.0):
            return await model.generate(request)


def answered(picture: bytes) -> Answer:
    return Answer(json.dumps({"data": [{"b64_json": base64.b64encode(picture).decode()}]}).encode())


async def test_prompt_size_and_seed_reach_the_server_and_its_picture_is_returned(server: ScriptedServer) -> None:
    drawn_here = await generate(server)
    assert (drawn_here.media_type, drawn_here.width_px, drawn_here.height_px) == ("image/png", 256, 192)
    assert answered(drawn_here.data).body in drawn(
        {"prompt": "two red cats", "seed": 7, "size": "256x192"}
    ).body.replace(b'"created": 1, ', b"")
    ((path, headers, fields),) = server.asked
    assert path == "/v1/images/generations"
    assert "Authorization" not in headers
    assert fields == {
        "prompt": "two red cats",
        "n": 1,
        "size": "256x192",
        "seed": 7,
        "response_format": "b64_json",
    }


async def test_steps_guidance_and_negative_prompt_of_a_request_override_the_settings(
    server: ScriptedServer,
) -> None:
    asked = replace(REQUEST, steps=9, guidance=0.0, negative_prompt="blurry")
    await generate(server, asked, extra={"num_inference_steps": 8, "true_cfg_scale": 4.0})
    fields = server.asked[0][2]
    assert {name: fields[name] for name in ("num_inference_steps", "guidance_scale", "true_cfg_scale")} == {
        "num_inference_steps": 9,
        "guidance_scale": 0.0,
        "true_cfg_scale": 4.0,
    }
    assert fields["negative_prompt"] == "blurry"


async def test_model_extra_and_omit_of_the_settings_shape_the_request(server: ScriptedServer) -> None:
    await generate(server, model="Z", extra={"num_inference_steps": 8, "n": 1}, omit=("response_format", "seed"))
    assert server.asked[0][2] == {
        "prompt": "two red cats",
        "n": 1,
        "size": "256x192",
        "model": "Z",
        "num_inference_steps": 8,
    }


async def test_the_key_is_sent_to_the_server_only(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", "secret")
    server.files["/x.png"] = png(64, 32)
    server.rule = lambda fields: Answer(
        json.dumps({"data": [{"url": server.url.removesuffix("/v1") + "/x.png"}]}).encode()
    )
    picture = await generate(server, api_key_env="THE_KEY")
    assert (picture.data, picture.width_px) == (png(64, 32), 64)
    assert server.asked[0][1]["Authorization"] == "Bearer secret"
    assert "Authorization" not in server.asked[1][1]


async def test_a_missing_key_is_a_configuration_error(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THE_KEY", raising=False)
    with pytest.raises(ConfigError, match="expected a key in the environment variable THE_KEY"):
        await generate(server, api_key_env="THE_KEY")


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Answer(b'{"error": {"message": "slow down"}}', 429, {"Retry-After": "60"}), OverloadedError, "429: slow down"),
        (Answer(b"<html>busy</html>", 503, {"Retry-After": "60"}), OverloadedError, "503: '<html>busy</html>'"),
        (
            Answer(b'{"error": {"message": "Unknown parameter: seed"}}', 400),
            RefusedError,
            "400: Unknown parameter: seed",
        ),
        (Answer(b'{"error": "no such key"}', 401), RefusedError, "401: no such key"),
        (
            Answer(b'{"detail": [{"loc": ["body", "size"], "msg": "too large"}]}', 422),
            RefusedError,
            "422: body.size: too large",
        ),
        (Answer(b'{"detail": "Not Found"}', 404), RefusedError, "404: Not Found"),
        (Answer(b'{"detail": "CUDA out of memory"}', 500), BackendError, "500: CUDA out of memory"),
        (Answer(b"", 502), BackendError, "502: ''"),
        (Answer(b"<html>welcome</html>"), BackendError, 'expected JSON with a picture in "data", got 20 bytes'),
        (Answer(b'{"data": []}'), BackendError, 'expected a picture in "data", as b64_json or as url'),
        (Answer(b'{"data": [{}]}'), BackendError, "as b64_json or as url"),
        (Answer(b'{"data": [{"b64_json": "%%%"}]}'), BackendError, "expected base64, got 3 characters: '%%%'"),
        (Answer(b'{"data": [{"url": "http://127.0.0.1:1/x.png"}]}'), BackendError, "ConnectError"),
        (Answer(b'{"data": [{"url": "nonsense"}]}'), BackendError, "UnsupportedProtocol"),
        (answered(b"no picture at all"), BackendError, "complete PNG, JPEG or WebP picture, got 17 bytes: 'no picture"),
        (answered(png()[:40]), BackendError, "got 40 bytes: the header is damaged or cut short"),
        (Answer(b'{"data": [{"b64_json": "' + b"A" * 100, cut_to=50), BackendError, "RemoteProtocolError"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else "",
)
async def test_each_failure_has_its_error_on_one_line(
    server: ScriptedServer, answer: Answer, kind: type[RequestError], words: str
) -> None:
    server.rule = lambda fields: answer
    with pytest.raises(kind) as caught:
        await generate(server)
    assert caught.value.code == kind.code
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"image server at {server.url}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "ftp://host/x.png",
        "http://",
        "http://127.0.0.1:1/x.png",
        "http://[::1",
        *[f"/{n}" for n in (401, 404, 429, 500)],
    ],
)
async def test_an_address_without_a_picture_counts_against_its_request_and_not_against_the_server(
    server: ScriptedServer, url: str
) -> None:
    base = server.url.removesuffix("/v1")
    server.files = {f"/{status}": Answer(b"no", status) for status in (401, 404, 429, 500)}
    named = base + url if url.startswith("/") else url
    server.rule = lambda fields: Answer(json.dumps({"data": [{"url": named}]}).encode())
    config = ImageConfig(backend="openai", url=server.url)
    async with open_openai_images(config, retry=QUICK_RETRY) as model:
        for _ in range(2):
            with pytest.raises(BackendError) as caught:
                with trio.fail_after(20.0):
                    await model.generate(REQUEST)
            assert not caught.value.is_outage
        assert model.figures()["servers_down"] == 0
    asked = [path for path, _, _ in server.asked if path.endswith("/images/generations")]
    assert len(asked) == 2 * QUICK_RETRY.max_faults


@pytest.mark.slow
async def test_a_server_that_hangs_times_out(server: ScriptedServer) -> None:
    server.rule = lambda fields: Answer(b"{}", delay_s=0.5)
    with pytest.raises(BackendError, match=r"ReadTimeout|expected an answer within 0\.1 s, got none"):
        await generate(server, timeout_s=0.1)


async def test_an_unreachable_server_is_a_retryable_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = ScriptedServer(drawn)
        nobody.url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(BackendError, match="ConnectError") as caught:
            await generate(nobody)
    assert caught.value.is_retryable


async def test_a_reply_above_the_limit_is_a_failure(server: ScriptedServer) -> None:
    with pytest.raises(BackendError, match=r"expected at most 1000 bytes, got \d+"):
        await generate(server, max_reply_bytes=1000)


async def test_one_poisoned_request_ends_while_another_is_drawn(server: ScriptedServer) -> None:
    server.rule = lambda fields: drawn(fields) if fields["prompt"] == "plain" else Answer(b'{"data": [{"oops": 1}]}')
    ended: list[str] = []
    async with open_openai_images(ImageConfig(backend="openai", url=server.url), retry=QUICK_RETRY) as model:

        async def draw(prompt: str) -> None:
            try:
                await model.generate(replace(REQUEST, prompt=prompt))
                ended.append(prompt)
            except BackendError as error:
                ended.append(str(error).partition(": ")[2])

        with trio.fail_after(20.0):
            async with trio.open_nursery() as nursery:
                for prompt in ("bad", "plain", "bad"):
                    nursery.start_soon(draw, prompt)
        assert model.note() == ""
    assert sorted(ended)[2] == "plain"
    assert [fields["prompt"] for _, _, fields in server.asked].count("bad") == 8


async def test_a_wait_for_the_server_is_told(server: ScriptedServer) -> None:
    server.first.append(Answer(b'{"error": {"message": "slow down"}}', 429, {"Retry-After": "30"}))
    async with (
        open_openai_images(ImageConfig(backend="openai", url=server.url), retry=QUICK_RETRY) as model,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(model.generate, REQUEST)
        while not model.note():  # noqa: ASYNC110 -- a figure, not an event
            await trio.sleep(0.01)
        assert "answered 429: slow down" in model.note()
        nursery.cancel_scope.cancel()


async def test_the_server_gets_several_requests_at_once(server: ScriptedServer) -> None:
    all_are_there = threading.Barrier(2)

    def answer_together(fields: dict[str, Any]) -> Answer:
        all_are_there.wait(timeout=60.0)  # raises unless two requests are at the server at the same time
        return drawn(fields)

    config = ImageConfig(backend="openai", url=server.url)
    async with open_openai_images(config) as model:
        await model.generate(REQUEST)  # the window is two from then on
        server.rule = answer_together
        async with trio.open_nursery() as nursery:
            nursery.start_soon(model.generate, REQUEST)
            nursery.start_soon(model.generate, REQUEST)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("3", 3.0), ("0", 0.1), ("-4", 0.1), ("9999", 60.0), ("soon", None), ("nan", None), ("inf", 60.0)],
)
def test_retry_after_is_bounded_and_ignored_if_malformed(header: str | None, seconds: float | None) -> None:
    assert retry_after_of(header) == seconds


def test_retry_after_may_be_a_date() -> None:
    assert retry_after_of("Fri, 21 Nov 2125 08:00:00 GMT") == 60.0
    assert retry_after_of("Fri, 21 Nov 1980 08:00:00 GMT") == 0.1


@given(st.one_of(st.binary(max_size=400), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(("error", "detail", "message", "loc", "msg")), inner, max_size=3
    ),
).map(msgspec.json.encode)))  # fmt: skip
def test_any_error_body_has_a_text(body: bytes) -> None:
    assert isinstance(error_text(body), str)


async def test_settings_without_a_server_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"image\.url: expected the address of a server, .*, got none"):
        await generate(ScriptedServer(drawn), url=None)


@pytest.mark.slow
async def test_a_whole_loop_with_a_server_that_is_busy_and_fails_once(server: ScriptedServer, tmp_path: Path) -> None:
    server.first += [Answer(b"{}", 503, {"Retry-After": "0.1"}), Answer(b'{"detail": "a crash"}', 500)]
    image = ImageConfig(backend="openai", url=server.url, model="storyboard-server")
    config = MeshConfig(data_dir=str(tmp_path), image=image)
    async with open_test_mesh(*(load_actor(role, config) for role in BUILT_IN_ROLES), config=config) as mesh:
        picture = await mesh.ask(DrawPicture(run="r", prompt="two red cats left of a stone dog", seed=3))
        assert picture.best.verdicts
        assert picture.all_met
        assert len(server.asked) == len(picture.attempts) + 2


CAT, DOG = ImagePart(png(32, 16, "red"), "image/png"), ImagePart(b"jpeg", "image/jpeg")


@pytest.mark.parametrize(("references", "field"), [((CAT,), "image"), ((CAT, DOG), "image[]")])
async def test_references_are_sent_as_a_form_with_the_files(
    references: tuple[ImagePart, ...], field: str, server: ScriptedServer
) -> None:
    request = replace(REQUEST, references=references, strength=0.5, steps=4)
    picture = await generate(server, request, edits=True, extra={"tiled": True}, model="edit-1", omit=("n",))
    assert (picture.width_px, picture.height_px) == (256, 192)
    ((path, headers, fields),) = server.asked
    assert path == "/v1/images/edits"
    assert headers["Content-Type"].startswith("multipart/form-data; boundary=")
    files = fields.pop(field)
    expected = [("1.png", "image/png", CAT.data), ("2.jpeg", "image/jpeg", DOG.data)]
    assert files == expected[: len(references)]
    assert fields == {
        "prompt": "two red cats",
        "size": "256x192",
        "seed": "7",
        "response_format": "b64_json",
        "model": "edit-1",
        "num_inference_steps": "4",
        "strength": "0.5",
        "tiled": "true",
    }


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_server_without_edits_is_named_and_not_asked_again(status: int, server: ScriptedServer) -> None:
    server.rule = lambda fields: Answer(b'{"detail": "Not Found"}', status)
    with pytest.raises(
        UnsupportedError, match=rf"image server at {server.url}: answered {status}: Not Found; "
    ) as caught:
        await generate(server, replace(REQUEST, references=(CAT,)), edits=True)
    assert "image.edits = false" in str(caught.value)
    assert not caught.value.is_outage
    assert len(server.asked) == 1


async def test_a_prompt_that_edits_refuse_is_refused_as_a_prompt(server: ScriptedServer) -> None:
    server.rule = lambda fields: Answer(b'{"error": {"message": "not this"}}', 400)
    with pytest.raises(RefusedError, match="answered 400: not this") as caught:
        await generate(server, replace(REQUEST, references=(CAT,)), edits=True)
    assert not isinstance(caught.value, UnsupportedError)


@pytest.mark.parametrize("edits", [False, True])
async def test_the_settings_say_whether_the_server_draws_from_pictures(edits: bool, server: ScriptedServer) -> None:
    config = ImageConfig(backend="openai", url=server.url, edits=edits)
    async with open_openai_images(config) as model:
        assert model.can_edit is edits
