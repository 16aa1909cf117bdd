"""Stock pipelines that draw requests one by one, and engines that batch them and fail on request."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image as Pillow
from PIL.Image import Image, Resampling
from torch import Tensor

from gems_actors.backends.diffusion.batch_scheduler import MAX_STEP_TOKENS, BatchScheduler
from gems_actors.backends.diffusion.devices import Device
from gems_actors.backends.diffusion.engine import Engine
from gems_actors.backends.diffusion.engine_messages import Draw
from gems_actors.backends.diffusion.jobs import Drawn, Failed, Job, Pipeline, Stepped
from gems_actors.backends.diffusion.loading import wrap_pipeline
from gems_actors.backends.diffusion.stepwise import StepwisePipeline
from tests.gems_actors.backends.diffusion.tiny import BUILDERS


class Alone(NamedTuple):
    """A picture drawn by the stock pipeline alone."""

    latents: Tensor
    pixels: Tensor
    """(height, width, 3), int, 0 to 255."""


def stock(kind: str, dtype: torch.dtype = torch.float32) -> Any:
    """Return a tiny stock pipeline, built once."""
    return _built(kind, dtype)


@functools.cache
def _built(kind: str, dtype: torch.dtype) -> Any:
    return BUILDERS[kind]().to(dtype)


def pictures_of(draw: Draw) -> list[Image]:
    """Return pictures of the sizes of a request's references: blocks of random colours."""
    pictures = []
    for number, raster in enumerate(draw.references):
        blocks = np.random.default_rng(number).integers(0, 256, (4, 4, raster.channels), dtype=np.uint8)
        size = raster.width_px, raster.height_px
        pictures.append(Pillow.fromarray(blocks).resize(size, Resampling.BICUBIC))
    return pictures


def _editing(kind: str, draw: Draw, pipe: Any) -> tuple[Any, dict[str, Any]]:
    """Return the stock pipeline that draws from pictures with the parts of another, and its arguments for them."""
    import diffusers

    pictures = pictures_of(draw)
    if kind in ("flux2-klein", "qwen-image-21", "qwen-image-edit-plus"):
        return pipe, {"image": pictures}
    if kind == "qwen-image-edit":
        return pipe, {"image": pictures[0]}
    classes = {
        "z-image": diffusers.ZImageImg2ImgPipeline,
        "qwen-image": diffusers.QwenImageImg2ImgPipeline,
        "stable-diffusion": diffusers.StableDiffusionImg2ImgPipeline,
    }
    parts = pipe.components | ({"requires_safety_checker": False} if kind == "stable-diffusion" else {})
    editor = classes[kind](**parts)
    editor.set_progress_bar_config(disable=True)
    (picture,) = pictures
    if kind != "qwen-image":  # which resizes it itself; the others take the size of the picture
        picture = picture.resize((draw.width_px, draw.height_px), Resampling.LANCZOS)
    return editor, {"image": picture} | ({} if draw.strength is None else {"strength": draw.strength})


@functools.cache
def _flux2_negative(text: str, dtype: torch.dtype) -> Tensor:
    """Return the embedding of a negative prompt, whose 512 tokens take long here; the tests have two such prompts."""
    with torch.no_grad():
        embedding: Tensor = stock("flux2-klein", dtype).encode_prompt([text], "cpu")[0]
    return embedding


def draw_alone(kind: str, draw: Draw, dtype: torch.dtype = torch.float32) -> Alone:
    """Draw a request with nothing but the stock pipeline."""
    pipe = stock(kind, dtype)
    pipe, references = _editing(kind, draw, pipe) if draw.references else (pipe, {})
    negative: dict[str, Any] = {"negative_prompt": draw.negative_prompt and [draw.negative_prompt]}
    guidance = {"guidance_scale": draw.guidance}
    if kind.startswith("qwen-image"):
        is_guided = draw.guidance is not None and draw.guidance > 1
        guidance = {"true_cfg_scale": draw.guidance if is_guided else 1.0}
        negative = {"negative_prompt": [draw.negative_prompt or " "] if is_guided else None}
    elif kind == "flux2-klein":
        negative = {"negative_prompt_embeds": _flux2_negative(draw.negative_prompt or "", dtype)}
    wanted = {"height": draw.height_px, "width": draw.width_px, "num_inference_steps": draw.steps}
    if kind == "stable-diffusion" and references:
        del wanted["height"], wanted["width"]

    steps: list[Tensor] = []

    def record(pipe: Any, step: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        steps.append(tensors["latents"])
        return tensors

    images = pipe(
        prompt=[draw.prompt],
        generator=[torch.Generator("cpu").manual_seed(draw.seed)],
        output_type="pt",
        callback_on_step_end=record,
        **negative,
        **wanted,
        **guidance,
        **references,
    ).images
    return Alone(steps[-1][0], (images[0].permute(1, 2, 0) * 255).round().to(torch.int32))


class Watched:
    """A pipeline that records its batches and latents, and fails where a test wants it to."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.name, self.multiple_px = pipeline.name, pipeline.multiple_px
        self.mixes_sizes, self.max_texts, self.defaults = pipeline.mixes_sizes, pipeline.max_texts, pipeline.defaults
        self.max_references, self.needs_references = pipeline.max_references, pipeline.needs_references
        self.redraws = pipeline.redraws
        self.latents: dict[int, Tensor] = {}
        self.groups: list[tuple[int, ...]] = []
        self.decoded: list[tuple[tuple[int, ...], bool]] = []
        self.before: Callable[[str, Sequence[Job]], None] = lambda stage, jobs: None
        """Called before `encode`, `denoise`, `decode` or `decode tiled` with the jobs; may raise."""
        self._pipeline = pipeline

    def prepare(self, draw: Draw, pictures: Sequence[Image] = ()) -> Job:
        return self._pipeline.prepare(draw, pictures)

    def encode(self, jobs: Sequence[Job]) -> None:
        self.before("encode", jobs)
        self._pipeline.encode(jobs)

    def denoise(self, jobs: Sequence[Job]) -> list[Stepped]:
        self.before("denoise", jobs)
        self.groups.append(tuple(job.id for job in jobs))
        return self._pipeline.denoise(jobs)

    def reuse(self, job: Job) -> Tensor | None:
        return self._pipeline.reuse(job)

    def decode(self, jobs: Sequence[Job], *, tiled: bool = False) -> Tensor:
        self.before("decode tiled" if tiled else "decode", jobs)
        self.decoded.append((tuple(job.id for job in jobs), tiled))
        self.latents |= {job.id: job.latents for job in jobs if job.latents is not None}
        return self._pipeline.decode(jobs, tiled=tiled)


def watched(
    kind: str, *, by_row: bool = False, cache_threshold: float | None = None, dtype: torch.dtype = torch.float32
) -> Watched:
    """Return a tiny pipeline, wrapped; `by_row` says how rows of different lengths attend."""
    pipeline = wrap_pipeline(
        BUILDERS[kind]() if by_row else stock(kind, dtype)
    )  # attention by row changes the pipeline
    if isinstance(pipeline, StepwisePipeline):
        pipeline.cache_threshold = cache_threshold
        pipeline.attends_by_row = by_row
    return Watched(pipeline)


def engine_of(pipeline: Pipeline, *, max_step_tokens: int = MAX_STEP_TOKENS) -> Engine:
    """Return an engine on the CPU."""
    scheduler = BatchScheduler(max_step_tokens=max_step_tokens, mixes_buckets=pipeline.mixes_sizes)
    return Engine(pipeline, Device("cpu"), scheduler)


def run_all(engine: Engine, draws: Iterable[Draw] = ()) -> dict[int, Drawn | Failed]:
    """Run until the engine is idle, and return the result of each request."""
    for draw in draws:
        engine.add(draw, pictures_of(draw))
    ended: dict[int, Drawn | Failed] = {}
    while not engine.is_idle:
        for item in engine.run_once():
            assert item.job.id not in ended, "each request ends once"
            ended[item.job.id] = item
    return ended


def out_of_memory() -> torch.OutOfMemoryError:
    """Return the error that torch raises when a device is out of memory."""
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
