"""The engine when memory runs out, a library fails, or a request is cancelled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch

from gems_actors.backends.diffusion.batch_scheduler import BatchScheduler
from gems_actors.backends.diffusion.devices import Device, Span
from gems_actors.backends.diffusion.engine import Engine
from gems_actors.backends.diffusion.engine_messages import Draw
from gems_actors.backends.diffusion.jobs import Drawn, Failed, Job, UnfitError
from tests.gems_actors.backends.diffusion.engines import Watched, engine_of, out_of_memory, run_all, stock, watched


def fox(id_: int, *, steps: int = 2, is_alone: bool = False, interactive: bool = False, width_px: int = 64) -> Draw:
    return Draw(
        id_, "a red fox", id_, width_px, 64, steps=steps, guidance=0.0, is_alone=is_alone, interactive=interactive
    )


def fail_above(limit: int, *stages: str) -> tuple[Watched, list[str]]:
    """Return a pipeline with memory for `limit` jobs at once, and the list of its failures."""
    pipeline = watched("z-image")
    failures: list[str] = []

    def fail(stage: str, jobs: Sequence[Job]) -> None:
        if stage in stages and len(jobs) > limit:
            failures.append(stage)
            raise out_of_memory()

    pipeline.before = fail
    return pipeline, failures


def test_a_batch_that_does_not_fit_is_halved_and_the_limit_is_kept() -> None:
    pipeline, failures = fail_above(2, "denoise")
    engine = engine_of(pipeline)
    assert all(isinstance(item, Drawn) for item in run_all(engine, map(fox, range(8))).values())
    assert len(failures) == 2, "once for eight, once for four, and never again"
    assert {len(group) for group in pipeline.groups} == {2}
    limit = engine.totals().max_step_tokens
    assert run_all(engine, map(fox, range(4)))
    assert len(failures) == 2
    assert (engine.totals().max_step_tokens, engine.totals().splits) == (limit, 2)


@pytest.mark.parametrize("stage", ["encode", "decode"])
def test_prompts_and_pictures_that_do_not_fit_together_are_split(stage: str) -> None:
    pipeline, failures = fail_above(1, stage)
    ended = run_all(engine_of(pipeline), map(fox, range(5)))
    assert len(ended) == 5
    assert all(isinstance(item, Drawn) for item in ended.values())
    assert failures == [stage] * 4


def test_a_picture_too_large_to_decode_at_once_is_decoded_in_tiles() -> None:
    pipeline, failures = fail_above(0, "decode")
    ended = run_all(engine_of(pipeline), [fox(0)])
    assert isinstance(ended[0], Drawn)
    assert pipeline.decoded == [((0,), True)]
    assert failures == ["decode"]
    assert not stock("z-image").vae.use_tiling, "the next one is decoded whole again"


@pytest.mark.parametrize("stages", [("encode",), ("denoise",), ("decode", "decode tiled")])
def test_a_request_that_does_not_fit_alone_fails_with_numbers_and_others_go_on(
    stages: tuple[str, ...],
) -> None:
    pipeline = watched("z-image")

    def fail(stage: str, jobs: Sequence[Job]) -> None:
        if stage in stages and any(job.width_px == 128 for job in jobs):
            raise out_of_memory()

    pipeline.before = fail
    ended = run_all(engine_of(pipeline), [fox(0), fox(1, width_px=128), fox(2)])
    assert isinstance(ended[0], Drawn)
    assert isinstance(ended[2], Drawn)
    lost = ended[1]
    assert isinstance(lost, Failed)
    assert lost.is_final
    assert lost.reason.startswith("128x64 px, 64 tokens per step, do not fit even alone: cpu has ")
    assert " GiB, " in lost.reason


@pytest.mark.parametrize("stage", ["encode", "denoise", "decode"])
def test_a_request_that_makes_a_library_raise_fails_alone(stage: str) -> None:
    pipeline = watched("z-image")

    def fail(at: str, jobs: Sequence[Job]) -> None:
        if at == stage and any(job.id == 2 for job in jobs):
            raise ValueError("expected\n a fox, got two")

    pipeline.before = fail
    ended = run_all(engine_of(pipeline), map(fox, range(5)))
    assert [id_ for id_, item in sorted(ended.items()) if isinstance(item, Failed)] == [2]
    lost = ended[2]
    assert isinstance(lost, Failed)
    assert lost.reason == "ZImagePipeline: ValueError: expected a fox, got two"


def test_a_failed_device_ends_the_engine() -> None:
    pipeline = watched("z-image")

    def fail(stage: str, jobs: Sequence[Job]) -> None:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    pipeline.before = fail
    engine = engine_of(pipeline)
    engine.add(fox(0))
    with pytest.raises(torch.AcceleratorError, match="device-side assert"):
        engine.run_once()


def test_a_cancelled_request_leaves_at_the_next_step_boundary() -> None:
    pipeline = watched("z-image")
    engine = engine_of(pipeline)
    for id_ in range(3):
        engine.add(fox(id_, steps=4))
    engine.run_once()
    engine.withdraw(1)
    engine.withdraw(99)
    assert set(run_all(engine)) == {0, 2}
    assert pipeline.groups == [(0, 1, 2), (0, 2), (0, 2), (0, 2)]
    assert engine.is_idle


class LateSpan(Span):
    """Work that is not reported as done until the host waits for it, as on a GPU."""

    is_waited_for = False

    @property
    def is_done(self) -> bool:
        return self.is_waited_for

    def wait(self) -> None:
        self.is_waited_for = True


class LateDevice(Device):
    """A CPU on which no work is done at once."""

    @contextmanager
    def span(self, *, is_concurrent: bool = False) -> Iterator[Span]:
        yield LateSpan()


def test_requests_may_be_cancelled_before_their_first_step_and_during_decoding() -> None:
    pipeline = watched("z-image")
    engine = Engine(pipeline, LateDevice("cpu"), BatchScheduler(mixes_buckets=True))
    for id_, steps in enumerate([1, 1, 2, 2]):
        engine.add(fox(id_, steps=steps))
    engine.withdraw(3)
    assert engine.run_once() == [], "the first two are being decoded"
    engine.withdraw(1)
    assert set(run_all(engine)) == {0, 2}
    assert pipeline.groups == [(0, 1, 2), (2,)]


def test_interactive_requests_go_first() -> None:
    pipeline = watched("z-image")
    engine = engine_of(pipeline, max_step_tokens=2 * 64)
    for id_ in range(4):
        engine.add(fox(id_))
    engine.run_once()
    engine.add(fox(9, interactive=True))
    run_all(engine)
    assert pipeline.groups[:3] == [(0, 1), (9, 0), (9, 1)]


def test_a_request_that_the_pipeline_cannot_draw_is_refused() -> None:
    engine = engine_of(watched("z-image"))
    with pytest.raises(UnfitError, match="expected sides that are multiples of 16 px, got 72x64"):
        engine.add(fox(0, width_px=72))
    with pytest.raises(UnfitError, match="steps: expected more, because this pipeline's schedule is not defined for 1"):
        engine_of(watched("qwen-image")).add(fox(0, steps=1))
    with pytest.raises(UnfitError, match="multiples of 2 px, got 63x64"):
        engine_of(watched("stable-diffusion")).add(fox(0, width_px=63))
    assert engine.is_idle


def test_totals_count_all_work() -> None:
    pipeline = watched("z-image")
    engine = engine_of(pipeline)
    ended = run_all(engine, map(fox, range(3)))
    totals = engine.totals()
    assert (totals.images, totals.forwards, totals.rows, totals.waiting, totals.running) == (3, 2, 6, 0, 0)
    assert totals.tokens == 6 * (32 + 32), "16 tokens of picture and 28 of text, each filled up to 32"
    assert 0 < totals.forward_s <= totals.busy_s <= totals.wall_s
    for item in ended.values():
        assert min(item.job.text_s, item.job.denoise_s, item.job.decode_s) > 0
        assert item.job.batch_requests == 6
