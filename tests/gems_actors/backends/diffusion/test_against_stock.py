"""Batched pictures equal those of the stock pipeline, whatever joins, leaves or runs out of memory."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from itertools import combinations, product
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from msgspec.structs import replace as replaced

from gems_actors.backends.diffusion.engine_messages import Draw, Raster
from gems_actors.backends.diffusion.jobs import Drawn, Job
from tests.gems_actors.backends.diffusion.engines import (
    Watched,
    draw_alone,
    engine_of,
    out_of_memory,
    pictures_of,
    run_all,
    stock,
    watched,
)

pytestmark = pytest.mark.slow

LATENTS = 1e-5
"""How far latents may be from those of the stock pipeline alone, float32."""
LEVELS = 1
"""How far a colour may be, of 255."""
REQUESTS = 25
EXAMPLES = {"z-image": 5, "qwen-image": 5, "qwen-image-edit-plus": 1, "qwen-image-21": 3, "flux2-klein": 2}
"""Lives of so many requests each; the first one is always the simplest. Prompts of 512 tokens take long here."""
KINDS = ("z-image", "qwen-image", "qwen-image-21", "flux2-klein")
EDITORS = ("qwen-image-edit", "qwen-image-edit-plus")
"""Pipelines that draw from pictures only."""
SIZES = {kind: [(64, 64), (96, 64), (64, 96), (32, 128), (48, 48)] for kind in (*KINDS, *EDITORS)}
SIZES["qwen-image-21"][-1] = (32, 32)  # sides are multiples of 32 there
REFERENCES: dict[str, list[tuple[Raster, ...]]] = {
    "z-image": [(Raster(64, 64),), (Raster(100, 40, 3),)],
    "qwen-image": [(Raster(64, 64),), (Raster(100, 40, 3),)],
    "qwen-image-edit": [(Raster(64, 64),), (Raster(90, 40),)],
    "qwen-image-edit-plus": [(Raster(64, 64),), (Raster(90, 40),), (Raster(64, 64), Raster(40, 90))],
    "qwen-image-21": [(Raster(64, 64),), (Raster(90, 40, 4),), (Raster(64, 64), Raster(40, 90))],
    "flux2-klein": [(Raster(64, 64),), (Raster(70, 90),), (Raster(64, 64), Raster(100, 64))],
}
JOINING = ("z-image", "qwen-image", "qwen-image-21")
"""Pipelines whose requests with references share forwards with others."""

_WORDS = "red fox on snow under three moons by an old lighthouse with two green bicycles"
_prompts = st.lists(st.sampled_from(re.findall(r"\w+", _WORDS)), min_size=1, max_size=60).map(" ".join)


@pytest.fixture(autouse=True)
def small_references(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stock pipelines, and so ours, resize references to a hundredth of the pixels that real weights get."""
    # Here: each worker imports this file to collect it, and one of them runs it. diffusers takes 4 s of CPU.
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus
    from diffusers.pipelines.qwenimage21 import pipeline_qwenimage21

    for module in (pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus, pipeline_qwenimage21):
        monkeypatch.setattr(module, "calculate_dimensions", _for_a_hundredth(module.calculate_dimensions))


def _for_a_hundredth(fitted: Callable[[int, float], Any]) -> Callable[[int, float], Any]:
    return lambda area, ratio: fitted(area // 100, ratio)


@st.composite
def draws(draw: st.DrawFn, kind: str) -> Draw:
    """Return a request: landscape, portrait and square, with and without guidance and references, 2 to 4 steps."""
    width_px, height_px = draw(st.sampled_from(SIZES[kind]))
    return Draw(
        0,
        draw(_prompts),
        draw(st.integers(0, 2**32 - 1)),
        width_px,
        height_px,
        steps=draw(st.integers(2, 4)),
        guidance=draw(st.sampled_from([0.0, 0.0, 1.5, 3.5])),
        negative_prompt=draw(st.none() | st.just("blurry, low quality")),
        is_alone=draw(st.integers(0, 9)) == 0,
        interactive=draw(st.integers(0, 4)) == 0,
        references=draw(st.sampled_from([*REFERENCES[kind], *([] if kind in EDITORS else [()] * 3)])),
        strength=draw(st.sampled_from([None, 0.3, 1.0])),
    )


@st.composite
def lives(draw: st.DrawFn, kind: str) -> list[tuple[str, Any]]:
    """Return events at successive step boundaries."""
    script: list[tuple[str, Any]] = []
    for number in range(REQUESTS):
        request = draw(draws(kind))
        script.append(("add", Draw(number, *_rest(request))))
        script += [("run", None)] * draw(st.integers(0, 2))
        if draw(st.integers(0, 9)) == 0:
            script.append(("withdraw", draw(st.integers(0, number))))
        if draw(st.integers(0, 4)) == 0:
            script.append(("full", draw(st.sampled_from(["encode", "denoise", "decode"]))))
    return script


def _rest(draw: Draw) -> list[Any]:
    return [getattr(draw, name) for name in Draw.__struct_fields__ if name != "id"]


def _live(kind: str, script: list[tuple[str, Any]], *, by_row: bool) -> None:
    pipeline = watched(kind, by_row=by_row)
    engine = engine_of(pipeline, max_step_tokens=3200 if kind == "flux2-klein" else 1200)
    full: list[str] = []

    def fail(stage: str, jobs: Sequence[Job]) -> None:
        if stage in full and len(jobs) > 1:  # one alone always fits
            full.remove(stage)
            raise out_of_memory()

    pipeline.before = fail
    wanted: dict[int, Draw] = {}
    ended: dict[int, Any] = {}
    for event, value in script:
        if event == "add":
            engine.add(value, pictures_of(value))
            wanted[value.id] = value
        elif event == "withdraw" and value not in ended:
            engine.withdraw(value)
            wanted.pop(value, None)
        elif event == "full":
            full.append(value)
        elif event == "run":
            ended |= {item.job.id: item for item in engine.run_once()}
    ended |= run_all(engine)
    assert set(ended) == set(wanted)
    for id_, draw in wanted.items():
        _compare(kind, pipeline, draw, ended[id_])


_drawn_alone = functools.cache(draw_alone)
"""Half of these tests draw, by another way of attending, what the other half compared with the stock pipeline."""


def _compare(kind: str, pipeline: Watched, draw: Draw, ended: Any) -> None:
    alone = _drawn_alone(kind, draw)
    assert isinstance(ended, Drawn), ended
    latents = pipeline.latents[draw.id]
    assert (latents.reshape(alone.latents.shape) - alone.latents).abs().max() <= LATENTS
    assert (ended.pixels.to(torch.int32) - alone.pixels).abs().max() <= LEVELS


@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("kind", EXAMPLES)
def test_random_requests_are_drawn_as_by_the_stock_pipeline(kind: str, by_row: bool) -> None:
    """Up to 125 requests of each kind; both ways of attending draw the same ones."""

    @seed(0)
    @settings(
        max_examples=EXAMPLES[kind],
        deadline=None,
        derandomize=False,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # to shrink a life takes minutes; the request at fault is in the assertion anyway
    )
    @given(lives(kind))
    def live(script: list[tuple[str, Any]]) -> None:
        _live(kind, script, by_row=by_row)

    live()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by_row", [False, True])
def test_a_landscape_and_a_portrait_of_equal_tokens_are_both_right(kind: str, by_row: bool) -> None:
    pipeline = watched(kind, by_row=by_row)
    wanted = [
        Draw(0, "a red fox", 7, 96, 64, steps=4, guidance=0.0),
        Draw(1, "three moons over an old lighthouse in the snow " * 3, 8, 64, 96, steps=4, guidance=2.5),
    ]
    ended = run_all(engine_of(pipeline), wanted)
    assert (len(pipeline.groups) == 4) is (kind == "z-image"), "Z-Image draws both in one forward, others never"
    for draw in wanted:
        _compare(kind, pipeline, draw, ended[draw.id])


@pytest.mark.parametrize("kind", KINDS)
def test_an_exact_request_equals_the_stock_pipeline_bit_by_bit(kind: str) -> None:
    pipeline = watched(kind)
    exact = Draw(3, "a red fox", 7, 64, 64, steps=4, guidance=2.5, is_alone=True)
    others = [Draw(id_, "two green bicycles", id_, 64, 64, steps=4, guidance=0.0) for id_ in range(3)]
    ended = run_all(engine_of(pipeline), [*others, exact])[3]
    alone = draw_alone(kind, exact)
    assert isinstance(ended, Drawn)
    assert torch.equal(pipeline.latents[3].reshape(alone.latents.shape), alone.latents)
    assert torch.equal(ended.pixels.to(torch.int32), alone.pixels)
    assert all(group == (3,) or 3 not in group for group in pipeline.groups)


@pytest.mark.parametrize("kind", REFERENCES)
def test_an_exact_request_with_references_equals_the_stock_pipeline_bit_by_bit(kind: str) -> None:
    pipeline = watched(kind)
    for references in REFERENCES[kind]:
        exact = Draw(3, "a red fox", 7, 64, 64, steps=4, guidance=2.5, is_alone=True, references=references)
        ended = run_all(engine_of(pipeline), [exact])[3]
        alone = draw_alone(kind, exact)
        assert isinstance(ended, Drawn), ended
        assert torch.equal(pipeline.latents[3].reshape(alone.latents.shape), alone.latents)
        assert torch.equal(ended.pixels.to(torch.int32), alone.pixels)


@pytest.mark.parametrize("kind", REFERENCES)
def test_an_exact_request_in_bfloat16_is_rounded_as_by_the_stock_pipeline(kind: str) -> None:
    pipeline = watched(kind, dtype=torch.bfloat16)
    for references in (REFERENCES[kind][0], *([] if kind in EDITORS else [()])):
        exact = Draw(0, "a red fox", 7, 64, 64, steps=4, guidance=2.5, is_alone=True, references=references)
        assert isinstance(run_all(engine_of(pipeline), [exact])[0], Drawn)
        alone = draw_alone(kind, exact, torch.bfloat16)
        assert torch.equal(pipeline.latents[0].reshape(alone.latents.shape), alone.latents)


@pytest.mark.parametrize("kind", REFERENCES)
@pytest.mark.parametrize("by_row", [False, True])
def test_requests_with_and_without_references_are_right_together(kind: str, by_row: bool) -> None:
    pipeline = watched(kind, by_row=by_row)
    wanted = [] if kind in EDITORS else [Draw(0, "three moons over snow", 7, 64, 64, steps=4, guidance=0.0)]
    wanted += [
        Draw(number, text, number, 64, 64, steps=4, guidance=2.5, references=references, strength=0.6)
        for number, (references, text) in enumerate(product(REFERENCES[kind], ("a red fox", "bicycles " * 9)), 1)
    ]
    ended = run_all(engine_of(pipeline), wanted)
    together = {frozenset(group) for group in pipeline.groups}
    pairs = [frozenset({odd, odd + 1}) for odd in range(1, 2 * len(REFERENCES[kind]), 2)]
    if kind in JOINING:
        assert frozenset(range(len(wanted))) in together
    else:
        assert together == {*pairs, *([] if kind in EDITORS else [frozenset({0})])}
    for draw in wanted:
        _compare(kind, pipeline, draw, ended[draw.id])


@pytest.mark.parametrize("kind", JOINING)
@pytest.mark.parametrize("step", [0, 2])
def test_requests_that_run_alone_after_a_failure_of_their_batch_are_right(kind: str, step: int) -> None:
    pipeline = watched(kind)

    def fail(stage: str, jobs: Sequence[Job]) -> None:
        if stage == "denoise" and len(jobs) > 1 and jobs[0].step == step:
            raise ValueError("one of them is at fault")

    pipeline.before = fail
    reference = (Raster(64, 64),)
    wanted = [
        Draw(0, "a red fox", 7, 64, 64, steps=4, guidance=0.0),
        Draw(1, "three moons over snow", 8, 64, 64, steps=4, guidance=2.5),
        Draw(2, "a red fox", 9, 64, 64, steps=4, guidance=2.5, references=reference, strength=1.0),
    ]
    ended = run_all(engine_of(pipeline), wanted)
    assert {group for group in pipeline.groups if len(group) > 1} == ({(0, 1, 2)} if step else set())
    for draw in wanted:
        _compare(kind, pipeline, draw, ended[draw.id])


def test_keys_and_values_of_references_are_not_held_by_requests_that_wait_or_are_drawn() -> None:
    pipeline = watched("qwen-image-21")
    wanted = Draw(0, "a red fox", 7, 64, 64, steps=2, guidance=2.5, references=(Raster(64, 64),))
    engine, waiting = engine_of(pipeline), pipeline.prepare(wanted, pictures_of(wanted))
    with torch.no_grad():
        pipeline.encode([waiting])
    assert waiting.positive is not None
    assert (waiting.positive.dim(), list(waiting.kept)) == (2, ["slots"])
    drawn = run_all(engine, [wanted])[0]
    assert isinstance(drawn, Drawn)
    job = drawn.job
    assert (job.positive, job.negative, job.conditions, job.references, job.kept) == (None, None, None, (), {})


def test_a_generic_pipeline_is_batched_by_call_and_draws_what_it_draws_alone() -> None:
    pipeline = watched("stable-diffusion")
    wanted = [
        Draw(0, "a red fox", 7, 64, 64, steps=3, guidance=5.0),
        Draw(1, "an old lighthouse", 8, 64, 64, steps=3, guidance=5.0),
        Draw(2, "an old lighthouse", 9, 64, 64, steps=2, guidance=5.0),
    ]
    ended = run_all(engine_of(pipeline), wanted)
    assert pipeline.groups == [(0, 1), (2,)]
    for draw in wanted:
        alone, drawn = draw_alone("stable-diffusion", draw), ended[draw.id]
        assert isinstance(drawn, Drawn)
        assert (drawn.pixels.to(torch.int32) - alone.pixels).abs().max() <= LEVELS


def test_a_generic_pipeline_redraws_pictures_by_its_image_to_image_pipeline() -> None:
    pipeline = watched("stable-diffusion")
    assert pipeline.max_references > 0
    wanted = [
        Draw(0, "a red fox", 7, 64, 64, steps=4, guidance=5.0),
        Draw(1, "a red fox", 7, 64, 64, steps=4, guidance=5.0, references=(Raster(80, 48),)),
        Draw(2, "a red fox", 7, 64, 64, steps=4, guidance=5.0, references=(Raster(80, 48),), strength=0.3),
    ]
    ended = run_all(engine_of(pipeline), wanted)
    assert pipeline.groups == [(0,), (1,), (2,)]
    for draw in wanted:
        alone, drawn = draw_alone("stable-diffusion", draw), ended[draw.id]
        assert isinstance(drawn, Drawn), drawn
        assert (drawn.pixels.to(torch.int32) - alone.pixels).abs().max() <= LEVELS


@pytest.mark.parametrize("kind", KINDS)
def test_encoding_twice_gives_the_same_embeddings(kind: str) -> None:
    pipeline = watched(kind)
    draw = Draw(0, "a red fox", 7, 64, 64, steps=2, guidance=2.5, negative_prompt="blurry")
    job = pipeline.prepare(draw)
    with torch.no_grad():
        pipeline.encode([job])
        first = job.positive
        pipeline.encode([job])
    assert (job.prompt, job.negative_prompt) == ("a red fox", "blurry")
    assert first is not None
    assert job.positive is not None
    assert torch.equal(first, job.positive), "the chat template is not applied twice"


def test_the_prompt_changes_the_picture_so_that_these_tests_can_fail() -> None:
    for kind in KINDS:
        first, second = (
            draw_alone(kind, Draw(0, text, 7, 64, 64, steps=4, guidance=2.5)) for text in ("a fox", "moons")
        )
        assert (first.pixels - second.pixels).abs().max() > LEVELS, stock(kind)


@pytest.mark.parametrize("kind", REFERENCES)
def test_the_references_change_the_picture_so_that_these_tests_can_fail(kind: str) -> None:
    draw = Draw(0, "a fox", 7, 64, 64, steps=4, guidance=2.5)
    pictures = [] if kind in EDITORS else [draw_alone(kind, draw)]
    pictures += [draw_alone(kind, replaced(draw, references=references)) for references in REFERENCES[kind]]
    for first, second in combinations(pictures, 2):
        assert (first.latents - second.latents).abs().max() > 100 * LATENTS
