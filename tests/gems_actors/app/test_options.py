"""What options of drawing mean: strategies, settings and budgets."""

from __future__ import annotations

from typing import Any

import pytest

from gems_actors.app.options import (
    MAX_SEED,
    DrawOptions,
    budget_of,
    draw_settings,
    parse_address,
    parse_shard,
    parse_size,
)
from gems_actors.config import load_config
from gems_actors.errors import UsageError
from protocol.messages import Budget


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (DrawOptions(), {}),
        (DrawOptions(strategy="gems", images=4, memory="none"), {"rounds": 4, "memory": "none"}),
        (DrawOptions(strategy="single"), {"rounds": 1, "candidates": 1, "skill": "none"}),
        (DrawOptions(strategy="rewrite", images=1), {"rounds": 1, "candidates": 1}),
        (DrawOptions(strategy="best-of-n", images=8), {"rounds": 1, "candidates": 8, "skill": "none"}),
        (DrawOptions(images=6, candidates=2), {"rounds": 3, "candidates": 2}),
        (DrawOptions(strategy="single", skill="none", candidates=1), {"rounds": 1, "candidates": 1, "skill": "none"}),
        (DrawOptions(strategy="rewrite", skill="hats"), {"rounds": 1, "candidates": 1, "skill": "hats"}),
        (DrawOptions(guidance=0.0, negative_prompt="", exact=False), {"guidance": 0.0, "negative_prompt": ""}),
    ],
)
def test_a_strategy_is_a_set_of_settings(options: DrawOptions, settings: dict[str, Any]) -> None:
    assert list(options.settings().items()) == list(settings.items())  # in the order of run.json


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DrawOptions(images=4, rounds=2), "--images: expected either it or --rounds, got both"),
        (DrawOptions(strategy="single", images=2), "--strategy: single draws one picture, got 2"),
        (DrawOptions(strategy="rewrite", rounds=3), "--strategy: rewrite draws one picture, got 3"),
        (DrawOptions(strategy="best-of-n"), "--strategy: best-of-n needs --images"),
        (
            DrawOptions(strategy="best-of-n", images=4, candidates=2),
            "--strategy: best-of-n: expected --candidates 4 or none, got --candidates 2",
        ),
        (
            DrawOptions(strategy="single", skill="hats"),
            "--strategy: single: expected --skill none or none, got --skill hats",
        ),
        (DrawOptions(images=2, candidates=4), "--images: expected at least --candidates, which is 4, got 2"),
    ],
)
def test_options_that_contradict_one_another_are_refused(options: DrawOptions, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        options.settings()
    assert str(raised.value) == message


def test_options_take_the_place_of_configured_settings() -> None:
    config = load_config(None, settings=("draw.max_rounds=7", "draw.steps=9", "draw.width_px=64"))
    settings = draw_settings(config, DrawOptions(rounds=2, size=(320, 256), exact=True).settings())
    assert (settings.max_rounds, settings.steps, settings.exact) == (2, 9, True)
    assert (settings.width_px, settings.height_px) == (320, 256)
    assert draw_settings(config, {}).width_px == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DrawOptions(rounds=0), "rounds: expected a whole number of at least 1, got 0"),
        (DrawOptions(size=(8, 64)), "size: expected a whole number of at least 16, got 8"),
        (DrawOptions(strategy="worst"), "--strategy: expected one of single, rewrite, best-of-n, gems, got 'worst'"),
        (DrawOptions(seed=2**70), f"--seed: expected 0 to {MAX_SEED}, got {2**70}"),
    ],
)
def test_impossible_options_of_a_program_are_refused(options: DrawOptions, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        draw_settings(load_config(None, {}), options.settings())
    assert str(caught.value) == message


def test_the_tokens_of_a_trajectory_are_limited_by_those_of_its_run() -> None:
    settings = ("budget.max_calls_per_trajectory=5", "budget.max_tokens_per_run=900")
    assert budget_of(load_config(None, settings=settings)) == Budget(max_calls=5, max_tokens=900)


def test_sizes_shards_and_addresses_are_parsed_or_refused() -> None:
    assert (parse_size("768x512"), parse_size("16×16"), parse_shard("2/8")) == ((768, 512), (16, 16), (2, 8))
    assert parse_address("tcp://[::1]:7,ipc:///run/router.ipc") == "tcp://[::1]:7,ipc:///run/router.ipc"
    for parse, text in ((parse_size, "15x16"), (parse_shard, "0/8"), (parse_shard, "9/8"), (parse_address, "tcp://h")):
        with pytest.raises(UsageError, match=r"expected .*, got '"):
            parse(text)
