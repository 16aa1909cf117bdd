"""Requests in a minute and images in a day."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest
import trio
import trio.testing

from gems_actors.errors import RefusedError
from gems_actors.gateway.allowances import DAY_S, Allowances
from gems_actors.gateway.api_errors import ApiError
from gems_actors.gateway.image_counts import keep_counts, read_counts, write_counts
from gems_actors.gateway.tokens import Caller
from tests.gems_actors.gateway.doors import PROMPT, in_thread, open_painted_door

ALICE, BOB = Caller("alice", requests_per_minute=2, images_per_day=10), Caller("bob", 2, 10)
FREE = Caller("free")
TOKEN = "0123456789abcdef"


def test_requests_beyond_the_rate_are_refused_until_time_has_passed() -> None:
    allowances = Allowances()
    for _ in range(2):
        allowances.count_request(ALICE, 100.0)
    with pytest.raises(ApiError, match="up to 2 requests of alice") as caught:
        allowances.count_request(ALICE, 101.0)
    assert caught.value.retry_after_s == pytest.approx(29.0)
    allowances.count_request(BOB, 101.0)
    allowances.count_request(ALICE, 131.0)
    for _ in range(100):
        allowances.count_request(FREE, 101.0)


def test_images_of_a_day_are_counted_and_given_back() -> None:
    allowances, noon = Allowances(), 20_000.5 * DAY_S
    allowances.take_images(ALICE, 8, noon)
    with pytest.raises(ApiError, match="up to 10 images of alice in a day, got 8 and 3 more") as caught:
        allowances.take_images(ALICE, 3, noon)
    assert caught.value.headers == {"x-should-retry": "false", "retry-after": str(DAY_S // 2)}
    allowances.take_images(BOB, 3, noon)
    allowances.give_back(ALICE, 5, noon)
    allowances.take_images(ALICE, 7, noon)
    assert allowances.images == {"alice": 10, "bob": 3}
    tomorrow = noon + DAY_S
    allowances.take_images(ALICE, 10, tomorrow)
    allowances.give_back(BOB, 3, noon)
    assert allowances.images == {"alice": 10}


def test_a_damaged_file_counts_nothing_and_a_whole_one_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    assert read_counts(path).images == {}
    write_counts(path, Allowances(7, {"alice": 3}))
    assert (read_counts(path).day, read_counts(path).images) == (7, {"alice": 3})
    path.write_bytes(b"{")
    assert read_counts(path).images == {}


async def test_counts_are_written_also_at_the_end(tmp_path: Path) -> None:
    allowances, path = Allowances(), tmp_path / "gateway" / "images.json"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_counts, path, allowances)
        await trio.testing.wait_all_tasks_blocked()
        allowances.take_images(ALICE, 4, 0.0)
        nursery.cancel_scope.cancel()
    assert read_counts(path).images == {"alice": 4}


@pytest.mark.slow
async def test_a_token_has_its_rate_and_its_images_and_a_new_gateway_knows_them(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f'[alice]\ntoken = "{TOKEN}"\nimages_per_day = 8\n[busy]\ntoken = "{TOKEN}-busy"\n')
    tokens.chmod(0o600)
    settings = (f"gateway.tokens={tokens}", "gateway.requests_per_minute=3")
    async with open_painted_door(tmp_path, *settings) as (door, painter):
        busy = door.openai(api_key=f"{TOKEN}-busy")
        for _ in range(3):
            await in_thread(busy.models.list)
        with pytest.raises(openai.RateLimitError) as limited:
            await in_thread(busy.models.list)
        assert limited.value.code == "rate_limit_exceeded"
        alice = door.openai(api_key=TOKEN, max_retries=2)
        painter.rounds = 2
        await in_thread(alice.images.generate, prompt=PROMPT)  # takes 5, and gives back 3
        painter.failure = RefusedError("not this")
        with pytest.raises(openai.BadRequestError):
            await in_thread(alice.images.generate, prompt=PROMPT)
    async with open_painted_door(tmp_path, *settings) as (door, painter):
        alice = door.openai(api_key=TOKEN, max_retries=2)
        await in_thread(alice.images.generate, prompt=PROMPT)
        with pytest.raises(openai.RateLimitError, match="got 4 and 5 more") as spent:
            await in_thread(alice.images.generate, prompt=PROMPT)
        assert spent.value.code == "insufficient_quota"
        assert len(painter.begun) == 1
