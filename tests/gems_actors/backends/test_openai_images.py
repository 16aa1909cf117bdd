"""An Images API on its good days and on its bad ones."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from gems_actors.backends import GeneratedImage, ImageRequest
from gems_actors.backends.model_server import retry_after_of, said_in
from gems_actors.backends.openai_images import open_openai_images
from gems_actors.config import ImageConfig, MeshConfig
from gems_actors.errors import BackendError, ConfigError, OverloadedError, RefusedError, RequestError
from gems_actors.roles import BUILT_IN_ROLES
from gems_actors.supervision.child_main import load_actor
from gems_actors.testing import open_test_mesh
from protocol.messages import DrawPicture
from tests.actors.fakes import png
from tests.gems_actors.backends.servers import Answer, ScriptedServer, drawn, make_impatient, open_server

REQUEST = ImageRequest("two red cats", seed=7, width_px=256, height_px=192)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    make_impatient(monkeypatch)
    with open_server(ScriptedServer(drawn)) as running:
        yield running


def generate(server: ScriptedServer, request: ImageRequest = REQUEST, **settings: Any) -> GeneratedImage:
    """Return what one request gives."""

    async def main() -> GeneratedImage:
        async with open_openai_images(ImageConfig(**{"backend": "openai", "url": server.url, **settings})) as model:
            with trio.fail_after(20.0):  # as every request has some deadline
                return await model.generate(request)

    return trio.run(main)


def answered(picture: bytes) -> Answer:
    return Answer(json.dumps({"data": [{"b64_json": base64.b64encode(picture).decode()}]}).encode())


def test_prompt_size_and_seed_reach_the_server_and_its_picture_comes_back(server: ScriptedServer) -> None:
    drawn_here = generate(server)
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


def test_steps_guidance_and_negative_prompt_of_a_request_go_before_those_of_the_settings(
    server: ScriptedServer,
) -> None:
    asked = replace(REQUEST, steps=9, guidance=0.0, negative_prompt="blurry")
    generate(server, asked, extra={"num_inference_steps": 8, "true_cfg_scale": 4.0})
    fields = server.asked[0][2]
    assert {name: fields[name] for name in ("num_inference_steps", "guidance_scale", "true_cfg_scale")} == {
        "num_inference_steps": 9,
        "guidance_scale": 0.0,
        "true_cfg_scale": 4.0,
    }
    assert fields["negative_prompt"] == "blurry"


def test_model_extras_and_omissions_of_the_settings_reach_the_server(server: ScriptedServer) -> None:
    generate(server, model="Z", extra={"num_inference_steps": 8, "n": 1}, omit=("response_format", "seed"))
    assert server.asked[0][2] == {
        "prompt": "two red cats",
        "n": 1,
        "size": "256x192",
        "model": "Z",
        "num_inference_steps": 8,
    }


def test_the_key_goes_to_the_server_and_to_nobody_else(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", "secret")
    server.files["/x.png"] = png(64, 32)
    server.rule = lambda fields: Answer(
        json.dumps({"data": [{"url": server.url.removesuffix("/v1") + "/x.png"}]}).encode()
    )
    picture = generate(server, api_key_env="THE_KEY")
    assert (picture.data, picture.width_px) == (png(64, 32), 64)
    assert server.asked[0][1]["Authorization"] == "Bearer secret"
    assert "Authorization" not in server.asked[1][1]


def test_a_key_that_is_not_there_is_a_wrong_setting(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THE_KEY", raising=False)
    with pytest.raises(ConfigError, match="expected a key in the environment variable THE_KEY"):
        generate(server, api_key_env="THE_KEY")


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
        (Answer(b'{"data": []}'), BackendError, 'expected JSON with a picture in "data"'),
        (Answer(b'{"data": [{}]}'), BackendError, "as b64_json or as url"),
        (Answer(b'{"data": [{"b64_json": "%%%"}]}'), BackendError, 'expected JSON with a picture in "data"'),
        (Answer(b'{"data": [{"url": "http://127.0.0.1:1/x.png"}]}'), BackendError, "ConnectError"),
        (Answer(b'{"data": [{"url": "nonsense"}]}'), BackendError, "UnsupportedProtocol"),
        (answered(b"no picture at all"), BackendError, "expected a PNG, JPEG or WebP picture, got 17 bytes"),
        (answered(png()[:40]), BackendError, "expected a PNG, JPEG or WebP picture"),
        (Answer(b'{"data": [{"b64_json": "' + b"A" * 100, cut_to=50), BackendError, "RemoteProtocolError"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else "",
)
def test_a_bad_day_is_a_failure_of_its_kind_in_one_line(
    server: ScriptedServer, answer: Answer, kind: type[RequestError], words: str
) -> None:
    server.rule = lambda fields: answer
    with pytest.raises(kind) as caught:
        generate(server)
    assert caught.value.code == kind.code
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"image server at {server.url}: ")
    assert "\n" not in str(caught.value)


def test_a_server_that_hangs_is_given_up(server: ScriptedServer) -> None:
    server.rule = lambda fields: Answer(b"{}", delay_s=0.5)
    with pytest.raises(BackendError, match=r"ReadTimeout|expected an answer within 0\.1 s, got none"):
        generate(server, timeout_s=0.1)


def test_a_server_that_is_not_there_is_a_failure_that_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    make_impatient(monkeypatch)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = ScriptedServer(drawn)
        nobody.url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(BackendError, match="ConnectError") as caught:
            generate(nobody)
    assert caught.value.is_retryable


def test_a_reply_without_end_is_cut_short(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gems_actors.backends.openai_images.MAX_REPLY_BYTES", 1000)
    with pytest.raises(BackendError, match=r"expected at most 1000 bytes, got \d+"):
        generate(server)


def test_many_pictures_are_asked_for_at_once(server: ScriptedServer) -> None:
    gate = trio.Event()

    async def main() -> int:
        most = now = 0
        async with open_openai_images(ImageConfig(backend="openai", url=server.url)) as model:

            async def one(ask: Callable[[ImageRequest], Awaitable[GeneratedImage]]) -> None:
                nonlocal most, now
                await gate.wait()
                now += 1
                most = max(most, now)
                await ask(REQUEST)
                now -= 1

            async with trio.open_nursery() as nursery:
                for _ in range(40):
                    nursery.start_soon(one, model.generate)
                gate.set()
        return most

    assert trio.run(main) == 40, "that is, none waits for another's answer to be asked for"
    assert len(server.asked) == 40


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("3", 3.0), ("0", 0.1), ("-4", 0.1), ("9999", 60.0), ("soon", None), ("nan", None), ("inf", 60.0)],
)
def test_what_a_server_says_of_when_to_come_again_is_kept_within_reason(
    header: str | None, seconds: float | None
) -> None:
    assert retry_after_of(header) == seconds


def test_a_date_to_come_again_at_is_understood() -> None:
    assert retry_after_of("Fri, 21 Nov 2125 08:00:00 GMT") == 60.0
    assert retry_after_of("Fri, 21 Nov 1980 08:00:00 GMT") == 0.1


@given(st.one_of(st.binary(max_size=400), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(("error", "detail", "message", "loc", "msg")), inner, max_size=3
    ),
).map(msgspec.json.encode)))  # fmt: skip
def test_no_error_that_a_server_can_send_is_more_than_words(body: bytes) -> None:
    assert isinstance(said_in(body), str)


def test_settings_without_a_server_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"image\.url: expected the address of a server, .*, got none"):
        generate(ScriptedServer(drawn), url=None)


def test_the_whole_loop_draws_through_a_server_that_is_busy_now_and_then(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.first += [Answer(b"{}", 503, {"Retry-After": "0.1"}), Answer(b'{"detail": "a crash"}', 500)]
    image = ImageConfig(backend="openai", url=server.url, model="storyboard-server")

    async def main() -> None:
        config = MeshConfig(data_dir=str(tmp_path), image=image)
        async with open_test_mesh(*(load_actor(role, config) for role in BUILT_IN_ROLES), config=config) as mesh:
            picture = await mesh.ask(DrawPicture(run="r", prompt="two red cats left of a stone dog", seed=3))
            assert picture.best.verdicts
            assert picture.all_met
            assert len(server.asked) == len(picture.attempts) + 2

    trio.run(main)
