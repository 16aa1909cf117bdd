"""Streams of the Images API: a partial image per round, then the picture; with the real OpenAI SDK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import trio

from gems_actors.errors import BackendError, OverloadedError
from tests.gems_actors.gateway.doors import PROMPT, Door, in_thread, open_drawing_door, open_painted_door

DRAW = "/v1/images/generations"
HARD = "seven sparkling croissants, and five black elephants to the left of a flamingo"


async def streamed(door: Door, **fields: Any) -> list[Any]:
    """Return the events of a picture."""
    return await in_thread(lambda: list(door.openai().images.generate(stream=True, **{"prompt": PROMPT, **fields})))


async def test_a_stream_has_an_image_per_round_and_then_the_best(tmp_path: Path) -> None:
    async with open_drawing_door(tmp_path) as door:
        *rounds, completed = await streamed(door, prompt=HARD, extra_body={"seed": 11})
        assert len(rounds) > 1
        assert [event.type for event in rounds] == ["image_generation.partial_image"] * len(rounds)
        assert [event.partial_image_index for event in rounds] == [*range(len(rounds))]
        assert [event.gems["round"] for event in rounds] == [*range(1, len(rounds) + 1)]
        assert rounds[0].gems["met"] < rounds[0].gems["requirements"]
        assert completed.type == "image_generation.completed"
        assert completed.gems["met"] == max(event.gems["met"] for event in rounds)
        assert completed.revised_prompt
        assert completed.usage.total_tokens == 0, "storyboards need no tokens"
        assert completed.size == "96x96"


async def test_a_round_is_shown_while_the_next_one_is_drawn(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        painter.rounds, painter.hold = 2, trio.Event()
        body = {"prompt": PROMPT, "stream": True, "partial_images": 1, "output_format": "jpeg"}
        async with door.lines("POST", DRAW, body) as lines:
            assert await lines.next("event:") == "event: image_generation.partial_image"
            assert lines.headers["content-type"].startswith("text/event-stream")
            assert not painter.hold.is_set()
            painter.hold.set()
            assert await lines.all("event:") == ["event: image_generation.completed"]


@pytest.mark.parametrize(("count", "shown"), [(0, 0), (2, 2), (None, 4)])
@pytest.mark.slow
async def test_a_client_may_limit_the_partial_images(tmp_path: Path, count: int | None, shown: int) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        painter.rounds = 4
        asked = {} if count is None else {"partial_images": count}
        *rounds, completed = await streamed(door, **asked)
        assert len(rounds) == shown
        assert completed.usage.input_tokens == 30


@pytest.mark.slow
async def test_a_failure_before_the_first_event_has_its_status_and_a_later_one_is_an_event(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        painter.failure = OverloadedError("too many", 2.0)
        with pytest.raises(openai.RateLimitError):
            await streamed(door)
        painter.failure, painter.late_failure = None, BackendError("the server went away")
        painter.rounds = 2
        with pytest.raises(openai.APIError, match="the server went away"):
            await streamed(door)


async def test_a_stream_of_several_pictures_or_addresses_is_refused(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, _):
        for fields in ({"n": 2}, {"response_format": "url"}):
            with pytest.raises(openai.BadRequestError, match="expected one picture in base64 with stream"):
                await streamed(door, **fields)


async def test_a_reader_that_leaves_a_stream_withdraws_its_picture(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        painter.rounds, painter.hold = 2, trio.Event()
        async with door.lines("POST", DRAW, {"prompt": PROMPT, "stream": True}) as lines:
            assert await lines.next("event:")
        await painter.until(lambda: painter.withdrawn == 1)


@pytest.mark.slow
async def test_a_stream_with_nothing_to_say_is_kept_alive(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        painter.rounds, painter.hold = 0, trio.Event()
        async with door.lines("POST", DRAW, {"prompt": PROMPT, "stream": True}) as lines:
            assert await lines.next() == ": waiting"


@pytest.mark.slow
async def test_the_same_key_and_body_is_the_same_trajectory(tmp_path: Path) -> None:
    async with open_drawing_door(tmp_path) as door:
        header = {"Idempotency-Key": "order-1"}
        generate = door.openai().images.generate
        first = await in_thread(generate, prompt=PROMPT, n=2, extra_headers=header)
        again = await in_thread(generate, prompt=PROMPT, n=2, extra_headers=header)
        assert first.data is not None
        assert again.data is not None
        assert [item.b64_json for item in again.data] == [item.b64_json for item in first.data]
        assert again.data[1].model_extra == first.data[1].model_extra
        with pytest.raises(openai.ConflictError) as caught:
            await in_thread(door.openai(max_retries=2).images.generate, prompt=f"{PROMPT}s", extra_headers=header)
        assert caught.value.code == "key_reused"
        other = await in_thread(generate, prompt=PROMPT, n=2, extra_headers={"Idempotency-Key": "order-2"})
        assert other.data is not None
        assert other.data[0].b64_json != first.data[0].b64_json
        with pytest.raises(openai.BadRequestError, match="idempotency-key"):
            await in_thread(generate, prompt=PROMPT, extra_headers={"Idempotency-Key": "x" * 256})


async def test_a_repeated_request_waits_for_the_one_in_flight(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        painter.hold = trio.Event()
        answers: list[httpx.Response] = []
        header = {"idempotency-key": "k"}

        async def ask(prompt: str) -> None:
            answers.append(await door.post(DRAW, {"prompt": prompt}, headers=header))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, PROMPT)
            await painter.until(lambda: len(painter.begun) == 1)
            await ask("another prompt")
            assert answers[0].status_code == 409
            nursery.start_soon(ask, PROMPT)
            await trio.sleep(0.2)
            assert len(painter.begun) == 1
            painter.hold.set()
        assert [answer.status_code for answer in answers] == [409, 200, 200]
        assert len({task.trajectory for task in painter.begun}) == 1
