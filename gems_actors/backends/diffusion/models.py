"""Pictures from a diffusers pipeline on devices of this host: one engine process per device, PNG files made here.

This module imports no torch, which would block the actor's event loop.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import trio
from msgspec.structs import replace
from PIL import Image as Pillow

from gems_actors.backends import GeneratedImage, ImageRequest
from gems_actors.backends.diffusion.engine_host import ENGINE_MODULE, DrawnPixels, EngineHost
from gems_actors.backends.diffusion.engine_messages import Draw, Finished, Load, Totals
from gems_actors.backends.diffusion.reference_memory import pack
from gems_actors.config import ImageConfig
from gems_actors.errors import ConfigError, RefusedError
from gems_actors.tasks import gather, open_background

_WINDOW_S: Final = 10.0
"""Minimum span of seconds that `figures` covers."""


def gpu_lock_dir() -> Path:
    """Return the folder in which all meshes of this user on this host lock their GPUs."""
    return Path(tempfile.gettempdir()) / f"gems-actors-{os.getuid()}" / "gpus"


@asynccontextmanager
async def open_diffusion(
    config: ImageConfig,
    *,
    size: tuple[int, int],
    locks: Path,
    tell: Callable[[str], None],
    engine_module: str = ENGINE_MODULE,
) -> AsyncIterator[DiffusionImageModel]:
    """Start an engine on each device, and yield the model once all of them have drawn a picture of `size` to warm up.

    Raises:
        ConfigError: an engine cannot run with these settings.
        BackendError: an engine ended before it was ready.
    """
    _check_installed()
    model = DiffusionImageModel()
    async with open_background() as nursery:

        async def start_engine(device: str, on_note: Callable[[str], None], on_found: Callable[[int], None]) -> None:
            load = _load_of(config, device, size, locks)
            host = EngineHost(load, config.timeout_s, on_note=on_note, on_found=on_found, module=engine_module)
            model.hosts.append(host)
            await nursery.start(host.run)

        await _Startup(start_engine, tell).start(config.devices)
        yield model


class _Startup:
    """Starts the engines of a model, and joins their progress notes."""

    def __init__(
        self,
        start_engine: Callable[[str, Callable[[str], None], Callable[[int], None]], Awaitable[None]],
        tell: Callable[[str], None],
    ) -> None:
        self._start_engine, self._tell = start_engine, tell
        self._notes: dict[str, str] = {}
        self._gpus = 0
        self._is_counted = trio.Event()

    async def start(self, devices: str | Sequence[str]) -> None:
        """Start an engine per device, and return when all are ready."""
        if devices == "all":
            await gather(partial(self._start, "cuda:0"), self._start_others)
        else:
            names = (devices,) if isinstance(devices, str) else devices
            await gather(*(partial(self._start, name, number) for number, name in enumerate(names)))

    async def _start_others(self) -> None:
        await self._is_counted.wait()
        await gather(*(partial(self._start, f"cuda:{index}") for index in range(1, self._gpus)))

    async def _start(self, device: str, number: int = 0) -> None:
        def note(text: str) -> None:
            self._notes[f"{device} {number}"] = text
            self._tell("; ".join(text for text in self._notes.values() if text))

        await self._start_engine(device, note, self._count)

    def _count(self, gpus: int) -> None:
        self._gpus = gpus
        self._is_counted.set()


class DiffusionImageModel:
    """Draws with one or several engines; safe to call from many tasks at once."""

    def __init__(self) -> None:
        """Create a model without engines; add them to `hosts`."""
        self.hosts: list[EngineHost] = []
        self._packing = trio.CapacityLimiter(len(os.sched_getaffinity(0)))
        self._seen = deque([(-math.inf, Totals())])  # work done before the first call counts
        self._png_s = 0.0
        self._images = 0

    @property
    def capacity(self) -> int:
        """Requests that all engines together handle at once."""
        return sum(host.capacity for host in self.hosts)

    @property
    def can_edit(self) -> bool:
        """Whether the pipeline draws from pictures."""
        return bool(self.hosts) and all(host.can_edit for host in self.hosts)

    async def generate(self, request: ImageRequest) -> GeneratedImage:
        """Return the picture of one request as a PNG file.

        Raises:
            RefusedError: the pipeline can never draw this request.
            PoisonedError: the request crashed two engines.
            BackendError: the request failed.
        """
        drawn = await self._draw(request)
        finished = drawn.finished
        began = trio.current_time()
        with drawn.memory as memory:
            pack = partial(_pack, memory, finished)
            data = await trio.to_thread.run_sync(pack, limiter=self._packing)
        png_s = trio.current_time() - began
        self._png_s += png_s
        self._images += 1
        details = {f"{stage}_s": round(seconds, 4) for stage, seconds in {**finished.seconds, "png": png_s}.items()}
        if finished.reused_steps:
            details["reused_steps"] = finished.reused_steps
        return GeneratedImage(
            data,
            "image/png",
            finished.width_px,
            finished.height_px,
            {**details, "batch": round(finished.batch, 2)},
            can_be_edited=not any(host.redraws for host in self.hosts),
        )

    async def _draw(self, request: ImageRequest) -> DrawnPixels:
        draw = _draw_of(request)
        if not request.references:
            return await self._next_host().draw(draw)
        try:
            packed = await trio.to_thread.run_sync(pack, request.references, limiter=self._packing)
        except ValueError as error:
            raise RefusedError(f"references: {error}") from error
        try:
            return await self._next_host().draw(replace(draw, references=packed.rasters), packed.memory)
        finally:
            os.close(packed.memory)

    def _next_host(self) -> EngineHost:
        return min(self.hosts, key=lambda host: host.pixels_in_flight)

    def figures(self) -> dict[str, float]:
        """Return what all engines did in the last seconds; seconds of a stage are per image."""
        now = trio.current_time()
        totals = _sum([host.totals for host in self.hosts])
        self._seen.append((now, totals))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _WINDOW_S:
            self._seen.popleft()
        before = self._seen[0][1]
        wall_s = max(totals.wall_s - before.wall_s, 1e-9)
        forwards = max(totals.forwards - before.forwards, 1)
        images = totals.images - before.images
        per_image = 1 / images if images > 0 else 0.0
        return {
            "engines": len(self.hosts),
            "restarts": sum(host.restarts for host in self.hosts),
            "busy_share": min(1.0, max(0.0, (totals.busy_s - before.busy_s) / wall_s)),
            "images_per_s": max(0.0, images / wall_s) * len(self.hosts),
            "waiting": totals.waiting,
            "running": totals.running,
            "reused_steps": (totals.reused - before.reused) * per_image,
            "rows": (totals.rows - before.rows) / forwards,
            "step_s": (totals.forward_s - before.forward_s) / forwards,
            "step_tokens": (totals.tokens - before.tokens) / forwards,
            "max_step_tokens": totals.max_step_tokens,
            "splits": totals.splits,
            "text_s": (totals.text_s - before.text_s) * per_image,
            "denoise_s": (totals.forward_s - before.forward_s) * per_image,
            "decode_s": (totals.decode_s - before.decode_s) * per_image,
            "png_s": self._png_s / max(self._images, 1),
            "peak_bytes": totals.memory_bytes,
        }


def _draw_of(request: ImageRequest) -> Draw:
    return Draw(
        id=0,
        prompt=request.prompt,
        seed=request.seed,
        width_px=request.width_px,
        height_px=request.height_px,
        steps=request.steps,
        guidance=request.guidance,
        negative_prompt=request.negative_prompt,
        is_alone=request.exact,
        interactive=request.interactive,
        strength=request.strength,
    )


def _load_of(config: ImageConfig, device: str, size: tuple[int, int], locks: Path) -> Load:
    if config.model is None:
        raise ConfigError("image.model: expected a folder or a hub id such as owner/name, got none")
    return Load(
        model=config.model,
        device=device,
        locks=str(locks),
        dtype=config.dtype,
        compile=config.compile,
        denoising_cache=config.denoising_cache,
        quantization=config.quantization,
        max_step_tokens=config.max_step_tokens,
        warm_up=tuple(dict.fromkeys((size, *config.warm_up))),
    )


def _check_installed() -> None:
    missing = [name for name in ("torch", "diffusers", "transformers") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"image.backend: diffusers needs torch, diffusers and transformers, {' and '.join(missing)} not installed: "
            "pip install 'gems-actors[diffusers]'"
        )


def _pack(memory: mmap.mmap, finished: Finished) -> bytes:
    with memoryview(memory) as pixels:
        return png_of(pixels, finished.width_px, finished.height_px, finished.channels)


def png_of(pixels: Any, width_px: int, height_px: int, channels: int = 3) -> bytes:
    """Return the PNG file of pixels, (height, width, channels), uint8, without an alpha channel that hides nothing.

    Compression releases the interpreter lock.
    """
    file = BytesIO()
    mode = "RGBA" if channels == 4 else "RGB"
    picture = Pillow.frombuffer(mode, (width_px, height_px), pixels, "raw", mode, 0, 1)
    if mode == "RGBA" and picture.getchannel("A").getextrema()[0] == 255:
        picture = picture.convert("RGB")
    picture.save(file, "PNG", compress_level=1)  # a third of the time of the default, 6
    return file.getvalue()


def _sum(totals: Sequence[Totals]) -> Totals:
    """Return the sums over several engines; `wall_s` is summed too, so that a share of it is a mean."""
    names = Totals.__struct_fields__
    return Totals(**{name: sum(getattr(one, name) for one in totals) for name in names})
