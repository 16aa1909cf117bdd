"""Z-Image, step by step: requests of any size, prompt length, step count and guidance in one forward.

Source: ZImagePipeline and ZImageImg2ImgPipeline of diffusers 0.39 to 0.42, whose components are used and which tests
compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Final

import torch
from torch import Tensor

from gems_actors.backends.diffusion import flow_matching
from gems_actors.backends.diffusion.jobs import Defaults, Job
from gems_actors.backends.diffusion.row_attention import Processors, RowLengths, attend, rotate
from gems_actors.backends.diffusion.stepwise import StepwisePipeline

_MAX_TEXT_TOKENS: Final = 512
_TOKEN_MULTIPLE: Final = 32
"""Multiple to which caption and picture are each padded, with learned tokens that take part in attention."""
_TURBO_SHIFT: Final = 3.0
"""Shift of Z-Image-Turbo's schedule, by which a folder of any name is recognised."""


class ZImageSteps(StepwisePipeline):
    """Takes the steps of `ZImagePipeline`: Z-Image with guidance, and Z-Image-Turbo without; also image to image."""

    name = "ZImagePipeline"
    mixes_sizes = True
    max_references, redraws = 1, True
    guidance = flow_matching.Guidance(above=0.0, combine=flow_matching.from_prompt, is_apart=False)

    def __init__(self, pipe: Any) -> None:
        """Use the components of a stock pipeline, all on one device."""
        super().__init__(pipe, multiple_px=pipe.vae_scale_factor * 2, defaults=_defaults_of(pipe))
        self._lengths = RowLengths()
        kinds = (
            (self.transformer.noise_refiner, "picture"),
            (self.transformer.context_refiner, "caption"),
            (self.transformer.layers, "both"),
        )
        names = {block.attention: name for blocks, name in kinds for block in blocks}
        self.attention = Processors(list(names), lambda attention: _RowByRow(self._lengths, names[attention]))

    def sigmas_of(self, steps: int) -> list[float]:
        """Return the sigmas of a schedule before its shift. Before diffusers 0.39 they had a last, wasted step."""
        sigmas: list[float] = torch.linspace(1.0, 1.0 / steps, steps).tolist()
        return sigmas

    def row_tokens(self, job: Job, text_tokens: int) -> int:
        """Return the length of one row."""
        return _padded(self.image_tokens(job)) + _padded(max(1, text_tokens))

    def noise(self, job: Job, generator: torch.Generator) -> Tensor:
        """Return the initial latents: (16, 1, height / 8, width / 8), float32 without a reference."""
        assert job.positive is not None
        height, width = (2 * (side // self.multiple_px) for side in (job.height_px, job.width_px))
        shape = (self.transformer.in_channels, 1, height, width)
        return flow_matching.noise(
            shape, generator, job.positive.dtype if job.references else torch.float32, self.device
        )

    def encode_pixels(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the latents of a reference: (16, 1, height / 8, width / 8)."""
        config = self.pipe.vae.config
        sampled = self.pipe.vae.encode(pixels).latent_dist.sample(generator)
        latents: Tensor = (sampled - config.shift_factor) * config.scaling_factor
        return latents[0][:, None]

    def velocities(self, jobs: Sequence[Job], texts: Sequence[Tensor]) -> list[Tensor]:
        """Return the velocity of each job, float32; the transformer's own points the other way and counts time up."""
        timesteps = torch.tensor([(1000 - job.timesteps[job.step]) / 1000 for job in jobs], dtype=torch.float32)
        latents = [job.latents for job in jobs if job.latents is not None]
        picture = [_padded(latent.shape[-2] * latent.shape[-1] // 4) for latent in latents]
        caption = [_padded(len(text)) for text in texts]
        both = [sum(pair) for pair in zip(picture, caption, strict=True)]
        self._lengths.set(picture=picture, caption=caption, both=both)
        outputs: list[Tensor] = self.transformer(
            [latent.to(self.transformer.dtype) for latent in latents],
            timesteps.to(self.device, non_blocking=True),
            list(texts),
            return_dict=False,
        )[0]
        return [-output.float() for output in outputs]

    def latents_to_decode(self, jobs: Sequence[Job]) -> Tensor:
        """Return the latents of jobs of one size as the decoder takes them."""
        vae = self.pipe.vae
        latents = self.latents_of(jobs)[:, :, 0].to(vae.dtype)
        return latents / vae.config.scaling_factor + vae.config.shift_factor

    def embed(self, texts: Sequence[str], *, is_alone: bool) -> list[Tensor]:
        """Return the embeddings of each text without padding: (tokens, 2560 for Qwen3-4B)."""
        pipe = self.pipe
        # The stock pipeline pads to 512 tokens. They are masked, but their number changes the rounding.
        chats = [
            pipe.tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=True
            )
            for text in texts
        ]
        tokens = pipe.tokenizer(
            chats,
            padding="max_length" if is_alone else "longest",
            max_length=_MAX_TEXT_TOKENS,
            truncation=True,
            return_tensors="pt",
        )
        lengths = tokens.attention_mask.sum(dim=1).tolist()
        hidden = pipe.text_encoder(
            input_ids=tokens.input_ids.to(self.device),
            attention_mask=tokens.attention_mask.to(self.device).bool(),
            output_hidden_states=True,
        ).hidden_states[-2]
        return [row[:length].clone() for row, length in zip(hidden, lengths, strict=True)]


class _RowByRow:
    """Attention for Z-Image's blocks that handles each row separately and needs no mask."""

    def __init__(self, lengths: RowLengths, name: str) -> None:
        self._lengths, self._name = lengths, name

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        freqs_cis: Tensor | None = None,
    ) -> Tensor:
        query, key, value = (
            project(hidden_states).unflatten(-1, (attn.heads, -1)) for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        if attn.norm_q is not None:
            query, key = attn.norm_q(query), attn.norm_k(key)
        if freqs_cis is not None:
            query, key = (rotate(states, freqs_cis) for states in (query, key))
        rows = None if attention_mask is None else [(slice(length),) for length in self._lengths[self._name]]
        output: Tensor = attn.to_out[0](attend(query, key, value, rows, rows).flatten(2, 3))
        return output


def _defaults_of(pipe: Any) -> Defaults:
    """Return the defaults of Z-Image-Turbo, or of Z-Image, by the checkpoint's name and else by its schedule."""
    name = PurePath(str(getattr(pipe, "name_or_path", ""))).name.lower()
    is_turbo = "turbo" in name or (name != "z-image" and pipe.scheduler.config.shift == _TURBO_SHIFT)
    return Defaults(steps=8, guidance=0.0) if is_turbo else Defaults(steps=50, guidance=4.0)


def _padded(tokens: int) -> int:
    return -(-tokens // _TOKEN_MULTIPLE) * _TOKEN_MULTIPLE
