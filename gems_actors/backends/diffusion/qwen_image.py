"""Qwen-Image, step by step: requests of one size, of any prompt length, step count and guidance, in one forward.

Source: QwenImagePipeline of diffusers 0.39 to 0.42, whose components are used and which tests compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gems_actors.backends.diffusion.engine_messages import Draw
from gems_actors.backends.diffusion.flow_matching import (
    Schedules,
    check_size,
    count_patches,
    distinct,
    noise,
    predict,
    take_step,
    tiling,
    to_pixels,
)
from gems_actors.backends.diffusion.jobs import Defaults, Job

_MAX_TEXT_TOKENS: Final = 512


class QwenImageSteps:
    """Takes the steps of `QwenImagePipeline`."""

    name = "QwenImagePipeline"
    mixes_sizes = False
    """The positions of a forward are those of its first row, so a bucket holds one width and one height: of a landscape
    and a portrait with equal tokens, the second would come out wrong without an error."""
    defaults = Defaults(steps=50, guidance=4.0, negative_prompt=" ")
    """Defaults of Qwen-Image-2512; true guidance needs a negative prompt, if only a blank."""

    def __init__(self, pipe: Any) -> None:
        """Use the components of a stock pipeline, all on one device."""
        self._pipe = pipe
        self._transformer = pipe.transformer
        self._device = pipe.transformer.device
        self._schedules = Schedules(pipe.scheduler, lambda n: np.linspace(1.0, 1 / n, n))
        self.multiple_px = pipe.vae_scale_factor * 2

    def prepare(self, draw: Draw) -> Job:
        """Return the job of a request; its bucket is its size.

        Raises:
            UnfitError: the pipeline does not support this size or number of steps.
        """
        check_size(draw.width_px, draw.height_px, self.multiple_px)
        guidance = self.defaults.guidance if draw.guidance is None else draw.guidance
        negative = self.defaults.negative_prompt if draw.negative_prompt is None else draw.negative_prompt
        steps = draw.steps or self.defaults.steps
        schedule = self._schedules.get(steps, self._image_tokens(draw))
        return Job(
            id=draw.id,
            prompt=draw.prompt,
            negative_prompt=negative or self.defaults.negative_prompt,
            seed=draw.seed,
            width_px=draw.width_px,
            height_px=draw.height_px,
            steps=steps,
            timesteps=schedule.timesteps,
            deltas=schedule.deltas,
            guidance=guidance,
            is_alone=draw.is_alone,
            bucket=(draw.width_px, draw.height_px),
            rows=2 if _is_guided(guidance) else 1,
            tokens=self._image_tokens(draw),
        )

    def encode(self, jobs: Sequence[Job]) -> None:
        """Set the text embeddings and the noise of each job."""
        guided = [job for job in jobs if _is_guided(job.guidance)]
        texts = distinct([*(job.prompt for job in jobs), *(job.negative_prompt for job in guided)])
        embeddings = dict(zip(texts, self._embed(texts), strict=True))
        channels = self._transformer.config.in_channels // 4
        for job in jobs:
            job.positive = embeddings[job.prompt]
            job.negative = embeddings[job.negative_prompt] if _is_guided(job.guidance) else None
            texts_tokens = (len(text) for text in (job.positive, job.negative) if text is not None)
            job.tokens = self._image_tokens(job) + max(texts_tokens)
            height, width = (2 * (side // self.multiple_px) for side in (job.height_px, job.width_px))
            fresh = noise((1, 1, channels, height, width), job.seed, job.positive.dtype, self._device)
            job.latents = self._pipe._pack_latents(fresh, 1, channels, height, width)[0]

    def denoise(self, jobs: Sequence[Job]) -> list[Tensor]:
        """Return the latents of each after its next step, (tokens, 64), in the dtype of the text encoder."""
        stepped = []
        for job, (output, unguided) in zip(jobs, predict(jobs, self._forward, stock_is_apart=True), strict=True):
            velocity = output
            if unguided is not None and job.guidance is not None:
                combined = unguided + job.guidance * (output - unguided)
                length, wanted = (torch.norm(part, dim=-1, keepdim=True) for part in (combined, output))
                velocity = combined * (wanted / length)
            assert job.latents is not None
            stepped.append(take_step(job.latents, velocity, job.deltas[job.step]))
        return stepped

    def decode(self, jobs: Sequence[Job], *, tiled: bool = False) -> Tensor:
        """Return the pictures of jobs of one size."""
        vae, pipe = self._pipe.vae, self._pipe
        packed = torch.stack([job.latents for job in jobs if job.latents is not None])
        latents = pipe._unpack_latents(packed, jobs[0].height_px, jobs[0].width_px, pipe.vae_scale_factor)
        latents = latents.to(vae.dtype)
        mean, deviation = (
            torch.tensor(values).view(1, -1, 1, 1, 1).to(latents.device, latents.dtype)
            for values in (vae.config.latents_mean, vae.config.latents_std)
        )
        latents = latents / (1.0 / deviation) + mean
        with tiling(vae, tiled):
            return to_pixels(vae.decode(latents, return_dict=False)[0][:, :, 0])

    def _forward(self, jobs: Sequence[Job], texts: Sequence[Tensor]) -> Tensor:
        lengths = [len(text) for text in texts]
        mask = None
        if len(set(lengths)) > 1:
            mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).to(self._device, non_blocking=True)
        latents = torch.stack([job.latents for job in jobs if job.latents is not None])
        timesteps = torch.tensor([job.timesteps[job.step] for job in jobs]).to(latents.dtype)
        height, width = (side // self.multiple_px for side in (jobs[0].height_px, jobs[0].width_px))
        velocity: Tensor = self._transformer(
            hidden_states=latents,
            timestep=(timesteps / 1000).to(self._device, non_blocking=True),
            guidance=None,
            encoder_hidden_states_mask=mask,
            encoder_hidden_states=pad_sequence(list(texts), batch_first=True),
            img_shapes=[[(1, height, width)]] * len(jobs),
            attention_kwargs={},
            return_dict=False,
        )[0]
        return velocity

    def _embed(self, texts: Sequence[str]) -> list[Tensor]:
        """Return the embeddings of each text without padding: (tokens, 3584 for Qwen2.5-VL-7B)."""
        hidden, mask = self._pipe._get_qwen_prompt_embeds(list(texts), self._device)
        lengths = mask.sum(dim=1).tolist()
        return [row[: min(length, _MAX_TEXT_TOKENS)].clone() for row, length in zip(hidden, lengths, strict=True)]

    def _image_tokens(self, sized: Draw | Job) -> int:
        return count_patches(sized.width_px, sized.height_px, self.multiple_px)


def _is_guided(guidance: float | None) -> bool:
    return guidance is not None and guidance > 1
