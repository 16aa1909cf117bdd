"""Z-Image at full size with random weights on a GPU: images a second, forward times, and how far from the arithmetic.

    python -m tests.benchmarks.gpu                  on the first GPU, bfloat16, 512 and 1024 px
    python -m tests.benchmarks.gpu --tiny           on the CPU, of a tiny model: to see that it runs

Weights are drawn at random from the model's own configuration, so nothing is downloaded and the pictures are noise; the
time does not depend on what they show. Every figure is measured in the same run as its baseline.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gems_actors.backends.diffusion.batch_scheduler import MAX_STEP_TOKENS, BatchScheduler
from gems_actors.backends.diffusion.devices import Device
from gems_actors.backends.diffusion.engine import Engine
from gems_actors.backends.diffusion.engine_messages import Draw
from gems_actors.backends.diffusion.jobs import Drawn, Job
from gems_actors.backends.diffusion.loading import wrap_pipeline
from gems_actors.backends.diffusion.models import png_of
from gems_actors.backends.diffusion.z_image import ZImageSteps
from tests.gems_actors.backends.diffusion.tiny import tiny_tokenizer, tiny_z_image

STEPS: Final = 8
WORDS: Final = ("red", "fox", "on", "snow", "under", "three", "moons", "by", "an", "old", "lighthouse", "in", "oil")


class Plan(NamedTuple):
    """What is measured."""

    device: str
    sides_px: tuple[int, ...]
    batches: tuple[int, ...]
    stock_images: int
    requests: int
    repeats: int
    png_processes: int
    is_compiled: bool


FULL: Final = Plan("cuda:0", (512, 1024), (1, 2, 4, 8, 16), 12, 96, 5, 4, is_compiled=True)
TINY: Final = Plan("cpu", (64, 96), (1, 2), 2, 6, 2, 1, is_compiled=True)


def full_z_image(device: torch.device) -> Any:
    """Return a `ZImagePipeline` of the true sizes, 6.2 + 4.0 + 0.08 billion random weights in bfloat16."""
    import diffusers
    from transformers import Qwen3Config, Qwen3Model

    tokenizer = tiny_tokenizer()
    with _made_on(device, torch.bfloat16):
        transformer = diffusers.ZImageTransformer2DModel()  # whose defaults are those of Z-Image
        vae = diffusers.AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
            block_out_channels=[128, 256, 512, 512],
            layers_per_block=2,
            latent_channels=16,
            sample_size=1024,
            scaling_factor=0.3611,
            shift_factor=0.1159,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
        text_encoder = Qwen3Model(
            Qwen3Config(
                hidden_size=2560,
                intermediate_size=9728,
                num_hidden_layers=36,
                num_attention_heads=32,
                num_key_value_heads=8,
                head_dim=128,
                vocab_size=151936,
            )
        ).eval()
        with torch.no_grad():
            for token in (transformer.x_pad_token, transformer.cap_pad_token):
                token.normal_()
    pipe = diffusers.ZImagePipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=transformer,
    ).to(device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@contextmanager
def _made_on(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            yield
    finally:
        torch.set_default_dtype(before)


# ------------------------------------------------------------------------------------------------- measuring


def timed(work: Callable[[], object], device: Device, repeats: int) -> float:
    """Return the median seconds of some work, after two runs to warm up; the device is waited for."""
    seconds = []
    for number in range(repeats + 2):
        began = time.perf_counter()
        with torch.no_grad(), device.span() as span:
            work()
        span.wait()
        if number >= 2:
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def matmul_tflops(device: Device) -> float:
    """Return the rate of one large product in the dtype that is drawn with: the ceiling of this very machine."""
    side = 8192 if device.is_gpu else 512
    dtype = torch.bfloat16 if device.is_gpu else torch.float32
    first, second = (torch.randn(side, side, device=device.torch_device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / timed(lambda: first @ second, device, 20) / 1e12


def prompt_of(length: int, seed: int) -> str:
    """Return a prompt of about `length` tokens of one byte each."""
    chance = random.Random(seed)
    text = ""
    while len(text) < length:
        text += chance.choice(WORDS) + " "
    return text[:length]


def jobs_of(pipeline: ZImageSteps, count: int, side_px: int, lengths: Sequence[int]) -> list[Job]:
    """Return encoded requests that have taken no step."""
    prompts = [prompt_of(lengths[number % len(lengths)], number) for number in range(count)]
    jobs = [
        pipeline.prepare(Draw(number, prompt, number, side_px, side_px, STEPS)) for number, prompt in enumerate(prompts)
    ]
    with torch.no_grad():
        pipeline.encode(jobs)
    return jobs


def flops_of(work: Callable[[], object]) -> float:
    """Return the floating-point operations of some work, as torch counts them."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        work()
    return float(counter.get_total_flops())


class Limit(NamedTuple):
    """The arithmetic of one picture."""

    forward_tflop: float
    decode_tflop: float

    def images_per_s(self, tflops: float) -> float:
        """Return how many pictures a second would be drawn if nothing but arithmetic took time."""
        return tflops / (STEPS * self.forward_tflop + self.decode_tflop)


def limit_of(pipeline: ZImageSteps, side_px: int) -> Limit:
    """Count the operations of one forward and one decoding, with a caption of 100 tokens."""
    (job,) = jobs_of(pipeline, 1, side_px, [100])
    forward = flops_of(lambda: pipeline.denoise([job]))
    return Limit(forward / 1e12, flops_of(lambda: pipeline.decode([job])) / 1e12)


def stock_rate(pipe: Any, side_px: int, images: int, device: Device) -> float:
    """Return images a second of a loop over the stock pipeline, one picture at a time, PNG by Pillow as it comes."""

    def draw(seed: int) -> None:
        image = pipe(
            prompt=[prompt_of(100, seed)],
            height=side_px,
            width=side_px,
            num_inference_steps=STEPS,
            guidance_scale=0.0,
            generator=[torch.Generator("cpu").manual_seed(seed)],
        ).images[0]
        image.save(BytesIO(), "PNG")

    draw(0)
    device.settle()
    began = time.perf_counter()
    for seed in range(images):
        draw(seed)
    return images / (time.perf_counter() - began)


class EngineRate(NamedTuple):
    """Of the engine with all requests at once."""

    images_per_s: float
    busy_share: float
    batch: float
    step_s: float
    peak_gib: float


def engine_rate(
    pipeline: ZImageSteps, side_px: int, requests: int, device: Device, lengths: Sequence[int], pool: Executor
) -> EngineRate:
    """Draw requests through the engine; PNG files are made in other processes, as the actor's is one."""
    scheduler = BatchScheduler(max_step_tokens=MAX_STEP_TOKENS, mixes_buckets=True)
    for engine in (Engine(pipeline, device, scheduler), Engine(pipeline, device, scheduler)):  # the first one warms up
        if device.is_gpu:
            torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        for number in range(requests):
            prompt = prompt_of(lengths[number % len(lengths)], number)
            engine.add(Draw(number, prompt, number, side_px, side_px, steps=STEPS))
        files = []
        while not engine.is_idle:
            for ended in engine.run_once():
                assert isinstance(ended, Drawn), ended
                files.append(pool.submit(png_of, ended.pixels.numpy().tobytes(), side_px, side_px))
        for file in files:
            file.result()
        seconds = time.perf_counter() - began
    totals = engine.totals()
    return EngineRate(
        requests / seconds,
        totals.busy_s / seconds,
        totals.rows / totals.forwards,
        totals.forward_s / totals.forwards,
        totals.memory_bytes / 2**30,
    )


# ------------------------------------------------------------------------------------------------- the tables


def measure(plan: Plan, pipe: Any, tell: Callable[[str], None]) -> dict[Any, Any]:
    """Measure everything of a plan and return the figures."""
    device = Device(plan.device)
    masked = ZImageSteps(pipe)
    name = torch.cuda.get_device_name(device.torch_device) if device.is_gpu else "CPU"
    tflops = matmul_tflops(device)
    tell(f"{name}, torch {torch.__version__}: a large product runs at {tflops:.3g} TFLOP/s")
    found: dict[Any, Any] = {"device": name, "torch": torch.__version__, "matmul_tflops": tflops}
    limits = {side_px: limit_of(masked, side_px) for side_px in plan.sides_px}
    stock = {side_px: stock_rate(pipe, side_px, plan.stock_images, device) for side_px in plan.sides_px}
    forwards = {side_px: _forwards(masked, plan, side_px, device, [100]) for side_px in plan.sides_px}
    ragged = {"mask": {side_px: _forwards(masked, plan, side_px, device, [40, 400]) for side_px in plan.sides_px}}
    split = ZImageSteps(pipe, splits_attention=True)  # from here on the pipeline attends row by row
    ragged["split"] = {side_px: _forwards(split, plan, side_px, device, [40, 400]) for side_px in plan.sides_px}
    spawn = multiprocessing.get_context("spawn")  # forks of a process with CUDA hang
    with ProcessPoolExecutor(plan.png_processes, spawn) as pool:
        rates = {
            side_px: engine_rate(split, side_px, plan.requests, device, [40, 100, 250], pool)
            for side_px in plan.sides_px
        }
    for side_px in plan.sides_px:
        limit, rate = limits[side_px], rates[side_px]
        ceiling = limit.images_per_s(tflops)
        found[side_px] = {
            "limit": limit._asdict(),
            "limit_images_per_s": ceiling,
            "stock_images_per_s": stock[side_px],
            "engine": rate._asdict(),
            "forward_s": forwards[side_px],
            "ragged_forward_s": {kind: times[side_px] for kind, times in ragged.items()},
        }
        tell(
            f"{side_px} px: engine {rate.images_per_s:.3g} images/s = {rate.images_per_s / stock[side_px]:.2f} times "
            f"the loop over the stock pipeline ({stock[side_px]:.3g}) = {rate.images_per_s / ceiling:.2f} of the limit "
            f"({ceiling:.3g}); device busy {rate.busy_share:.1%}, batch {rate.batch:.1f}, "
            f"step {rate.step_s * 1000:.3g} ms, peak {rate.peak_gib:.1f} GiB"
        )
        for batch, seconds in forwards[side_px].items():
            both = [f"{kind} {times[side_px][batch] * 1000:.3g} ms" for kind, times in ragged.items()]
            tell(
                f"{side_px} px, batch {batch}: forward {seconds * 1000:.3g} ms, "
                f"{batch * limit.forward_tflop / seconds:.3g} TFLOP/s; captions of 40 and 400 tokens: {', '.join(both)}"
            )
    if plan.is_compiled:
        found["compiled"] = _compiled(plan, pipe, device, tell)
    return found


def _forwards(
    pipeline: ZImageSteps, plan: Plan, side_px: int, device: Device, lengths: Sequence[int]
) -> dict[int, float]:
    """Return the seconds of a forward against the batch."""
    times = {}
    for batch in plan.batches:
        jobs = jobs_of(pipeline, batch, side_px, lengths)

        def work(jobs: list[Job] = jobs) -> list[Tensor]:
            return pipeline.denoise(jobs)

        times[batch] = timed(work, device, plan.repeats)
    return times


def _compiled(plan: Plan, pipe: Any, device: Device, tell: Callable[[str], None]) -> dict[int, dict[int, float]]:
    """Return the seconds of a compiled forward, with a mask where captions differ."""
    from diffusers.models.transformers.transformer_z_image import ZSingleStreamAttnProcessor

    for blocks in (pipe.transformer.noise_refiner, pipe.transformer.context_refiner, pipe.transformer.layers):
        for block in blocks:
            block.attention.set_processor(ZSingleStreamAttnProcessor())
    began = time.perf_counter()
    pipeline = wrap_pipeline(pipe, is_compiled=True)
    assert isinstance(pipeline, ZImageSteps)
    times = {}
    for side_px in plan.sides_px:
        times[side_px] = _forwards(pipeline, plan, side_px, device, [100])
        for batch, seconds in times[side_px].items():
            tell(f"{side_px} px, batch {batch}, compiled: forward {seconds * 1000:.3g} ms")
    tell(f"compiling and measuring took {time.perf_counter() - began:.0f} s")
    return times


def main(arguments: Sequence[str] | None = None) -> dict[Any, Any]:
    """Measure and print; the last line is all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU")
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled forwards out: they take minutes")
    options = parser.parse_args(arguments)
    plan = TINY if options.tiny else FULL
    if options.no_compile:
        plan = plan._replace(is_compiled=False)
    pipe = tiny_z_image() if options.tiny else full_z_image(torch.device(plan.device))
    found = measure(plan, pipe, lambda line: print(line, flush=True))
    print(json.dumps(found))
    return found


if __name__ == "__main__":
    main()
