"""The Images API, with the real OpenAI SDK over real sockets."""

from __future__ import annotations

import io
from base64 import b64decode
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import trio
from PIL import Image

from gems_actors.errors import BackendError, InternalError, OverloadedError, RefusedError
from protocol.messages import ListTrajectories
from tests.gems_actors.gateway.doors import PROMPT, in_thread, open_drawing_door, open_painted_door


def opened(b64: str | None) -> Image.Image:
    assert b64 is not None
    return Image.open(io.BytesIO(b64decode(b64)))


async def test_the_sdk_draws_a_picture(tmp_path: Path) -> None:
    async with open_drawing_door(tmp_path) as door:
        generate = door.openai().images.generate
        answer = await in_thread(generate, prompt=PROMPT, size="128x64", extra_body={"seed": 7})
        assert answer.data is not None
        (drawn,) = answer.data
        picture = opened(drawn.b64_json)
        assert (picture.format, picture.size) == ("PNG", (128, 64))
        assert "parameters" in picture.info
        assert answer.size == "128x64"
        assert answer.output_format == "png"
        assert answer.usage is not None
        assert str(answer._request_id).startswith("req_")
        assert drawn.revised_prompt
        story = (drawn.model_extra or {})["gems"]
        assert story["seed"] == 7
        listed = await door.mesh.ask(ListTrajectories(of_run=story["run"]))
        assert [item.trajectory for item in listed.trajectories] == [story["trajectory"]]
        again = await in_thread(generate, prompt=PROMPT, size="128x64", extra_body={"seed": 7})
        assert again.data is not None
        assert again.data[0].b64_json == drawn.b64_json, "the same seed draws the same picture"


@pytest.mark.slow
async def test_n_pictures_differ_and_each_format_is_what_it_says(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        client = door.openai()
        answer = await in_thread(client.images.generate, prompt=PROMPT, n=3, output_format="webp", user="u-1")
        pictures = [opened(item.b64_json) for item in answer.data or ()]
        assert [picture.format for picture in pictures] == ["WEBP"] * 3
        assert len({picture.tobytes() for picture in pictures}) == 3
        assert len({task.run for task in painter.begun}) == 1
        jpegs = set()
        for compression in (10, 95):
            jpeg = await in_thread(
                client.images.generate, prompt=PROMPT, output_format="jpeg", output_compression=compression,
                extra_body={"seed": 3},
            )  # fmt: skip
            assert jpeg.data is not None
            assert opened(jpeg.data[0].b64_json).format == "JPEG"
            jpegs.add(jpeg.data[0].b64_json)
        assert len(jpegs) == 2
        assert answer.usage is not None
        assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (90, 12, 102)


async def test_a_picture_can_be_fetched_from_its_address(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, _), door.http() as http:
        answer = await in_thread(
            door.openai().images.generate, prompt=PROMPT, response_format="url", output_format="jpeg"
        )
        assert answer.data is not None
        url = answer.data[0].url
        assert url is not None
        assert url.startswith(f"{door.url}/v1/gems/pictures/")
        fetched = await http.get(url)
        assert fetched.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(fetched.content)).format == "JPEG"
        lost = await http.get(f"{url}x")
        assert (lost.status_code, lost.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.slow
async def test_fields_decide_how_the_loop_spends_its_images(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        generate = door.openai().images.generate

        async def settings_of(**fields: Any) -> Any:
            await in_thread(generate, prompt=PROMPT, **fields)
            return painter.begun[-1].settings

        default = await settings_of()
        assert (default.max_rounds, default.candidates) == (5, 1)
        assert (await settings_of(model="storyboard")).skill == "none"
        assert (await settings_of(model="storyboard")).max_rounds == 1
        assert (await settings_of(model="storyboard+best-of-n")).candidates == 5
        assert (await settings_of(model="storyboard+gems", extra_body={"gems": {"rounds": 2}})).max_rounds == 2
        assert (await settings_of(model="storyboard+thrifty")).max_rounds == 8
        assert (await settings_of(model="storyboard+thrifty", extra_body={"gems": {"rounds": 2}})).max_rounds == 2
        diverse = await settings_of(extra_body={"gems": {"preset": "diverse", "images": 6}})
        assert (diverse.max_rounds, diverse.candidates, diverse.choose) == (3, 2, "pairwise")
        assert diverse.skill == "none"
        asked = {"negative_prompt": "fog", "num_inference_steps": 9, "guidance_scale": 1.5, "gems": {"candidates": 3}}
        found = await settings_of(extra_body=asked, size="auto")
        assert (found.negative_prompt, found.steps, found.guidance, found.candidates) == ("fog", 9, 1.5, 3)


@pytest.mark.slow
async def test_models_are_the_image_model_with_each_strategy(tmp_path: Path) -> None:
    async with open_painted_door(
        tmp_path, "image.backend=openai", "image.url=http://x/v1", "image.model=A/Z-Image"
    ) as (
        door,
        _,
    ):
        models = await in_thread(lambda: [model.id for model in door.openai().models.list()])
        assert models == [
            "z-image", "z-image+rewrite", "z-image+best-of-n", "z-image+gems", "z-image+thrifty", "z-image+diverse",
        ]  # fmt: skip
        found = await in_thread(door.openai().models.retrieve, "z-image+gems")
        assert found.id == "z-image+gems"
        with pytest.raises(openai.NotFoundError, match="z-image, z-image"):
            await in_thread(door.openai().models.retrieve, "dall-e-3")


@pytest.mark.parametrize(
    ("fields", "param", "text"),
    [
        ({"prompt": " "}, "prompt", "expected a prompt of 1 to 32,000 characters"),
        ({"prompt": "a\0b"}, "prompt", "NUL"),
        ({"n": 11}, "n", "at most 10"),
        ({"n": 0}, "n", "at least 1"),
        ({"size": "12"}, "size", "WIDTHxHEIGHT"),
        ({"size": "4096x64"}, "size", "up to 2048 pixels"),
        ({"output_format": "tiff"}, "output_format", "png, jpeg, webp"),
        ({"output_compression": 101}, "output_compression", "at most 100"),
        ({"background": "transparent"}, "background", "auto, opaque"),
        ({"extra_body": {"seed": -1}}, "seed", "at least 0"),
        ({"extra_body": {"sede": 1}}, "sede", "did you mean seed?"),
        ({"extra_body": {"gems": 3}}, "gems", "gems: expected an object, got 3"),
        ({"extra_body": {"gems": {"rounds": 65}}}, "gems.rounds", "at most 64"),
        ({"extra_body": {"gems": {"rounds": 3, "images": 3}}}, "images", "got both"),
        ({"model": "storyboard", "extra_body": {"gems": {"candidates": 2}}}, "strategy", "candidates"),
        ({"extra_body": {"gems": {"preset": "cheap"}}}, "gems.preset", "expected one of thrifty, diverse, got 'cheap'"),
        (
            {"model": "storyboard+thrifty", "extra_body": {"gems": {"preset": "diverse"}}},
            "gems.preset",
            "thrifty or none",
        ),
        ({"n": 10, "extra_body": {"gems": {"rounds": 11}}}, "n", "up to 100 images"),
    ],
    ids=lambda value: None if not isinstance(value, dict) else ",".join(f"{k}" for k in value),
)
@pytest.mark.slow
async def test_a_field_that_is_wrong_is_named(tmp_path: Path, fields: dict[str, Any], param: str, text: str) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        with pytest.raises(openai.BadRequestError) as caught:
            await in_thread(door.openai().images.generate, **{"prompt": PROMPT, **fields})
        error = caught.value
        assert (error.type, error.param) == ("invalid_request_error", param)
        assert text in str(error)
        assert error.request_id is not None
        assert not painter.begun


async def test_an_unknown_model_is_not_found(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, _):
        with pytest.raises(openai.NotFoundError, match=r"storyboard\+gems") as caught:
            await in_thread(door.openai().images.generate, prompt=PROMPT, model="dall-e-3")
        assert caught.value.code == "model_not_found"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("failure", "kind", "code"),
    [
        (RefusedError("not this"), openai.BadRequestError, "refused"),
        (BackendError("the server is away"), openai.InternalServerError, "backend"),
        (InternalError("oops"), openai.InternalServerError, "internal"),
        (OverloadedError("too many", 3.0), openai.RateLimitError, "overloaded"),
    ],
)
async def test_a_failure_of_the_mesh_has_its_class_in_the_sdk(
    tmp_path: Path, failure: Any, kind: type[openai.APIStatusError], code: str
) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        painter.failure = failure
        with pytest.raises(kind) as caught:
            await in_thread(door.openai().images.generate, prompt=PROMPT)
        assert caught.value.code == code
        assert str(failure) in str(caught.value)
        if code == "overloaded":
            assert caught.value.response.headers["retry-after"] == "3"


@pytest.mark.slow
async def test_the_time_limit_of_a_request_withdraws_its_picture(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path, "gateway.timeout_s=0.2") as (door, painter):
        painter.hold = trio.Event()
        with pytest.raises(openai.InternalServerError) as caught:
            await in_thread(door.openai(max_retries=2).images.generate, prompt=PROMPT)
        assert (caught.value.status_code, caught.value.code) == (504, "deadline")
        await painter.until(lambda: painter.withdrawn == 1)
        assert len(painter.begun) == 1


@pytest.mark.slow
async def test_a_client_that_gives_up_withdraws_its_pictures(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        painter.hold = trio.Event()
        with pytest.raises(openai.APITimeoutError):
            await in_thread(door.openai(timeout=0.5).images.generate, prompt=PROMPT, n=2)
        await painter.until(lambda: painter.withdrawn == len(painter.begun) > 0)
        painter.hold.set()
        answer = await in_thread(door.openai().images.generate, prompt=PROMPT)
        assert answer.data


@pytest.mark.slow
async def test_beyond_the_pictures_at_once_clients_are_told_when_to_come_back(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path, "gateway.max_draws=10") as (door, painter):
        painter.hold = trio.Event()
        answers: list[httpx.Response] = []

        async def ask(n: int) -> None:
            answers.append(await door.post("/v1/images/generations", {"prompt": PROMPT, "n": n}))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 9)
            await painter.until(lambda: len(painter.begun) == 9)
            refused = await door.post("/v1/images/generations", {"prompt": PROMPT, "n": 2})
            assert refused.status_code == 429
            assert refused.json()["error"]["type"] == "rate_limit_error"
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            assert len(painter.begun) == 9
            nursery.start_soon(ask, 1)
            await painter.until(lambda: len(painter.begun) == 10)
            painter.hold.set()
        assert [answer.status_code for answer in answers] == [200, 200]
