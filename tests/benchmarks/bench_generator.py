"""The generator against the stock pipeline on this CPU, and its batching policy against the best there can be on a GPU.

The first part draws with tiny pipelines of the true classes, through an engine process and with PNG files made, against
a loop over the stock pipeline in this process. The second part runs the real engine with a device that only tells how
long it takes: floor of a launch plus arithmetic over rate.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
import trio
from PIL.Image import Image
from torch import Tensor

from gems_actors.backends import ImageRequest
from gems_actors.backends.diffusion.batch_scheduler import BatchScheduler
from gems_actors.backends.diffusion.devices import Device, Span
from gems_actors.backends.diffusion.engine import Engine
from gems_actors.backends.diffusion.engine_messages import Draw
from gems_actors.backends.diffusion.jobs import Defaults, Drawn, Job, Stepped
from gems_actors.backends.diffusion.models import open_diffusion
from gems_actors.config import ImageConfig
from tests.gems_actors.backends.diffusion.tiny import BUILDERS

ENGINE = "tests.gems_actors.backends.diffusion.tiny_engine"
_REQUESTS, _RUNS, _SIDE_PX = 64, 5, 64
_WORDS = ("red", "fox", "on", "snow", "under", "three", "moons", "by", "an", "old", "lighthouse", "in", "oil")


class Case(NamedTuple):
    """A tiny pipeline, and what it draws with."""

    name: str
    kind: str
    steps: int
    guidance: float


CASES = (
    Case("Z-Image-Turbo", "z-image", 8, 0.0),
    Case("Z-Image", "z-image", 20, 4.0),
    Case("Qwen-Image", "qwen-image", 8, 4.0),
    Case("Qwen-Image 2.1 Turbo", "qwen-image-21", 8, 1.0),
    Case("FLUX.2 [klein], distilled", "flux2-klein", 4, 1.0),
)

_FLOOR_S, _RATE_TFLOP = 0.025, 600.0
"""Of a forward of Z-Image on an H200, derived: kernels a forward, and three quarters of 790 TFLOP/s."""
_FORWARD_TFLOP = {512: 13.69, 1024: 56.58}
_DECODE_TFLOP = {512: 2.51, 1024: 10.47}
_TEXT_S, _TEXT_TOKENS = 0.0012, 128
_IMAGES = 512


def prompts() -> list[str]:
    """Return prompts of a sentence: 16 to 86 tokens here, where each byte is one."""
    chance = random.Random(0)
    return [" ".join(chance.choices(_WORDS, k=chance.randint(4, 16))) for _ in range(_REQUESTS)]


# ------------------------------------------------------------------------------------------------- on this CPU


def loop_over_stock(case: Case) -> float:
    """Return the seconds that the stock pipeline takes for all requests, one after another, with PNG files."""
    pipe = BUILDERS[case.kind]()
    options: dict[str, Any] = {"true_cfg_scale" if case.kind.startswith("qwen") else "guidance_scale": case.guidance}
    if case.kind == "qwen-image":
        options["negative_prompt"] = [" "]

    def draw(prompt: str, seed: int) -> None:
        image = pipe(
            prompt=[prompt],
            height=_SIDE_PX,
            width=_SIDE_PX,
            num_inference_steps=case.steps,
            generator=[torch.Generator("cpu").manual_seed(seed)],
            **options,
        ).images[0]
        image.save(BytesIO(), "PNG")

    draw("a warm-up", 0)
    began = time.perf_counter()
    for seed, prompt in enumerate(prompts()):
        draw(prompt, seed)
    return time.perf_counter() - began


class Rates(NamedTuple):
    """Of one run through the engine."""

    seconds: float
    busy: float
    """Share of the wall's time, from the first request to the last picture drawn, in which the device had work."""


async def through_engine(case: Case, folder: Path) -> list[Rates]:
    """Return what each run of all requests at once took."""
    config = ImageConfig(backend="diffusers", model=case.kind, devices=("cpu",))
    rates = []
    drawn_at: list[float] = []
    size = _SIDE_PX, _SIDE_PX
    async with open_diffusion(config, size=size, locks=folder, tell=lambda _: None, engine_module=ENGINE) as model:
        (host,) = model.hosts

        async def ask(seed: int, prompt: str) -> None:
            request = ImageRequest(prompt, seed, *size, steps=case.steps, guidance=case.guidance)
            picture = await model.generate(request)
            drawn_at.append(time.perf_counter() - picture.details["png_s"])

        for _ in range(_RUNS):
            before, began = host.totals, time.perf_counter()
            drawn_at.clear()
            async with trio.open_nursery() as nursery:
                for seed, prompt in enumerate(prompts()):
                    nursery.start_soon(ask, seed, prompt)
            seconds = time.perf_counter() - began
            while host.totals.images < before.images + _REQUESTS or host.totals.running:  # noqa: ASYNC110 -- of a process
                await trio.sleep(0.01)
            rates.append(Rates(seconds, (host.totals.busy_s - before.busy_s) / (max(drawn_at) - began)))
    return rates


def compare_on_cpu() -> None:
    """Print images a second, and the engine's busy share."""
    threads = torch.get_num_threads()
    for case in CASES:
        with tempfile.TemporaryDirectory() as name:
            alone = [loop_over_stock(case) for _ in range(_RUNS)]
            together = trio.run(through_engine, case, Path(name))
        stock, ours = (statistics.median(seconds) for seconds in (alone, [rate.seconds for rate in together]))
        busy = statistics.median(rate.busy for rate in together)
        print(
            f"{case.name}: {_REQUESTS} requests of {_SIDE_PX} px at once, {case.steps} steps, {threads} threads: "
            f"{_REQUESTS / ours:.1f} images/s, {stock / ours:.2f} times the stock pipeline one at a time "
            f"({_REQUESTS / stock:.1f}); engine busy {busy:.1%} of the wall while requests wait"
        )


# ------------------------------------------------------------------------------------------------- a device that counts


class Clock:
    """Time that passes when the device says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class CountingDevice(Device):
    """A device whose work takes no time here."""

    @contextmanager
    def span(self, *, is_concurrent: bool = False) -> Iterator[Span]:
        yield Span()

    def to_host(self, pixels: Tensor) -> Tensor:
        return pixels


class CountingPipeline:
    """Z-Image as far as time goes."""

    name, multiple_px, mixes_sizes, max_texts = "counting", 16, True, 32
    max_references, needs_references, redraws = 0, False, False
    defaults = Defaults(steps=8)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.longest_s = 0.0

    def prepare(self, draw: Draw, pictures: Sequence[Image] = ()) -> Job:
        return Job(
            id=draw.id,
            prompt="",
            negative_prompt="",
            seed=0,
            width_px=draw.width_px,
            height_px=draw.height_px,
            steps=8,
            guidance=None,
            is_alone=False,
            bucket=(draw.width_px, draw.height_px),
            tokens=draw.width_px * draw.height_px // 256 + _TEXT_TOKENS,
        )

    def encode(self, jobs: Sequence[Job]) -> None:
        self._clock.now_s += _TEXT_S * len(jobs)

    def denoise(self, jobs: Sequence[Job]) -> list[Stepped]:
        seconds = _FLOOR_S + sum(_FORWARD_TFLOP[job.width_px] for job in jobs) / _RATE_TFLOP
        self.longest_s = max(self.longest_s, seconds)
        self._clock.now_s += seconds
        return [Stepped(torch.empty(0))] * len(jobs)

    def reuse(self, job: Job) -> Tensor | None:
        return None

    def decode(self, jobs: Sequence[Job], *, tiled: bool = False) -> Tensor:
        self._clock.now_s += sum(_DECODE_TFLOP[job.width_px] for job in jobs) / _RATE_TFLOP
        return torch.empty(len(jobs), 1, 1, 3)


def saturated(side_px: int, trajectories: int) -> float:
    """Return images a second where each trajectory asks again as soon as it has its picture."""
    clock = Clock()
    engine = Engine(CountingPipeline(clock), CountingDevice("cpu"), BatchScheduler(mixes_buckets=True), clock=clock)
    for number in range(trajectories):
        engine.add(Draw(number, "", 0, side_px, side_px))
    drawn = 0
    while drawn < _IMAGES:
        for _ in engine.run_once():
            drawn += 1
            engine.add(Draw(trajectories + drawn, "", 0, side_px, side_px))
    return drawn / clock.now_s


def best_possible(side_px: int, trajectories: int) -> float:
    """Return images a second if every forward held every trajectory: no policy can spread the floor over more."""
    step_s = _FLOOR_S + trajectories * _FORWARD_TFLOP[side_px] / _RATE_TFLOP
    rest_s = trajectories * (_TEXT_S + _DECODE_TFLOP[side_px] / _RATE_TFLOP)
    return trajectories / (8 * step_s + rest_s)


def longest_wait(side_px: int, load: float) -> tuple[float, float]:
    """Return the longest wait before a first step where requests come at random, in longest steps, and the batch."""
    clock, chance = Clock(), random.Random(1)
    pipeline = CountingPipeline(clock)
    engine = Engine(pipeline, CountingDevice("cpu"), BatchScheduler(mixes_buckets=True), clock=clock)
    arrivals, at_s = [], 0.0
    for _ in range(_IMAGES):
        at_s += chance.expovariate(load * best_possible(side_px, 1))
        arrivals.append(at_s)
    waits: list[float] = []
    batch_requests, number = 0.0, 0
    while len(waits) < _IMAGES:
        if engine.is_idle:
            clock.now_s = max(clock.now_s, arrivals[number])
        while number < _IMAGES and arrivals[number] <= clock.now_s:
            engine.add(Draw(number, "", 0, side_px, side_px))
            number += 1
        for ended in engine.run_once():
            assert isinstance(ended, Drawn)
            waits.append(ended.job.begun_s - arrivals[ended.job.id] - _TEXT_S)
            batch_requests += ended.job.batch_requests / ended.job.steps
    return max(waits) / pipeline.longest_s, batch_requests / _IMAGES


def compare_on_counting_device() -> None:
    """Print the share of the best possible, and the longest wait at light load."""
    for side_px in _FORWARD_TFLOP:
        shares: dict[int, float] = {
            trajectories: saturated(side_px, trajectories) / best_possible(side_px, trajectories)
            for trajectories in range(1, 65)
        }
        worst = min(shares, key=lambda count: shares[count])
        rates = ", ".join(f"{count}: {saturated(side_px, count):.2f}" for count in (1, 4, 16, 64))
        print(
            f"counted, {side_px} px: images/s of trajectories {rates}; at least {shares[worst]:.3f} of the best "
            f"possible for 1 to 64 of them (at {worst})"
        )
        for load in (0.1, 0.3):
            wait, batch = longest_wait(side_px, load)
            print(
                f"counted, {side_px} px, load {load:.0%}: longest wait for a first step {wait:.2f} of the longest "
                f"step, mean batch {batch:.2f}"
            )


def main() -> None:
    """Print both parts."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    compare_on_counting_device()
    compare_on_cpu()


if __name__ == "__main__":
    main()
