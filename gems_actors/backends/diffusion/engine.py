"""The engine: takes requests through text, denoising and decoding, together wherever that is possible.

One thread launches everything, because a second Python thread beside it would slow the launching down. Requests come in
and go out at step boundaries, which is where `run_once` begins and ends. A step changes nothing before it is done, so
one that does not fit into memory is taken again by half the group, and no denoising is ever lost.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Final, NamedTuple

import torch
from torch import Tensor

from gems_actors.backends.diffusion.batch_scheduler import BatchScheduler, cost_of
from gems_actors.backends.diffusion.devices import Device, Span
from gems_actors.backends.diffusion.engine_messages import Draw, Totals
from gems_actors.backends.diffusion.jobs import Drawn, Failed, Job, Pipeline

Ended = list[Drawn | Failed]

_MAX_TEXTS: Final = 32
"""Requests whose prompts are encoded together; of 512 tokens each they take as long as a picture or two."""
_DECODE_PX: Final = 1024 * 1024
"""Decoded together: a decoder is all convolutions, gains nothing from more, and takes gibibytes for it."""


class _Text(NamedTuple):
    """The encoding of some prompts."""

    span: Span
    requests: int


class _Decoding(NamedTuple):
    """Pictures on their way to the host."""

    span: Span
    jobs: list[Job]
    pixels: Tensor


class Engine:
    """The requests of one device. Not safe to use from two threads."""

    def __init__(
        self,
        pipeline: Pipeline,
        device: Device,
        scheduler: BatchScheduler,
        *,
        on_begin: Callable[[tuple[int, ...]], None] = lambda ids: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Begin with nothing to do.

        Args:
            pipeline: on the device.
            device: where work is launched.
            scheduler: who takes the next step.
            on_begin: is told who is in a forward before it is launched, so that it is known whom a fault concerns.
            clock: of the wall, in seconds.
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
        self._forwards = self._rows = self._tokens = self._images = self._splits = 0

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._all

    def add(self, draw: Draw) -> None:
        """Take up a request; it takes part from the next step boundary on.

        Raises:
            UnfitError: the pipeline cannot draw what is asked.
        """
        job = self._pipeline.prepare(draw)
        job.interactive, job.arrived_s = draw.interactive, self._clock()
        self._all[job.id] = job
        self._fresh.append(job)

    def withdraw(self, job_id: int) -> None:
        """Drop a request, at whatever stage it is; nothing comes of it, and of one that is unknown neither."""
        if job := self._all.pop(job_id, None):
            self._texts.pop(job_id, None)
            for jobs in (self._fresh, self._encoded):
                if job in jobs:
                    jobs.remove(job)

    def run_once(self) -> Ended:
        """Go from one step boundary to the next, and return what has ended since."""
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
        """Return what has been done so far."""
        return Totals(
            wall_s=self._clock() - self._began_s,
            busy_s=self._busy_s,
            forwards=self._forwards,
            forward_s=self._forward_s,
            rows=self._rows,
            tokens=self._tokens,
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
        """Return the oldest requests whose prompts can be encoded together."""
        count = 1
        if not self._fresh[0].is_alone:
            while count < min(len(self._fresh), _MAX_TEXTS) and not self._fresh[count].is_alone:
                count += 1
        taken, self._fresh = self._fresh[:count], self._fresh[count:]
        return taken

    def _encode(self, jobs: list[Job]) -> Ended:
        """Launch the encoding of prompts beside the denoising; on the device the first step waits for it."""
        self._on_begin(tuple(job.id for job in jobs))
        try:
            with self._device.span(is_concurrent=True) as span:
                self._pipeline.encode(jobs)
        except Exception as error:
            return self._try_apart(jobs, error, self._encode)
        self._texts |= {job.id: _Text(span, len(jobs)) for job in jobs}
        self._encoded = sorted(
            [*self._encoded, *jobs], key=lambda job: not job.interactive
        )  # a stable sort: oldest first
        return []

    def _step(self, group: list[Job]) -> Ended:
        """Let a group take a step together, and wait for it, so that others may join at the next."""
        self._on_begin(tuple(job.id for job in group))
        starting = [job for job in group if not job.step]
        for job in starting:
            self._texts[job.id].span.before_next()
        began = self._clock()
        try:
            with self._device.span() as step:
                latents = self._pipeline.denoise(group)
            step.wait()
        except torch.OutOfMemoryError as error:
            if len(group) == 1:
                return self._lose(group[0], error)
            self._recover(error)
            self._scheduler.shrink(group)
            return []
        except Exception as error:
            if len(group) == 1:
                return self._lose(group[0], error)
            self._raise_if_device_is_lost(error)
            for job in group:  # one of them is at fault; alone it fails alone
                job.is_alone = True
            return []
        seconds = self._clock() - began
        for job in starting:
            text = self._texts.pop(job.id)
            job.begun_s, job.text_s = began, text.span.seconds
            self._text_s += text.span.seconds / text.requests
        for job, after in zip(group, latents, strict=True):
            job.latents = after
            job.step += 1
            job.denoise_s += seconds
            job.batch_requests += len(group)
        self._forwards += 1
        self._forward_s += seconds
        self._rows += sum(job.rows for job in group)
        self._tokens += cost_of(group)
        self._denoised += [job for job in group if job.is_denoised]
        self._encoded = [job for job in self._encoded if not job.is_denoised]
        return []

    def _take_pictures(self) -> list[Job]:
        """Return the oldest finished latents that can be decoded together."""
        first = self._denoised[0]
        count = 1 if first.is_alone else max(1, _DECODE_PX // (first.width_px * first.height_px))
        size = first.width_px, first.height_px
        alike = [
            first,
            *(job for job in self._denoised[1:] if (job.width_px, job.height_px) == size and not job.is_alone),
        ]
        taken = alike[:count]
        self._denoised = [job for job in self._denoised if job not in taken]
        return taken

    def _decode(self, jobs: list[Job], *, tiled: bool = False) -> Ended:
        """Launch decoding and the way to the host beside the denoising."""
        self._on_begin(tuple(job.id for job in jobs))
        try:
            with self._device.span(is_concurrent=True) as span:
                pixels = self._device.to_host(self._pipeline.decode(jobs, tiled=tiled))
        except torch.OutOfMemoryError as error:
            if len(jobs) == 1 and not tiled:
                self._recover(error)
                return self._decode(jobs, tiled=True)
            return self._try_apart(jobs, error, self._decode)
        except Exception as error:
            return self._try_apart(jobs, error, self._decode)
        self._decoding.append(_Decoding(span, jobs, pixels))
        return []

    def _collect(self) -> Ended:
        """Return the pictures that have arrived."""
        drawn = Ended()
        while self._decoding and self._decoding[0].span.is_done:
            span, jobs, pixels = self._decoding.pop(0)
            self._decode_s += span.seconds
            self._images += len(jobs)
            for job, picture in zip(jobs, pixels, strict=True):
                job.latents, job.decode_s = None, span.seconds
                drawn.append(Drawn(job, picture))
        return drawn

    # ----------------------------------------------------------------------------------------- what fails

    def _try_apart(self, jobs: list[Job], error: Exception, work: Callable[[list[Job]], Ended]) -> Ended:
        """Try again in two halves what failed together; what fails alone is lost."""
        if len(jobs) == 1:
            return self._lose(jobs[0], error)
        self._recover(error)
        half = len(jobs) // 2
        return [*work(jobs[:half]), *work(jobs[half:])]

    def _recover(self, error: Exception) -> None:
        """Make room again after what did not fit."""
        self._raise_if_device_is_lost(error)
        traceback.clear_frames(error.__traceback__)  # they hold the tensors that were there already
        self._splits += isinstance(error, torch.OutOfMemoryError)
        self._device.settle()

    def _lose(self, job: Job, error: Exception) -> Ended:
        memory = self._device.memory()  # as it is while the request is still in it
        self._recover(error)
        if job in self._encoded:
            self._encoded.remove(job)
        if not isinstance(error, torch.OutOfMemoryError):
            text = " ".join(str(error).split())[:500]
            return [Failed(job, f"{self._pipeline.name}: {type(error).__name__}: {text}", is_final=True)]
        reason = (
            f"{job.width_px}x{job.height_px} px, {job.rows * job.tokens} tokens a step, do not fit even alone: "
            f"{self._device.torch_device} has {memory.total / 2**30:.1f} GiB, {memory.free / 2**30:.1f} of them free"
        )
        return [Failed(job, reason, is_final=True)]

    def _raise_if_device_is_lost(self, error: Exception) -> None:
        """After a fault on the device nothing on it can be relied upon: the process has to end."""
        if isinstance(error, torch.AcceleratorError) and not isinstance(error, torch.OutOfMemoryError):
            raise error
