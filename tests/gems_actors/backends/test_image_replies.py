"""The forms in which image servers send a picture, and servers of GEMS' published code."""

from __future__ import annotations

import base64
import json
import textwrap
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import trio

from gems_actors.backends import GeneratedImage, ImageRequest
from gems_actors.backends.gems_images import open_gems_images
from gems_actors.backends.openai_images import open_openai_images
from gems_actors.config import ImageConfig
from gems_actors.errors import BackendError, RefusedError
from tests.actors.fakes import png
from tests.gems_actors.backends.picture_bytes import flat, noise, pixel_of
from tests.gems_actors.backends.servers import QUICK_RETRY, Answer, ScriptedServer, drawn, open_server

REQUEST = ImageRequest("two red cats", seed=7, width_px=256, height_px=192)
PICTURE = noise("PNG")
BASE64 = base64.b64encode(PICTURE).decode()
URL_SAFE = base64.urlsafe_b64encode(PICTURE).decode()
CUT = base64.b64encode(PICTURE[: len(PICTURE) * 6 // 10]).decode()
DATA = f"data:image/png;base64,{BASE64}"

FORMS: dict[str, list[dict[str, Any]]] = {
    "base64": [{"b64_json": BASE64}],
    "base64 with a data: prefix": [{"b64_json": DATA}],
    "base64 with a prefix in capitals": [{"b64_json": f"DATA:image/png;BASE64,{BASE64}"}],
    "base64 with a prefix without a type": [{"b64_json": f"data:;base64,{BASE64}"}],
    "base64 with a prefix with a parameter": [{"b64_json": f"data:image/png;name=a.png;base64,{BASE64}"}],
    "base64 of the URL-safe alphabet": [{"b64_json": URL_SAFE}],
    "base64 without padding": [{"b64_json": BASE64.rstrip("=")}],
    "URL-safe base64 without padding": [{"b64_json": URL_SAFE.rstrip("=")}],
    "base64 in lines": [{"b64_json": "\n".join(textwrap.wrap(BASE64, 76))}],
    "base64 in lines of Windows": [{"b64_json": "\r\n".join(textwrap.wrap(BASE64, 64)) + "\r\n"}],
    "base64 between spaces": [{"b64_json": f"  {BASE64}\t"}],
    "an address with base64": [{"url": DATA}],
    "an address with escaped base64": [{"url": f"data:image/png;base64,{quote(BASE64, safe='')}"}],
    "an address with escaped bytes": [{"url": f"data:image/png,{quote(PICTURE)}"}],
    "both, no address": [{"b64_json": BASE64, "url": None}],
    "both, no base64": [{"b64_json": None, "url": DATA}],
    "both, empty base64": [{"b64_json": "", "url": DATA}],
    "both, and the base64 is cut": [{"b64_json": CUT, "url": DATA}],
    "both, and the base64 is none": [{"b64_json": "see url", "url": DATA}],
    "both, and the base64 is a number": [{"b64_json": 7, "url": DATA}],
    "both, and the address is gone": [{"url": "http://127.0.0.1:1/x.png", "b64_json": BASE64}],
    "the second of several": [{"b64_json": CUT}, {"b64_json": BASE64}],
    "after an empty item": [{}, {"b64_json": BASE64}],
    "after an odd item": ["picture", {"b64_json": BASE64}],  # type: ignore[list-item]  # the odd item
    "with further fields": [{"b64_json": BASE64, "revised_prompt": None, "url": {"odd": 1}}],
}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with open_server(ScriptedServer(drawn)) as running:
        yield running


async def generate(server: ScriptedServer) -> GeneratedImage:
    config = ImageConfig(backend="openai", url=server.url)
    async with open_openai_images(config, retry=QUICK_RETRY) as model:
        with trio.fail_after(20.0):
            return await model.generate(REQUEST)


@pytest.mark.parametrize("items", FORMS.values(), ids=FORMS)
async def test_a_picture_is_accepted_in_every_form_that_servers_send(
    server: ScriptedServer, items: list[dict[str, Any]]
) -> None:
    server.rule = lambda fields: Answer(json.dumps({"data": items}).encode())
    assert (await generate(server)).data == PICTURE
    assert len(server.asked) == 1, "and not asked for again"


@pytest.mark.slow
@pytest.mark.parametrize(
    "item",
    [
        {"b64_json": CUT},
        {"url": f"data:image/png;base64,{CUT}"},
        {"b64_json": "data:image/png;base64"},
        {"b64_json": "data:image/png;base64,%%%"},
        {"url": "data:,"},
        {"b64_json": base64.b64encode(noise("JPEG")[:-30]).decode()},
        {"b64_json": base64.b64encode(noise("WEBP")[:-30]).decode()},
        {"b64_json": "%%%"},
    ],
)
async def test_an_unusable_picture_is_asked_for_again_and_then_fails(
    server: ScriptedServer, item: dict[str, str]
) -> None:
    bad = Answer(json.dumps({"data": [item]}).encode())
    server.first, server.rule = [bad, bad], lambda fields: Answer(json.dumps({"data": [{"b64_json": BASE64}]}).encode())
    assert (await generate(server)).data == PICTURE
    assert len(server.asked) == 3
    server.rule = lambda fields: bad
    with pytest.raises(BackendError, match=f"^image server at {server.url}: expected ") as caught:
        await generate(server)
    assert not caught.value.is_retryable, "the pool has given it up"
    assert "\n" not in str(caught.value)
    assert len(server.asked) == 3 + QUICK_RETRY.max_faults


async def test_hidden_colours_of_a_server_do_not_arrive(server: ScriptedServer) -> None:
    item = {"b64_json": base64.b64encode(flat("RGBA", (200, 30, 30, 0))).decode()}
    server.rule = lambda fields: Answer(json.dumps({"data": [item]}).encode())
    drawn_here = await generate(server)
    assert (drawn_here.media_type, pixel_of(drawn_here.data)) == ("image/png", (255, 255, 255, 0))


async def test_a_server_of_the_published_code_gets_the_prompt_alone(server: ScriptedServer) -> None:
    server.rule = lambda fields: Answer(png(64, 32), headers={"Content-Type": "image/png"})
    config = ImageConfig(backend="gems", url=server.url.removesuffix("/v1"))
    prompt = "two red cats & a dog? 開店 50 %"
    async with open_gems_images(config, retry=QUICK_RETRY) as model:
        picture = await model.generate(ImageRequest(prompt, 7, 256, 192, steps=8, guidance=1.0))
        assert (picture.data, picture.width_px, picture.height_px) == (png(64, 32), 64, 32)
        ((path, _, fields),) = server.asked
        assert path.startswith("/generate?prompt=")
        assert fields == {"prompt": prompt}
        assert model.figures()
        server.rule = lambda fields: Answer(b'{"detail": "prompt is required"}', 422)
        with pytest.raises(RefusedError, match="answered 422: prompt is required"):
            await model.generate(REQUEST)
        server.rule = lambda fields: Answer(png()[:-20])
        with pytest.raises(BackendError, match="expected a complete PNG, JPEG or WebP picture"):
            await model.generate(REQUEST)
