"""FLUX.2 [klein], step by step: requests of one size, of any step count and, for the base checkpoint, guidance.

The transformer reads references as further tokens, so requests share a forward if their references have equal sizes.

Every prompt is 512 tokens long: its padding is embedded and attended to, so batches need no mask. Distilled
checkpoints have no guidance, and the stock pipeline ignores a scale for them; here it is refused.

Source: Flux2KleinPipeline of diffusers 0.42, whose components are used and which tests compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from PIL.Image import Image
from torch import Tensor

from gems_actors.backends.diffusion import flow_matching
from gems_actors.backends.diffusion.engine_messages import Draw
from gems_actors.backends.diffusion.jobs import Defaults, Job, Reference, UnfitError
from gems_actors.backends.diffusion.stepwise import StepwisePipeline
from gems_actors.backends.pictures import over_white
from protocol.limits import MAX_REFERENCES

_TEXT_TOKENS: Final = 512


class Flux2KleinSteps(StepwisePipeline):
    """Takes the steps of `Flux2KleinPipeline`."""

    name = "Flux2KleinPipeline"
    guidance = flow_matching.Guidance(above=1.0, combine=flow_matching.from_negative, is_apart=True)
    max_texts = 8
    max_references, appends = MAX_REFERENCES, True

    def __init__(self, pipe: Any) -> None:
        """Use the components of a stock pipeline, all on one device."""
        self._is_distilled = bool(pipe.config.is_distilled)
        defaults = Defaults(steps=4, guidance=1.0) if self._is_distilled else Defaults(steps=50, guidance=4.0)
        super().__init__(pipe, multiple_px=pipe.vae_scale_factor * 2, defaults=defaults)

    def prepare(self, draw: Draw, pictures: Sequence[Image] = ()) -> Job:
        """Return the job of a request; its bucket is its size, and those of its references.

        Raises:
            UnfitError: the pipeline does not support this size, number of steps, guidance or these references.
        """
        job = super().prepare(draw, pictures)
        if self._is_distilled and job.rows == 2:
            raise UnfitError(
                f"guidance: expected none or at most 1, because this checkpoint is distilled, got {job.guidance}"
            )
        return job

    def mu_of(self, steps: int, image_tokens: int) -> float:
        """Return the shift of a schedule, which depends on picture and steps."""
        from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

        return compute_empirical_mu(image_tokens, steps)  # type: ignore[no-any-return]  # mypy sees diffusers as Any

    def row_tokens(self, job: Job, text_tokens: int) -> int:
        """Return the length of one row."""
        return self.image_tokens(job) + _TEXT_TOKENS

    def embed(self, texts: Sequence[str], *, is_alone: bool) -> list[Tensor]:
        """Return the embeddings of each text: (512, 3 * 4096 for Qwen3-8B)."""
        embedded, _ = self.pipe.encode_prompt(list(texts), self.device, max_sequence_length=_TEXT_TOKENS)
        return list(embedded)

    def noise(self, job: Job, generator: torch.Generator) -> Tensor:
        """Return the initial latents: (tokens, 128), in the dtype of the text encoder."""
        assert job.positive is not None
        height, width = (side // self.multiple_px for side in (job.height_px, job.width_px))
        shape = (1, self.transformer.config.in_channels, height, width)
        return flow_matching.noise(shape, generator, job.positive.dtype, self.device)[0].flatten(1).T

    def fit(self, picture: Image, draw: Draw) -> Reference:
        """Return a reference in its own size: of at most a million pixels, cut to whole tokens.

        Raises:
            ValueError: the picture is too small or too long.
        """
        processor = self.pipe.image_processor
        fitted = processor._resize_if_exceeds_area(processor.check_image_input(over_white(picture)))
        width, height = (side // self.multiple_px * self.multiple_px for side in fitted.size)
        return Reference(processor.preprocess(fitted, height, width, resize_mode="crop"))

    def encode_pixels(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the latents of a reference: (tokens, 128)."""
        latents: Tensor = self.pipe._encode_vae_image(pixels, generator)
        return latents[0].flatten(1).T

    def velocities(self, jobs: Sequence[Job], texts: Sequence[Tensor]) -> Tensor:
        """Return the velocity of each job, in the dtype of the transformer."""
        latents, text, grids = self.latents_of(jobs), torch.stack(list(texts)), jobs[0].grids
        positions = self.pipe._prepare_latent_ids(self._grid(latents[:1], jobs[0]))
        if grids:
            shapes = [torch.empty(1, 1, *grid) for grid in grids]
            positions = torch.cat([positions, self.pipe._prepare_image_ids(shapes)], 1)
        velocity: Tensor = self.transformer(
            hidden_states=self.latents_to_read(jobs).to(self.transformer.dtype),
            timestep=self.timesteps_of(jobs, latents.dtype),
            guidance=None,
            encoder_hidden_states=text,
            txt_ids=self.pipe._prepare_text_ids(text[:1]).to(self.device, non_blocking=True),
            img_ids=positions.to(self.device, non_blocking=True),
            return_dict=False,
        )[0]
        return velocity[:, : latents.shape[1]]

    def latents_to_decode(self, jobs: Sequence[Job]) -> Tensor:
        """Return the latents of jobs of one size as the decoder takes them."""
        statistics, latents = self.pipe.vae.bn, self._grid(self.latents_of(jobs), jobs[0])
        mean = statistics.running_mean.view(1, -1, 1, 1).to(latents.device, latents.dtype)
        variance = statistics.running_var.view(1, -1, 1, 1) + self.pipe.vae.config.batch_norm_eps
        deviation = torch.sqrt(variance).to(latents.device, latents.dtype)
        unpacked: Tensor = self.pipe._unpatchify_latents(latents * deviation + mean)
        return unpacked

    def _grid(self, packed: Tensor, job: Job) -> Tensor:
        """Return latents, (pictures, tokens, channels), as (pictures, channels, height, width)."""
        size = job.height_px // self.multiple_px, job.width_px // self.multiple_px
        return packed.transpose(1, 2).unflatten(2, size)
