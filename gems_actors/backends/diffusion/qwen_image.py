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

from gems_actors.backends.diffusion import flow_matching
from gems_actors.backends.diffusion.engine_messages import Draw
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
        self._schedules = flow_matching.Schedules(pipe.scheduler, lambda n: np.linspace(1.0, 1 / n, n))
        self.multiple_px = pipe.vae_scale_factor * 2

    def prepare(self, draw: Draw) -> Job:
        """Return the job of a request; its bucket is its size.

        Raises:
            UnfitError: the pipeline does not support this size or number of steps.
        """
        job = flow_matching.new_job(draw, self.defaults, self._schedules, self.multiple_px)
        job.rows = 2 if job.guidance is not None and job.guidance > 1 else 1
        return job

    def encode(self, jobs: Sequence[Job]) -> None:
        """Set the text embeddings and the noise of each job."""
        flow_matching.set_embeddings(jobs, self._embed)
        channels = self._transformer.config.in_channels // 4
        for job in jobs:
            assert job.positive is not None
            patches = flow_matching.count_patches(job.width_px, job.height_px, self.multiple_px)
            job.tokens = patches + job.text_tokens
            height, width = (2 * (side // self.multiple_px) for side in (job.height_px, job.width_px))
            fresh = flow_matching.noise((1, 1, channels, height, width), job.seed, job.positive.dtype, self._device)
            job.latents = self._pipe._pack_latents(fresh, 1, channels, height, width)[0]

    def denoise(self, jobs: Sequence[Job]) -> list[Tensor]:
        """Return the latents of each after its next step, (tokens, 64), in the dtype of the text encoder."""
        stepped = []
        predictions = flow_matching.predict(jobs, self._forward, stock_is_apart=True)
        for job, (output, unguided) in zip(jobs, predictions, strict=True):
            velocity = output
            if unguided is not None and job.guidance is not None:
                combined = unguided + job.guidance * (output - unguided)
                length, wanted = (torch.norm(part, dim=-1, keepdim=True) for part in (combined, output))
                velocity = combined * (wanted / length)
            assert job.latents is not None
            stepped.append(flow_matching.take_step(job.latents, velocity, job.deltas[job.step]))
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
        with flow_matching.tiling(vae, tiled):
            return flow_matching.to_pixels(vae.decode(latents, return_dict=False)[0][:, :, 0])

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
