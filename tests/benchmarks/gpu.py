"""Z-Image at full size on a GPU: images a second, how they grow with the batch, and what cache, fp8 and compiling give.

    python -m tests.benchmarks.gpu                  on the first GPU, bfloat16, 512 and 1024 px
    python -m tests.benchmarks.gpu --weights FOLDER with real weights of any pipeline that is driven step by step
    python -m tests.benchmarks.gpu --tiny           on the CPU, of a tiny model: to see that it runs

Without `--weights` they are drawn at random from Z-Image's own configuration, so nothing is downloaded and the pictures
are noise: the time does not depend on what they show, but how like two pictures are does. Every figure is measured in
the same run as its baseline. fp8 needs torchao.
"""

from __future__ import annotations

import argparse
import inspect
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
from PIL.Image import Image
from PIL.Image import new as new_picture
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gems_actors.backends.diffusion import float8
from gems_actors.backends.diffusion.batch_scheduler import MAX_STEP_TOKENS, BatchScheduler
from gems_actors.backends.diffusion.devices import Device
from gems_actors.backends.diffusion.engine import Engine
from gems_actors.backends.diffusion.engine_messages import Draw
from gems_actors.backends.diffusion.jobs import Drawn, Job, Stepped
from gems_actors.backends.diffusion.loading import wrap_pipeline
from gems_actors.backends.diffusion.models import png_of
from gems_actors.backends.diffusion.stepwise import StepwisePipeline
from tests.benchmarks.likeness import psnr_db, ssim
from tests.gems_actors.backends.diffusion.tiny import tiny_tokenizer, tiny_z_image

STEPS: Final = 8
CACHED_STEPS: Final = 40
"""Steps of the pictures that the denoising cache is measured with: those of Qwen-Image 2.1."""
THRESHOLDS: Final = (0.05, 0.1, 0.2)
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
    cached_images: int
    is_compiled: bool


FULL: Final = Plan("cuda:0", (512, 1024), (1, 2, 4, 8, 16), 12, 96, 5, 4, 16, is_compiled=True)
TINY: Final = Plan("cpu", (64, 96), (1, 2), 2, 6, 2, 1, 1, is_compiled=True)


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


def jobs_of(pipeline: StepwisePipeline, count: int, side_px: int, lengths: Sequence[int]) -> list[Job]:
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


def limit_of(pipeline: StepwisePipeline, side_px: int) -> Limit:
    """Count the operations of one forward and one decoding, with a caption of 100 tokens."""
    (job,) = jobs_of(pipeline, 1, side_px, [100])
    forward = flops_of(lambda: pipeline.denoise([job]))
    return Limit(forward / 1e12, flops_of(lambda: pipeline.decode([job])) / 1e12)


def stock_rate(pipeline: StepwisePipeline, side_px: int, images: int, device: Device) -> float:
    """Return images a second of a loop over the stock pipeline, one picture at a time, PNG by Pillow as it comes."""
    takes = inspect.signature(pipeline.pipe.__call__).parameters
    (job,) = jobs_of(pipeline, 1, side_px, [100])
    options = {"true_cfg_scale" if "true_cfg_scale" in takes else "guidance_scale": job.guidance}
    negative = {"negative_prompt": [job.negative_prompt]} if job.rows == 2 and "negative_prompt" in takes else {}

    def draw(seed: int) -> None:
        image = pipeline.pipe(
            prompt=[prompt_of(100, seed)],
            height=side_px,
            width=side_px,
            num_inference_steps=STEPS,
            generator=[torch.Generator("cpu").manual_seed(seed)],
            **options,
            **negative,
        ).images[0]
        image.save(BytesIO(), "PNG")

    draw(0)
    device.settle()
    began = time.perf_counter()
    for seed in range(images):
        draw(seed)
    return images / (time.perf_counter() - began)


class Begun(NamedTuple):
    """Seconds that a request takes before its first step."""

    without_reference_s: float
    with_reference_s: float
    """With one of the size that is drawn, resized and encoded."""


def begun(pipeline: StepwisePipeline, side_px: int, device: Device, repeats: int) -> Begun:
    """Prepare and encode a request without a reference, and one with."""
    draw, picture = (
        Draw(0, prompt_of(100, 0), 0, side_px, side_px, STEPS),
        new_picture("RGB", (side_px, side_px), "grey"),
    )

    def begin(pictures: Sequence[Image]) -> None:
        pipeline.encode([pipeline.prepare(draw, pictures)])

    return Begun(timed(lambda: begin([]), device, repeats), timed(lambda: begin([picture]), device, repeats))


class EngineRate(NamedTuple):
    """Of the engine with all requests at once."""

    images_per_s: float
    busy_share: float
    batch: float
    step_s: float
    peak_gib: float


def engine_rate(
    pipeline: StepwisePipeline, side_px: int, requests: int, device: Device, lengths: Sequence[int], pool: Executor
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


class Pictures(NamedTuple):
    """Pictures of one way to draw, and what they took."""

    pixels: list[Tensor]
    images_per_s: float
    forwards: float
    """Forwards of a picture."""


def drawn(pipeline: StepwisePipeline, side_px: int, count: int, steps: int, device: Device) -> Pictures:
    """Draw the same prompts and seeds through the engine, after one to warm up."""
    for number in (1, count):
        engine = Engine(pipeline, device, BatchScheduler(mixes_buckets=pipeline.mixes_sizes))
        began = time.perf_counter()
        for seed in range(number):
            engine.add(Draw(seed, prompt_of(100, seed), seed, side_px, side_px, steps=steps))
        pixels: dict[int, Tensor] = {}
        while not engine.is_idle:
            for ended in engine.run_once():
                assert isinstance(ended, Drawn), ended
                pixels[ended.job.id] = ended.pixels.clone()
        seconds = time.perf_counter() - began
    forwards = steps - engine.totals().reused / count
    return Pictures([pixels[seed] for seed in range(count)], count / seconds, forwards)


def likeness(pictures: Pictures, others: Pictures) -> dict[str, float]:
    """Return how like the same pictures drawn in another way are: medians of PSNR and SSIM, the latter's worst too."""
    pairs = list(zip(pictures.pixels, others.pixels, strict=True))
    similar = [ssim(*pair) for pair in pairs]
    decibels = min(statistics.median(psnr_db(*pair) for pair in pairs), 99.0)  # equal ones are infinite, unlike JSON
    return {"psnr_db": decibels, "ssim": statistics.median(similar), "worst_ssim": min(similar)}


# ------------------------------------------------------------------------------------------------- the tables


def measure(plan: Plan, pipe: Any, tell: Callable[[str], None]) -> dict[Any, Any]:
    """Measure everything of a plan and return the figures."""
    device = Device(plan.device)
    pipeline = wrap_pipeline(pipe)
    assert isinstance(pipeline, StepwisePipeline), "expected a pipeline that is driven step by step"
    name = torch.cuda.get_device_name(device.torch_device) if device.is_gpu else "CPU"
    tflops = matmul_tflops(device)
    tell(f"{name}, torch {torch.__version__}, {pipeline.name}: a large product runs at {tflops:.3g} TFLOP/s")
    found: dict[Any, Any] = {"device": name, "torch": torch.__version__, "matmul_tflops": tflops}
    spawn = multiprocessing.get_context("spawn")  # forks of a process with CUDA hang
    with ProcessPoolExecutor(plan.png_processes, spawn) as pool:
        for side_px in plan.sides_px:
            found[side_px] = _of_size(plan, pipeline, side_px, device, tflops, pool, tell)
    for side_px in plan.sides_px:
        found[side_px]["cache"] = _cached(plan, pipeline, side_px, device, tell)
    if plan.is_compiled:
        pipeline.attends_by_row = False
        pipe.transformer.compile_repeated_blocks(dynamic=True)
        found["compiled"] = {
            side_px: _curve("compiled", plan, pipeline, side_px, device, tell) for side_px in plan.sides_px
        }
    if float8.is_installed():
        found["fp8"] = _quantized(plan, pipeline, device, tell)
    else:
        tell("fp8 was not measured: torchao is not installed")
    return found


def _of_size(
    plan: Plan,
    pipeline: StepwisePipeline,
    side_px: int,
    device: Device,
    tflops: float,
    pool: Executor,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Return what one size takes: the loop over the stock pipeline, the engine, and forwards against the batch."""
    limit = limit_of(pipeline, side_px)
    stock = stock_rate(pipeline, side_px, plan.stock_images, device)
    curve = _curve("eager", plan, pipeline, side_px, device, tell)
    ragged = {}
    for kind, by_row in (("mask", False), ("split", True)):
        pipeline.attends_by_row = by_row
        ragged[kind] = _forwards(pipeline, plan, side_px, device, [40, 400])
    pipeline.attends_by_row = sum(ragged["split"].values()) < sum(ragged["mask"].values())
    rate = engine_rate(pipeline, side_px, plan.requests, device, [40, 100, 250], pool)
    start = begun(pipeline, side_px, device, plan.repeats)
    ceiling = limit.images_per_s(tflops)
    tell(
        f"{side_px} px: engine {rate.images_per_s:.3g} images/s = {rate.images_per_s / stock:.2f} times "
        f"the loop over the stock pipeline ({stock:.3g}) = {rate.images_per_s / ceiling:.2f} of the limit "
        f"({ceiling:.3g}); device busy {rate.busy_share:.1%}, batch {rate.batch:.1f}, "
        f"step {rate.step_s * 1000:.3g} ms, peak {rate.peak_gib:.1f} GiB"
    )
    tell(
        f"{side_px} px, before the first step: {start.without_reference_s * 1000:.3g} ms, "
        f"with a reference {start.with_reference_s * 1000:.3g} ms"
    )
    for batch, seconds in curve.items():
        both = [f"{kind} {times[batch] * 1000:.3g} ms" for kind, times in ragged.items()]
        tell(
            f"{side_px} px, batch {batch}: {batch * limit.forward_tflop / seconds:.3g} TFLOP/s; "
            f"prompts of 40 and 400 tokens: {', '.join(both)}"
        )
    return {
        "limit": limit._asdict(),
        "limit_images_per_s": ceiling,
        "stock_images_per_s": stock,
        "engine": rate._asdict(),
        "begun": start._asdict(),
        "forward_s": curve,
        "ragged_forward_s": ragged,
    }


def _curve(
    name: str, plan: Plan, pipeline: StepwisePipeline, side_px: int, device: Device, tell: Callable[[str], None]
) -> dict[int, float]:
    """Return the seconds of a forward against the batch, and tell how much more a larger batch gives."""
    times = _forwards(pipeline, plan, side_px, device, [100])
    alone = times[min(times)] / min(times)
    for batch, seconds in times.items():
        tell(
            f"{side_px} px, batch {batch}, {name}: forward {seconds * 1000:.3g} ms, {batch / seconds:.3g} steps/s, "
            f"{batch * alone / seconds:.2f} times the smallest batch"
        )
    return times


def _cached(
    plan: Plan, pipeline: StepwisePipeline, side_px: int, device: Device, tell: Callable[[str], None]
) -> dict[float, dict[str, float]]:
    """Return what each threshold of the denoising cache gives and costs, against pictures without it."""
    pipeline.cache_threshold = None
    computed = drawn(pipeline, side_px, plan.cached_images, CACHED_STEPS, device)
    found = {}
    for threshold in THRESHOLDS:
        pipeline.cache_threshold = threshold
        pictures = drawn(pipeline, side_px, plan.cached_images, CACHED_STEPS, device)
        faster = pictures.images_per_s / computed.images_per_s
        like = likeness(pictures, computed)
        found[threshold] = {"faster": faster, "forwards": pictures.forwards, **like}
        tell(
            f"{side_px} px, denoising cache {threshold}: {pictures.forwards:.1f} forwards of {CACHED_STEPS}, "
            f"{faster:.2f} times as fast, PSNR {like['psnr_db']:.1f} dB, SSIM {like['ssim']:.3f}"
        )
    pipeline.cache_threshold = None
    return found


def _quantized(
    plan: Plan, pipeline: StepwisePipeline, device: Device, tell: Callable[[str], None]
) -> dict[int, dict[str, Any]]:
    """Return what fp8 gives and costs; the pipeline stays quantized."""
    original = {side_px: drawn(pipeline, side_px, plan.cached_images, STEPS, device) for side_px in plan.sides_px}
    began = time.perf_counter()
    pipeline.float8 = float8.quantize(pipeline.transformer, device.torch_device)
    tell(f"fp8: {pipeline.float8.layers} layers quantized in {time.perf_counter() - began:.1f} s")
    found = {}
    for side_px in plan.sides_px:
        times = _curve("fp8", plan, pipeline, side_px, device, tell)
        pictures = drawn(pipeline, side_px, plan.cached_images, STEPS, device)
        faster = pictures.images_per_s / original[side_px].images_per_s
        like = likeness(pictures, original[side_px])
        found[side_px] = {"forward_s": times, "faster": faster, **like}
        tell(
            f"{side_px} px, fp8: {faster:.2f} times as fast, PSNR {like['psnr_db']:.1f} dB, SSIM {like['ssim']:.3f}, "
            f"peak {device.peak_bytes() / 2**30:.1f} GiB"
        )
    return found


def _forwards(
    pipeline: StepwisePipeline, plan: Plan, side_px: int, device: Device, lengths: Sequence[int]
) -> dict[int, float]:
    """Return the seconds of a forward against the batch."""
    times = {}
    for batch in plan.batches:
        jobs = jobs_of(pipeline, batch, side_px, lengths)

        def work(jobs: list[Job] = jobs) -> list[Stepped]:
            return pipeline.denoise(jobs)

        times[batch] = timed(work, device, plan.repeats)
    return times


def main(arguments: Sequence[str] | None = None) -> dict[Any, Any]:
    """Measure and print; the last line is all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU")
    parser.add_argument("--weights", metavar="MODEL", help="a folder or hub id instead of random weights of Z-Image")
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled forwards out: they take minutes")
    options = parser.parse_args(arguments)
    plan = TINY if options.tiny else FULL
    if options.no_compile:
        plan = plan._replace(is_compiled=False)
    if options.weights:
        from diffusers import DiffusionPipeline

        pipe = DiffusionPipeline.from_pretrained(options.weights, torch_dtype=torch.bfloat16).to(plan.device)
        pipe.set_progress_bar_config(disable=True)
    else:
        pipe = tiny_z_image() if options.tiny else full_z_image(torch.device(plan.device))
    found = measure(plan, pipe, lambda line: print(line, flush=True))
    print(json.dumps(found))
    return found


if __name__ == "__main__":
    main()
