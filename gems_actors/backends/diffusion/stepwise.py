"""The stepwise contract: a stock pipeline's `__call__` in steps, so that requests can join and leave between them.

`StepwisePipeline` has all that flow-matching pipelines share. A subclass says what is its pipeline's own: how a
prompt is embedded, the shape of the noise, one forward of the transformer, the form of guidance, and how latents
reach the decoder. The guide to adding one is README.md next to this file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Final

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from gems_actors.backends.diffusion import flow_matching
from gems_actors.backends.diffusion.batch_scheduler import LAUNCH_TOKENS
from gems_actors.backends.diffusion.denoising_cache import MIN_STEPS, VelocityCache
from gems_actors.backends.diffusion.engine_messages import Draw
from gems_actors.backends.diffusion.float8 import Float8Weights
from gems_actors.backends.diffusion.jobs import Defaults, Job, Reference, Stepped, UnfitError, check_references
from gems_actors.backends.diffusion.row_attention import Processors
from gems_actors.backends.pictures import over_white

_MAX_KNOWN_TEXTS: Final = 8
"""Negative prompts whose embeddings are kept: a run has one, or the pipeline's default."""
_STRENGTH: Final = 0.6
"""Share of the denoising in image to image: the default of the stock pipelines."""


class StepwisePipeline(ABC):
    """Takes the steps of one class of stock pipelines with plain Euler steps of flow matching."""

    name: str
    """Name of the stock pipeline's class."""
    guidance: ClassVar[flow_matching.Guidance]
    mixes_sizes: bool = False
    """Whether pictures of different sizes can share a forward."""
    max_texts: int = 32
    """Maximum prompts encoded together."""
    max_references: int = 0
    """Maximum pictures that a picture is drawn from; 0 if it draws from none."""
    needs_references: bool = False
    """Whether it draws from pictures only."""
    redraws: bool = False
    """Whether a picture begins as its reference, noised: image to image."""
    appends: ClassVar[bool] = False
    """Whether the transformer reads the latents of references after the picture's, and not as part of the prompt."""

    def __init__(self, pipe: Any, *, multiple_px: int, defaults: Defaults) -> None:
        """Use the components of a stock pipeline, all on one device.

        Args:
            pipe: the stock pipeline.
            multiple_px: number of which both sides of a picture must be multiples.
            defaults: steps, guidance and negative prompt of the checkpoint.
        """
        self.pipe, self.transformer, self.device = pipe, pipe.transformer, pipe.transformer.device
        self.multiple_px, self.defaults = multiple_px, defaults
        self.token_px = multiple_px
        """Side of the area that one token of a picture covers."""
        self.cache_threshold: float | None = None
        """Threshold of the denoising cache; None for no cache."""
        self.attention: Processors | None = None
        """Attention of the blocks; None if all rows of a batch have one length."""
        self.attends_by_row = False
        """Whether rows of different lengths attend one by one instead of with a mask."""
        self.float8: Float8Weights | None = None
        """The quantized weights; None if there are none."""
        self._schedules = flow_matching.Schedules(pipe.scheduler, self.sigmas_of, self.mu_of)
        self._negatives: dict[str, Tensor] = {}

    # ------------------------------------------------------------------------------ what a pipeline defines

    @classmethod
    def can_drive(cls, pipe: Any) -> bool:
        """Return whether this class takes the steps of a stock pipeline: its scheduler's must be plain Euler steps."""
        return flow_matching.is_plain_euler(pipe.scheduler)

    def sigmas_of(self, steps: int) -> Any:
        """Return the sigmas of a schedule before its shift."""
        return np.linspace(1.0, 1 / steps, steps)

    def mu_of(self, steps: int, image_tokens: int) -> float:
        """Return the shift of a schedule, which often grows with the picture."""
        return flow_matching.shift_of(self.pipe.scheduler.config, image_tokens)

    def image_tokens(self, job: Job) -> int:
        """Return the tokens of the picture, as the schedule counts them."""
        return flow_matching.count_patches(job.width_px, job.height_px, self.token_px)

    def row_tokens(self, job: Job, text_tokens: int) -> int:
        """Return the length of one row with that many tokens of text, or with the fewest possible if that is 0."""
        return self.image_tokens(job) + text_tokens

    @abstractmethod
    def embed(self, texts: Sequence[str], *, is_alone: bool) -> list[Tensor]:
        """Return what the transformer reads of each text, (tokens, ...), without padding.

        With `is_alone`, the texts of a request that must equal the stock pipeline's bit by bit.
        """

    @abstractmethod
    def noise(self, job: Job, generator: torch.Generator) -> Tensor:
        """Return the initial latents of a job whose prompt is embedded and which redraws no picture."""

    def embed_shown(self, text: str, job: Job) -> Tensor:
        """Return what the transformer reads of a text that is embedded together with the references of its job.

        Only called for jobs whose references have a picture to show.
        """
        raise NotImplementedError

    def fit(self, picture: Image, draw: Draw) -> Reference:
        """Return a reference, RGB or RGBA, as it is encoded; here stretched to the size that is drawn.

        Raises:
            ValueError: the pipeline cannot draw from this picture.
        """
        return Reference(self.pipe.image_processor.preprocess(over_white(picture), draw.height_px, draw.width_px))

    def encode_pixels(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the latents of a reference: of the shape of the noise, or (tokens, channels) if it is appended.

        Only called with `max_references`.

        Args:
            pixels: the reference, on the device, in the dtype of the prompt's embedding.
            generator: the picture's, for latents that the stock pipeline samples.
        """
        raise NotImplementedError

    @abstractmethod
    def velocities(self, jobs: Sequence[Job], texts: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the velocity of each job at its step, for one embedded text each, from one forward."""

    @abstractmethod
    def latents_to_decode(self, jobs: Sequence[Job]) -> Tensor:
        """Return the latents of jobs of one size as the decoder takes them."""

    def decoded(self, latents: Tensor) -> Tensor:
        """Return decoded latents: (count, channels, height, width) in [-1, 1]."""
        images: Tensor = self.pipe.vae.decode(latents, return_dict=False)[0]
        return images

    # ------------------------------------------------------------------------------ what the engine calls

    def prepare(self, draw: Draw, pictures: Sequence[Image] = ()) -> Job:
        """Return the job of a request; its bucket is its size, and those of the references that it appends.

        Raises:
            UnfitError: the pipeline does not support this size, number of steps, strength or these references.
        """
        flow_matching.check_size(draw.width_px, draw.height_px, self.multiple_px)
        check_references(self, len(pictures))
        try:
            references = tuple(self.fit(picture, draw) for picture in pictures)
        except ValueError as error:
            raise UnfitError(f"references: {error}") from error
        guidance = self.defaults.guidance if draw.guidance is None else draw.guidance
        job = Job(
            id=draw.id,
            prompt=draw.prompt,
            negative_prompt=draw.negative_prompt or self.defaults.negative_prompt,
            seed=draw.seed,
            width_px=draw.width_px,
            height_px=draw.height_px,
            steps=draw.steps or self.defaults.steps,
            guidance=guidance,
            is_alone=draw.is_alone,
            references=references,
            rows=2 if guidance is not None and guidance > self.guidance.above else 1,
        )
        if not self.redraws:
            sizes = (reference.pixels.shape[-2:] for reference in references)
            job.grids = tuple((height // self.token_px, width // self.token_px) for height, width in sizes)
        job.bucket = (draw.width_px, draw.height_px, *(job.grids if self.appends else ()))
        schedule = self._schedules.get(job.steps, self.image_tokens(job))
        if self.cache_threshold is not None and job.steps >= MIN_STEPS and not job.is_alone:
            job.cache = VelocityCache(self.cache_threshold)
        if references and self.redraws:
            schedule = schedule.last_part(_STRENGTH if draw.strength is None else draw.strength)
        job.steps = len(schedule.timesteps)
        job.timesteps, job.deltas, job.noise_share = schedule.timesteps, schedule.deltas, schedule.sigmas[0]
        job.tokens = self._tokens_of(job, 0)
        return job

    def encode(self, jobs: Sequence[Job]) -> None:
        """Set the embeddings and the first latents of each job; a text that jobs share is embedded once.

        The texts of a job that runs alone are embedded one by one, as the stock pipelines do: on some CPUs padding
        changes the last bits of an embedding.
        """
        self._set_precision(is_exact=jobs[0].is_alone)
        shown = [job for job in jobs if any(reference.shown for reference in job.references)]
        embedded = self._embed_texts([job for job in jobs if job not in shown])
        for job in jobs:
            read = partial(self.embed_shown, job=job) if job in shown else embedded.__getitem__
            job.positive = read(job.prompt)
            job.negative = read(job.negative_prompt) if job.rows == 2 else None
            both = (text for text in (job.positive, job.negative) if text is not None)
            job.tokens = self._tokens_of(job, max(len(text) for text in both))
            self._begin(job)

    def denoise(self, jobs: Sequence[Job]) -> list[Stepped]:
        """Return each job after its next step, computed with one forward or two."""
        self._set_precision(is_exact=jobs[0].is_alone)
        return [self._stepped(job, velocity) for job, velocity in zip(jobs, self._predict(jobs), strict=True)]

    def reuse(self, job: Job) -> Tensor | None:
        """Return the latents after the next step if the cache has its velocity, else None."""
        if job.cache is None or job.step == job.steps:
            return None
        velocity = job.cache.velocity_at(job.step, job.deltas)
        return None if velocity is None else self._take_step(job, velocity)

    def decode(self, jobs: Sequence[Job], *, tiled: bool = False) -> Tensor:
        """Return the pictures of jobs of one size."""
        latents = self.latents_to_decode(jobs)
        with flow_matching.tiling(self.pipe.vae, tiled):
            return flow_matching.to_pixels(self.decoded(latents))

    def _embed_texts(self, jobs: Sequence[Job]) -> dict[str, Tensor]:
        """Return what the transformer reads of each text of jobs, each embedded once."""
        guided = [job for job in jobs if job.rows == 2]
        texts = dict.fromkeys([*(job.prompt for job in jobs), *(job.negative_prompt for job in guided)])
        if jobs and jobs[0].is_alone:
            return {text: self.embed([text], is_alone=True)[0] for text in texts}
        embedded = {text: self._negatives[text] for text in texts if text in self._negatives}
        unknown = [text for text in texts if text not in embedded]
        embedded |= zip(unknown, self.embed(unknown, is_alone=False) if unknown else (), strict=True)
        self._negatives |= {job.negative_prompt: embedded[job.negative_prompt] for job in guided}
        self._negatives = dict(list(self._negatives.items())[-_MAX_KNOWN_TEXTS:])
        return embedded

    def _tokens_of(self, job: Job, text_tokens: int) -> int:
        return self.row_tokens(job, text_tokens) + sum(height * width for height, width in job.grids)

    def _begin(self, job: Job) -> None:
        """Set the first latents of a job, and those of the references that the transformer reads."""
        assert job.positive is not None
        generator, dtype = flow_matching.generator_of(job.seed), job.positive.dtype
        # Before the noise, as in the stock pipelines, which take both from one generator.
        encoded = [
            self.encode_pixels(reference.pixels.to(self.device, dtype), generator) for reference in job.references
        ]
        job.latents = self.noise(job, generator)
        if encoded and self.redraws:
            job.latents = flow_matching.add_noise(encoded[0], job.latents, job.noise_share)
        elif encoded:
            job.conditions = torch.cat(encoded)

    # ------------------------------------------------------------------------------ parts for subclasses

    def latents_of(self, jobs: Sequence[Job]) -> Tensor:
        """Return the latents of jobs of one size, stacked."""
        return torch.stack([job.latents for job in jobs if job.latents is not None])

    def latents_to_read(self, jobs: Sequence[Job]) -> Tensor:
        """Return the latents of jobs of one bucket, each followed by those of its references, stacked."""
        latents = self.latents_of(jobs)
        conditions = [job.conditions for job in jobs if job.conditions is not None]
        return torch.cat([latents, torch.stack(conditions)], 1) if conditions else latents

    def timesteps_of(self, jobs: Sequence[Job], dtype: torch.dtype) -> Tensor:
        """Return the timestep of each job's step, from 1 to 0, computed as stock pipelines do."""
        timesteps = torch.tensor([job.timesteps[job.step] for job in jobs]).to(dtype)
        return (timesteps / 1000).to(self.device, non_blocking=True)

    # ------------------------------------------------------------------------------ guidance and steps

    def _set_precision(self, *, is_exact: bool) -> None:
        """Compute as the stock pipeline does, to the last bit, or as fast as the settings allow."""
        if self.float8 is not None:
            self.float8.is_exact = is_exact
        if self.attention is not None:
            self.attention.use(by_row=self.attends_by_row and not is_exact)

    def _predict(self, jobs: Sequence[Job]) -> list[Tensor]:
        """Return the guided velocities, with prompts and negative prompts in one forward or in two.

        Negative prompts are usually short, and in one forward they are padded to the longest prompt. If that padding
        costs more than another launch, two forwards are used.
        """
        guided = [job for job in jobs if job.negative is not None]
        positives = [job.positive for job in jobs if job.positive is not None]
        negatives = [job.negative for job in guided if job.negative is not None]
        padding = _padding([*positives, *negatives]) - _padding(positives) - _padding(negatives)
        if self.guidance.is_apart if jobs[0].is_alone else padding > LAUNCH_TOKENS:
            both = [*self.velocities(jobs, positives), *(self.velocities(guided, negatives) if guided else ())]
        else:
            both = [*self.velocities([*jobs, *guided], [*positives, *negatives])]
        velocities = both[: len(jobs)]
        places = [place for place, job in enumerate(jobs) if job.negative is not None]
        for place, negative in zip(places, both[len(jobs) :], strict=True):
            velocities[place] = self.guidance.combine(velocities[place], negative, jobs[place].guidance or 0.0)
        return velocities

    def _stepped(self, job: Job, velocity: Tensor) -> Stepped:
        cache = None if job.cache is None else job.cache.after(velocity, job.step)
        return Stepped(self._take_step(job, velocity), cache)

    def _take_step(self, job: Job, velocity: Tensor) -> Tensor:
        assert job.latents is not None, "a request is encoded before it takes a step"
        return flow_matching.take_step(job.latents, velocity, job.deltas[job.step])


def _padding(texts: Sequence[Tensor]) -> int:
    """Return the tokens needed to pad texts to the longest."""
    lengths = [len(text) for text in texts]
    return len(lengths) * max(lengths, default=0) - sum(lengths)
