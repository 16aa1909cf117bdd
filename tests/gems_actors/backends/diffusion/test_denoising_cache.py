"""The denoising cache: when a step needs no forward, and what it then takes for its velocity."""

from __future__ import annotations

import pytest
import torch
from msgspec.structs import replace as replaced

from gems_actors.backends.diffusion.denoising_cache import VelocityCache
from gems_actors.backends.diffusion.engine_messages import Draw, Raster
from gems_actors.backends.diffusion.jobs import Drawn
from tests.gems_actors.backends.diffusion.engines import Watched, engine_of, out_of_memory, run_all, watched

EVEN = (-0.05,) * 20
"""Changes of sigma of 20 equal steps."""
KIND = "z-image"


def cache_after(*values: float, threshold: float = 0.5) -> VelocityCache:
    """Return the cache after as many steps, each computed with one of these velocities."""
    cache = VelocityCache(threshold)
    for step, value in enumerate(values):
        cache = cache.after(torch.full((2, 3), value), step)
    return cache


def test_the_first_two_steps_and_the_last_are_computed() -> None:
    assert VelocityCache(1.0).velocity_at(0, EVEN) is None
    assert cache_after(1.0).velocity_at(1, EVEN) is None
    cache = cache_after(1.0, 1.0)
    assert cache.velocity_at(2, EVEN) is not None
    late = VelocityCache(1.0).after(torch.ones(2), 17).after(torch.ones(2), 18)
    assert late.velocity_at(19, EVEN) is None


def test_a_velocity_lies_on_the_line_through_the_last_two() -> None:
    cache = cache_after(1.0, 1.1)
    for step, expected in ((2, 1.2), (3, 1.3)):
        velocity = cache.velocity_at(step, EVEN)
        assert velocity is not None
        assert torch.allclose(velocity, torch.full((2, 3), expected))


def test_the_line_follows_sigma_and_not_the_number_of_the_step() -> None:
    velocity = cache_after(1.0, 1.1).velocity_at(2, (-0.1, -0.05, *EVEN))
    assert velocity is not None
    assert torch.allclose(velocity, torch.full((2, 3), 1.15))


@pytest.mark.parametrize(("threshold", "reused"), [(0.09, 0), (0.1, 1), (0.19, 2), (0.28, 3), (1.0, 4)])
def test_steps_are_taken_until_the_change_exceeds_the_threshold(threshold: float, reused: int) -> None:
    cache = cache_after(1.0, 1.1, threshold=threshold)  # 9.1 % of the velocity in each step
    steps = 0
    while cache.velocity_at(2 + steps, EVEN) is not None:
        steps += 1
    assert steps == reused


def test_four_steps_in_a_row_are_the_most() -> None:
    cache = cache_after(1.0, 1.0)
    assert [cache.velocity_at(step, EVEN) is not None for step in range(2, 8)] == [True] * 4 + [False] * 2


def test_a_velocity_that_is_not_a_number_is_not_reused() -> None:
    assert cache_after(1.0, float("nan")).velocity_at(2, EVEN) is None
    assert cache_after(0.0, 0.0).velocity_at(2, EVEN) is None


def test_a_cache_never_changes() -> None:
    before = cache_after(1.0, 1.1)
    before.after(torch.ones(2, 3), 2)
    assert before.latest is not None
    assert before.latest.step == 1


# ------------------------------------------------------------------------------------------------- in the engine


def fox(id_: int, *, steps: int = 20, is_alone: bool = False) -> Draw:
    return Draw(id_, "a red fox", id_, 64, 64, steps=steps, guidance=0.0, is_alone=is_alone)


def latents_of(pipeline: Watched, *draws: Draw) -> list[torch.Tensor]:
    run_all(engine_of(pipeline), draws)
    return [pipeline.latents[draw.id] for draw in draws]


@pytest.mark.slow
def test_a_request_that_reuses_leaves_the_batch_for_that_step() -> None:
    pipeline = watched(KIND, cache_threshold=0.4)
    engine = engine_of(pipeline)
    ended = run_all(engine, [fox(0), fox(1), fox(2, steps=12)])
    forwards = {id_: sum(id_ in group for group in pipeline.groups) for id_ in range(3)}
    assert forwards[2] == 12, "pictures of few steps have no cache"
    for id_ in (0, 1):
        item = ended[id_]
        assert isinstance(item, Drawn)
        assert 0 < item.job.reused_steps == 20 - forwards[id_]
    assert {len(group) for group in pipeline.groups} != {3}
    assert engine.totals().reused == 40 - forwards[0] - forwards[1]
    assert engine.totals().forwards == len(pipeline.groups) < 20


@pytest.mark.slow
def test_without_the_setting_and_for_exact_requests_every_step_is_computed() -> None:
    pipeline, without = watched(KIND, cache_threshold=0.4), watched(KIND)
    (exact,) = latents_of(pipeline, fox(0, is_alone=True))
    assert len(pipeline.groups) == 20
    (plain,) = latents_of(without, fox(0, is_alone=True))
    assert len(without.groups) == 20
    assert torch.equal(exact, plain)


@pytest.mark.slow
def test_a_cached_picture_does_not_depend_on_its_batch() -> None:
    pipeline = watched(KIND, cache_threshold=0.4)
    (alone,) = latents_of(pipeline, fox(0))
    together = latents_of(pipeline, *map(fox, range(5)))[0]
    (computed,) = latents_of(watched(KIND), fox(0))
    assert (together - alone).abs().max() <= 1e-5
    assert (alone - computed).abs().max() > 1e-5, "with a cache it is another picture"


@pytest.mark.slow
def test_a_picture_that_is_redrawn_has_a_cache_by_the_length_of_its_whole_schedule() -> None:
    references = (Raster(64, 64),)
    redrawn = [replaced(fox(id_, steps=40), references=references, strength=0.3) for id_ in range(3)]
    pipeline = watched("z-image", cache_threshold=0.4)
    (alone,) = latents_of(pipeline, redrawn[0])
    assert len(pipeline.groups) < 12, "of 12 steps, some are taken from the cache"
    together = latents_of(pipeline, *redrawn, fox(3, steps=12))[0]
    (computed,) = latents_of(watched("z-image"), redrawn[0])
    (exact,) = latents_of(pipeline, replaced(redrawn[0], is_alone=True))
    assert (together - alone).abs().max() <= 1e-5
    assert (alone - computed).abs().max() > 1e-5
    assert (exact - computed).abs().max() <= 1e-5


@pytest.mark.slow
def test_a_cached_request_survives_a_lack_of_memory() -> None:
    pipeline = watched(KIND, cache_threshold=0.4)
    expected = latents_of(pipeline, *map(fox, range(4)))
    failures = [3, 5, 8]

    def fail(stage: str, jobs: object) -> None:
        if stage == "denoise" and len(pipeline.groups) - done in failures:
            failures.remove(len(pipeline.groups) - done)
            raise out_of_memory()

    pipeline.before, done = fail, len(pipeline.groups)
    again = latents_of(pipeline, *map(fox, range(4)))
    assert not failures
    for first, second in zip(expected, again, strict=True):
        assert (first - second).abs().max() <= 1e-5
