"""The engine: takes requests through text encoding, denoising and decoding, in batches where possible.

One thread launches all work, because a second Python thread would slow it down. Requests join and leave at step
boundaries, which is where `run_once` begins and ends. A step changes nothing until it is done, so a batch that does not
fit into memory is retried at half its size without losing any denoising.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor

from gems_actors.backends.diffusion.batch_scheduler import BatchScheduler, cost_of
from gems_actors.backends.diffusion.devices import Device, Span
from gems_actors.backends.diffusion.engine_messages import Draw, Totals
from gems_actors.backends.diffusion.jobs import Drawn, Failed, Job, Pipeline

Ended = list[Drawn | Failed]

_DECODE_PX: Final = 1024 * 1024
"""Maximum pixels decoded together: a decoder consists of convolutions and gains only memory use from more."""


class _Text(NamedTuple):
    """One launched encoding of prompts."""

    span: Span
    requests: int


class _Decoding(NamedTuple):
    """Pictures being decoded and copied to the host."""

    span: Span
    jobs: list[Job]
    pixels: Tensor


class Engine:
    """Runs the requests of one device. Not thread-safe."""

    def __init__(
        self,
        pipeline: Pipeline,
        device: Device,
        scheduler: BatchScheduler,
        *,
        on_begin: Callable[[tuple[int, ...]], None] = lambda ids: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Create an idle engine for a pipeline whose components are on the device.

        `on_begin` is called with the ids of the requests in a forward before it is launched, to attribute a crash.
        """
        self._pipeline, self._device, self._scheduler = pipeline, device, scheduler
        self._on_begin, self._clock = on_begin, clock
        self._all: dict[int, Job] = {}
        self._fresh: list[Job] = []
        self._encoded: list[Job] = []
        self._denoised: list[Job] = []
        self._decoding: list[_Decoding] = []
        self._texts: dict[int, _Text] = {}
        self._began_s = clock()
        self._busy_s = self._forward_s = self._text_s = self._decode_s = 0.0
        self._forwards = self._rows = self._tokens = self._images = self._splits = self._reused = 0

    @property
    def is_idle(self) -> bool:
        """Whether there are no requests."""
        return not self._all

    def add(self, draw: Draw, pictures: Sequence[Image] = ()) -> None:
        """Add a request with its references, RGB or RGBA; it joins at the next step boundary.

        Raises:
            UnfitError: the pipeline cannot draw this request.
        """
        job = self._pipeline.prepare(draw, pictures)
        job.interactive, job.arrived_s = draw.interactive, self._clock()
        self._all[job.id] = job
        self._fresh.append(job)

    def withdraw(self, job_id: int) -> None:
        """Drop a request at any stage; an unknown id is ignored."""
        if job := self._all.pop(job_id, None):
            self._texts.pop(job_id, None)
            for jobs in (self._fresh, self._encoded):
                if job in jobs:
                    jobs.remove(job)

    def run_once(self) -> Ended:
        """Advance to the next step boundary, and return the requests that have ended."""
        with torch.no_grad():
            return self._run_once()

    def _run_once(self) -> Ended:
        began, ended = self._clock(), Ended()
        while self._fresh:
            ended += self._encode(self._take_texts())
        if self._encoded:
            ended += self._step(self._scheduler.choose(self._encoded))
        while self._denoised:
            ended += self._decode(self._take_pictures())
        if self._decoding and not self._encoded:
            self._decoding[0].span.wait()
        ended += self._collect()
        self._busy_s += self._clock() - began
        return [item for item in ended if self._all.pop(item.job.id, None)]

    def totals(self) -> Totals:
        """Return the totals since the engine was created."""
        return Totals(
            wall_s=self._clock() - self._began_s,
            busy_s=self._busy_s,
            forwards=self._forwards,
            forward_s=self._forward_s,
            rows=self._rows,
            tokens=self._tokens,
            reused=self._reused,
            images=self._images,
            text_s=self._text_s,
            decode_s=self._decode_s,
            splits=self._splits,
            waiting=sum(job.step == 0 for job in self._all.values()),
            running=sum(job.step > 0 for job in self._all.values()),
            max_step_tokens=self._scheduler.max_step_tokens,
            memory_bytes=self._device.peak_bytes(),
        )

    # ----------------------------------------------------------------------------------------- stages

    def _take_texts(self) -> list[Job]:
        """Remove and return the oldest requests whose prompts can be encoded together."""
        count = 1
        if not self._fresh[0].is_alone:
            while count < min(len(self._fresh), self._pipeline.max_texts) and not self._fresh[count].is_alone:
                count += 1
        taken, self._fresh = self._fresh[:count], self._fresh[count:]
        return taken

    def _encode(self, jobs: list[Job]) -> Ended:
        """Launch the encoding of prompts concurrently; on the device, the first step waits for it."""
        self._on_begin(tuple(job.id for job in jobs))
        try:
            with self._device.span(is_concurrent=True) as span:
                self._pipeline.encode(jobs)
        except Exception as error:  # models raise anything; only the request at fault may fail
            return self._split(jobs, error, self._encode)
        for job in jobs:
            job.references = ()
            self._texts[job.id] = _Text(span, len(jobs))
        # A stable sort: oldest first.
        self._encoded = sorted([*self._encoded, *jobs], key=lambda job: not job.interactive)
        return []

    def _step(self, group: list[Job]) -> Ended:
        """Run one step of a batch and wait for it, so that other requests can join the next."""
        self._on_begin(tuple(job.id for job in group))
        starting = [job for job in group if not job.step]
        for job in starting:
            self._texts[job.id].span.before_next()
        began = self._clock()
        try:
            with self._device.span() as step:
                stepped = self._pipeline.denoise(group)
            step.wait()
        except torch.OutOfMemoryError as error:
            if len(group) == 1:
                return self._fail(group[0], error)
            self._recover(error)
            self._scheduler.shrink(group)
            return []
        except Exception as error:  # models raise anything; only the request at fault may fail
            if len(group) == 1:
                return self._fail(group[0], error)
            self._raise_if_device_failed(error)
            for job in group:  # one of them is the cause; run alone, only that one fails
                job.is_alone = True
            return []
        seconds = self._clock() - began
        for job in starting:
            text = self._texts.pop(job.id)
            job.begun_s, job.text_s = began, text.span.seconds
            self._text_s += text.span.seconds / text.requests
        for job, after in zip(group, stepped, strict=True):
            job.latents, job.cache = after
            job.step += 1
            job.denoise_s += seconds
            job.batch_requests += len(group)
            self._reuse(job)
        self._forwards += 1
        self._forward_s += seconds
        self._rows += sum(job.rows for job in group)
        self._tokens += cost_of(group)
        for job in group:
            if job.is_denoised:  # what the transformer read can be larger than the picture
                job.positive = job.negative = job.conditions = job.cache = None
                job.kept.clear()
                self._denoised.append(job)
        self._encoded = [job for job in self._encoded if not job.is_denoised]
        return []

    def _reuse(self, job: Job) -> None:
        """Take the steps of a request that need no forward: it leaves the batch and is ready for its next one."""
        with suppress(torch.OutOfMemoryError):  # the next step is computed then
            while (latents := self._pipeline.reuse(job)) is not None:
                job.latents = latents
                job.step += 1
                job.reused_steps += 1
                self._reused += 1

    def _take_pictures(self) -> list[Job]:
        """Remove and return the oldest denoised requests that can be decoded together."""
        first = self._denoised[0]
        count = 1 if first.is_alone else max(1, _DECODE_PX // (first.width_px * first.height_px))
        size = first.width_px, first.height_px
        rest = (job for job in self._denoised[1:] if (job.width_px, job.height_px) == size and not job.is_alone)
        taken = [first, *rest][:count]
        self._denoised = [job for job in self._denoised if job not in taken]
        return taken

    def _decode(self, jobs: list[Job], *, tiled: bool = False) -> Ended:
        """Launch decoding and the copy to the host concurrently with denoising."""
        self._on_begin(tuple(job.id for job in jobs))
        try:
            with self._device.span(is_concurrent=True) as span:
                pixels = self._device.to_host(self._pipeline.decode(jobs, tiled=tiled))
        except torch.OutOfMemoryError as error:
            if len(jobs) == 1 and not tiled:
                self._recover(error)
                return self._decode(jobs, tiled=True)
            return self._split(jobs, error, self._decode)
        except Exception as error:  # models raise anything; only the request at fault may fail
            return self._split(jobs, error, self._decode)
        self._decoding.append(_Decoding(span, jobs, pixels))
        return []

    def _collect(self) -> Ended:
        """Return the pictures that have reached the host."""
        drawn = Ended()
        while self._decoding and self._decoding[0].span.is_done:
            span, jobs, pixels = self._decoding.pop(0)
            self._decode_s += span.seconds
            self._images += len(jobs)
            for job, picture in zip(jobs, pixels, strict=True):
                job.latents, job.decode_s = None, span.seconds
                drawn.append(Drawn(job, picture))
        return drawn

    # ----------------------------------------------------------------------------------------- failures

    def _split(self, jobs: list[Job], error: Exception, work: Callable[[list[Job]], Ended]) -> Ended:
        """Retry a failed batch in two halves; a request that fails alone has failed."""
        if len(jobs) == 1:
            return self._fail(jobs[0], error)
        self._recover(error)
        half = len(jobs) // 2
        return [*work(jobs[:half]), *work(jobs[half:])]

    def _recover(self, error: Exception) -> None:
        """Release memory after a failure."""
        self._raise_if_device_failed(error)
        traceback.clear_frames(error.__traceback__)  # the frames hold tensors
        self._splits += isinstance(error, torch.OutOfMemoryError)
        self._device.settle()

    def _fail(self, job: Job, error: Exception) -> Ended:
        memory = self._device.memory()  # read while the request still occupies it
        self._recover(error)
        if job in self._encoded:
            self._encoded.remove(job)
        if not isinstance(error, torch.OutOfMemoryError):
            text = " ".join(str(error).split())[:500]
            return [Failed(job, f"{self._pipeline.name}: {type(error).__name__}: {text}", is_final=True)]
        reason = (
            f"{job.width_px}x{job.height_px} px, {job.rows * job.tokens} tokens per step, do not fit even alone: "
            f"{self._device.torch_device} has {memory.total / 2**30:.1f} GiB, {memory.free / 2**30:.1f} GiB free"
        )
        return [Failed(job, reason, is_final=True)]

    def _raise_if_device_failed(self, error: Exception) -> None:
        """Raise errors after which the state of the device is undefined, so that the process ends."""
        if isinstance(error, torch.AcceleratorError) and not isinstance(error, torch.OutOfMemoryError):
            raise error
