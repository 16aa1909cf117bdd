"""Claims a device, loads a pipeline onto it from a folder or a hub id, and warms it up, with progress notes."""

from __future__ import annotations

import importlib
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from PIL.Image import Image
from PIL.Image import new as new_picture

from gems_actors.backends.diffusion import float8
from gems_actors.backends.diffusion.batch_scheduler import MAX_STEP_TOKENS, BatchScheduler
from gems_actors.backends.diffusion.devices import Device
from gems_actors.backends.diffusion.engine import Engine
from gems_actors.backends.diffusion.engine_messages import Draw, Load
from gems_actors.backends.diffusion.generic_pipeline import GenericPipeline
from gems_actors.backends.diffusion.jobs import Failed, Pipeline, UnfitError
from gems_actors.backends.diffusion.stepwise import StepwisePipeline
from gems_actors.locks import LockHeldError, hold_lock

_MIN_DIFFUSERS: Final = (0, 39)
"""Minimum version; in earlier ones Z-Image's schedule has another number of steps, see `z_image`."""
MAX_CAPACITY: Final = 64
_LIBRARIES: Final = ("diffusers", "transformers")
STEPWISE: Final = {
    "ZImagePipeline": "z_image:ZImageSteps",
    "QwenImagePipeline": "qwen_image:QwenImageSteps",
    "QwenImageEditPipeline": "qwen_image:QwenImageEditSteps",
    "QwenImageEditPlusPipeline": "qwen_image:QwenImageEditSteps",
    "QwenImage21Pipeline": "qwen_image_21:QwenImage21Steps",
    "Flux2KleinPipeline": "flux2_klein:Flux2KleinSteps",
}
"""Class of each stock pipeline that is driven step by step, and our module and class that do so."""
DEVICE_WAIT_S: Final = 15.0
"""Seconds to wait for a device, which the engine of an actor killed just now may still hold."""
_POLL_S: Final = 0.2


class LoadingError(Exception):
    """The engine cannot run with these settings; the message names the setting."""


@contextmanager
def claim_device(wanted: str, locks: Path, *, wait_s: float = DEVICE_WAIT_S) -> Iterator[str]:
    """Hold a device and yield its name; `next` is the first GPU that no other engine of this host holds.

    Raises:
        LoadingError: the device does not exist, or no GPU became free.
    """
    gpus = count_gpus()
    if wanted != "next":
        device = torch.device(wanted)
        if device.type == "cuda" and (device.index or 0) >= gpus:
            raise LoadingError(
                f"image.devices: expected a GPU that CUDA can use, got {wanted!r} on a host with {gpus} GPUs"
            )
        yield f"cuda:{device.index or 0}" if device.type == "cuda" else wanted
        return
    if not gpus:
        hint = 'devices = ["cpu"] draws without one, slowly'
        raise LoadingError(f"image.devices: expected a GPU that CUDA can use, got a host with 0 GPUs; {hint}")
    with ExitStack() as stack:
        yield f"cuda:{_lock_free_gpu(gpus, locks, wait_s, stack)}"


def _lock_free_gpu(gpus: int, locks: Path, wait_s: float, stack: ExitStack) -> int:
    """Lock a GPU by its UUID, because two processes may number GPUs differently, and return its index."""
    deadline = time.monotonic() + wait_s
    while True:
        for index in range(gpus):
            name = str(getattr(torch.cuda.get_device_properties(index), "uuid", index))
            try:
                stack.enter_context(hold_lock(locks / f"gpu-{name}.lock"))
                return index
            except LockHeldError:
                continue
        if time.monotonic() > deadline:
            raise LoadingError(
                f"image.devices: expected a GPU that no other generator holds, got {gpus}, all of them held"
            )
        time.sleep(_POLL_S)


class Prepared(NamedTuple):
    """A pipeline that is loaded and warmed up."""

    pipeline: Pipeline
    device: Device
    scheduler: BatchScheduler
    capacity: int
    """Requests that the engine handles at once."""


def count_gpus() -> int:
    """Return the number of GPUs that torch can use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def prepare(load: Load, device_name: str, tell: Callable[[str], None]) -> Prepared:
    """Load a pipeline and draw each warm-up size; `tell` is called with progress notes.

    Raises:
        LoadingError: the pipeline cannot be loaded or cannot draw with these settings.
    """
    device = Device(device_name)
    pipeline = load_pipeline(load, device, tell)
    scheduler = BatchScheduler(
        max_step_tokens=load.max_step_tokens or MAX_STEP_TOKENS, mixes_buckets=pipeline.mixes_sizes
    )
    for width_px, height_px in load.warm_up:
        tell(f"warming up at {width_px}x{height_px} px")
        references = _references_for(pipeline, width_px, height_px)
        _warm_up(Engine(pipeline, device, scheduler), width_px, height_px, references)
    # A loop over a varying number of rows would be compiled each time; one masked call is compiled once.
    if device.is_gpu and not load.compile and load.warm_up:
        tell(choose_attention(pipeline, load.warm_up[0], device.seconds_of))
        device.settle()
    return Prepared(pipeline, device, scheduler, capacity_of(pipeline, scheduler, load.warm_up))


def capacity_of(pipeline: Pipeline, scheduler: BatchScheduler, sizes: Sequence[tuple[int, int]]) -> int:
    """Return the requests of two full forwards of the first size, one running and one queued here."""
    if not sizes:
        return MAX_CAPACITY
    job = pipeline.prepare(Draw(0, "", 0, *sizes[0]), _references_for(pipeline, *sizes[0]))
    return min(max(2, 2 * scheduler.max_step_tokens // (job.rows * job.tokens)), MAX_CAPACITY)


def _references_for(pipeline: Pipeline, width_px: int, height_px: int) -> list[Image]:
    """Return a grey picture for a pipeline that cannot draw without one."""
    return [new_picture("RGB", (width_px, height_px), "grey")] if pipeline.needs_references else []


def _warm_up(engine: Engine, width_px: int, height_px: int, pictures: Sequence[Image]) -> None:
    """Draw two prompts of different lengths in a batch and one alone, the cases that compiled blocks specialise on."""
    try:
        for id_, prompt in enumerate(["a warm-up", "a warm-up of many words " * 8, "a warm-up"]):
            engine.add(Draw(id_, prompt, id_, width_px, height_px, steps=2, is_alone=id_ == 2), pictures)
    except UnfitError as error:
        raise LoadingError(f"draw.width_px, draw.height_px or image.warm_up: {error}") from error
    while not engine.is_idle:
        for ended in engine.run_once():
            if isinstance(ended, Failed):
                raise LoadingError(f"image.model: cannot draw {width_px}x{height_px} px here: {ended.reason}")


def load_pipeline(load: Load, device: Device, tell: Callable[[str], None]) -> Pipeline:
    """Return a pipeline on a device; `tell` is called with progress notes.

    Raises:
        LoadingError: the pipeline cannot be loaded with these settings.
    """
    _check_version()
    _keep_quiet()
    diffusers = importlib.import_module("diffusers")
    dtype = _dtype_of(load.dtype, device)
    source = _source_of(load.model)
    try:
        index = diffusers.DiffusionPipeline.load_config(source)
        parts = dict(_heavy_parts(index))
        found: dict[str, Any] = {}
        for number, (name, kind) in enumerate(parts.items(), start=1):
            tell(f"loading {name} ({number} of {len(parts)})")
            part = _class_of(*kind).from_pretrained(source, subfolder=name, torch_dtype=dtype)
            found[name] = part.to(device.torch_device).eval()
        pipe = diffusers.DiffusionPipeline.from_pretrained(source, torch_dtype=dtype, **found)
        pipe.set_progress_bar_config(disable=True)
        pipeline = wrap_pipeline(pipe.to(device.torch_device), is_compiled=load.compile)
        if load.denoising_cache is not None or load.quantization != "none":
            approximate(pipeline, load, device, tell)
        return pipeline
    except torch.OutOfMemoryError as error:
        memory = device.memory()
        gib = f"{memory.total / 2**30:.1f} GiB of memory, {memory.free / 2**30:.1f} of them free"
        raise LoadingError(f"image.model: {load.model} does not fit into {device.torch_device} with {gib}") from error
    except LoadingError:
        raise
    except UnfitError as error:
        raise LoadingError(f"image.model: {load.model}: {error}") from error
    except Exception as error:  # libraries raise anything for weights they cannot read
        reason = " ".join(str(error).split())[:300]
        raise LoadingError(
            f"image.model: expected a diffusers pipeline, got {load.model}: {type(error).__name__}: {reason}"
        ) from error


def wrap_pipeline(pipe: Any, *, is_compiled: bool = False) -> Pipeline:
    """Return a stock pipeline wrapped for the engine: step by step if its steps are known, else one call per batch.

    Raises:
        UnfitError: it is not a text-to-image pipeline.
    """
    if is_compiled and hasattr(getattr(pipe, "transformer", None), "compile_repeated_blocks"):
        pipe.transformer.compile_repeated_blocks(dynamic=True)
    if found := STEPWISE.get(type(pipe).__name__):
        module, name = found.split(":")
        kind = getattr(importlib.import_module(f"{__package__}.{module}"), name)
        if kind.can_drive(pipe):
            wrapped: Pipeline = kind(pipe)
            return wrapped
    return GenericPipeline(pipe)


def approximate(pipeline: Pipeline, load: Load, device: Device, tell: Callable[[str], None]) -> None:
    """Make a pipeline faster at the price of other pictures, as the settings say; exact requests stay as they are.

    Raises:
        LoadingError: the pipeline is called as a whole, or torchao is missing.
    """
    if not isinstance(pipeline, StepwisePipeline):
        name = "quantization" if load.denoising_cache is None else "denoising_cache"
        raise LoadingError(f"image.{name}: expected a model of {', '.join(STEPWISE)}, got one of {pipeline.name}")
    pipeline.cache_threshold = load.denoising_cache
    if load.quantization == "fp8":
        if not float8.is_installed():
            raise LoadingError("image.quantization: fp8 needs torchao: pip install 'gems-actors[fp8]'")
        tell("quantizing the transformer")
        pipeline.float8 = float8.quantize(pipeline.transformer, device.torch_device)


def choose_attention(
    pipeline: Pipeline, size: tuple[int, int], seconds_of: Callable[[Callable[[], object]], float]
) -> str:
    """Let prompts of different lengths attend in the faster way: row by row, or padded with a mask. Return a note.

    Args:
        pipeline: a pipeline that is ready.
        size: width and height of the pictures that are measured with.
        seconds_of: returns how long some work takes on the device.
    """
    if not isinstance(pipeline, StepwisePipeline) or pipeline.attention is None:
        return ""
    texts = ("a fox", "a fox " * 20, "a fox " * 40, "a fox " * 80)
    references = _references_for(pipeline, *size)
    jobs = [
        pipeline.prepare(Draw(number, text, 0, *size, guidance=0.0), references) for number, text in enumerate(texts)
    ]
    seconds = {True: math.inf, False: math.inf}
    with suppress(torch.OutOfMemoryError), torch.no_grad():  # then four such pictures are never drawn together either
        pipeline.encode(jobs)
        for by_row in seconds:
            pipeline.attends_by_row = by_row
            seconds[by_row] = seconds_of(lambda: pipeline.denoise(jobs))
    pipeline.attends_by_row = seconds[True] < seconds[False]
    return f"attention row by row {seconds[True] * 1000:.1f} ms, with a mask {seconds[False] * 1000:.1f} ms"


def _check_version() -> None:
    found = version("diffusers")
    parts = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if parts < _MIN_DIFFUSERS:
        wanted = ".".join(map(str, _MIN_DIFFUSERS))
        raise LoadingError(f"diffusers: expected version {wanted} or later, got {found}: pip install -U diffusers")


def _keep_quiet() -> None:
    """Silence the libraries' warnings and progress bars; errors are raised and progress is reported by `tell`."""
    warnings.simplefilter("ignore")
    for library in _LIBRARIES:
        importlib.import_module(library)
        quiet = importlib.import_module(f"{library}.utils.logging")
        quiet.set_verbosity_error()
        quiet.disable_progress_bar()
    logging.getLogger("torch").setLevel(logging.ERROR)


def _dtype_of(name: str, device: Device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.is_gpu else torch.float32
    found: torch.dtype = getattr(torch, name)
    return found


def _source_of(model: str) -> str:
    """Return the path of an existing folder, or a hub id.

    Raises:
        LoadingError: it is neither.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "model_index.json").is_file():
            raise LoadingError(f"image.model: expected a diffusers pipeline, got {path}, which has no model_index.json")
        return str(path)
    if path.exists() or model.startswith((".", "/", "~")) or model.count("/") != 1:
        got = "which is a file" if path.exists() else "which does not exist"
        raise LoadingError(f"image.model: expected a folder or a hub id such as owner/name, got {model}, {got}")
    return model


def _heavy_parts(index: dict[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the components with weights; each moves to the device once loaded, so host memory never holds all."""
    for name, kind in index.items():
        if isinstance(kind, list | tuple) and len(kind) == 2 and kind[0] in _LIBRARIES and kind[1]:
            found = _class_of(*kind)
            if isinstance(found, type) and issubclass(found, torch.nn.Module):
                yield name, (kind[0], kind[1])


def _class_of(library: str, name: str) -> Any:
    return getattr(importlib.import_module(library), name, None)
