"""Drawing from pictures over HTTP, with the real OpenAI SDK over real sockets."""

from __future__ import annotations

import io
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from gems_actors.app.references.pictures import reference_in
from gems_actors.errors import UnsupportedError
from gems_actors.gateway.api_errors import ApiError
from gems_actors.gateway.edits.uploads import MAX_UPLOAD_BYTES, UploadRoom
from protocol.messages import ReadLog, RunBegun
from tests.actors.fakes import png
from tests.gems_actors.app.editors import INVERTING
from tests.gems_actors.gateway.doors import in_thread, open_drawing_door, open_painted_door

PROMPT = "the same dog, in snow"
RED, BLUE = png(96, 48, "red"), png(32, 32, "blue")


def opened(b64: str | None) -> Image.Image:
    assert b64 is not None
    return Image.open(io.BytesIO(b64decode(b64)))


def digests(*files: bytes) -> list[str]:
    return [reference_in(data).ref.digest for data in files]


async def test_the_sdk_edits_a_picture(tmp_path: Path) -> None:
    (tmp_path / "dog.png").write_bytes(RED)
    async with open_drawing_door(tmp_path, INVERTING) as door:
        edit = door.openai().images.edit
        answer = await in_thread(edit, image=tmp_path / "dog.png", prompt=PROMPT, extra_body={"seed": 7})
        assert answer.data is not None
        picture = opened(answer.data[0].b64_json)
        assert picture.size == (128, 64), "the proportions of the given picture, and about as many pixels as configured"
        assert picture.convert("RGB").getpixel((5, 5)) == (0, 255, 255)
        assert (answer.data[0].model_extra or {})["gems"]["seed"] == 7


async def test_every_field_of_the_form_counts(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        answer = await in_thread(
            door.openai().images.edit,
            image=[("a.png", RED), ("b.png", BLUE)],
            prompt=PROMPT,
            n=2,
            size="128x64",
            output_format="webp",
            output_compression=50,
            quality="high",
            input_fidelity="high",
            model="gems",
            user="u-1",
            extra_body={"seed": 7, "strength": 0.5, "num_inference_steps": 4, "gems": {"rounds": 2, "exact": True}},
        )
        first, second = sorted(painter.begun, key=lambda request: request.sample)
    assert [opened(item.b64_json).format for item in answer.data or ()] == ["WEBP"] * 2
    assert [image.digest for image in first.references] == digests(RED, BLUE)
    assert second.references == first.references
    settings = first.settings
    assert (first.prompt, first.seed, settings.width_px, settings.height_px) == (PROMPT, 7, 128, 64)
    assert (settings.strength, settings.steps, settings.max_rounds, settings.exact) == (0.5, 4, 2, True)
    for image, data in zip(first.references, (RED, BLUE), strict=True):
        assert await painter.blobs.get(image) == reference_in(data).data


async def test_a_stream_of_an_edit_shows_each_round(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        painter.rounds = 2
        stream = await in_thread(door.openai().images.edit, image=RED, prompt=PROMPT, stream=True, partial_images=1)
        events: list[Any] = await in_thread(list, stream)
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]
    assert [image.digest for image in painter.begun[0].references] == digests(RED)


async def test_a_key_names_the_pictures_by_all_that_was_sent(tmp_path: Path) -> None:
    async with open_drawing_door(tmp_path, INVERTING, "draw.max_rounds=1") as door:
        edit = door.openai(default_headers={"Idempotency-Key": "k-1"}).images.edit
        once, again = [await in_thread(edit, image=RED, prompt=PROMPT) for _ in range(2)]
        assert once.data == again.data
        others_sent: list[dict[str, Any]] = [{"image": BLUE}, {"image": [RED, BLUE]}, {"image": RED, "prompt": "rain"}]
        for others in others_sent:
            with pytest.raises(openai.ConflictError):
                await in_thread(edit, **{"prompt": PROMPT, **others})


@pytest.mark.parametrize(
    ("form", "status", "param", "text"),
    [
        ({"files": {"image": b"GIF89a"}}, 400, "image", "image: expected a complete PNG, JPEG or WebP picture, got 6"),
        ({"files": {"image": RED, "mask": BLUE}}, 400, "mask", "mask: expected none, because masks are not supported"),
        ({"files": {"other": RED}}, 400, "other", "other: expected text, got a file"),
        ({"data": {"image": "x"}, "files": {"image[0]": RED}}, 400, "image", "image: expected files, got a field with"),
        ({"files": [("image[]", RED)] * 17}, 400, "image", "image: expected up to 16 pictures, got 17"),
        ({"files": [("image[]", RED), ("image[]", b"x")]}, 400, "image", "image 2: expected a complete PNG, JPEG or"),
        ({"data": {"n": "two"}, "files": {"image": RED}}, 400, "n", "n: expected a whole number"),
        ({"data": {"strength": "0"}, "files": {"image": RED}}, 400, "strength", "strength: expected a number above 0"),
        ({"data": {"odd": "1"}, "files": {"image": RED}}, 400, "odd", "odd: "),
        ({"files": {"image": b"\0" * (50 * 2**20 + 1)}}, 413, "image", "image: expected a file of up to 50 MiB, got"),
    ],
)  # fmt: skip
@pytest.mark.slow
async def test_an_impossible_form_is_refused_by_the_name_of_its_field(
    form: dict[str, Any], status: int, param: str, text: str, tmp_path: Path
) -> None:
    async with open_painted_door(tmp_path) as (door, painter), door.http() as client:
        form["data"] = {"prompt": PROMPT, **form.get("data", {})}
        answer = await client.post("/v1/images/edits", **form)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (status, param)
        assert error["message"].startswith(text)
        assert not painter.begun
        assert not [path for path in (tmp_path / "data" / "blobs").rglob("*") if path.is_file()]


async def test_a_body_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, _):
        headers, body = {"content-type": "multipart/form-data; boundary=B"}, bytes(MAX_UPLOAD_BYTES + 1)
        answer = await in_thread(httpx.post, f"{door.url}/v1/images/edits", content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


async def test_a_form_without_a_picture_and_a_body_of_json_are_refused(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, _), door.http() as client:
        alone = await client.post("/v1/images/edits", data={"prompt": PROMPT}, files={"image": b""})
        assert (alone.status_code, alone.json()["error"]["message"]) == (400, "image: expected 1 to 16 files, got none")
        as_json = await client.post("/v1/images/edits", json={"prompt": PROMPT})
        assert as_json.status_code == 415


async def test_a_mesh_that_draws_from_text_alone_says_so_for_good(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        painter.failure = UnsupportedError("references: expected an image model that draws from pictures")
        with pytest.raises(openai.InternalServerError) as caught:
            await in_thread(door.openai(max_retries=2).images.edit, image=RED, prompt=PROMPT)
        assert (caught.value.status_code, caught.value.code) == (501, "unsupported")
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert len(painter.begun) == 1
        refused = await door.post("/v1/images/variations", {})
        assert refused.status_code == 501
        assert refused.json()["error"]["message"].startswith("variations: expected edits")


async def test_a_picture_of_another_site_is_not_taken(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter), door.http() as client:
        for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
            answer = await client.post("/v1/images/edits", data={"prompt": "x"}, files={"image": RED}, headers=headers)
            assert answer.status_code == 403
        assert not painter.begun


def test_bodies_take_room_only_while_they_are_held() -> None:
    room = UploadRoom(max_bytes=100)
    with room.hold() as take:
        take(60)
        with room.hold() as other:
            other(40)
            with pytest.raises(ApiError, match="expected room for bodies with pictures") as caught:
                take(1)
            assert (caught.value.status, caught.value.retry_after_s) == (429, 5.0)
    assert room.held_bytes == 0


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{b64encode(data).decode()}"


@pytest.mark.slow
@pytest.mark.parametrize("as_data", [True, False])
async def test_a_job_is_drawn_from_pictures_in_its_body(as_data: bool, tmp_path: Path) -> None:
    async with open_painted_door(tmp_path, "draw.width_px=96", "draw.height_px=96") as (door, painter):
        image = [data_url(RED), data_url(BLUE)] if as_data else b64encode(RED).decode()
        body = {"prompts": ["in snow", "in rain"], "image": image, "strength": 0.5}
        answer = await door.post("/v1/gems/jobs", body)
        assert answer.status_code == 202
        async with door.lines("GET", f"/v1/gems/jobs/{answer.json()['id']}/events") as lines:
            while not (await lines.next("event: ")).endswith("job.ended"):
                pass
        records = [item.record for item in (await door.mesh.ask(ReadLog())).records]
    (begun,) = (record for record in records if isinstance(record, RunBegun))
    assert begun.references == painter.begun[0].references  # kept from garbage collection while the job waits
    assert sorted(request.prompt for request in painter.begun) == ["in rain", "in snow"]
    for request in painter.begun:
        assert [given.digest for given in request.references] == (digests(RED, BLUE) if as_data else digests(RED))
        assert (request.settings.strength, request.settings.width_px, request.settings.height_px) == (0.5, 128, 64)
        for given in request.references:
            assert await painter.blobs.get(given)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"image": "x"}, "image: expected base64, or a data: address with base64, got 'x'"),
        (
            {"image": "data:image/png,abc"},
            "image: expected base64, or a data: address with base64, got 'data:image",
        ),
        ({"image": ["", ""]}, "image 1: expected a complete PNG, JPEG or WebP picture, got 0 bytes"),
        ({"image": 7}, "image: expected "),
        ({"strength": 0.5}, "prompts[0]: strength: "),
    ],
)
async def test_a_job_without_usable_pictures_is_refused(fields: dict[str, Any], text: str, tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        answer = await door.post("/v1/gems/jobs", {"prompts": ["in snow"], **fields})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, next(iter(fields)))
        assert answer.json()["error"]["message"].startswith(text)
        assert not painter.begun


async def test_the_page_shows_the_pictures_that_a_trajectory_is_drawn_from(tmp_path: Path) -> None:
    async with open_drawing_door(tmp_path, INVERTING, "draw.max_rounds=1") as door, door.http() as client:
        answer = await in_thread(door.openai().images.edit, image=[RED, BLUE], prompt=PROMPT)
        assert answer.data is not None
        path = f"/v1/gems/trajectories/{(answer.data[0].model_extra or {})['gems']['trajectory']}"
        tree = (await client.get(path)).json()
        assert tree["references"] == [{"width_px": 96, "height_px": 48}, {"width_px": 32, "height_px": 32}]
        shown = [await client.get(f"{path}/references/{number}") for number in (1, 2)]
        assert [opened(b64encode(one.content).decode()).size for one in shown] == [(96, 48), (32, 32)]
        for name in ("0", "3", "x", "-1", "9" * 30):
            assert (await client.get(f"{path}/references/{name}")).status_code == 404
